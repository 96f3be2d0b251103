"""Caches in memory of a classifier that is wrong on about a quarter, for tests of what works on arrays."""

from __future__ import annotations

import numpy as np

from trustcache.cache import CacheView

CENTRES = np.random.default_rng(0).normal(size=(3, 5))


def cache_of(rows: int, seed: int, features: bool = True, **names: str) -> CacheView:
    """Logits of three classes, and features that show where these are wrong."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, rows)
    x = CENTRES[labels] + rng.normal(0, 0.6, (rows, 5))
    logits = x @ CENTRES.T + rng.normal(0, 2, (rows, 3))
    return CacheView.from_arrays(logits, labels, features=x if features else None, **names)
