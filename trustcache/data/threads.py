"""Torch's threads on the CPU: one where a training step is too small for more, and another for what comes next."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")

# Torch's threads wait for each other asleep (`trustcache/__init__.py`) after each operation: a training step that
# multiplies fewer numbers takes up to twice as long in two as in one (`benchmarks/threads.py`).
WORTH_THREADS = 200_000_000
# To make fewer numbers takes less time than to hand them over from another thread.
WORTH_BESIDE = 250_000


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
def one_thread() -> Iterator[bool]:
    """Have torch compute in one thread on the CPU: with little to do, more of them only wait for each other.

    Yields True where that leaves other threads idle.
    """
    import torch

    # Asked before it is set: a thread of Python that never asked gets the number last set in any, which is one while
    # another is in here.
    own = torch.get_num_threads()
    if _here.inside:
        yield False
        return
    with _lock:
        usual = _usual[0] if own == 1 and _usual else own
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


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield items, each made in another thread, in one of torch's, while the caller works on the item before it.

    It pays where an item is made of `WORTH_BESIDE` numbers or more. Raises what making one raises, in its turn.

    >>> list(ahead(iter("abc")))
    ['a', 'b', 'c']
    """
    with ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(_next, items)
        while made := waiting.result():
            waiting = beside.submit(_next, items)
            yield made[0]


def _next(items: Iterator[Item]) -> list[Item]:
    """Return the next item, nothing at the end."""
    with one_thread():
        return list(islice(items, 1))
