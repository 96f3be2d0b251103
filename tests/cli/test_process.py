"""The process of a command: signals whenever they come, full disks, and the codes it ends with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from tests.refusals import tells
from trustcache.cache.versions import trustcache_version

ROOT = Path(__file__).parent.parent.parent
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
SLOW_IMPORT = """
import time

print("waiting", flush=True)
try:
    time.sleep(60)
except BaseException:  # as modules do that try what else they could use
    pass
raise ImportError("it was stopped")
"""
SLOW_EXIT = "import atexit, time\natexit.register(lambda: (print('waiting', flush=True), time.sleep(60)))\n"
RUN = "from cli import app\napp(prog_name='trustcache')"


def started(code: str, *args: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *args],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), str(ROOT)])},
        stderr=subprocess.PIPE,
        text=True,
        # A suite that was itself started in the background ignores Ctrl-C, and its processes would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **options,  # type: ignore[call-overload]
    )


@pytest.mark.parametrize("number", CODES, ids=str)
@pytest.mark.parametrize(("module", "code"), [("torch", RUN), ("typer", RUN), ("", SLOW_EXIT + RUN)], ids=str)
def test_a_signal_ends_a_command_in_one_line_whenever_it_comes(
    in_tmp_path: Path, number: signal.Signals, module: str, code: str
) -> None:
    if module:
        Path(f"{module}.py").write_text(SLOW_IMPORT)
    words = ("extract", "--classifier", "cifar-resnet8", "--data", "digits-test") if module else ("presets",)
    process = started(code, *words, stdout=subprocess.PIPE)
    assert process.stdout is not None
    while process.stdout.readline().strip() != "waiting":
        assert process.poll() is None
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.count("\n")) == (CODES[number], 1), said
    assert tells(said, "interrupted", "same command")
    assert "--checkpoint-every" not in said, "which is of training"


AT_FORK = "os.register_at_fork(after_in_parent=lambda: signal.raise_signal({number}))\nos.fork() or os._exit(0)"
IN_FINALISER = """
class Finalised:
    def __del__(self):
        signal.raise_signal({number})

Finalised()
"""


@pytest.mark.parametrize("place", [AT_FORK, IN_FINALISER])
@pytest.mark.parametrize("number", CODES)
def test_a_signal_where_python_drops_exceptions_ends_a_command_too(
    place: str, number: signal.Signals, in_tmp_path: Path
) -> None:
    code = f"import os, signal, time\nfrom cli import signals\n{place.format(number=int(number))}\ntime.sleep(60)"
    process = started(code)
    _, told = process.communicate(timeout=30)
    assert process.returncode == CODES[number]
    assert told.startswith("interrupted;")
    assert told.count("\n") == 1


def test_a_second_signal_ends_at_once_what_does_not_end(in_tmp_path: Path) -> None:
    code = (
        "import time\nimport cli\ntry:\n    print('waiting', flush=True)\n    time.sleep(60)\n"
        "except BaseException:\n    print('waiting', flush=True)\n    time.sleep(60)"
    )
    process = started(code, stdout=subprocess.PIPE)
    assert process.stdout is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(number)
    assert (process.communicate(timeout=60)[1], process.returncode) == ("", 143)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("words", ["--version", "--help", "presets strong", "bound --samples 9 --numbers 9"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written_is_an_error_of_one_line(
    in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, unbuffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with open("/dev/full", "w") as full:
        process = started(RUN, *words.split(), stdout=full)
        said = process.communicate(timeout=60)[1]
    assert (process.returncode, said.count("\n")) == (1, 1), said
    assert tells(said, "error: ", "standard output", "No space left")


def test_the_version_is_printed(run_cli: Callable[..., Result]) -> None:
    done = run_cli("--version")
    assert (done.exit_code, done.stdout) == (0, f"trustcache {trustcache_version()}\n")


@pytest.mark.parametrize(
    ("error", "facts"),
    [
        (MemoryError(), ("memory", "--batch-size", "--workers")),
        (OSError(28, "No space left on device", "x.h5"), ("x.h5", "No space left")),
        (OSError("odd"), ("odd",)),
    ],
)
def test_what_the_machine_lacks_is_an_error_of_one_line(
    run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, error: Exception, facts: tuple[str, ...]
) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr("trustcache.cache.workspace.Workspace.caches", fail)
    done = run_cli("cache", "list")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert tells(done.stderr, "error: ", *facts)


def test_a_message_moves_no_cursor_and_takes_one_line(run_cli: Callable[..., Result]) -> None:
    done = run_cli("data", "show", "x\x1b[2J\nerror: y\u202e.toml")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert tells(done.stderr, r"x\x1b[2J\nerror: y\u202e.toml")
