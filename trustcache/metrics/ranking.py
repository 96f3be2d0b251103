"""Ranking metrics: how well a trust score separates what a classifier gets right from what it gets wrong.

Every metric here depends only on how many right and wrong samples there are at and above each distinct score. So the
samples are sorted once, into a `Ranking` of tie groups, and every metric reads its counts.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trustcache.metrics.tie_groups import Outcome, Ranking, dot, rank, twice_area


class Cutoffs(NamedTuple):
    """Bounds of z: above `positive` a sample is trustworthy, below `negative` it is not."""

    positive: float
    negative: float


def cutoffs(positive_threshold: float = 0.5, negative_threshold: float | None = None) -> Cutoffs:
    """Return the z at which sigmoid(z) passes the thresholds: a z never saturates as its sigmoid would.

    Without a negative threshold, all that is not above the positive one is untrustworthy. Raises ValueError outside
    (0, 1).

    >>> cutoffs(0.5, 0.1).negative
    -2.197224577336219
    """
    positive = _logit("positive", positive_threshold)
    if negative_threshold is None:
        return Cutoffs(positive, math.nextafter(positive, math.inf))
    return Cutoffs(positive, _logit("negative", negative_threshold))


def _logit(name: str, threshold: float) -> float:
    threshold = float(threshold)  # a float32 would round the quotient below
    if not 0 < threshold < 1:
        raise ValueError(f"The {name} threshold must lie between 0 and 1, both excluded, not be {threshold}.")
    return math.log(threshold / (1 - threshold))


Compute = Callable[[Ranking, Cutoffs], float]


@dataclass(frozen=True)
class Metric:
    """The entry of a metric: all that tables, bootstrap and legends need to know of it.

    higher_is_better: None if the number describes the data and not the score.
    needs: the outcomes without which the metric is undefined.
    compute: reads it, a fraction, from a ranking.
    column: its place in the report's tables from the left; None keeps it out of them, and in results.json only.
    at_threshold: True if it depends on where z stops counting as trustworthy, which most post-hoc scores do not say.
    """

    label: str
    meaning: str
    higher_is_better: bool | None
    needs: frozenset[Outcome]
    compute: Compute
    column: int | None = None
    at_threshold: bool = False


METRICS: dict[str, Metric] = {}
"""The metrics by name. One more is one entry: a metric without a formula of its own in `trustcache.metrics.bootstrap`
is resampled by its `compute`."""


def _metric(label: str, higher: bool | None, *needs: Outcome, **place: Any) -> Callable[[Compute], Compute]:
    """Enter a function in `METRICS` under its name; the docstring is the meaning that legends show."""

    def enter(compute: Compute) -> Compute:
        name, meaning = compute.__name__.removeprefix("_"), str(compute.__doc__)
        METRICS[name] = Metric(label, meaning, higher, frozenset(needs), compute, **place)
        return compute

    return enter


@_metric("Accuracy", None)
def _accuracy(ranking: Ranking, _: Cutoffs) -> float:
    """Share of samples that the classifier itself gets right, whatever the trust score says."""
    return float(ranking.correct[-1] / ranking.accepted[-1])


@_metric("AUC", True, "correct", "wrong", column=1)
def _auc(ranking: Ranking, _: Cutoffs) -> float:
    """Chance that a random right prediction gets a higher trust score than a random wrong one."""
    twice_pairs_won = twice_area(ranking.group_wrong, ranking.correct, start=0)  # a tie counts half
    return float(twice_pairs_won / (2 * ranking.correct[-1] * ranking.wrong[-1]))


@_metric("AUPR-Success", True, "correct", "wrong", column=3)
def _aupr_success(ranking: Ranking, _: Cutoffs) -> float:
    """Average share of right predictions among the most trusted, read as each is reached from the top."""
    precision = ranking.correct / ranking.accepted
    return float(dot(ranking.group_correct, precision) / ranking.correct[-1])


@_metric("AUPR-Error", True, "correct", "wrong", column=2)
def _aupr_error(ranking: Ranking, _: Cutoffs) -> float:
    """Average share of mistakes among the least trusted, read as each is reached from the bottom."""
    wrong_from_below = ranking.wrong[-1] - ranking.wrong + ranking.group_wrong
    from_below = ranking.accepted[-1] - ranking.accepted + ranking.group_size
    precision = wrong_from_below / from_below
    return float(dot(ranking.group_wrong, precision) / ranking.wrong[-1])


@_metric("FPR@95", False, "correct", "wrong", column=4)
def _fpr_at_95_tpr(ranking: Ranking, _: Cutoffs) -> float:
    """Share of wrong predictions that slip through when at least 95 % of the right ones are let through."""
    first = np.argmax(ranking.correct / ranking.correct[-1] >= 0.95)
    return float(ranking.wrong[first] / ranking.wrong[-1])


@_metric("TPR", True, "correct", column=5, at_threshold=True)
def _tpr(ranking: Ranking, cutoffs: Cutoffs) -> float:
    """Share of right predictions that are called trustworthy at the threshold."""
    trusted = ranking.scores > cutoffs.positive
    return float(ranking.group_correct[trusted].sum() / ranking.correct[-1])


@_metric("TNR", True, "wrong", column=6, at_threshold=True)
def _tnr(ranking: Ranking, cutoffs: Cutoffs) -> float:
    """Share of wrong predictions that are called untrustworthy at the threshold."""
    return float(ranking.group_wrong[ranking.scores < cutoffs.negative].sum() / ranking.wrong[-1])


@_metric("AURC", False, column=7)
def _aurc(ranking: Ranking, _: Cutoffs) -> float:
    """Error rate among the accepted samples, averaged over accepting ever more, most trusted first."""
    return ranking.aurc


@_metric("E-AURC", False)
def _e_aurc(ranking: Ranking, _: Cutoffs) -> float:
    """AURC in excess of what a perfect order would have with the same classifier on many samples."""
    # With an error rate e, a perfect order has e + (1 - e) log(1 - e) in the limit of large N.
    error = float(ranking.risk[-1])
    return ranking.aurc - (error + ((1 - error) * math.log1p(-error) if error < 1 else 0.0))


@_metric("AUGRC", False)
def _augrc(ranking: Ranking, _: Cutoffs) -> float:
    """Share of samples both accepted and wrong, averaged over accepting ever more, most trusted first."""
    twice = twice_area(ranking.group_size, ranking.wrong, start=0)
    return float(twice / (2 * ranking.accepted[-1] ** 2))


def trust_metrics(
    scores: npt.ArrayLike,
    correct: npt.ArrayLike,
    *,
    positive_threshold: float = 0.5,
    negative_threshold: float | None = None,
    overrides: Mapping[str, Compute] = MappingProxyType({}),
) -> dict[str, float]:
    """Return every metric of `METRICS` for one trust score, as fractions, from one sort.

    scores: (N,) real z, the logits of the trust confidence p = sigmoid(z); ranked as they are, in float64, because
        float32 sigmoids of 17 and of 90 are both exactly 1. ±inf is allowed.
    correct: (N,) bool or 0/1, True where the classifier was right.
    positive_threshold: a sample is called trustworthy if p is above it (TPR).
    negative_threshold: a sample is called untrustworthy if p is below it (TNR), as true class probability needs with
        1/K; without it, if p is at most `positive_threshold`.
    overrides: functions that compute some of the metrics otherwise, by name.

    "Success" takes the correct samples as positives, ranked by z; "error" the wrong ones, ranked by −z. AUC and average
    precision (no interpolation) are scikit-learn's. AURC (Geifman et al. 2019), E-AURC and AUGRC (Traub et al. 2024)
    are those of fd-shifts. FPR@95 is exact: the smallest over thresholds at the scores themselves. E-AURC may fall
    slightly below 0 on few samples.

    A metric that one-class data leaves undefined is nan, and one UserWarning names them all. Raises ValueError on empty
    or nan scores, on unequal or not one-dimensional shapes, on `correct` with anything but 0 and 1, and on thresholds
    outside (0, 1).

    >>> found = trust_metrics([2.0, 1.0, -1.0, 0.5], [True, True, False, False])
    >>> found["auc"], found["tnr"], found["accuracy"]
    (1.0, 0.5, 0.5)
    """
    at = cutoffs(positive_threshold, negative_threshold)
    ranking = rank(scores, correct)
    undefined = [name for name, metric in METRICS.items() if ranking.absent in metric.needs]
    if undefined:
        warnings.warn(
            f"None of {ranking.accepted[-1]} samples is {ranking.absent}, "
            f"so these metrics are undefined: {', '.join(undefined)}.",
            stacklevel=2,
        )
    computes = {name: metric.compute for name, metric in METRICS.items()} | {**overrides}
    return {name: math.nan if name in undefined else compute(ranking, at) for name, compute in computes.items()}
