"""Bootstrap intervals of a trust metric and of its difference to another score's.

Drawing N of N samples with replacement gives each sample a count. So a score is sorted once, and a resample's metrics
are read from its counts, summed down that order: the same numbers as `trust_metrics` has on the rows drawn, without
another sort. All scores of one data set share the resamples, so that their differences are paired.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from trustcache.metrics.ranking import METRICS, Cutoffs, Metric, cutoffs
from trustcache.metrics.tie_groups import Counts, Floats, Ranking, rank

RESAMPLES = 1000
LEVEL = 0.95
SEED = 0
# Counts worked on at once: arrays of 2 MiB, about what a processor's cache holds.
_BLOCK = 2**18


def draw_counts(samples: int, resamples: int = RESAMPLES, seed: int = SEED) -> npt.NDArray[np.uint8]:
    """Draw N of N samples `resamples` times; return how often each is drawn, uint8 (R, N), rows summing to N.

    >>> draw_counts(4, resamples=2).sum(axis=1).tolist()
    [4, 4]
    """
    generator = np.random.default_rng(seed)
    counts = np.empty((resamples, samples), np.uint8)  # a count above 255 has a chance of 1e-500
    for row in counts:
        row[:] = np.bincount(generator.integers(samples, size=samples), minlength=samples)
    return counts


@dataclass(frozen=True)
class Resamples:
    """Some resamples of one score's samples, most trusted first: a row each, a column a tie group.

    scores: (G,) float64, strictly decreasing, those of all samples. size: (B, G) float64, how many drawn samples score
    exactly `scores[g]`; accepted, wrong: how many samples, and wrong ones, score at least that; risk: wrong / accepted,
    0 where none is accepted yet. A group of which nothing was drawn is empty and changes no metric.
    wrong_groups: the columns in which wrong samples may be, of most scores a small part.
    """

    scores: Floats
    size: Floats
    accepted: Floats
    wrong: Floats
    risk: Floats
    wrong_groups: Counts

    @property
    def n(self) -> Floats:
        """(B,) number of samples; below, of wrong and of right ones."""
        return self.accepted[:, -1]

    @property
    def n_wrong(self) -> Floats:
        return self.wrong[:, -1]

    @property
    def n_correct(self) -> Floats:
        return self.n - self.n_wrong

    @cached_property
    def group_wrong(self) -> Floats:
        """(B, len(wrong_groups)) number of wrong samples with exactly that score."""
        return np.diff(self.wrong[:, self.wrong_groups], axis=1, prepend=0)

    @cached_property
    def risk_of_wrong(self) -> Floats:
        """(B,) sum over wrong samples of the risk at each one's score."""
        return _dot(self.group_wrong, self.risk[:, self.wrong_groups])


class _Sorted:
    """One score's samples in order, and room for a block of resamples, used again for each.

    Fresh arrays for each block would cost more than the sums: the system hands out memory a page at a time.
    """

    def __init__(self, scores: Floats, correct: npt.NDArray[np.bool_], ranking: Ranking, rows: int) -> None:
        group = np.searchsorted(-ranking.scores, -scores)
        self._ranking = ranking
        self._order = np.argsort(group, kind="stable")
        self._wrong_places = np.flatnonzero(~correct[self._order])
        self._wrong_groups = np.flatnonzero(ranking.group_wrong)
        self._ends = ranking.accepted - 1
        count, groups = len(scores), len(ranking.scores)
        self._drawn = np.empty((rows, count), np.uint8)
        self._summed = np.empty((2, rows, count), np.int32)
        self._wrong = np.zeros((rows, len(self._wrong_places) + 1), np.int32)
        self._room = np.empty((4, rows, groups))

    def resamples(self, counts: npt.NDArray[np.uint8]) -> Resamples:
        """Return the block of these counts (B, N), valid until the next is asked for."""
        rows = len(counts)
        drawn, (each, summed) = self._drawn[:rows], self._summed[:, :rows]
        size, accepted, wrong, risk = self._room[:, :rows]
        counts.take(self._order, axis=1, out=drawn, mode="clip")
        np.copyto(each, drawn)  # integers of one size sum fastest
        np.cumsum(each, axis=1, out=summed)
        only_wrong = self._wrong[:rows]  # after a column of zeros: down to a group without wrong ones before it
        np.cumsum(each[:, self._wrong_places], axis=1, out=only_wrong[:, 1:])
        np.copyto(wrong, only_wrong.take(self._ranking.wrong, axis=1))
        if len(self._ends) == len(self._order):
            np.copyto(size, each)
            np.copyto(accepted, summed)
        else:
            np.copyto(accepted, summed.take(self._ends, axis=1))
            size[:, 0] = accepted[:, 0]
            np.subtract(accepted[:, 1:], accepted[:, :-1], out=size[:, 1:])
        np.divide(wrong, np.maximum(accepted, 1, out=risk), out=risk)
        return Resamples(self._ranking.scores, size, accepted, wrong, risk, self._wrong_groups)


Definitions = Callable[[Resamples, Cutoffs], dict[str, Floats]]


