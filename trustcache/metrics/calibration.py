"""Calibration: how far trust confidences are from the chance of being right, and intervals of shares.

A trust confidence is p = sigmoid(z), with z an oracle's output or the log-odds of the classifier's own confidence. What
it should predict is whether the classifier is right, so all figures are of this one event, for oracles as for mcp.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from trustcache.metrics.tie_groups import dot, rank

BINS = 15
"""Bins of a reliability diagram."""
LEAST_IN_BIN = 10
TEMPERATURES = (1e-2, 1e2)
_FITTED_ON = 10_000  # more samples move a single parameter no further than its own uncertainty


@dataclass(frozen=True)
class Bin:
    """Samples of neighbouring confidence. confidence: their mean; low, high: Wilson's interval of the share right."""

    n: int
    right: int
    confidence: float
    low: float
    high: float

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.right / self.n


def wilson(successes: npt.ArrayLike, n: npt.ArrayLike, level: float = 0.95) -> tuple[Any, Any]:
    """Return the ends of Wilson's score interval (1927) of a share, as float64 of the arguments' shape; [0, 1] for n 0.

    >>> [round(float(end), 4) for end in wilson(8, 10)]
    [0.4902, 0.9433]
    """
    k, n = np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64)
    z2 = float(scipy.special.ndtri((1 + level) / 2)) ** 2
    middle = (k + z2 / 2) / (n + z2)
    half = np.sqrt(z2) / (n + z2) * np.sqrt(np.where(n > 0, k * (n - k) / np.maximum(n, 1), 0) + z2 / 4)
    # Rounding may not push an end beyond what is possible, nor past a share of 0 or 1.
    low = np.where(k == 0, 0.0, np.clip(middle - half, 0, 1))
    high = np.where(k == n, 1.0, np.clip(middle + half, 0, 1))
    return low[()], high[()]


def reliability(scores: npt.ArrayLike, correct: npt.ArrayLike, bins: int = BINS) -> list[Bin]:
    """Return the reliability diagram of trust confidences sigmoid(z) in bins of equal mass, least confidence first.

    scores (N,), correct (N,) and ValueErrors are those of `trust_metrics`. Equal scores share a bin, so that nothing
    depends on the order of rows; there are fewer bins where ties, or fewer than `LEAST_IN_BIN` samples a bin, ask
    for it.

    >>> [(b.n, b.right) for b in reliability(np.arange(40.0), np.arange(40) > 9, bins=2)]
    [(20, 10), (20, 20)]
    """
    ranking = rank(scores, correct)
    samples = int(ranking.accepted[-1])
    bins = max(1, min(bins, samples // LEAST_IN_BIN))
    # Each bin ends with the group that reaches its share of the samples.
    ends = np.unique(np.searchsorted(ranking.accepted, np.arange(1, bins + 1) * samples / bins))
    confidence = scipy.special.expit(ranking.scores) * ranking.group_size
    starts = np.append(0, ends[:-1] + 1)
    columns = ranking.group_size, ranking.group_correct, confidence
    n, right, total = (np.add.reduceat(column, starts)[::-1] for column in columns)
    return [Bin(*one) for one in zip(*(c.tolist() for c in (n, right, total / n, *wilson(right, n))), strict=True)]


def calibration_error(bins: list[Bin]) -> float:
    """Return the expected calibration error of a reliability diagram: root mean square over bins, debiased.

    Kumar, Liang & Ma 2019 (arXiv:1909.10155), as Bröcker 2012: a bin's squared gap between confidence and accuracy less
    the variance of that accuracy, which would stand there were the confidences perfect. 0 where that leaves nothing.

    >>> calibration_error([Bin(101, 50, 0.5, 0, 1)])
    0.0
    >>> round(calibration_error([Bin(101, 50, 0.9, 0, 1)]), 4)
    0.4019
    """
    samples = sum(one.n for one in bins)
    excess = sum(
        one.n / samples * ((one.confidence - one.accuracy) ** 2 - one.accuracy * (1 - one.accuracy) / max(one.n - 1, 1))
        for one in bins
    )
    return math.sqrt(max(excess, 0.0))


def calibration_metrics(scores: npt.ArrayLike, correct: npt.ArrayLike) -> dict[str, float]:
    """Return `ece` (`calibration_error` in `BINS` bins), `brier` and `nll` (in nats) of trust confidences sigmoid(z).

    scores (N,), correct (N,) and ValueErrors are those of `trust_metrics`; `nll` is infinite where z is infinitely
    wrong.

    >>> found = calibration_metrics([0.0, 0.0], [True, False])
    >>> found["brier"], round(found["nll"], 4)
    (0.25, 0.6931)
    """
    ranking = rank(scores, correct)
    z, right, wrong = ranking.scores, ranking.group_correct, ranking.group_wrong
    samples = int(ranking.accepted[-1])
    p, q = scipy.special.expit(z), scipy.special.expit(-z)  # 1 - p, with all its digits where p is near 1
    return {
        "ece": calibration_error(reliability(scores, correct)),
        "brier": float((dot(right, q**2) + dot(wrong, p**2)) / samples),
        "nll": _total_nll(z, right, wrong) / samples,
    }


def _total_nll(z: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> float:
    """Return the sum of -log of the confidence given to what happened; a group without an outcome adds none for it."""
    of_right, of_wrong = np.logaddexp(0, -z), np.logaddexp(0, z)
    return float(dot(right[right > 0], of_right[right > 0]) + dot(wrong[wrong > 0], of_wrong[wrong > 0]))


def fitted_temperature(scores: npt.ArrayLike, correct: npt.ArrayLike) -> float:
    """Return the temperature T of least NLL of the confidences sigmoid(z / T) (Guo et al. 2017, arXiv:1706.04599).

    scores (N,) and correct (N,) are those of `trust_metrics`, of data the classifier is not tested on; of many samples
    10,000 evenly spaced ones are taken. nan where all are right or all wrong, which leave it undefined.

    >>> round(fitted_temperature([2.0] * 4 + [-2.0] * 4, [1, 1, 1, 0, 0, 0, 0, 1]), 3)
    1.82
    """
    z, c = np.asarray(scores, dtype=np.float64), np.asarray(correct)
    ranking = rank(z[:: max(1, len(z) // _FITTED_ON)], c[:: max(1, len(z) // _FITTED_ON)])
    if ranking.absent:
        return math.nan
    finite = np.clip(ranking.scores, -1e6, 1e6)  # no temperature moves an infinite score
    found = scipy.optimize.minimize_scalar(
        lambda t: _total_nll(finite / np.exp(t), ranking.group_correct, ranking.group_wrong),
        bounds=tuple(np.log(TEMPERATURES)),
        method="bounded",
    )
    return float(np.exp(found.x))
