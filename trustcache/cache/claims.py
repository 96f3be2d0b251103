"""Several processes at one cache: each shard is made by the one that holds its lock."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from trustcache.cache.publish import BEING_WRITTEN, locked
from trustcache.errors import TrustcacheError

# A claim that fails is tried again after so long.
CLAIM_AGAIN_S = 0.2
# Each of n processes takes this part of 1/n of what is left at a time: fewer parts wait less, more end closer together.
_PARTS = 4


def dealt(folder: Path, missing: Sequence[int], processes: int, sound: Callable[[int], bool]) -> Iterator[list[int]]:
    """Yield the numbers of shards for this process to make, some at a time, until all of `missing` are there.

    sound: True for a shard that is there, whoever made it. What another process has claimed is left to it; the
    operating system releases its locks when it ends, killed or not, and what it had begun is then yielded here. A
    folder that cannot be locked, on some network disks, is used without: the work is only done twice.

    >>> list(dealt(tmp / "cache", [0, 1, 2, 3], 1, lambda number: number == 2))
    [[0], [1], [3]]
    """
    left = list(missing)
    while left:
        most = max(len(left) // (_PARTS * processes), 1)
        with contextlib.ExitStack() as held:
            taken: list[int] = []
            for number in [*left]:
                if len(taken) == most:
                    break
                if not held.enter_context(_claim(folder, number)):
                    continue
                left.remove(number)
                if not sound(number):
                    taken.append(number)
            if taken:
                yield taken
        if left and not taken:
            time.sleep(CLAIM_AGAIN_S)


def require_unclaimed(folder: Path) -> None:
    """Raise TrustcacheError where a process is making shards of the cache in `folder`.

    >>> require_unclaimed(tmp / "cache")
    """
    for path in folder.parent.glob(f".{folder.name}.*.lock"):
        with locked(path) as free:
            if not free:
                raise TrustcacheError(f"{folder}: {BEING_WRITTEN}")


@contextlib.contextmanager
def _claim(folder: Path, number: int) -> Iterator[bool]:
    path = folder.with_name(f".{folder.name}.{number:05d}.lock")
    with locked(path) as mine:
        try:
            yield mine
        finally:
            if mine:
                path.unlink(missing_ok=True)
