"""System calls of many files or folders at once: a disk behind a network takes as long for one as for sixteen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_THREADS = 16


def in_threads(work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Yield what `work` returns for each item, in their order, while threads work on others. Raises what it raises.

    >>> list(in_threads(len, ["a", "bc"]))
    [1, 2]
    """
    if len(items) < 2:
        yield from map(work, items)
        return
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(min(_THREADS, len(items)))
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)


def in_threads_if_slow(work: Callable[[T], R], items: Sequence[T], slow_s: float) -> Iterator[R]:
    """Yield the same: in threads where the first item takes as long as that, else in this one.

    Threads that look at what is near wait for each other more than for the disk.

    >>> list(in_threads_if_slow(len, ["a", "bc"], slow_s=1.0))
    [1, 2]
    """
    began = time.perf_counter()
    yield from map(work, items[:1])
    yield from (in_threads if time.perf_counter() - began >= slow_s else map)(work, items[1:])
