"""Torch's threads on the CPU: one where work is too small for more, and others for what comes next."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")

# Torch's threads wait for each other asleep (`trustcache/__init__.py`) after each operation: a training step that
# multiplies fewer numbers takes up to twice as long in two as in one (`benchmarks/threads.py`).
WORTH_THREADS = 200_000_000
# To make fewer numbers for a step takes less time than to hand them over from another thread.
WORTH_BESIDE = 200_000


def threads_for(samples: int, weights: int) -> AbstractContextManager[bool]:
    """Return a context in which torch takes training steps of so many samples and weights: in one thread if small.

    It yields True where that leaves other threads idle.

    >>> import torch
    >>> with threads_for(samples=512, weights=768):
    ...     torch.get_num_threads()
    1
    """
    products = 2 * samples * weights  # the outputs', and the gradients' by the weights
    return one_thread() if products < WORTH_THREADS else nullcontext(False)


class _Here(threading.local):
    inside = False


_here, _lock = _Here(), threading.Lock()
_usual: list[int] = []  # numbers of threads to go back to, of each thread of Python that is within `one_thread`


@contextmanager
def one_thread(usual: int | None = None) -> Iterator[bool]:
    """Have torch compute in one thread on the CPU: with little to do, more of them only wait for each other.

    usual: the number to go back to, by default this thread's own. Yields True where that leaves other threads idle;
    False within another such context.
    """
    import torch

    # Asked before it is set: a thread of Python that never asked gets the number last set in any, which is one while
    # another is in here.
    own = torch.get_num_threads()
    if _here.inside:
        yield False
        return
    with _lock:
        usual = usual or (_usual[0] if own == 1 and _usual else own)
        _usual.append(usual)
    _here.inside = True
    torch.set_num_threads(1)
    try:
        yield usual > 1
    finally:
        _here.inside = False
        with _lock:
            _usual.remove(usual)
        torch.set_num_threads(usual)


def overlapped(make: Callable[[Given], Made], use: Callable[[Made], object], each: Iterator[Given]) -> int:
    """Use what is made of each, in order, while the next is made in another thread; return how many there were.

    It is made in one of torch's threads. `each` is asked for the next when the last is made, so that what it read for
    that may go. It pays where `WORTH_BESIDE` numbers or more are made at a time. Raises what either raises.

    >>> overlapped(str.upper, print, iter("ab"))
    A
    B
    2
    """
    count = 0
    with ThreadPoolExecutor(1) as beside:
        waiting = [beside.submit(_in_one_thread, make, given) for given in islice(each, 1)]
        while waiting:
            made = waiting.pop().result()
            waiting = [beside.submit(_in_one_thread, make, given) for given in islice(each, 1)]
            use(made)
            count += 1
    return count


def in_threads(
    work: Callable[[Given], Made], each: Iterable[Given], threads: int
) -> Iterator[tuple[Given, Future[Made]]]:
    """Yield each thing given with the future of what `work` makes of it, in order; so many are made at once.

    Each is made in one of torch's threads. One more is taken than there are threads, so that none waits for its next.
    Raises what `each` raises, after what it gave before.

    >>> [(given, made.result()) for given, made in in_threads(str.upper, "ab", threads=2)]
    [('a', 'A'), ('b', 'B')]
    """
    import torch

    usual, failed = torch.get_num_threads(), list[Exception]()
    waiting: deque[tuple[Given, Future[Made]]] = deque()

    def taken() -> Iterator[Given]:
        try:
            yield from each
        except Exception as error:
            failed.append(error)

    with ThreadPoolExecutor(threads) as pool:
        for given in taken():
            waiting.append((given, pool.submit(_in_one_thread, work, given, usual)))
            if len(waiting) > threads:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    if failed:
        raise failed.pop()


def _in_one_thread(make: Callable[[Given], Made], given: Given, usual: int | None = None) -> Made:
    with one_thread(usual):
        return make(given)
