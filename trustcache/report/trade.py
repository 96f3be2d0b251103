"""Operating points of a score: how much it accepts, how much of that is wrong, and the same of mcp."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trustcache.metrics.selective import at_target, working_point
from trustcache.report.samples import Samples


@dataclass(frozen=True)
class Trade:
    """One operating point: coverage and risk of the chosen score, and mcp's at the same coverage, or the same risk.

    Fractions; risk is 0 where nothing is accepted.
    """

    coverage: float
    risk: float
    mcp_coverage: float
    mcp_risk: float


def at_threshold(samples: Samples, mcp: np.ndarray, threshold: float) -> Trade:
    """Return the operating point of a threshold, with mcp at the same coverage. mcp: its scores (n,) of the samples."""
    point = working_point(samples.z, samples.correct, threshold)
    if not point.trusted:
        return Trade(0.0, 0.0, 0.0, 0.0)
    same = at_target(mcp, samples.correct, "coverage", point.coverage)
    assert same is not None
    return Trade(point.coverage, point.risk or 0.0, same.coverage, same.risk or 0.0)


def at_coverage(samples: Samples, mcp: np.ndarray, coverage: float) -> Trade:
    """Return the operating point of the smallest coverage that is no smaller."""
    point = at_target(samples.z, samples.correct, "coverage", coverage)
    assert point is not None
    return at_threshold(samples, mcp, point.threshold)


def at_risk(samples: Samples, mcp: np.ndarray, max_risk: float) -> Trade | None:
    """Return the operating point of the largest coverage whose risk is at most `max_risk`, None for none."""
    own, other = (at_target(z, samples.correct, "precision", 1 - max_risk) for z in (samples.z, mcp))
    if own is None:
        return None
    mcp_coverage, mcp_risk = (other.coverage, other.risk or 0.0) if other else (0.0, 0.0)
    return Trade(own.coverage, own.risk or 0.0, mcp_coverage, mcp_risk)
