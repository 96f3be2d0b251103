"""`trustcache evaluate`: runs and post-hoc scores on data that was extracted later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trustcache.errors import TrustcacheError, UsageError
from trustcache.progress import console

from .options import ScoringMachine
from .program import Place, command, print_line, say

if TYPE_CHECKING:
    from trustcache.cache.workspace import Workspace
    from trustcache.oracles.runs import Run


@command("evaluate")
def evaluate(
    place: Place,
    machine: ScoringMachine,
    score: Annotated[
        list[str] | None,
        typer.Option(help="A post-hoc score of your own too, package.module:function; may be repeated."),
    ] = None,
) -> None:
    """Make the scores that are missing: every run's and every post-hoc score's, on every evaluation cache."""
    from rich.console import Console

    from trustcache.cache.workspace import Workspace
    from trustcache.evaluate.scoring import evaluate as run
    from trustcache.evaluate.scoring import evaluation_caches, own_scores_lacking
    from trustcache.oracles.runs import finished_runs
    from trustcache.report.build import answer
    from trustcache.report.render.terminal import print_answers

    workspace = Workspace(place.workspace)
    runs = finished_runs(workspace)
    if not runs and not any(index.role == "test" for index in workspace.caches()):
        raise UsageError(
            f"nothing to score in {workspace.root}: extract evaluation data with trustcache extract --classifier vit, "
            "and train oracles with trustcache train --loss all --frozen"
        )
    usable, left_out = evaluation_caches(workspace)
    if left_out and not usable:
        raise TrustcacheError(left_out[0])
    own = score or []
    failures: list[TrustcacheError] = []
    made = run(
        workspace, runs, place.data_root, machine, console, own, lambda damage: say(f"note: {damage}"), failures.append
    )
    waiting = say_what_is_lacking(workspace, runs)
    for line in own_scores_lacking(workspace, own):
        say(f"note: {line}")
    if made or not failures:
        print_line(
            f"{made} scores made" if made or waiting else "everything is scored on every evaluation cache already"
        )
    if usable:
        print_answers(answer(workspace, place.given(), console), Console())
    raise_failures(failures)


def raise_failures(failures: list[TrustcacheError]) -> None:
    """Raise TrustcacheError for data sets whose images runs could not be scored on, if any: the others are scored."""
    for failure in failures[1:]:
        say(f"error: {failure}")
    if failures:
        raise TrustcacheError(str(failures[0])) from failures[0]


def say_what_is_lacking(workspace: Workspace, runs: list[Run]) -> bool:
    """Print what keeps runs from being scored and which caches were passed over, each once; return True if any."""
    from trustcache.evaluate.scoring import evaluation_caches, unscored
    from trustcache.oracles.backbones import why_not

    caches, (usable, left_out) = workspace.caches(), evaluation_caches(workspace)
    reasons = (why_not(run.config, index, caches) for index, left in unscored(usable, runs) for run in left)
    passed_over = [f"passed over: {reason}" for reason in left_out]
    lines = dict.fromkeys([*filter(None, reasons), *passed_over])
    for line in lines:
        say(f"note: {line}")
    return bool(lines)
