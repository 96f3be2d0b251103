"""Rows that a method has learnt from, found again in another cache by their numbers, whatever that is named."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trustcache.cache.view import CacheView
from trustcache.data.content import content_of

# As many equal rows are a chance that few caches have.
_BY_CHANCE = 3


def row_hashes(cache: CacheView, columns: Sequence[str]) -> np.ndarray:
    """Return a hash of each row's numbers in some columns, as float32 and to the bit, sorted: uint64 (N,).

    Without columns rows have no numbers to know them by, so there is none.

    >>> cache = CacheView.from_arrays([[2.0, 0.5], [2.0, 0.5], [3.0, 0.0]], [0, 0, 0])
    >>> len(set(row_hashes(cache, ["logits"]).tolist()))
    2
    """
    hashes: list[int] = []
    for part in cache.chunks() if columns else ():
        read = [part.column(name).reshape(len(part), -1).astype(np.float32) for name in columns]
        hashes.extend(content_of(row.tobytes()) for row in np.hstack(read))
    return np.sort(np.array(hashes, dtype=np.uint64))


def rows_again(cache: CacheView, columns: Sequence[str], content: np.ndarray, hashes: np.ndarray) -> int:
    """Return how many of a cache's rows are learnt ones: of the same images, or the same in all columns that are read.

    content, hashes: uint64, of the images and the rows that were learnt from.

    >>> cache = CacheView.from_arrays(np.arange(16.0).reshape(8, 2), [1] * 8)
    >>> nothing = np.empty(0, np.uint64)
    >>> rows_again(cache, ["logits"], nothing, row_hashes(cache, ["logits"])), rows_again(cache, [], nothing, nothing)
    (8, 0)
    """
    images = int(np.isin(cache.content, content).sum())
    return max(images, known_rows(row_hashes(cache, columns), hashes))


def known_rows(hashes: np.ndarray, known: np.ndarray) -> int:
    """Return how many of a cache's rows are known ones, by their hashes (N,) and (M,); 0 where chance explains it.

    Other rows may be equal too, where a classifier gives few different outputs. By chance a pair of rows is equal as
    often across the two as within each of them; up to twice as many equal pairs, and three more, are no evidence.

    >>> few = np.array([1, 1, 1, 2, 2, 2], np.uint64)
    >>> known_rows(np.arange(9, dtype=np.uint64), np.arange(90, dtype=np.uint64)), known_rows(few, few)
    (9, 0)
    """
    (here, times), (there, known_times) = (np.unique(one, return_counts=True) for one in (hashes, known))
    _, own, other = np.intersect1d(here, there, assume_unique=True, return_indices=True)
    within = sum(int((counts * (counts - 1)).sum()) / 2 for counts in (times, known_times))
    of_pairs = math.comb(len(hashes), 2) + math.comb(len(known), 2)
    by_chance = len(hashes) * len(known) * within / max(of_pairs, 1)
    equal = int((times[own] * known_times[other]).sum())
    return int(times[own].sum()) if equal > 2 * by_chance + _BY_CHANCE else 0
