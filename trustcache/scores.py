"""Trust scores that need no training: functions of a classifier's logits alone."""

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
    """A score of logits (N, K), higher = more trustworthy, and what it means."""

    score: Callable[[np.ndarray], np.ndarray]
    meaning: str


POST_HOC: dict[str, PostHoc] = {
    "mcp": PostHoc(maximum_class_probability, "maximum class probability: the classifier's own confidence"),
}


def post_hoc_score(name: str, cache: CacheView) -> np.ndarray:
    """A post-hoc score of every row of a cache, float64 (N,), in slices of bounded memory."""
    return np.concatenate([POST_HOC[name].score(part.logits) for part in cache.chunks()])
