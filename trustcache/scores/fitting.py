"""What fitted scores learn from: bounded, seeded samples of a training cache.

1.28 million samples with 2048 features are 5.2 GB as float16, and scores that search them would take hours a data
set. So every score is fitted on at most `FITTING_ROWS` samples of a kind and chooses on at most `VALIDATION_ROWS`
others: 160,000 x 2048 float16 features, 0.65 GB, at the very most. For neighbours, 1 % of ImageNet's training images
rank as well as all of them (Sun et al. 2022, arXiv:2204.06507); moments and temperatures need fewer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from trustcache.cache import CacheView
from trustcache.data.splits import validation_rows

FITTING_ROWS = 50_000
VALIDATION_ROWS = 10_000
VALIDATION_FRACTION = 0.1
SEED = 0


class TooFew(Exception):
    """A training cache lacks what a score learns from; the message says what."""


class Outputs(Protocol):
    """What a classifier said about N samples, as a score needs it; a `CacheView` is one.

    logits (N, K) and features (N, D) of any float dtype; predictions (N,) int.
    """

    @property
    def logits(self) -> np.ndarray: ...
    @property
    def features(self) -> np.ndarray: ...
    @property
    def predictions(self) -> np.ndarray: ...


class Judged(Outputs, Protocol):
    """Outputs with the truth beside them: labels (N,) int and correct (N,) bool."""

    @property
    def labels(self) -> np.ndarray: ...
    @property
    def correct(self) -> np.ndarray: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True)
class FittingData:
    """Samples of a training cache: `validation` to choose on, and others to learn from.

    everyone: any; right, wrong: those the classifier is right and wrong on, of which there may be none.
    """

    validation: Judged
    everyone: Judged
    right: Judged
    wrong: Judged


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


class Rows:
    """Scattered rows of a cache, a column read once when first asked for, in one pass of bounded memory."""

    def __init__(self, cache: CacheView, numbers: np.ndarray) -> None:
        self._cache, self._numbers = cache, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @cached_property
    def logits(self) -> np.ndarray:
        return self._gathered("logits")

    @cached_property
    def features(self) -> np.ndarray:
        return self._gathered("features")

    @cached_property
    def predictions(self) -> np.ndarray:
        return self._cache.predictions[self._numbers]

    @cached_property
    def labels(self) -> np.ndarray:
        return self._cache.labels[self._numbers]

    @cached_property
    def correct(self) -> np.ndarray:
        return self._cache.correct[self._numbers]

    def _gathered(self, column: str) -> np.ndarray:
        like: np.ndarray = getattr(self._cache[:0], column)
        gathered = np.empty((len(self), *like.shape[1:]), like.dtype)
        start = done = 0
        for part in self._cache.chunks():
            stop = int(np.searchsorted(self._numbers, start + len(part)))
            if stop > done:
                gathered[done:stop] = getattr(part, column)[self._numbers[done:stop] - start]
            start, done = start + len(part), stop
        return gathered
