"""Selective prediction: the share of samples that each threshold keeps, and the share of those that is wrong."""

from dataclasses import dataclass

import numpy.typing as npt

from trustcache.metrics import Floats, rank


@dataclass(frozen=True)
class RiskCoverage:
    """A risk-coverage curve, one point a tie group, from most to least trusted.

    threshold: (G,) float64, the distinct scores, strictly decreasing; point g keeps scores >= threshold[g].
    coverage: (G,) float64, the share of samples kept, strictly increasing to 1.
    risk: (G,) float64, the share of wrong samples among those kept; the last is the classifier's error rate.
    """

    threshold: Floats
    coverage: Floats
    risk: Floats


def risk_coverage(scores: npt.ArrayLike, correct: npt.ArrayLike) -> RiskCoverage:
    """Every working point that a score offers (El-Yaniv & Wiener 2010): the curve whose area is `aurc`.

    scores: (N,) real numbers, higher = more trustworthy, ±inf allowed; compared as float64.
    correct: (N,) bool or 0/1, whether the classifier was right.
    Raises ValueError on bad input, as `trustcache.metrics.rank` does.
    """
    ranking = rank(scores, correct)
    return RiskCoverage(threshold=ranking.scores, coverage=ranking.coverage, risk=ranking.risk)
