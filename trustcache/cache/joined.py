"""Two networks' caches of the same images as one: the columns of the second stand beside those of the first."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from trustcache.cache.records import fingerprint
from trustcache.cache.view import CacheView, require_cache
from trustcache.errors import UsageError, in_python

SECOND = "second:"
"""Begins the names of the second network's columns."""


def by_network(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return those of some columns that are the first network's, and the second's as its own cache names them.

    >>> by_network(["logits", "second:logits", "second:features"])
    (('logits',), ('logits', 'features'))
    """
    own = tuple(name for name in names if not name.startswith(SECOND))
    return own, tuple(name.removeprefix(SECOND) for name in names if name not in own)


class JoinedView(CacheView):
    """Rows of a classifier's cache, with a second network's columns as `second:logits` and so on.

    All else is the classifier's: labels, correctness, index. `side_by_side` makes one.
    """

    def __init__(self, own: CacheView, second: CacheView) -> None:
        super().__init__(own.index, [], 0, len(own))
        self.own, self.second = own, second

    def fingerprint(self) -> str:
        return fingerprint([self.own.fingerprint(), self.second.fingerprint()])

    def is_of_sorted(self) -> bool:
        return self.own.is_of_sorted()

    def require(self, columns: Sequence[str]) -> None:
        own, second = by_network(columns)
        self.own.require(own)
        self.second.require(second)

    @property
    def classes(self) -> int:
        return self.own.classes

    @cached_property
    def sample_ids(self) -> list[str]:
        return self.own.sample_ids

    def _rows(self, start: int, stop: int) -> JoinedView:
        return JoinedView(self.own[start:stop], self.second[start:stop])

    def _row_bytes(self) -> int:
        return self.own._row_bytes() + self.second._row_bytes()

    def _column(self, name: str) -> np.ndarray:
        return self.second._column(name.removeprefix(SECOND)) if name.startswith(SECOND) else self.own._column(name)


@in_python()
def side_by_side(cache: CacheView, second: CacheView) -> CacheView:
    """Return a classifier's cache that an oracle reads together with a second network's cache of the same images.

    Raises UsageError where their rows are not the same images in the same order, by their ids, and by the hashes of
    their files where both caches have those.

    >>> logits = np.array([[2.0, 0.5], [0.1, 0.3]])
    >>> cache = side_by_side(CacheView.from_arrays(logits, [0, 0]), CacheView.from_arrays(logits * 2))
    >>> cache, cache.column("second:logits").tolist()
    (<cache model/data: 2 rows, 2 classes, accuracy 50.00 %>, [[4.0, 1.0], [0.2..., 0.6...]])
    """
    require_cache(cache)
    require_cache(second)
    ours, theirs = cache.sample_ids, second.sample_ids
    apart = abs(len(ours) - len(theirs)) + sum(one != other for one, other in zip(ours, theirs, strict=False))
    if not apart and not (cache.index.imported or second.index.imported):
        apart = int(np.count_nonzero(cache.content != second.content))
    if apart:
        raise UsageError(
            f"{second.index.name}: {apart} of its rows are other images than those of {cache.index.name}; give both "
            "networks the same images in the same order"
        )
    return JoinedView(cache, second)
