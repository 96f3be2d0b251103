"""Trust scores that need no training: functions of a classifier's logits, or what its cache holds already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trustcache.cache import CacheView


def maximum_class_probability(logits: np.ndarray) -> np.ndarray:
    """The log-odds of the largest softmax probability, float64 (N,), from logits (N, K) of any float dtype.

    log(p / (1 - p)) ranks as the probability p does (Hendrycks & Gimpel 2017) and never saturates at 1; it is
    above 0 where p is above one half, as an oracle's z is. A single class leaves no odds: K must be 2 or more.
    """
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"expected logits of shape (N, K) with K >= 2, not {logits.shape}")
    z = logits.astype(np.float64)
    top = z.argmax(axis=1)[:, None]
    gap = z - np.take_along_axis(z, top, axis=1)
    np.put_along_axis(gap, top, -np.inf, axis=1)
    nearest = gap.max(axis=1, keepdims=True)
    return -(nearest[:, 0] + np.log(np.exp(gap - nearest).sum(axis=1)))


@dataclass(frozen=True)
class PostHoc:
    """A score, higher = more trustworthy, and what it means: of logits (N, K), or a column that some caches have."""

    meaning: str
    score: Callable[[np.ndarray], np.ndarray] | None = None
    column: str | None = None


POST_HOC: dict[str, PostHoc] = {
    "mcp": PostHoc("maximum class probability: the classifier's own confidence", maximum_class_probability),
    "mc-dropout": PostHoc(
        "how little the mean softmax is spread when dropout stays on (extract --mc-dropout)", column="mc_dropout"
    ),
}


def post_hoc_score(name: str, cache: CacheView) -> np.ndarray | None:
    """A post-hoc score of every row of a cache, float64 (N,), or None where the cache lacks what it is made of."""
    entry = POST_HOC[name]
    if entry.score is not None:
        return np.concatenate([entry.score(part.logits) for part in cache.chunks()])
    column = getattr(cache, str(entry.column))
    return None if column is None else column.astype(np.float64)
