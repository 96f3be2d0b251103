"""One score's samples, resampled many times: sums down the ranking, for all resamples at once.

On the processor a compiled loop takes the counts a sample at a time, of all resamples; where the counts are a tensor,
torch takes some resamples at a time, all samples of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trustcache.metrics.ranking import Cutoffs
from trustcache.metrics.tie_groups import Counts, Floats, Ranking

# Resamples worked on at once: on the processor, whose cache holds their sums; counts worked on at once on a GPU.
_RESAMPLES = 1024
_COUNTS_ON_DEVICE = 2**23
# float32 holds sums of counts exactly up to the first; from so many groups on, its rounding averages out in the areas.
_SINGLE_UP_TO, _SINGLE_FROM = 2**24, 2**13


@dataclass(frozen=True)
class Resamples:
    """Sums over the samples of one score that the metrics are made of, of each resample, float64 (R,) each.

    n, n_wrong: number of samples, and of wrong ones.
    risk, risk_of_wrong: the sum over samples, and over wrong ones, of the risk at each one's score.
    risk_before: the sum over samples of the risk at the next higher score; the first ones count with their own.
    twice_won: twice the pairs in which a right sample outscores a wrong one, a tie being half a win.
    precision_from_below: the sum over wrong samples of the share of wrong ones among those that score at most as much.
    wrong_at_95_tpr: wrong samples that score at least the first score with a TPR of 95 %.
    correct_trusted, wrong_accepted: right samples above the positive cutoff, wrong ones not below the negative one.
    """

    n: Floats
    n_wrong: Floats
    risk: Floats
    risk_of_wrong: Floats
    risk_before: Floats
    twice_won: Floats
    precision_from_below: Floats
    wrong_at_95_tpr: Floats
    correct_trusted: Floats
    wrong_accepted: Floats

    @property
    def n_correct(self) -> Floats:
        return self.n - self.n_wrong


@dataclass(frozen=True)
class Ordered:
    """One score's samples by falling score: their numbers `order` (N,), and True for those that are `wrong` (N,)."""

    ranking: Ranking
    order: Counts
    wrong: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, scores: Floats, correct: npt.NDArray[np.bool_], ranking: Ranking) -> Ordered:
        order = np.argsort(scores)[::-1].copy()
        return cls(ranking, order, ~correct[order])


def resample(ordered: Ordered, counts: Any, at: Cutoffs) -> Resamples:
    """Return the sums for counts (R, N): a NumPy array, or a tensor where torch is to work.

    The processor is fastest where a sample's counts lie side by side, as `draw_counts` lays them.

    >>> from trustcache.metrics.ranking import cutoffs
    >>> from trustcache.metrics.tie_groups import rank
    >>> z, correct = np.array([2.0, 1.0]), np.array([True, False])
    >>> ordered = Ordered.of(z, correct, rank(z, correct))
    >>> resample(ordered, np.array([[1, 1], [2, 0]], np.uint8), cutoffs()).n_wrong.tolist()
    [1.0, 0.0]
    """
    scores, ends = ordered.ranking.scores, np.append(0, ordered.ranking.accepted)
    cuts = ends[[np.sum(scores > at.positive), np.sum(scores >= at.negative)]]
    if isinstance(counts, np.ndarray):
        rows = np.ascontiguousarray(counts.T)
        parts = [_in_loop(ordered, rows[:, i : i + _RESAMPLES], cuts) for i in range(0, len(counts), _RESAMPLES)]
    else:
        many = max(1, _COUNTS_ON_DEVICE // counts.shape[1])
        parts = [_on_device(ordered, counts[i : i + many], cuts) for i in range(0, len(counts), many)]
    return Resamples(*np.concatenate(parts, axis=1))


def _in_loop(ordered: Ordered, rows: npt.NDArray[np.uint8], cuts: Counts) -> Floats:
    """Return the fields of `Resamples` (10, R) for counts (N, R)."""
    from trustcache.metrics.resampling_loop import sum_down, totals

    of_samples = np.empty(len(rows), np.bool_)
    of_samples[ordered.order] = ordered.wrong
    n, n_wrong = totals(rows, of_samples).astype(np.float64)
    right = n - n_wrong
    enough = np.ceil(0.95 * right)
    with np.errstate(divide="ignore", invalid="ignore"):  # the product may be rounded past a whole number
        enough += (enough / right < 0.95) * 1.0 - ((enough - 1) / right >= 0.95)
    ranking = ordered.ranking
    last = np.zeros(len(rows), np.bool_)
    last[ranking.accepted - 1] = True
    single = len(ranking.scores) >= _SINGLE_FROM and len(rows) < _SINGLE_UP_TO
    one = np.ones(1, np.float32 if single else np.float64)
    sums = sum_down(rows, ordered.order, ordered.wrong, last, cuts, n, n_wrong, enough, one)
    sums[3] -= n_wrong**2
    return np.stack([n, n_wrong, *sums])


def _on_device(ordered: Ordered, counts: Any, cuts: Counts) -> Floats:
    """Return the fields of `Resamples` (10, R) for a tensor of counts (R, N), by torch on its device."""
    import torch

    def placed(array: Any) -> Any:
        return torch.as_tensor(array, device=counts.device)

    def down_to(samples: Counts, sums: Any) -> Any:
        """Return sums (R, n) down to each of so many samples, 0 at none."""
        return torch.nn.functional.pad(sums, (1, 0))[:, placed(samples)]

    ranking, wrong_samples = ordered.ranking, np.append(0, np.cumsum(ordered.wrong))
    drawn = counts[:, placed(ordered.order)].double()
    summed = drawn.cumsum(1)
    summed_wrong = drawn[:, placed(np.flatnonzero(ordered.wrong))].cumsum(1)
    accepted, wrong = down_to(ranking.accepted, summed), down_to(ranking.wrong, summed_wrong)
    above, wrong_above = (torch.nn.functional.pad(part, (1, -1)) for part in (accepted, wrong))
    size, own, n, n_wrong = accepted - above, wrong - wrong_above, accepted[:, -1:], wrong[:, -1:]
    risk = wrong / accepted.clamp(min=1)
    before = torch.where(above > 0, torch.nn.functional.pad(risk, (1, -1)), risk)
    below = (n_wrong - wrong_above) / (n - above).clamp(min=1)
    short = (above - wrong_above) / (n - n_wrong) < 0.95
    kept = down_to(wrong_samples[cuts], summed_wrong)
    found = [
        *(n, n_wrong, size * risk, own * risk, size * before, own * (above + accepted), own * below, own * short),
        *(down_to(cuts[:1], summed) - kept[:, :1], kept[:, 1:]),
    ]
    sums = torch.stack([part.sum(1) for part in found])
    sums[5] -= sums[1] ** 2
    return sums.cpu().numpy()
