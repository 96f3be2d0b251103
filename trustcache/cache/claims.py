"""Several processes at one piece of work: each part is done by the one that holds its lock."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from trustcache.cache.publish import BEING_WRITTEN, locked
from trustcache.errors import TrustcacheError

T = TypeVar("T")

# A claim that fails is tried again after so long.
CLAIM_AGAIN_S = 0.2
# Each of n processes takes this part of 1/n of what is left at a time: fewer parts wait less, more end closer together.
_PARTS = 4
# A lock is an open file, and a process may have 1024 of them.
_MOST_LOCKS = 256


def dealt(locks: Mapping[T, Path], processes: int, there: Callable[[T], bool]) -> Iterator[list[T]]:
    """Yield the parts for this process to make, some at a time, until all are there; a single process gets all at once.

    locks: each part's lock file. there: True for a part that is made, whoever made it. What another process has claimed
    is left to it; the operating system releases its locks when it ends, killed or not, and what it had begun is then
    yielded here. A folder that cannot be locked, on some network disks, is used without: the work is only done twice.

    >>> locks = {letter: tmp / f".{letter}.lock" for letter in "abc"}
    >>> list(dealt(locks, 2, lambda letter: letter == "b")), list(dealt(locks, 1, lambda letter: False))
    ([['a'], ['c']], [['a', 'b', 'c']])
    """
    left = list(locks)
    if processes == 1 and left:
        yield left
        return
    while left:
        most = min(max(len(left) // (_PARTS * processes), 1), _MOST_LOCKS)
        with contextlib.ExitStack() as held:
            taken: list[T] = []
            for part in [*left]:
                if len(taken) == most:
                    break
                if not held.enter_context(_claim(locks[part])):
                    continue
                left.remove(part)
                if not there(part):
                    taken.append(part)
            if taken:
                yield taken
        if left and not taken:
            time.sleep(CLAIM_AGAIN_S)


def lock_beside(path: Path, part: str = "") -> Path:
    """Return the lock file of what is made at a path, or of a part of it.

    >>> lock_beside(Path("cache/birds"), ".00002").name
    '.birds.00002.lock'
    """
    return path.with_name(f".{path.name}{part}.lock")


def shard_lock(folder: Path, number: int) -> Path:
    """Return the lock file of a shard of the cache in `folder`.

    >>> shard_lock(Path("cache/birds"), 2).name
    '.birds.00002.lock'
    """
    return lock_beside(folder, f".{number:05d}")


def require_unclaimed(folder: Path) -> None:
    """Raise TrustcacheError where a process is making shards of the cache in `folder`.

    >>> require_unclaimed(tmp / "cache")
    """
    for path in folder.parent.glob(f".{folder.name}.*.lock"):
        with locked(path) as free:
            if not free:
                raise TrustcacheError(f"{folder}: {BEING_WRITTEN}")


@contextlib.contextmanager
def _claim(path: Path) -> Iterator[bool]:
    with locked(path) as mine:
        try:
            yield mine
        finally:
            if mine:
                path.unlink(missing_ok=True)
