"""`trustcache calibrate`: a threshold, with a guarantee or at a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trustcache.errors import UsageError
from trustcache.progress import console

from .options import Half, ScoringMachine
from .program import Place, app, command

if TYPE_CHECKING:
    from trustcache.deploy.scorers import Scorer, Threshold
    from trustcache.metrics.selective import WorkingPoint


RUN = "A run's name or its beginning; winner, what a sweep chose; or a post-hoc score: mcp, package.module:function"


@command(app, "calibrate")
def calibrate(
    place: Place,
    run: Annotated[str, typer.Argument(help=f"{RUN}.")],
    machine: ScoringMachine,
    max_risk: Annotated[
        float | None, typer.Option(help="Guarantee: at most this share of what is trusted is wrong (SGR).")
    ] = None,
    delta: Annotated[
        float | None, typer.Option(help="--max-risk: the chance that the guarantee fails (0.001).")
    ] = None,
    coverage: Annotated[float | None, typer.Option(help="No guarantee: trust at least this share of the data.")] = None,
    tpr: Annotated[
        float | None, typer.Option(help="No guarantee: trust at least this share of the right answers.")
    ] = None,
    precision: Annotated[
        float | None, typer.Option(help="No guarantee: the most coverage where this share of what is trusted is right.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="The data set whose cache to calibrate on; without it, what the run set aside in training."),
    ] = None,
    part: Annotated[
        Half | None, typer.Option(help="Calibrate on one half of the data, and check on the other.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="--part: draws the halves (0).")] = None,
    classifier: Annotated[str | None, typer.Option(help="Whose run or score, where there are several.")] = None,
) -> None:
    """Set the threshold above which predict trusts: by one of --max-risk, --coverage, --tpr and --precision.

    A guarantee holds for data like those it was calibrated on, which neither the classifier nor the run may have
    learnt from. The part that a run set aside is often the classifier's own training data, on which it is surer than
    on new images; rather name evaluation data with --data.
    """
    if seed is not None and part is None:
        raise UsageError("--seed: draws the halves of --part, which is not given")

    from trustcache.cache.workspace import Workspace
    from trustcache.deploy.calibrate import Calibration, choose_goal
    from trustcache.deploy.calibrate import calibrate as find
    from trustcache.deploy.scorers import find_scorer

    targets = {"max-risk": max_risk, "coverage": coverage, "tpr": tpr, "precision": precision}
    goal = choose_goal(targets, delta)
    scorer = find_scorer(Workspace(place.workspace), run, classifier)
    half = part.value.removesuffix("-half") if part else None
    calibration = Calibration(data, half, seed or 0)
    threshold = find(scorer, goal, calibration, place.data_root, machine, console)
    _show(scorer, threshold)


def _show(scorer: Scorer, found: Threshold) -> None:
    part = "" if found.part == "all" else f", {found.part}"
    point, other = found.point, found.other_half
    print(f"{scorer.name}: trusted is a score above {point.threshold:.6g}")
    print(f"calibrated on {found.data}{part}: {_effect(point)}")
    if other:
        print(f"on the other half: {_effect(other)}")
    bound = f" (bound {point.bound:.2%})" if point.bound is not None else ""
    print(f"guarantee: {found.guarantee}{bound}")
    print(scorer.threshold_path)


def _effect(point: WorkingPoint) -> str:
    risk = "undefined" if point.risk is None else f"{point.risk:.2%}"
    trusted = f"{point.trusted:,} of {point.samples:,}"
    return f"coverage {point.coverage:.2%} ({trusted}), risk {risk} ({point.wrong:,} of those are wrong)"
