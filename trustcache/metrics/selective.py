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

from trustcache.metrics.tie_groups import Counts, Floats, Ranking, rank

EVERYTHING = -sys.float_info.max
"""The threshold below which no score lies: finite, since JSON has no infinity."""
STARTS = 4


@dataclass(frozen=True)
class WorkingPoint:
    """The effect of a threshold on `samples` samples: it trusts those above it, and `wrong` of these are wrong.

    bound: at the confidence asked for, the upper bound on the error rate of all that would be trusted, or the lower
        bound on the share that was a target; None where none was asked for.
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
    """Find the threshold of bounded risk that trusts most, by fixed-sequence testing from a few starts.

    Learn then Test (Angelopoulos et al. 2021, arXiv:2110.01052): from the most trusted samples downwards, each
    threshold is tested for an error rate above `max_risk` by its exact binomial tail, up to the first one that fails.
    As an early error would end a single sequence, it begins anew at each of `starts`; each has an equal share of delta,
    and that of a sequence which reaches the next start is added there (the fallback procedure of Wiens & Dmitrienko
    2005).
    Over draws of the samples, the error rate of all that would be trusted exceeds `max_risk` in at most a share delta
    of them, if neither classifier nor score learnt from these samples. (The order of thresholds is taken for given;
    that is strictly right where risk grows with coverage. `benchmarks/guarantee.py` simulates others.)

    scores (N,), correct (N,) as `trust_metrics`; max_risk and delta in (0, 1). None where no threshold passes. The
    point's bound is at the level of its sequence. Tie groups are never divided.

    >>> point = guaranteed(np.arange(1000.0), np.arange(1000) >= 100, max_risk=0.05, delta=0.01)
    >>> point.coverage, round(point.bound, 3)
    (0.931, 0.05)
    """
    return _tested(rank(scores, correct), max_risk, delta)


def _tested(ranking: Ranking, max_risk: float, delta: float) -> WorkingPoint | None:
    begins = starts(int(ranking.accepted[-1]), max_risk, delta)
    # The sequence that each tie group belongs to, and the chance of so few errors where max_risk is true.
    sequence = np.searchsorted(begins, ranking.accepted, side="right") - 1
    tail = _binomial_tail(ranking.wrong, ranking.accepted, max_risk)
    level, found = 0.0, None
    for number in range(len(begins)):
        level += delta / len(begins)
        own = np.flatnonzero(sequence == number)
        failed = np.flatnonzero(tail[own] > level)
        passed = own[: failed[0]] if len(failed) else own
        if len(passed):
            point = _keeping(ranking, int(passed[-1]) + 1)
            found = replace(point, bound=risk_bound(point.wrong, point.trusted, level))
        if len(failed):
            level = 0.0
    return found


def first_tests(scores: npt.ArrayLike, correct: npt.ArrayLike, max_risk: float, delta: float) -> list[WorkingPoint]:
    """Return the points at which `guaranteed` begins to test, each with its bound, above max_risk where it fails.

    >>> [point.trusted for point in first_tests(np.arange(1000.0), np.arange(1000) % 9 > 0, 0.05, 0.05)]
    [86, 159, 293, 542]
    """
    ranking = rank(scores, correct)
    begins = starts(int(ranking.accepted[-1]), max_risk, delta)
    points = [_keeping(ranking, 1 + int(group)) for group in np.unique(np.searchsorted(ranking.accepted, begins))]
    return [replace(one, bound=risk_bound(one.wrong, one.trusted, delta / len(begins))) for one in points]


def least_risk(scores: npt.ArrayLike, correct: npt.ArrayLike, delta: float) -> float | None:
    """Return the least max_risk, in steps of 0.001, that `guaranteed` finds a threshold for; None where there is none.

    A promise of it is not worth its delta: it was chosen by the samples that are to prove it.

    >>> least_risk(np.arange(1000.0), np.arange(1000) >= 100, 0.05)
    0.004
    """
    ranking = rank(scores, correct)
    missed, met = 0, 1000
    while met - missed > 1:
        middle = (met + missed) // 2
        missed, met = (missed, middle) if _tested(ranking, middle / 1000, delta) else (middle, met)
    return met / 1000 if met < 1000 else None


def starts(samples: int, max_risk: float, delta: float) -> npt.NDArray[np.int64]:
    """Return the numbers of trusted samples at which `guaranteed` begins to test: none where all right are too few.

    The first is the least that could pass, and the others follow in equal ratios. Where few more than that least are
    there, one sequence with all of delta trusts more than several.

    >>> starts(5000, max_risk=0.02, delta=0.001).tolist(), starts(500, 0.02, 0.001).tolist()
    ([411, 768, 1434, 2677], [342])
    """
    number = STARTS if samples >= 2 * _least(max_risk, delta) else 1
    least = _least(max_risk, delta / number)
    if least > samples:
        return np.empty(0, np.int64)
    return np.unique(np.geomspace(least, samples, number + 1)[:-1].round().astype(np.int64))


def least_trusted(samples: int, max_risk: float, delta: float) -> int:
    """Return how many trusted samples, none wrong, `guaranteed` takes out of `samples`, which may be fewer than that.

    >>> least_trusted(1000, max_risk=0.02, delta=0.001), least_trusted(100, max_risk=0.02, delta=0.001)
    (411, 342)
    """
    begins = starts(samples, max_risk, delta)
    return int(begins[0]) if len(begins) else _least(max_risk, delta)


def _least(max_risk: float, level: float) -> int:
    """Return how many samples, all right, have a bound of at most `max_risk` at a level."""
    return int(np.ceil(np.log(level) / np.log1p(-max_risk)))


def _binomial_tail(wrong: Counts, trusted: Counts, rate: float) -> Floats:
    """Return the chance of at most `wrong` errors among `trusted` samples at an error rate, float64 (G,)."""
    right = trusted - wrong
    return np.where(right > 0, scipy.special.betaincc(wrong + 1, np.maximum(right, 1), rate), 1.0)


def selected(scores: npt.ArrayLike, correct: npt.ArrayLike, max_risk: float, delta: float) -> WorkingPoint | None:
    """Select with guaranteed risk (SGR; Geifman & El-Yaniv 2017, arXiv:1705.08500), which `guaranteed` is measured by.

    A binary search for the most trusted samples whose bound is at most `max_risk`, from the least number that could
    have it; each of its at most ceil(log2 N) steps may fail with chance delta / ceil(log2 N). Arguments, result and
    promise are those of `guaranteed`. A rank within a tie group keeps the groups before it.

    >>> selected(np.arange(1000.0), np.ones(1000), max_risk=0.01, delta=0.01).coverage
    1.0
    """
    ranking = rank(scores, correct)
    samples = int(ranking.accepted[-1])
    steps = max((samples - 1).bit_length(), 1)  # ceil(log2 samples), exactly
    found = None
    met, missed = _least(max_risk, delta / steps) - 1, samples + 1
    while missed - met > 1:
        middle = (met + missed) // 2
        point = _keeping(ranking, int(np.searchsorted(ranking.accepted, middle, side="right")))
        bound = risk_bound(point.wrong, point.trusted, delta / steps)
        if not point.trusted:  # the rank is within the first tie group; trusting nothing breaks no promise
            met = middle
        elif bound <= max_risk:
            met, found = middle, replace(point, bound=bound)
        else:
            missed = middle
    return found


def share_bound(met: int, samples: int, delta: float) -> float:
    """Return the share that `samples` independent samples, of which `met` have a property, exceed all but by chance.

    It is the lower bound of Clopper & Pearson (1934): the true share is below it in at most a share delta of draws. So
    it is for the coverage or TPR of a threshold that is a sample's own score (an order statistic).

    >>> round(share_bound(met=100, samples=100, delta=0.05), 4)
    0.9705
    """
    return 1 - risk_bound(samples - met, samples, delta)


def samples_needed(max_risk: float, delta: float, risk: float, coverage: float) -> int:
    """Return how many samples `guaranteed` needs to trust a share of them, the `coverage`, of which `risk` are wrong.

    The threshold with that coverage passes at its own sequence's share of delta, and so do those before it if risk
    grows with coverage as it does for a score that ranks well. From that number on all suffice, except a few where a
    whole error more is just counted. Raises ValueError unless risk is below max_risk.

    >>> samples_needed(0.02, 0.001, risk=0.0, coverage=1.0), samples_needed(0.02, 0.001, risk=0.01, coverage=0.5)
    (342, 4462)
    """
    if not 0 <= risk < max_risk:
        raise ValueError(f"a bound of {max_risk} is out of reach where {risk} are wrong")

    def reached(samples: int) -> bool:
        trusted, begins = int(samples * coverage), starts(samples, max_risk, delta)
        if not len(begins) or trusted < begins[0]:
            return False
        tail = _binomial_tail(np.array([np.ceil(trusted * risk)]), np.array([trusted]), max_risk)
        return bool(tail[0] <= delta / len(begins))

    # One start becomes several at this number, and what sufficed before may be too few again.
    missed, met = 0, 2 * _least(max_risk, delta)
    while not reached(met):
        missed, met = met, 2 * met
    while met - missed > 1:
        middle = (met + missed) // 2
        missed, met = (missed, middle) if reached(middle) else (middle, met)
    return met


def at_target(
    scores: npt.ArrayLike, correct: npt.ArrayLike, kind: str, target: float, delta: float | None = None
) -> WorkingPoint | None:
    """Return the threshold that reaches a target share in (0, 1] of these samples, None where none does.

    kind: "coverage", the share that is kept, or "tpr", that of the right ones: the highest threshold that keeps so
    much; "precision", the share of right ones among those kept: the lowest threshold with it. With delta the point's
    bound is the share that others, drawn as these were, have at least with confidence 1 - delta. As precision is looked
    for among all thresholds, its bound holds for all at once (Bonferroni).

    >>> at_target([3.0, 2.0, 1.0, 0.0], [1, 1, 0, 1], "coverage", 0.5).threshold
    1.0
    """
    ranking = rank(scores, correct)
    right = ranking.correct / max(int(ranking.correct[-1]), 1)
    shares = {"coverage": ranking.coverage, "tpr": right, "precision": ranking.correct / ranking.accepted}
    reached = np.flatnonzero(shares[kind] >= target)
    if not len(reached):
        return None
    point = _keeping(ranking, 1 + int(reached[-1 if kind == "precision" else 0]))
    if delta is None:
        return point
    right_ones = point.trusted - point.wrong
    met, among, level = {
        "coverage": (point.trusted, point.samples, delta),
        "tpr": (right_ones, int(ranking.correct[-1]), delta),
        "precision": (right_ones, point.trusted, delta / len(ranking.scores)),
    }[kind]
    return replace(point, bound=share_bound(met, among, level))


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
