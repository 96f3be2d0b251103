"""The figures of one score on one cache: its record with metrics, histogram and risk-coverage curve."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from trustcache.cache import CacheView
from trustcache.data.splits import other_half
from trustcache.metrics.ranking import METRICS
from trustcache.metrics.tie_groups import rank
from trustcache.oracles.runs import Run
from trustcache.protocols import PROTOCOLS, negative_threshold
from trustcache.report.records import Origin, Record, Scored
from trustcache.scores.stored import StoredScore

BINS = 40
CURVE_POINTS = 300


def scored_run(
    run: Run, settings: dict[str, float | str], z: np.ndarray, cache: CacheView, rows: np.ndarray, learnt_from: int
) -> Scored:
    """Return a run's record by its scores z (N,), on the rows of a cache, bool (N,), that they count on.

    settings: those that the record is named by. learnt_from: as in `Origin`.
    """
    loss = run.config.loss.name
    negative = negative_threshold(loss, cache[:1].logits.shape[1])
    return _measured(cache, rows, z, run.config.protocol, loss, settings, run, learnt_from, negative)


def scored_post_hoc(name: str, stored: StoredScore, cache: CacheView, protocol: str) -> Scored:
    """Return a post-hoc score's record on all rows of a cache, by a protocol's definitions."""
    scored = _measured(cache, np.ones(len(cache), dtype=bool), stored.z, protocol, name, stored.about.settings)
    scored = replace(scored, record=replace(scored.record, meaning=stored.about.meaning))
    if stored.about.natural_zero:
        return scored
    # Nothing happens at 0 in such a score: what lies above it would be a made-up number.
    scored.record.metrics.update({name: math.nan for name, metric in METRICS.items() if metric.at_threshold})
    return replace(scored, histogram=None)


def confidence_on_halves(mcp: StoredScore, cache: CacheView, unseen: Mapping[Run, np.ndarray]) -> list[Scored]:
    """Return the records of mcp on those halves of a cache that runs trained on the other half are scored on.

    unseen: by run, the rows that its scores count on, bool (N,).
    """
    halves = {
        (run.config.protocol, other_half(run.config.part)): rows for run, rows in unseen.items() if not rows.all()
    }
    return [_measured(cache, rows, mcp.z, protocol, "mcp", {"rows": half}) for (protocol, half), rows in halves.items()]


def _measured(
    cache: CacheView,
    rows: np.ndarray,
    z: np.ndarray,
    protocol: str,
    method: str,
    settings: dict[str, float | str],
    run: Run | None = None,
    learnt_from: int = 0,
    negative: float | None = None,
) -> Scored:
    z, correct = z[rows], cache.correct[rows]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # undefined metrics stand as gaps in the tables
        metrics = PROTOCOLS[protocol].metrics(z, correct, negative_threshold=negative)
    record = Record(
        dataset=cache.index.data,
        classifier=cache.index.classifier,
        oracle=run.config.oracle if run else None,
        method=method,
        training=run.config.training if run else None,
        protocol=protocol,
        seed=run.config.seed if run else None,
        n=len(z),
        settings=settings,
        metrics=metrics,
        run=run.name if run else None,
    )
    curve = rank(z, correct)
    kept = np.unique(np.linspace(0, len(curve.coverage) - 1, CURVE_POINTS).round().astype(int))
    origin = Origin(cache.index, run, learnt_from)
    return Scored(record, _confidence_counts(z, correct), curve.coverage[kept], curve.risk[kept], origin)


def _confidence_counts(z: np.ndarray, correct: np.ndarray, bins: int = BINS) -> dict[str, np.ndarray]:
    """Count TP, FP, TN, FN in equal bins of p = sigmoid(z) over [0, 1] (the paper's Fig. 3); trusted is z > 0."""
    confidence = 1 / (1 + np.exp(-np.clip(z, -700, 700)))
    trusted, right = z > 0, correct.astype(bool)
    groups = {"TP": trusted & right, "FP": trusted & ~right, "TN": ~trusted & ~right, "FN": ~trusted & right}
    return {name: np.histogram(confidence[rows], bins, (0, 1))[0] for name, rows in groups.items()}
