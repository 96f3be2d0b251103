"""Progress of long work: a bar on a terminal, a line now and then in a log, or nothing."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

from trustcache.errors import visible

Advance = Callable[[int], None]
# Called with a label and a total, of what the label names or of images; within the context, the function it yields is
# called with the work just done.
Progress = Callable[[str, int], AbstractContextManager[Advance]]

LOG_EVERY_S = 15.0
FEW = 10_000
"""Number of files that are looked at in no noticeable time, without progress."""


@contextmanager
def silent(label: str, total: int) -> Iterator[Advance]:
    """Report nothing: the default of library functions but the longest."""
    yield lambda done: None


def console(label: str, total: int) -> AbstractContextManager[Advance]:
    """Report on standard error, as a bar with rate and remaining time where that is a terminal."""
    label = visible(label)
    return _bar(label, total) if sys.stderr.isatty() else _log(label, total)


def interactive(label: str, total: int) -> AbstractContextManager[Advance]:
    """Report as `console` does where somebody is there to read it, on a terminal or in a notebook, else nothing."""
    return (console if sys.stderr.isatty() or "ipykernel" in sys.modules else silent)(label, total)


_listing: ContextVar[Progress] = ContextVar("listing", default=silent)


@contextmanager
def listing_shown(progress: Progress) -> Iterator[None]:
    """Have `listing` report to a progress within the context: layouts, which may be a user's own, take none."""
    before = _listing.set(progress)
    try:
        yield
    finally:
        _listing.reset(before)


def listing(label: str, total: int) -> AbstractContextManager[Advance]:
    """Report on the listing of files to the progress that `listing_shown` has set."""
    return _listing.get()(label, total)


def shortened(text: str, room: int) -> str:
    """Return a text of at most so many cells of a terminal: of a longer one the middle is left out.

    >>> shortened("digits-resnet8-strong-frozen-seed0", 20)
    'digits-re...en-seed0'
    """
    from rich.cells import cell_len

    kept = len(text)
    short = text
    while cell_len(short) > max(room, _LEAST_ROOM):
        kept -= 1
        short = f"{text[: kept - kept // 2]}...{text[len(text) - kept // 2 :]}"
    return short


_LEAST_ROOM = 7
_SHARE_OF_BAR = 8
# A slash, four gaps, the rate (12,345.6/s) and the time that remains (0:00:00).
_WIDTH_OF_THE_REST = 1 + 4 + 11 + 7


class _Rate:
    """Work a second since the first report, which also counts what was there before or took time to start."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.since = 0

    def add(self, done: int) -> float:
        """The rate after `done` more, 0 while unknown."""
        now = time.monotonic()
        if self.began is None:
            self.began = now
        else:
            self.since += done
        return self.since / max(now - self.began, 1e-9)


def _in_words(per_second: float) -> str:
    """Return a rate to read, "" while it is not known."""
    if 0 < per_second < 1:
        return f"{1 / per_second:,.1f} s each"
    return f"{per_second:,.{0 if per_second >= 10 else 1}f}/s" if per_second else ""


@contextmanager
def _bar(label: str, total: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn

    class Label(TextColumn):
        """The label, shortened to what the other columns leave of the terminal's width, which may change."""

        def render(self, task: Task) -> Any:
            width = progress.console.width
            room = width - width // _SHARE_OF_BAR - 2 * len(f"{task.total:.0f}") - _WIDTH_OF_THE_REST
            shown = copy.copy(task)
            shown.description = shortened(task.description, room)
            return super().render(shown)

    columns = (
        Label("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    rate = _Rate()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=total, rate="")

        def advance(done: int) -> None:
            progress.update(task, advance=done, rate=_in_words(rate.add(done)))

        yield advance
        progress.update(task, completed=total)  # what was there already is done, too


@contextmanager
def _log(label: str, total: int) -> Iterator[Advance]:
    rate = _Rate()
    spoke = time.monotonic()
    done_so_far = 0

    def advance(done: int) -> None:
        nonlocal done_so_far, spoke
        done_so_far += done
        per_second = rate.add(done)
        if time.monotonic() - spoke >= LOG_EVERY_S:
            spoke = time.monotonic()
            left = f", {_in_words(per_second)}, {(total - done_so_far) / per_second:,.0f} s left" if per_second else ""
            print(f"{label}: {done_so_far:,} of {total:,}{left}", file=sys.stderr, flush=True)

    yield advance
