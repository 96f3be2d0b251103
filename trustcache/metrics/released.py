"""The metrics as the authors' released ImageNet code defines them, where that differs from the paper's definitions."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from trustcache.metrics.bootstrap import metrics_of
from trustcache.metrics.ranking import Cutoffs, trust_metrics
from trustcache.metrics.resamples import Resamples
from trustcache.metrics.tie_groups import Floats, Ranking

THRESHOLDS = 10_000
TOLERANCE = 0.0005
"""Largest distance to 95 % at which a TPR passes for it, as a fraction."""


def _aupr_error_by_trust(ranking: Ranking, _: Cutoffs) -> float:
    """Average precision of the wrong samples by decreasing trust: the wrong sign, with which a better score is lower.

    By increasing trust would be right. The authors' code for MNIST and CIFAR-10 has it right, as ConfidNet has.
    """
    precision = ranking.wrong / ranking.accepted
    return float(np.sum(ranking.group_wrong * precision) / ranking.wrong[-1])


def _fpr_on_a_grid(ranking: Ranking, _: Cutoffs) -> float:
    """Return the share of wrong samples at the lowest of 10,000 thresholds whose TPR is 95 % within 0.05 points.

    The thresholds lie evenly between the least and the greatest trust confidence sigmoid(z), the last excluded.
    nan where none of them fits, as where many scores lie close together.
    """
    confidence = np.exp(-np.logaddexp(0, -ranking.scores))
    low, high = confidence[-1], confidence[0]
    thresholds = low + (high - low) / THRESHOLDS * np.arange(THRESHOLDS)
    # How many tie groups lie at or above each threshold; the least confidence is, so it is one at least.
    groups = np.searchsorted(-confidence, -thresholds, side="right")
    tpr = ranking.correct[groups - 1] / ranking.correct[-1]
    fitting = np.flatnonzero(np.abs(tpr - 0.95) <= TOLERANCE)
    return float(ranking.wrong[groups[fitting[0]] - 1] / ranking.wrong[-1]) if fitting.size else math.nan


released_trust_metrics = partial(
    trust_metrics, overrides={"aupr_error": _aupr_error_by_trust, "fpr_at_95_tpr": _fpr_on_a_grid}
)
"""`trust_metrics` with the released code's AUPR-Error and FPR@95.

One thing is not taken over: that code ranks the float32 sigmoid of z, in which large scores become ties, and calls the
AUC of one-class data 1.
"""


def released_metrics_of(drawn: Resamples) -> dict[str, Floats]:
    """Return the metrics of `released_trust_metrics` on each resample, float64 (R,), but FPR@95: nan throughout.

    Luck decides if one of 10,000 thresholds comes within 0.05 points of a TPR of 95 %, anew on each resample.

    >>> from trustcache.metrics.bootstrap import draw_counts, resampled_metrics
    >>> counts = draw_counts(3, resamples=2)
    >>> found = resampled_metrics([2.0, 1.0, 0.0], [1, 1, 0], counts, definitions=released_metrics_of)
    >>> found["fpr_at_95_tpr"].tolist()
    [nan, nan]
    """
    values = metrics_of(drawn)
    with np.errstate(divide="ignore", invalid="ignore"):
        by_trust = drawn.risk_of_wrong / drawn.n_wrong
    by_trust[np.isnan(values["aupr_error"])] = np.nan
    return values | {"aupr_error": by_trust, "fpr_at_95_tpr": np.full(len(by_trust), np.nan)}
