"""`trustcache calibrate`: a threshold, with a guarantee or at a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trustcache.deploy.goals import Calibration, Goal, Targets
from trustcache.errors import UsageError, percent

from .options import ScoringMachine
from .program import Output, Place, command, console, print_line, print_table, say

if TYPE_CHECKING:
    from trustcache.deploy.scorers import Scorer
    from trustcache.deploy.threshold import Check, Threshold
    from trustcache.metrics.selective import WorkingPoint


RUN = "A run's name or its beginning; winner, what a sweep chose; or a post-hoc score: mcp, package.module:function"


@command("calibrate")
def calibrate(
    place: Place,
    run: Annotated[str | None, typer.Argument(help=f"{RUN}.")] = None,
    *,
    machine: ScoringMachine,
    targets: Targets,
    calibration: Calibration,
    classifier: Annotated[str | None, typer.Option(help="Whose run or score, where there are several.")] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say how many images --max-risk needs, looking at none; RUN is not needed.")
    ] = False,
) -> Output:
    """Set the threshold above which predict trusts: by one of --max-risk, --coverage, --tpr and --precision.

    A guarantee holds for data like those it was calibrated on, which neither the classifier nor the run may have
    learnt from. The part that a run set aside is often the classifier's own training data, on which it is surer than
    on new images; rather name evaluation data with --data.
    """
    from trustcache.cache.workspace import Workspace
    from trustcache.deploy.scorers import find_scorer

    goal = targets.goal()
    if plan:
        return _plan(goal)
    if run is None:
        raise UsageError("RUN is missing: name one of trustcache runs list, winner, or a score such as mcp")
    scorer = find_scorer(Workspace(place.workspace), run, classifier)
    from trustcache.deploy.calibrate import calibrate as find  # not by a call that finds no scorer

    found = find(scorer, goal, calibration, place.data_root, machine, console, lambda text: say(f"note: {text}"))
    from trustcache.report.cards import renew_threshold

    renew_threshold(scorer.folder)
    about = {"scorer": scorer.name, "classifier": scorer.classifier, "path": scorer.threshold_path}
    return Output({**about, "threshold": found}, lambda: _show(scorer, found))


def _plan(goal: Goal) -> Output:
    from trustcache.deploy.planning import plan

    rows = plan(goal)

    def show() -> None:
        heads = [
            "wrong among the trusted",
            *(f"images, {coverage} trusted" for coverage in rows[0].images),
        ]
        print_table(heads, [(percent(row.risk), *(f"{number:,}" for number in row.images.values())) for row in rows])
        promise = f"at most {percent(goal.target)} wrong, with confidence {1 - (goal.delta or 0):g}"
        say(f"to promise {promise}, from images that neither the classifier nor the oracle has learnt from")

    return Output({"goal": goal, "plan": rows}, show)


def _show(scorer: Scorer, found: Threshold) -> None:
    from trustcache.deploy.threshold import untrusted_groups
    from trustcache.metrics.selective import EVERYTHING

    point, other = found.point, found.other_half
    above = "a score above the threshold of its group; one for all would be" if found.groups else "a score above"
    cut = f"{above} {point.threshold:.6g}{_probability(scorer, point)}"
    print_line(f"{scorer.name}: trusted is {'every score' if point.threshold == EVERYTHING else cut}")
    print_line(f"calibrated on {found.own_samples}: {_effect(point)}")
    if other:
        print_line(f"on the other half: {_effect(other)}")
    if found.groups:
        rows = [(one.name, f"{one.samples:,}", *_group(one.point)) for one in found.groups]
        print_table(("group", "images", "trusted is above", "coverage", "risk"), rows)
        if without := untrusted_groups(found.groups):
            print_line(f"{without}; no threshold keeps the promise there")
    for title, checks in (("promise kept on", found.worst_of), ("checked on", found.checks)):
        if checks:
            heads = (title, "images", "accuracy", *("coverage", "95 %"), *("risk", "95 %"))
            print_table((*heads, *(f"estimate {name}" for name in checks[0].estimates)), map(_check, checks))
    bound = f" (bound {percent(point.bound)})" if point.bound is not None and not found.groups else ""
    print_line(f"guarantee: {found.guarantee}{bound}")
    print_line(
        f"alarm: predict tells when scores no longer look like these; by chance in at most {percent(found.watch.rate)} "
        "of all streams"
    )
    print_line(scorer.threshold_path)


def _probability(scorer: Scorer, point: WorkingPoint) -> str:
    """Return what a threshold on log-odds is as a probability, in brackets, "" where it is none."""
    share = scorer.probability(point.threshold)
    return "" if share is None else f" (log-odds; a probability above {percent(share)})"


def _effect(point: WorkingPoint) -> str:
    trusted = f"{point.trusted:,} of {point.samples:,}"
    return f"coverage {percent(point.coverage)} ({trusted}), risk {_risk(point)} ({point.wrong:,} of those are wrong)"


def _group(point: WorkingPoint | None) -> tuple[str, str, str]:
    if not point:
        return "nothing", percent(0), ""
    threshold = "everything" if point.trusted == point.samples else f"{point.threshold:.6g}"
    return threshold, percent(point.coverage), _risk(point)


def _check(one: Check) -> tuple[str, ...]:
    shares = [percent(one.point.coverage, 1), _interval(one.coverage), _risk(one.point, 1), _interval(one.risk)]
    estimates = [percent(estimate, 1) for estimate in one.estimates.values()]
    return (one.data, f"{one.point.samples:,}", percent(one.accuracy, 1), *shares, *estimates)


def _interval(ends: tuple[float, float]) -> str:
    return "{:.1f} to {:.1f}".format(*(100 * end for end in ends))


def _risk(point: WorkingPoint, digits: int = 2) -> str:
    return "undefined" if point.risk is None else percent(point.risk, digits)
