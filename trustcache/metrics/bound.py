"""Generalisation bound of a bounded loss, for the steep slope loss the paper's Theorem 3.1."""

from __future__ import annotations

import math


def generalisation_bound(loss_max: float, log_hypotheses: float, samples: int, delta: float) -> float:
    """Return the largest |R - R^| to expect: loss_max * sqrt((log|F| + log(2/delta)) / (2 |D|)) (Theorem 3.1).

    With probability at least 1 - delta over the draw of |D| = `samples` training samples, it holds for every one of
    |F| = exp(`log_hypotheses`) oracles at once (Hoeffding's inequality and a union bound), R being the expected and R^
    the mean loss, which lies between 0 and `loss_max` (`trustcache.losses.steep_slope_max`). A bound of `loss_max` or
    more says nothing: it is vacuous.
    Raises ValueError where samples < 1, delta is not inside (0, 1), or one of the others is negative or not finite.

    >>> round(generalisation_bound(1.0, log_settings(2), samples=10_000, delta=0.05), 4)
    0.049
    """
    if samples < 1 or not 0 < delta < 1:
        raise ValueError(f"a bound needs samples of 1 or more and delta between 0 and 1, not {samples} and {delta}")
    if not (0 <= loss_max < math.inf and 0 <= log_hypotheses < math.inf):
        raise ValueError(f"a bound needs loss_max and log_hypotheses of 0 or more, not {loss_max}, {log_hypotheses}")
    return loss_max * math.sqrt((log_hypotheses + math.log(2 / delta)) / (2 * samples))


def log_settings(numbers: int) -> float:
    """Return log |F| of all oracles that differ in `numbers` float32 numbers: 32 log 2 for each.

    >>> round(log_settings(1), 2)
    22.18
    """
    return 32 * math.log(2) * numbers
