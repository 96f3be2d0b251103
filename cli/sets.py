"""`trustcache sets`: sets of classes with a promised coverage, where one class is not enough."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from trustcache.deploy.goals import SetGoal
from trustcache.errors import percent

from .program import Output, Place, command, console, print_line, print_table

if TYPE_CHECKING:
    from trustcache.deploy.sets import CheckedSets
    from trustcache.metrics.conformal import SetFigures


@command("sets")
def sets(
    place: Place,
    *,
    goal: SetGoal,
    classifier: Annotated[str | None, typer.Option(help="Whose sets, where there are several.")] = None,
) -> Output:
    """Calibrate sets of classes that hold the true one with --confidence, which predict --sets then prints.

    The promise is kept within each class, on images like those calibrated on, which the classifier must not have learnt
    from.
    """
    from trustcache.cache.workspace import Workspace
    from trustcache.deploy.scorers import find_scorer

    workspace = Workspace(place.workspace)
    scorer = find_scorer(workspace, "mcp", classifier)
    from trustcache.deploy.sets import calibrate_sets, sets_file  # not by a call that finds no classifier
    from trustcache.evaluate.scoring import Scoring
    from trustcache.oracles.optim import Machine

    scoring = Scoring(scorer.workspace_caches, place.data_root, Machine(), console)
    found = calibrate_sets(workspace, scorer, goal, scoring)
    path = sets_file(workspace, scorer)
    about = {"classifier": scorer.classifier, "sets": found.sets, "promise": found.sets.promise}
    checks = {"other_half": found.other_half, "checks": found.checks}

    def show() -> None:
        _show(found)
        print_line(f"{path}")

    return Output({**about, **checks, "path": path}, show)


def _show(found: CheckedSets) -> None:
    from trustcache.deploy.sets import too_few

    made = found.sets
    cuts = np.array([least for least in made.cuts if least > 0])
    print_line(f"calibrated on {made.drawn_from}: {sum(made.samples):,} images of {len(made.classes):,} classes")
    if len(cuts):
        spread = f" in the median of classes ({cuts.min():.4g} to {cuts.max():.4g})" if made.by_class else ""
        print_line(f"a class is in an image's set where its probability is at least {np.median(cuts):.4g}{spread}")
    if few := too_few(made):
        print_line(few)
    rows = [("the other half", found.other_half)] if found.other_half else []
    if rows := [*rows, *found.checks.items()]:
        heads = ("looked at on", "images", "in their set", "worst class", "its share", "its images")
        print_table((*heads, "classes a set", "sets of one", "of none"), [_row(*row, made.classes) for row in rows])
    print_line(f"promise: {made.promise}")


def _row(name: str, one: SetFigures, classes: tuple[str, ...]) -> tuple[str, ...]:
    worst = classes[one.worst_class], percent(one.worst_coverage, 1), f"{one.worst_samples:,}"
    sizes = f"{one.mean_size:.2f}", percent(one.singletons, 1), percent(one.empty, 1)
    return (name, f"{one.samples:,}", percent(one.coverage, 1), *worst, *sizes)
