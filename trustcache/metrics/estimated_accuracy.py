"""Accuracy on unlabelled data, estimated from scores alone after a fit on labelled calibration data."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from trustcache.metrics.tie_groups import Floats


@dataclass(frozen=True)
class AccuracyFit:
    """Facts of the calibration data. accuracy: share right; probability: mean of the predicted class's probability.

    atc: the score with as many samples at or above it as were right. slope, offset: those of a logistic regression of
    being right on the score (Platt 1999).
    """

    accuracy: float
    probability: float
    atc: float
    slope: float
    offset: float


def fit_accuracy(scores: npt.ArrayLike, correct: npt.ArrayLike, probabilities: npt.ArrayLike) -> AccuracyFit:
    """Fit the estimates on calibration data: trust scores (N,), correct (N,) and the classifier's probabilities (N,).

    >>> fit_accuracy([1.0, 2.0, 3.0, 4.0], [0, 1, 1, 1], [0.5, 0.5, 1.0, 1.0]).atc
    2.0
    """
    z, right, p = _finite(scores), np.asarray(correct, dtype=bool), np.asarray(probabilities, dtype=np.float64)
    least = np.sort(z)[-right.sum()] if right.any() else sys.float_info.max
    slope, offset = _platt(z, right)
    return AccuracyFit(float(right.mean()), float(p.mean()), float(least), slope, offset)


def estimated_accuracy(fit: AccuracyFit, scores: npt.ArrayLike, probabilities: npt.ArrayLike) -> dict[str, float]:
    """Return each of `ESTIMATES` for unlabelled data: trust scores (N,), the classifier's probabilities (N,).

    >>> fit = fit_accuracy([1.0, 2.0, 3.0, 4.0], [0, 1, 1, 1], [0.5, 0.5, 1.0, 1.0])
    >>> estimated_accuracy(fit, [1.0, 1.5, 3.0, 4.0], [0.25, 0.25, 1.0, 1.0])["atc"]
    0.5
    """
    running = RunningEstimate(fit)
    running.add(scores, probabilities)
    return running.estimates


class RunningEstimate:
    """Each of `ESTIMATES` for a stream, in memory that does not grow with it.

    >>> running = RunningEstimate(fit_accuracy([1.0, 2.0], [0, 1], [0.5, 1.0]))
    >>> for score in (1.0, 2.0, 3.0, 4.0):
    ...     running.add([score], [0.75])
    >>> running.estimates["atc"], running.estimates["doc"]
    (0.75, 0.5)
    """

    def __init__(self, fit: AccuracyFit) -> None:
        self._fit, self._samples, self._sums = fit, 0, dict.fromkeys(ESTIMATES, 0.0)

    def add(self, scores: npt.ArrayLike, probabilities: npt.ArrayLike) -> None:
        """Look at more samples: trust scores (N,), the classifier's probabilities (N,)."""
        z, p = _finite(scores), np.asarray(probabilities, dtype=np.float64)
        self._samples += len(z)
        for name, parts in ESTIMATES.items():
            self._sums[name] += float(parts(self._fit, z, p).sum())

    @property
    def estimates(self) -> dict[str, float]:
        """The estimates by name; nan where there are no samples."""
        samples = self._samples or math.nan
        return {name: float(np.clip(total / samples, 0, 1)) for name, total in self._sums.items()}


def _atc(fit: AccuracyFit, z: Floats, p: Floats) -> Floats:
    """Average thresholded confidence (Garg et al. 2022, arXiv:2201.04234)."""
    return (z >= fit.atc).astype(np.float64)


def _doc(fit: AccuracyFit, z: Floats, p: Floats) -> Floats:
    """Difference of confidences (Guillory et al. 2021, arXiv:2107.03315)."""
    return fit.accuracy - (fit.probability - p)


def _confidence(fit: AccuracyFit, z: Floats, p: Floats) -> Floats:
    """Average confidence after Platt scaling, a temperature and an offset, of the trust score."""
    return scipy.special.expit(fit.slope * z + fit.offset)


ESTIMATES: dict[str, Callable[[AccuracyFit, Floats, Floats], Floats]] = {
    "atc": _atc,
    "doc": _doc,
    "confidence": _confidence,
}
"""Estimates by name, each as the parts (N,) whose mean it is."""


def _platt(z: Floats, right: np.ndarray) -> tuple[float, float]:
    """Return slope and offset of the logistic regression, with Platt's targets, which keep both finite.

    By Newton's steps, halved where they overshoot: importing scipy.optimize takes longer than all of `calibrate`.
    """
    middle, spread = float(np.median(z)), float(np.subtract(*np.percentile(z, [90, 10]))) or 1.0
    x, n = np.stack([(z - middle) / spread, np.ones_like(z)]), right.sum()
    target = np.where(right, (n + 1) / (n + 2), 1 / (len(z) - n + 2))

    def loss(p: Floats) -> float:
        return float(np.mean(np.logaddexp(0, p @ x) - target * (p @ x)))

    found = np.array([1.0, 1.0])
    for _ in range(100):
        chance = scipy.special.expit(found @ x)
        curvature = (x * chance * (1 - chance)) @ x.T / len(z) + 1e-12 * np.eye(2)
        step = np.linalg.solve(curvature, x @ (chance - target) / len(z))
        while loss(found - step) > loss(found) and np.abs(step).max() > 1e-9:
            step /= 2
        found -= step
        if np.abs(step).max() < 1e-9:
            break
    return float(found[0] / spread), float(found[1] - found[0] * middle / spread)


def _finite(scores: npt.ArrayLike) -> Floats:
    return np.clip(np.asarray(scores, dtype=np.float64), -1e6, 1e6)
