"""How long work reports itself: a bar on a terminal, a line now and then in a log, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Advance = Callable[[int], None]
# Called with a label and a total; within the context, the function it yields is called with the work just done.
Progress = Callable[[str, int], AbstractContextManager[Advance]]

LOG_EVERY_S = 15.0


@contextmanager
def silent(label: str, total: int) -> Iterator[Advance]:
    """Report nothing: the default of every library function."""
    yield lambda done: None


def console(label: str, total: int) -> AbstractContextManager[Advance]:
    """Report on standard error, as a bar with rate and remaining time where that is a terminal."""
    return _bar(label, total) if sys.stderr.isatty() else _log(label, total)


@contextmanager
def _bar(label: str, total: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    began = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=total, rate="")

        def advance(done: int) -> None:
            progress.advance(task, done)
            rate = progress.tasks[task].completed / max(time.monotonic() - began, 1e-9)
            progress.update(task, rate=f"{rate:,.0f}/s")

        yield advance


@contextmanager
def _log(label: str, total: int) -> Iterator[Advance]:
    began = spoke = time.monotonic()
    done_so_far = 0

    def advance(done: int) -> None:
        nonlocal done_so_far, spoke
        done_so_far += done
        now = time.monotonic()
        if now - spoke >= LOG_EVERY_S:
            spoke = now
            rate = done_so_far / (now - began)
            left = (total - done_so_far) / rate if rate else float("inf")
            print(f"{label}: {done_so_far:,} of {total:,}, {rate:,.0f}/s, {left:,.0f} s left", file=sys.stderr)

    yield advance
