"""The figures of one score on one cache: its record with metrics, histogram and risk-coverage curve."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from trustcache.cache import CacheView
from trustcache.metrics.ranking import METRICS
from trustcache.metrics.tie_groups import rank
from trustcache.oracles.runs import Run
from trustcache.protocols import PROTOCOLS, negative_threshold
from trustcache.report.records import Record, Scored
from trustcache.scores.stored import StoredScore

BINS = 40
CURVE_POINTS = 300


def scored_run(
    run: Run, settings: dict[str, float | str], z: np.ndarray, cache: CacheView, rows: np.ndarray, learnt_from: int
) -> Scored:
    """Return a run's record by its scores z (N,), on the rows of a cache, bool (N,), that they count on.

    settings: those that the record is named by. learnt_from: as in `Scored`.
    """
    c = run.config
    negative = negative_threshold(c.loss.name, cache[:1].logits.shape[1])
    about = {"oracle": c.oracle, "method": c.loss.name, "training": c.training, "seed": c.seed, "run": run.name}
    made = _measured(cache, z, rows, c.protocol, negative, settings=settings, **about)
    return replace(made, run=run, learnt_from=learnt_from)


def scored_post_hoc(
    name: str, stored: StoredScore, cache: CacheView, protocol: str, half: str = "", rows: np.ndarray | None = None
) -> Scored:
    """Return a post-hoc score's record by a protocol's definitions, on all rows of a cache, or on one named half."""
    rows = np.ones(len(cache), dtype=bool) if rows is None else rows
    settings = {"rows": half} if half else stored.about.settings
    about = {"method": name, "settings": settings, "meaning": stored.about.meaning}
    made = _measured(cache, stored.z, rows, protocol, None, **about)
    if stored.about.natural_zero:
        return made
    # Nothing happens at 0 in such a score: what lies above it would be a made-up number.
    made.record.metrics.update({name: math.nan for name, metric in METRICS.items() if metric.at_threshold})
    return replace(made, histogram=None)


def _measured(
    cache: CacheView, z: np.ndarray, rows: np.ndarray, protocol: str, negative: float | None, **about: Any
) -> Scored:
    """Return a score's figures on some rows of a cache; `about` are the record's other fields."""
    z, correct = z[rows], cache.correct[rows]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # undefined metrics stand as gaps in the tables
        metrics = PROTOCOLS[protocol].metrics(z, correct, negative_threshold=negative)
    index = cache.index
    record = Record(index.data, index.classifier, protocol=protocol, n=len(z), metrics=metrics, **about)
    curve = rank(z, correct)
    kept = np.unique(np.linspace(0, len(curve.coverage) - 1, CURVE_POINTS).round().astype(int))
    return Scored(record, _confidence_counts(z, correct), curve.coverage[kept], curve.risk[kept], index)


def _confidence_counts(z: np.ndarray, correct: np.ndarray) -> dict[str, np.ndarray]:
    """Count TP, FP, TN, FN in equal bins of p = sigmoid(z) over [0, 1] (the paper's Fig. 3); trusted is z > 0."""
    confidence = 1 / (1 + np.exp(-np.clip(z, -700, 700)))
    trusted, right = z > 0, correct.astype(bool)
    groups = {"TP": trusted & right, "FP": trusted & ~right, "TN": ~trusted & ~right, "FN": ~trusted & right}
    return {name: np.histogram(confidence[rows], BINS, (0, 1))[0] for name, rows in groups.items()}
