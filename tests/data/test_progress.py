"""Long work reports itself: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import io
import re
import sys

import pytest

from tests.refusals import tells
from trustcache.data import progress


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("trustcache.data.progress.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_log_gets_a_line_now_and_then(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress.console("vit on birds", 4000) as advance:
        for _ in range(40):
            advance(100)
            clock.now += 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "vit on birds: 1,600 of 4,000, 100/s, 24 s left\n"
        "vit on birds: 3,100 of 4,000, 100/s, 9 s left\n"
    )  # fmt: skip


def test_what_was_done_before_does_not_count_as_speed(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress.console("fine-tuning", 4000) as advance:
        advance(2000)
        clock.now += 20
        advance(100)
    assert capsys.readouterr().err == "fine-tuning: 2,100 of 4,000, 5.0/s, 380 s left\n"


def test_work_that_has_not_got_anywhere_promises_no_end(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress.console("slow start", 10) as advance:
        clock.now += 60
        advance(1)
    assert capsys.readouterr().err == "slow start: 1 of 10\n"


@pytest.mark.parametrize(("done", "rate"), [(5, "4.0 s each"), (40, "2.0/s"), (200, "10/s"), (150_000, "7,500/s")])
def test_a_rate_has_digits_that_say_something(
    clock: Clock, capsys: pytest.CaptureFixture[str], done: int, rate: str
) -> None:
    with progress.console("steps", 10**6) as advance:
        advance(0)
        clock.now += 20
        advance(done)
    assert f"steps: {done:,} of 1,000,000, {rate}, " in capsys.readouterr().err


def test_short_work_says_nothing_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.console("quick", 10) as advance:
        advance(10)
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_with_count_and_rate(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress.console("vit on [birds]", 400) as advance:
        for _ in range(4):
            advance(100)
            clock.now += 0.5
    assert "vit on [birds]" in terminal.getvalue()
    assert "400/400" in terminal.getvalue()
    assert "200/s" in terminal.getvalue()


@pytest.mark.parametrize("columns", [80, 120])
def test_a_long_label_leaves_the_bar_the_count_and_the_time_their_places(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, columns: int
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    with progress.console(f"scoring {'long-' * 30}seed0 on photos", 50_000) as advance:
        advance(0)
        clock.now += 1
        advance(12_500)
    shown = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue()))
    line = [line for line in shown if "50000/50000" in line][-1]
    assert tells(line, "scoring long-", "...", "seed0 on photos", "12,500/s", "0:00:0")
    assert line.count("━") >= columns // 8
    assert len(line.rstrip()) <= columns


def test_library_functions_are_silent_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.silent("anything", 10) as advance:
        advance(10)
    assert capsys.readouterr() == ("", "")


def test_interactive_progress_is_for_a_terminal_or_a_notebook_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.0)
    for module, told in ((None, False), ("ipykernel", True)):
        if module:
            monkeypatch.setitem(sys.modules, module, sys)
        else:
            monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
        with progress.interactive("scores", 2) as advance:
            advance(1)
        assert ("scores: 1 of 2" in capsys.readouterr().err) is told
