"""`trustcache calibrate`: a threshold, with a guarantee or at a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trustcache.deploy.goals import Calibration, Targets
from trustcache.errors import percent
from trustcache.progress import console

from .options import ScoringMachine
from .program import Place, command, print_line

if TYPE_CHECKING:
    from trustcache.deploy.scorers import Scorer, Threshold
    from trustcache.metrics.selective import WorkingPoint


RUN = "A run's name or its beginning; winner, what a sweep chose; or a post-hoc score: mcp, package.module:function"


@command("calibrate")
def calibrate(
    place: Place,
    run: Annotated[str, typer.Argument(help=f"{RUN}.")],
    machine: ScoringMachine,
    targets: Targets,
    calibration: Calibration,
    classifier: Annotated[str | None, typer.Option(help="Whose run or score, where there are several.")] = None,
) -> None:
    """Set the threshold above which predict trusts: by one of --max-risk, --coverage, --tpr and --precision.

    A guarantee holds for data like those it was calibrated on, which neither the classifier nor the run may have
    learnt from. The part that a run set aside is often the classifier's own training data, on which it is surer than
    on new images; rather name evaluation data with --data.
    """
    from trustcache.cache.workspace import Workspace
    from trustcache.deploy.calibrate import calibrate as find
    from trustcache.deploy.scorers import find_scorer

    goal = targets.goal()
    scorer = find_scorer(Workspace(place.workspace), run, classifier)
    _show(scorer, find(scorer, goal, calibration, place.data_root, machine, console))


def _show(scorer: Scorer, found: Threshold) -> None:
    part = "" if found.part == "all" else f", {found.part}"
    point, other = found.point, found.other_half
    print_line(f"{scorer.name}: trusted is a score above {point.threshold:.6g}")
    print_line(f"calibrated on {found.data}{part}: {_effect(point)}")
    if other:
        print_line(f"on the other half: {_effect(other)}")
    bound = f" (bound {percent(point.bound)})" if point.bound is not None else ""
    print_line(f"guarantee: {found.guarantee}{bound}")
    print_line(scorer.threshold_path)


def _effect(point: WorkingPoint) -> str:
    risk = "undefined" if point.risk is None else percent(point.risk)
    trusted = f"{point.trusted:,} of {point.samples:,}"
    return f"coverage {percent(point.coverage)} ({trusted}), risk {risk} ({point.wrong:,} of those are wrong)"
