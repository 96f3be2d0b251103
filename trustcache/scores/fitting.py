"""Training data of fitted scores: bounded, seeded samples of a training cache.

1.28 million samples with 2048 features are 5.2 GB as float16, and scores that search them would take hours a data
set. So every score is fitted on at most `FITTING_ROWS` samples of a kind and chooses on at most `VALIDATION_ROWS`
others: 160,000 x 2048 float16 features, 0.65 GB, at most. For neighbours, 1 % of ImageNet's training images
rank as well as all of them (Sun et al. 2022, arXiv:2204.06507); moments and temperatures need fewer. What needs only
sums over rows takes them in blocks, as the logits of 21,841 classes are 2.2 GB of each kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from trustcache.cache import CacheView
from trustcache.cache.columns import OUTPUTS
from trustcache.data.splits import validation_rows

FITTING_ROWS = 50_000
VALIDATION_ROWS = 10_000
VALIDATION_FRACTION = 0.1
SEED = 0
# A larger column is read again for each pass over its blocks.
HELD_BYTES = 1 << 28


class TooFew(Exception):
    """Raised where a training cache lacks what a score learns from; the message says what."""


class Outputs:
    """A classifier's outputs for N samples, by the names of a cache's columns, each read once when first asked for.

    `rows.logits` (N, K) and `rows.features` (N, D) of any float dtype, `rows.predictions` (N,) int, and whatever else
    `read` returns by name.

    >>> rows = Outputs({"logits": np.array([[2.0, 1.0]])}.__getitem__)
    >>> rows.logits.shape
    (1, 2)
    """

    def __init__(self, read: Callable[[str], np.ndarray]) -> None:
        self._read = read

    def __getattr__(self, column: str) -> np.ndarray:
        if column.startswith("_"):
            raise AttributeError(column)
        value = self._read(column)
        setattr(self, column, value)
        return value


def outputs_of(rows: CacheView) -> Outputs:
    """Return the outputs in a cache's rows. They lack the truth, which a score must not see.

    >>> from trustcache.cache import open_cache
    >>> outputs_of(open_cache(demo_workspace.cache_folder("net", "birds"))[:5]).features.shape
    (5, 3)
    """

    def read(column: str) -> np.ndarray:
        if column not in OUTPUTS:
            raise AttributeError(f"a score reads columns among {', '.join(OUTPUTS)}, not {column!r}")
        return rows.column(column)

    return Outputs(read)


@dataclass(frozen=True)
class FittingData:
    """Samples of a training cache: `validation` to choose on, and others to learn from.

    everyone: any; right, wrong: those the classifier is right and wrong on; either may be empty.
    """

    validation: Rows
    everyone: Rows
    right: Rows
    wrong: Rows

    def right_and_wrong(self) -> tuple[Rows, Rows]:
        """Return the samples of both outcomes. Raises TooFew where there are none of either."""
        if not len(self.right) or not len(self.wrong):
            raise TooFew("it needs right and wrong answers to learn from")
        return self.right, self.wrong


def fitting_data(cache: CacheView) -> FittingData:
    """Split a training cache and draw from it, the same rows every time. Raises TooFew where none can be held out."""
    count = len(cache)
    held_out = validation_rows(count, min(VALIDATION_FRACTION, VALIDATION_ROWS / count), SEED)
    if not held_out.any():
        raise TooFew("it has too few samples to hold any out")
    correct = cache.correct
    kinds = ~held_out, ~held_out & correct, ~held_out & ~correct
    return FittingData(Rows(cache, np.flatnonzero(held_out)), *(Rows(cache, _drawn(kind)) for kind in kinds))


def _drawn(kind: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero(kind)
    if len(rows) <= FITTING_ROWS:
        return rows
    return np.sort(np.random.default_rng(SEED).choice(rows, FITTING_ROWS, replace=False))


class Rows(Outputs):
    """Scattered rows of a cache, ascending, with the truth: `labels` (N,) int64 and `correct` (N,) bool too.

    A column is read in one pass of bounded memory.
    """

    def __init__(self, cache: CacheView, numbers: np.ndarray) -> None:
        super().__init__(self._gathered)
        self._cache, self._numbers = cache, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def blocks(self, rows: int, *columns: str) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield some columns for `rows` rows at a time; of a large one no more than that is in memory.

        >>> from trustcache.cache import open_cache
        >>> cache = open_cache(demo_workspace.cache_folder("net", "birds"))
        >>> [labels.shape for (labels,) in Rows(cache, np.arange(0, 30, 2)).blocks(10, "labels")]
        [(10,), (5,)]
        """
        held = {name: getattr(self, name) for name in columns if self._fits(name)}
        for start in range(0, len(self), rows):
            part = self.part(start, start + rows)
            yield tuple(held[name][start : start + rows] if name in held else part._gathered(name) for name in columns)

    def part(self, start: int, stop: int) -> Rows:
        """Return the rows from the one at `start` to the one before `stop`, of which there is one at least."""
        numbers = self._numbers[start:stop]
        return Rows(self._cache[numbers[0] : numbers[-1] + 1], numbers - numbers[0])

    def _fits(self, column: str) -> bool:
        like = self._cache[:0].column(column)
        return len(self) * math.prod(like.shape[1:]) * like.itemsize <= HELD_BYTES

    def _gathered(self, column: str) -> np.ndarray:
        like = self._cache[:0].column(column)
        gathered = np.empty((len(self), *like.shape[1:]), like.dtype)
        start = done = 0
        for part in self._cache.chunks():
            stop = int(np.searchsorted(self._numbers, start + len(part)))
            if stop > done:
                gathered[done:stop] = part.column(column)[self._numbers[done:stop] - start]
            start, done = start + len(part), stop
        return gathered
