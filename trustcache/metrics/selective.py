"""Selective prediction: coverage and risk of each threshold, and thresholds that keep a promise.

A threshold is the score of the most trusted sample that is turned away: above it counts as trusted. So thresholds lie
between tie groups only, and given a threshold found at some rank, the samples above it are independent draws from all
that would be trusted, which makes binomial bounds on their error rate exact.
"""

import sys
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy

from trustcache.metrics.tie_groups import Ranking, rank

EVERYTHING = -sys.float_info.max
"""The threshold below which no score lies: finite, since JSON has no infinity."""


@dataclass(frozen=True)
class WorkingPoint:
    """The effect of a threshold on `samples` samples: it trusts those above it, and `wrong` of these are wrong.

    bound: upper bound, at the confidence asked for, on the error rate of all that would be trusted; None where a
        threshold was chosen without a guarantee.
    """

    threshold: float
    samples: int
    trusted: int
    wrong: int
    bound: float | None = None

    @property
    def coverage(self) -> float:
        """Share of samples that are trusted."""
        return self.trusted / self.samples

    @property
    def risk(self) -> float | None:
        """Share of wrong samples among those trusted, None where none is."""
        return self.wrong / self.trusted if self.trusted else None


def risk_bound(wrong: int, trusted: int, delta: float) -> float:
    """Return the error rate b at which `trusted` independent samples have `wrong` or fewer errors with chance delta.

    The true error rate exceeds b in at most a share delta of such draws (Clopper & Pearson 1934; B* in Geifman &
    El-Yaniv 2017, Lemma 3.1): the b where binom.cdf(wrong, trusted, b) = delta. 1 where all are wrong, or none trusted.

    >>> round(risk_bound(wrong=0, trusted=100, delta=0.05), 4)
    0.0295
    """
    # The binomial distribution's lower tail is the beta distribution's upper one; asked for directly, since
    # 1 - delta has no digits left for a small delta.
    return float(scipy.special.betainccinv(wrong + 1, trusted - wrong, delta)) if wrong < trusted else 1.0


def guaranteed(scores: npt.ArrayLike, correct: npt.ArrayLike, max_risk: float, delta: float) -> WorkingPoint | None:
    """Select with guaranteed risk (SGR; Geifman & El-Yaniv 2017, arXiv:1705.08500): find a threshold of bounded risk.

    A binary search for the most trusted samples whose bound is at most `max_risk`; each of its ceil(log2 N) steps may
    fail with chance delta / ceil(log2 N). Over draws of the samples, the error rate of all that would be trusted
    exceeds `max_risk` in at most a share delta of them, if neither classifier nor score learnt from these samples. (As
    the paper's proof, this takes the ranks that are asked about for given; they are where risk grows with coverage.)
    A rank within a tie group keeps the groups before it.

    scores (N,), correct (N,) as `trust_metrics`; max_risk and delta in (0, 1). None where no step meets the bound.

    >>> point = guaranteed(np.arange(1000.0), np.arange(1000) >= 100, max_risk=0.05, delta=0.01)
    >>> point.coverage, round(point.bound, 3)
    (0.926, 0.049)
    """
    ranking = rank(scores, correct)
    samples = int(ranking.accepted[-1])
    steps = (samples - 1).bit_length()  # ceil(log2 samples), exactly
    found = None
    # One sample alone is never asked about: it could not meet a bound worth having.
    met, missed = 1, samples + 1
    while missed - met > 1:
        middle = (met + missed) // 2
        point = _keeping(ranking, int(np.searchsorted(ranking.accepted, middle, side="right")))
        bound = risk_bound(point.wrong, point.trusted, delta / steps)
        if not point.trusted:  # the rank is within the first tie group; trusting nothing breaks no promise
            met = middle
        elif bound <= max_risk:
            met, found = middle, WorkingPoint(point.threshold, samples, point.trusted, point.wrong, bound)
        else:
            missed = middle
    return found


def least_samples(samples: int, max_risk: float, delta: float) -> int:
    """Return the number of trusted samples, none wrong, at which `guaranteed` can promise `max_risk` out of `samples`.

    >>> least_samples(1000, max_risk=0.02, delta=0.001)
    456
    """
    steps = max((samples - 1).bit_length(), 1)
    return int(np.ceil(np.log(delta / steps) / np.log1p(-max_risk)))


def samples_needed(max_risk: float, delta: float, risk: float, coverage: float = 1.0) -> int:
    """Return how many samples `guaranteed` needs, where it could trust a share of them of which `risk` are wrong.

    The search by halving asks about half of the samples first, then about a quarter: the most that is within the
    coverage must meet the bound. Beyond that number a few others may fall short again by a rounding, as errors come
    whole. Raises ValueError unless risk is below max_risk.

    >>> samples_needed(max_risk=0.02, delta=0.001, risk=0.0), samples_needed(0.02, 0.001, risk=0.01)
    (912, 4962)
    """
    asked = 0.5 ** max(np.ceil(-np.log2(coverage)), 1)
    if not 0 <= risk < max_risk:
        raise ValueError(f"a bound of {max_risk} is out of reach where {risk} are wrong")

    def reached(samples: int) -> bool:
        trusted = max(int(samples * asked), 1)
        steps = max((samples - 1).bit_length(), 1)
        return risk_bound(int(np.ceil(trusted * risk)), trusted, delta / steps) <= max_risk

    missed, met = 1, 2
    while not reached(met):
        missed, met = met, 2 * met
    while met - missed > 1:
        middle = (met + missed) // 2
        missed, met = (missed, middle) if reached(middle) else (middle, met)
    return met


def at_target(scores: npt.ArrayLike, correct: npt.ArrayLike, kind: str, target: float) -> WorkingPoint | None:
    """Return the threshold that reaches a target share in (0, 1] of these samples, None where none does.

    kind: "coverage", the share that is kept, or "tpr", that of the right ones: the highest threshold that keeps so
    much; "precision", the share of right ones among those kept: the lowest threshold with it. Nothing is guaranteed.

    >>> at_target([3.0, 2.0, 1.0, 0.0], [1, 1, 0, 1], "coverage", 0.5).threshold
    1.0
    """
    ranking = rank(scores, correct)
    right = ranking.correct / max(int(ranking.correct[-1]), 1)
    shares = {"coverage": ranking.coverage, "tpr": right, "precision": ranking.correct / ranking.accepted}
    reached = np.flatnonzero(shares[kind] >= target)
    return _keeping(ranking, 1 + int(reached[-1 if kind == "precision" else 0])) if len(reached) else None


def working_point(scores: npt.ArrayLike, correct: npt.ArrayLike, threshold: float) -> WorkingPoint:
    """Return the effect on these samples of a threshold from elsewhere.

    >>> working_point([3.0, 2.0, 1.0], [1, 0, 1], threshold=1.5)
    WorkingPoint(threshold=1.5, samples=3, trusted=2, wrong=1, bound=None)
    """
    ranking = rank(scores, correct)
    return replace(_keeping(ranking, int(np.count_nonzero(ranking.scores > threshold))), threshold=threshold)


def _keeping(ranking: Ranking, groups: int) -> WorkingPoint:
    """Return the threshold that keeps `groups` of the most trusted tie groups."""
    everything = groups == len(ranking.scores)
    return WorkingPoint(
        threshold=EVERYTHING if everything else float(ranking.scores[groups]),
        samples=int(ranking.accepted[-1]),
        trusted=int(ranking.accepted[groups - 1]) if groups else 0,
        wrong=int(ranking.wrong[groups - 1]) if groups else 0,
    )
