"""The figures of one score on one cache: its record with metrics, histogram and risk-coverage curve."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trustcache.cache import CacheView
from trustcache.metrics.calibration import calibration_metrics
from trustcache.metrics.ranking import METRICS, cutoffs
from trustcache.metrics.tie_groups import rank
from trustcache.oracles.runs import Run
from trustcache.protocols import PROTOCOLS, negative_threshold
from trustcache.report.kept import Kept, key_of
from trustcache.report.records import Record, Scored
from trustcache.scores.stored import StoredScore

BINS = 40
CURVE_POINTS = 300
EXACT_COVERAGES = (0.2, 0.4, 0.6, 0.8, 0.9, 1.0)
"""Coverages whose points stay when a curve is thinned."""
CALIBRATION = ("ece", "brier", "nll")
"""Metrics of trust confidences; with "_scaled" behind, after temperature scaling fitted on held-out training data."""
_NAMES = (*METRICS, *CALIBRATION, *(f"{name}_scaled" for name in CALIBRATION))
_GROUPS = ("TP", "FP", "TN", "FN")
_HEAD = len(_NAMES) + len(_GROUPS) * BINS
# Raise it when any figure changes its meaning, so that those kept before are made again.
_RECIPE = 2


@dataclass(frozen=True)
class Measurer:
    """Makes the records of a cache's scores; figures made before of the same scores are not made again."""

    cache: CacheView
    kept: Kept

    def run(
        self,
        run: Run,
        settings: dict[str, float | str],
        z: np.ndarray,
        rows: np.ndarray,
        learnt_from: int,
        temperature: float | None = None,
    ) -> Scored:
        """Return a run's record by its scores z (N,), on the rows, bool (N,), that they count on.

        settings: those that the record is named by. learnt_from: as in `Scored`. temperature: of what it held out.
        """
        c = run.config
        negative = negative_threshold(c.loss.name, self.cache.classes)
        about = {"oracle": c.oracle, "method": c.loss.name, "training": c.training, "seed": c.seed, "run": run.name}
        # What regresses the true class's probability says nothing of the chance of being right.
        probable, z = negative is None, z[rows]
        scaled = z / temperature if probable and temperature else None
        made = self._scored(z, rows, c.protocol, negative, probable, scaled, settings=settings, **about)
        return replace(made, run=run, learnt_from=learnt_from)

    def post_hoc(
        self,
        name: str,
        stored: StoredScore,
        protocol: str,
        scaled: np.ndarray | None = None,
        half: str = "",
        rows: np.ndarray | None = None,
    ) -> Scored:
        """Return a post-hoc score's record by a protocol's definitions, on all rows, or on one named half.

        scaled: the score after temperature scaling (N,), where there is one.
        """
        rows = np.ones(len(self.cache), dtype=bool) if rows is None else rows
        settings = {"rows": half} if half else stored.about.settings
        about = {"method": name, "settings": settings, "meaning": stored.about.meaning}
        probable = stored.about.natural_zero
        own = scaled[rows] if probable and scaled is not None else None
        made = self._scored(stored.z[rows], rows, protocol, None, probable, own, **about)
        if probable:
            return made
        # Nothing happens at 0 in such a score: what lies above it would be a made-up number.
        made.record.metrics.update({name: math.nan for name, metric in METRICS.items() if metric.at_threshold})
        return replace(made, histogram=None)

    def _scored(
        self,
        z: np.ndarray,
        rows: np.ndarray,
        protocol: str,
        negative: float | None,
        probable: bool,
        scaled: np.ndarray | None,
        **about: Any,
    ) -> Scored:
        """Return the figures of scores z (n,) of some rows; `about` are the record's other fields."""
        correct, index = self.cache.correct[rows], self.cache.index
        settings = [_RECIPE, BINS, CURVE_POINTS, *EXACT_COVERAGES, protocol, negative, probable, *_NAMES]
        key = key_of(settings, z, correct, *([] if scaled is None else [scaled]))
        figures = self.kept.get(key, lambda shape: len(shape) == 1 and shape[0] > _HEAD)
        if figures is None:
            figures = _figures(z, correct, protocol, negative, probable, scaled)
            self.kept.put(key, figures)
        metrics = dict(zip(_NAMES, figures.tolist(), strict=False))
        counts = figures[len(_NAMES) : _HEAD].astype(np.int64).reshape(len(_GROUPS), BINS)
        coverage, risk = np.split(figures[_HEAD:], 2)
        record = Record(index.data, index.classifier, protocol=protocol, n=len(z), metrics=metrics, **about)
        return Scored(record, dict(zip(_GROUPS, counts, strict=True)), coverage, risk, index)


def _figures(
    z: np.ndarray,
    correct: np.ndarray,
    protocol: str,
    negative: float | None,
    probable: bool,
    scaled: np.ndarray | None,
) -> np.ndarray:
    """Return the metrics in the order of `_NAMES`, the histogram's counts and the curve, one after the other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # undefined metrics stand as gaps in the tables
        found = PROTOCOLS[protocol].metrics(z, correct, negative_threshold=negative)
    if probable:
        found |= calibration_metrics(z, correct)
        if scaled is not None:
            found |= {f"{name}_scaled": value for name, value in calibration_metrics(scaled, correct).items()}
    counts = _confidence_counts(z, correct, negative)
    curve = rank(z, correct)
    thinned = np.linspace(0, len(curve.coverage) - 1, CURVE_POINTS).round().astype(int)
    kept = np.union1d(thinned, covering(curve.coverage, EXACT_COVERAGES))
    metrics = np.array([found.get(name, math.nan) for name in _NAMES])
    return np.concatenate([metrics, *(counts[name] for name in _GROUPS), curve.coverage[kept], curve.risk[kept]])


def covering(coverage: np.ndarray, wanted: Sequence[float]) -> np.ndarray:
    """Return the first points of a curve, by its coverage (M,), that cover as much as each of some shares."""
    return np.searchsorted(coverage, np.array(wanted) - 1e-9)


def _confidence_counts(z: np.ndarray, correct: np.ndarray, negative: float | None) -> dict[str, np.ndarray]:
    """Count TP, FP, TN, FN in equal bins of p = sigmoid(z) over [0, 1] (the paper's Fig. 3).

    By the thresholds of TPR and TNR: what lies between two of them is FN where it is right, FP where it is wrong.
    """
    confidence = 1 / (1 + np.exp(-np.clip(z, -700, 700)))
    at, right = cutoffs(negative_threshold=negative), correct.astype(bool)
    trusted, doubted = z > at.positive, z < at.negative
    groups = {"TP": trusted & right, "FP": ~doubted & ~right, "TN": doubted & ~right, "FN": ~trusted & right}
    return {name: np.histogram(confidence[rows], BINS, (0, 1))[0] for name, rows in groups.items()}
