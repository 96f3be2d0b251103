"""Number of images that a calibration needs, from the bound of its guarantee alone: no data are looked at."""

from __future__ import annotations

from dataclasses import dataclass

from trustcache.deploy.goals import MAX_RISK, Goal, Targets
from trustcache.errors import UsageError, in_python
from trustcache.metrics.selective import samples_needed

SHARES = (0.0, 0.25, 0.5, 0.75, 0.9)
"""Of the risk that is promised, the risk that the plan reckons with."""
COVERAGES = (0.5, 0.25)


@dataclass(frozen=True)
class PlanRow:
    """A risk among what is trusted, and the number of calibration images that it takes by the coverage reached."""

    risk: float
    images: dict[str, int]


def plan(goal: Goal) -> list[PlanRow]:
    """Return how many calibration images a goal takes. Raises UsageError for one without a guarantee.

    >>> plan(Goal("max-risk", 0.02, 0.001))[0].images["50 %"]
    822
    """
    if goal.kind != MAX_RISK or goal.delta is None:
        raise UsageError(f"--plan: --{goal.kind} guarantees nothing, whatever the number of images; plan a --max-risk")
    risks = [float(f"{share * goal.target:.12g}") for share in SHARES]
    return [
        PlanRow(risk, {f"{100 * c:g} %": samples_needed(goal.target, goal.delta, risk, c) for c in COVERAGES})
        for risk in risks
    ]


@in_python()
def plan_for(max_risk: float, delta: float | None = None) -> list[PlanRow]:
    """Return how many calibration images a promise takes, by the share of wrong ones among what is trusted.

    max_risk, delta: as `calibrate` takes them (delta 0.001). Of each row `risk` is that share, and `images` has the
    numbers by the coverage reached. Raises UsageError where either is no share.

    >>> for row in plan_for(max_risk=0.05, delta=0.05)[:2]:
    ...     print(f"{row.risk:.4f}", row.images)
    0.0000 {'50 %': 172, '25 %': 344}
    0.0125 {'50 %': 384, '25 %': 768}
    """
    return plan(Targets(max_risk=max_risk, delta=delta).goal())
