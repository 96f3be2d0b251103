"""Bootstrap intervals of a trust metric and of its difference to another score's.

Drawing N of N samples with replacement gives each sample a count. So a score is sorted once, and a resample's metrics
are read from its counts, summed down that order: the same numbers as `trust_metrics` has on the rows drawn, without
another sort. (To 1e-9 from 8,192 distinct scores on, where quotients are float32 on the processor; else to float64.)
All scores of one data set share the resamples, so that their differences are paired.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from trustcache.metrics.ranking import METRICS, Cutoffs, Metric, cutoffs
from trustcache.metrics.resamples import Ordered, Resamples, resample
from trustcache.metrics.tie_groups import Floats, Ranking, rank

RESAMPLES = 1000
LEVEL = 0.95
SEED = 0
# Resamples drawn before they are laid beside those drawn before.
_DRAWN = 64


def draw_counts(samples: int, resamples: int = RESAMPLES, seed: int = SEED) -> npt.NDArray[np.uint8]:
    """Draw N of N samples `resamples` times; return how often each is drawn, uint8 (R, N), rows summing to N.

    >>> draw_counts(4, resamples=2).sum(axis=1).tolist()
    [4, 4]
    """
    generator = np.random.default_rng(seed)
    counts = np.empty((samples, resamples), np.uint8)  # a count above 255 has a chance of 1e-500
    for first in range(0, resamples, _DRAWN):
        some = counts[:, first : first + _DRAWN]
        drawn = np.empty((some.shape[1], samples), np.uint8)
        for one in drawn:
            one[:] = np.bincount(generator.integers(samples, size=samples), minlength=samples)
        some[:] = drawn.T
    return counts.T


Definitions = Callable[[Resamples], dict[str, Floats]]


def resampled_metrics(
    scores: npt.ArrayLike,
    correct: npt.ArrayLike,
    counts: Any,
    *,
    negative_threshold: float | None = None,
    definitions: Definitions | None = None,
) -> dict[str, Floats]:
    """Return every metric of `METRICS` on each resample, float64 (R,) each.

    scores, correct, the threshold and ValueErrors are those of `trust_metrics`; counts (R, N) those of `draw_counts`;
    torch computes where they are a tensor.
    A metric is nan on resamples that have only one class and leave it undefined. definitions: a protocol's, in place of
    `metrics_of`.

    >>> counts = np.array([[1, 1, 1], [0, 2, 1]], np.uint8)
    >>> resampled_metrics([2.0, 1.0, 0.0], [True, True, False], counts)["accuracy"].round(3).tolist()
    [0.667, 0.667]
    """
    at = cutoffs(negative_threshold=negative_threshold)
    ranking = rank(scores, correct)
    n = int(ranking.accepted[-1])
    if counts.ndim != 2 or counts.shape[1] != n:
        raise ValueError(f"Counts must be one a resample and sample, (R, {n}), not of shape {tuple(counts.shape)}.")
    ordered = Ordered.of(np.asarray(scores, np.float64), np.asarray(correct, np.bool_), ranking)
    drawn = resample(ordered, counts, at)
    found = (definitions or metrics_of)(drawn)
    others = {name: _one_by_one(ordered, counts, at, METRICS[name]) for name in METRICS.keys() - found.keys()}
    return {name: (found | others)[name] for name in METRICS}


def metrics_of(drawn: Resamples) -> dict[str, Floats]:
    """Return the metrics of `trust_metrics` that have a formula for resamples, float64 (R,), nan where undefined.

    >>> counts = np.array([[1, 1, 1]], np.uint8)
    >>> found = resampled_metrics([2.0, 1.0, 0.0], [1, 0, 1], counts, definitions=metrics_of)
    >>> found["auc"].tolist()
    [0.5]
    """
    n, n_wrong, n_correct = drawn.n, drawn.n_wrong, drawn.n_correct
    with np.errstate(divide="ignore", invalid="ignore"):  # what one class leaves undefined is blotted out below
        error = n_wrong / n
        # Trapezoids: each sample at its own group's risk and at that of the group before.
        aurc = (drawn.risk + drawn.risk_before) / (2 * n)
        values = {
            "accuracy": n_correct / n,
            "auc": drawn.twice_won / (2 * n_correct * n_wrong),
            # Precision is 1 less the risk.
            "aupr_success": (n_correct - (drawn.risk - drawn.risk_of_wrong)) / n_correct,
            "aupr_error": drawn.precision_from_below / n_wrong,
            "fpr_at_95_tpr": drawn.wrong_at_95_tpr / n_wrong,
            "tpr": drawn.correct_trusted / n_correct,
            "tnr": (n_wrong - drawn.wrong_accepted) / n_wrong,
            "aurc": aurc,
            "e_aurc": aurc - (error + np.where(error < 1, (1 - error) * np.log1p(-error), 0)),
            # The area counts pairs of a wrong sample with any at or below it: right ones that lose, and wrong ones.
            "augrc": (2 * n_correct * n_wrong - drawn.twice_won + n_wrong**2) / (2 * n**2),
        }
    absent = {"correct": n_correct == 0, "wrong": n_wrong == 0}
    for name, value in values.items():
        for outcome in METRICS[name].needs:
            value[absent[outcome]] = np.nan
    return values


def _one_by_one(ordered: Ordered, counts: Any, at: Cutoffs, metric: Metric) -> Floats:
    """Return (R,) a metric that has no formula for many resamples at once, from the ranking of each."""
    found = np.full(len(counts), np.nan)
    whole = ordered.ranking
    for row in range(len(counts)):
        each = np.array(counts[row].tolist())[ordered.order]
        accepted = each.cumsum()[whole.accepted - 1]
        wrong = (each * ordered.wrong).cumsum()[whole.accepted - 1]
        kept = np.flatnonzero(np.diff(accepted, prepend=0))
        ranking = Ranking(whole.scores[kept], (accepted - wrong)[kept], wrong[kept])
        if ranking.absent not in metric.needs:
            found[row] = metric.compute(ranking, at)
    return found


def interval(values: Floats, level: float = LEVEL) -> tuple[float, float]:
    """Return the percentile interval of a figure from its values on resamples (R,).

    (nan, nan) where any is nan: so few samples of a class that a resample may have none carry no interval.

    >>> [round(end, 6) for end in interval(np.arange(101.0), level=0.9)]
    [5.0, 95.0]
    """
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
