"""Distance between the distributions of trust confidence of right and of wrong answers (the paper's Table G).

Both are taken as histograms over the same bins of p = sigmoid(z) in [0, 1], those of its Fig. 3. Every bin starts at
half a sample (Jeffreys' prior), so that an empty bin does not make a divergence infinite; figures therefore depend, a
little, on the number of bins, and compare with others of the same bins only. The paper names its two distances but,
as far as we could find, not how it estimates the densities, so its figures are never shown beside these.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trustcache.metrics.tie_groups import Floats

_PRIOR = 0.5


def average_kl_divergence(right: npt.ArrayLike, wrong: npt.ArrayLike) -> float:
    """Return (KL(P||Q) + KL(Q||P)) / 2 = sum (P - Q) log(P / Q) / 2, in nats; 0 where they are alike.

    right, wrong: counts (B,) of the same bins, which become P and Q. nan where either has no samples. Raises ValueError
    where the shapes differ.

    >>> average_kl_divergence([1, 9], [1, 9]), round(average_kl_divergence([1, 9], [9, 1]), 3)
    (0.0, 1.342)
    """
    p, q = _densities(right, wrong)
    return float(np.sum((p - q) * np.log(p / q)) / 2)


def bhattacharyya_distance(right: npt.ArrayLike, wrong: npt.ArrayLike) -> float:
    """Return -log sum sqrt(P Q), 0 where the two are alike. Takes and raises what `average_kl_divergence` does.

    >>> round(bhattacharyya_distance([1, 9], [9, 1]), 3)
    0.376
    """
    p, q = _densities(right, wrong)
    return float(max(-np.log(np.sum(np.sqrt(p * q))), 0.0))


def _densities(right: npt.ArrayLike, wrong: npt.ArrayLike) -> tuple[Floats, Floats]:
    p, q = np.asarray(right, dtype=np.float64), np.asarray(wrong, dtype=np.float64)
    if p.ndim != 1 or p.shape != q.shape:
        raise ValueError(f"expected two histograms of the same bins, not of shapes {p.shape} and {q.shape}")
    if not p.sum() or not q.sum():
        return np.full_like(p, np.nan), np.full_like(q, np.nan)
    p, q = p + _PRIOR, q + _PRIOR
    return p / p.sum(), q / q.sum()