def resampled_metrics(
    scores: npt.ArrayLike,
    correct: npt.ArrayLike,
    counts: npt.NDArray[np.uint8],
    *,
    negative_threshold: float | None = None,
    definitions: Definitions | None = None,
) -> dict[str, Floats]:
    """Return every metric of `METRICS` on each resample, float64 (R,) each.

    scores, correct, the threshold and ValueErrors are those of `trust_metrics`; counts (R, N) those of `draw_counts`.
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
        raise ValueError(f"Counts must be one a resample and sample, (R, {n}), not of shape {counts.shape}.")
    rows = max(1, _BLOCK // n)
    ordered = _Sorted(np.asarray(scores, np.float64), np.asarray(correct, np.bool_), ranking, rows)
    read = definitions or metrics_of
    blocks = [read(ordered.resamples(counts[i : i + rows]), at) for i in range(0, len(counts), rows)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in METRICS}


def metrics_of(drawn: Resamples, at: Cutoffs) -> dict[str, Floats]:
    """Return the metrics of `trust_metrics` on each resample, float64 (B,) each, nan where one class is missing.

    >>> counts = np.array([[1, 1, 1]], np.uint8)
    >>> found = resampled_metrics([2.0, 1.0, 0.0], [1, 0, 1], counts, definitions=metrics_of)
    >>> found["auc"].tolist()
    [0.5]
    """
    n, n_wrong, n_correct = drawn.n, drawn.n_wrong, drawn.n_correct
    risk_of_all = _dot(drawn.size, drawn.risk)
    trusted = int(np.sum(drawn.scores > at.positive))
    not_rejected = int(np.sum(drawn.scores >= at.negative))
    with np.errstate(divide="ignore", invalid="ignore"):  # what one class leaves undefined is blotted out below
        twice_won = _twice_pairs_won(drawn)
        error = n_wrong / n
        # Trapezoids: each sample at its own group's risk and at that of the group before, the first twice at its own.
        first = np.argmax(drawn.accepted > 0, axis=1)  # the first group that is not empty
        before = _dot(drawn.size[:, 1:], drawn.risk[:, :-1]) + drawn.wrong[np.arange(len(first)), first]
        aurc = (risk_of_all + before) / (2 * n)
        values = {
            "accuracy": n_correct / n,
            "auc": twice_won / (2 * n_correct * n_wrong),
            # Precision is 1 less the risk.
            "aupr_success": (n_correct - (risk_of_all - drawn.risk_of_wrong)) / n_correct,
            "aupr_error": _precision_from_below(drawn) / n_wrong,
            "fpr_at_95_tpr": _wrong_at_95_tpr(drawn) / n_wrong,
            "tpr": (_down_to(drawn.accepted, trusted) - _down_to(drawn.wrong, trusted)) / n_correct,
            "tnr": (n_wrong - _down_to(drawn.wrong, not_rejected)) / n_wrong,
            "aurc": aurc,
            "e_aurc": aurc - (error + np.where(error < 1, (1 - error) * np.log1p(-error), 0)),
            # The area counts pairs of a wrong sample with any at or below it: right ones that lose, and wrong ones.
            "augrc": (2 * n_correct * n_wrong - twice_won + n_wrong**2) / (2 * n**2),
        }
    values |= {name: _one_by_one(drawn, at, METRICS[name]) for name in METRICS.keys() - values.keys()}
    absent = {"correct": n_correct == 0, "wrong": n_wrong == 0}
    for name, value in values.items():
        for outcome in METRICS[name].needs:
            value[absent[outcome]] = np.nan
    return values


def _one_by_one(drawn: Resamples, at: Cutoffs, metric: Metric) -> Floats:
    """Return (B,) a metric that has no formula for many resamples at once, from the ranking of each."""
    found = np.full(len(drawn.n), np.nan)
    for row, size in enumerate(drawn.size):
        kept = np.flatnonzero(size)
        accepted, wrong = (counts[row, kept].astype(np.int64) for counts in (drawn.accepted, drawn.wrong))
        ranking = Ranking(drawn.scores[kept], accepted - wrong, wrong)
        if ranking.absent not in metric.needs:
            found[row] = metric.compute(ranking, at)
    return found


def _twice_pairs_won(drawn: Resamples) -> Floats:
    """(B,) twice the pairs in which a right sample outscores a wrong one, a tie being half a win."""
    at = drawn.wrong_groups
    correct_in_two = 2 * (drawn.accepted[:, at] - drawn.wrong[:, at]) - (drawn.size[:, at] - drawn.group_wrong)
    return _dot(drawn.group_wrong, correct_in_two)


def _precision_from_below(drawn: Resamples) -> Floats:
    """(B,) the sum over wrong samples of the share of wrong ones among those that score at most as much."""
    at = drawn.wrong_groups
    wrong = drawn.n_wrong[:, None] - drawn.wrong[:, at] + drawn.group_wrong
    samples = drawn.n[:, None] - drawn.accepted[:, at] + drawn.size[:, at]
    return _dot(drawn.group_wrong, wrong / np.maximum(samples, 1))


def _down_to(counts: Floats, groups: int) -> Floats:
    """(B,) the count (B, G) of samples in so many groups from the top."""
    return counts[:, groups - 1] if groups else np.zeros(len(counts))


def _wrong_at_95_tpr(drawn: Resamples) -> Floats:
    """(B,) how many wrong samples score at least the first score with a TPR of 95 %, found by halving."""
    row = np.arange(len(drawn.n))
    low, high = np.zeros(len(row), np.int64), np.full(len(row), len(drawn.scores) - 1)
    while np.any(low < high):
        middle = (low + high) // 2
        reached = (drawn.accepted[row, middle] - drawn.wrong[row, middle]) / drawn.n_correct >= 0.95
        low, high = np.where(reached, low, np.minimum(middle + 1, high)), np.where(reached, middle, high)
    return drawn.wrong[row, low]


def _dot(a: Floats, b: Floats) -> Floats:
    """The dot product of each row, (B,)."""
    return np.einsum("bg,bg->b", a, b)


def interval(values: Floats, level: float = LEVEL) -> tuple[float, float]:
    """Return the percentile interval of a figure from its values on resamples (R,).

    (nan, nan) where any is nan: so few samples of a class that a resample may have none carry no interval.

    >>> [round(end, 6) for end in interval(np.arange(101.0), level=0.9)]
    [5.0, 95.0]
    """
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
