"""`trustcache evaluate`: runs and post-hoc scores on data that was extracted later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from trustcache.data.ranks import ranks
from trustcache.errors import TrustcacheError, UsageError

from .options import ScoringMachine
from .program import Output, Place, command, console, print_line, say, say_error, terminal


@command("evaluate")
def evaluate(
    place: Place,
    machine: ScoringMachine,
    score: Annotated[
        list[str] | None,
        typer.Option(help="A post-hoc score of your own too, package.module:function; may be repeated."),
    ] = None,
) -> Output:
    """Make the scores that are missing: every run's and every post-hoc score's, on every evaluation cache."""
    from trustcache.cache.workspace import Workspace
    from trustcache.evaluate.scoring import evaluate as run
    from trustcache.evaluate.scoring import evaluation_caches, lacking, own_scores_lacking
    from trustcache.oracles.runs import finished_runs
    from trustcache.report.build import answer
    from trustcache.report.document import plain_answers
    from trustcache.report.render.terminal import print_answers

    failures: dict[str, TrustcacheError] = {}

    def failed(error: TrustcacheError) -> None:
        failures.setdefault(str(error), error)

    workspace = Workspace(place.workspace, failed)
    runs = finished_runs(workspace)
    if not runs and not any(index.role == "test" for index in workspace.caches()):
        if failures:
            raise next(iter(failures.values()))
        raise UsageError(
            f"nothing to score in {workspace.root}: extract evaluation data with trustcache extract --classifier NAME "
            "--data NAME, and train oracles with trustcache train --loss all --frozen"
        )
    usable, left_out = evaluation_caches(workspace)
    if left_out and not usable:
        raise left_out[0][1]
    own = score or []
    made = run(workspace, runs, place.data_root, machine, console, own, lambda damage: say(f"note: {damage}"), failed)
    lacks = [*lacking(workspace, runs), *own_scores_lacking(workspace, own)]
    told = f"{made} scores made" if made or lacks else "everything is scored on every evaluation cache already"
    answers = []
    try:
        answers = answer(workspace, place.given(), console) if usable and ranks().first else []
    except TrustcacheError as error:
        failed(error)

    def show() -> None:
        if made or not failures:
            print_line(told)
        print_answers(answers, terminal())

    return scored(show, made, lacks, [*failures.values()], answers=plain_answers(answers))


def scored(
    show: Callable[[], None], made: int, lacks: list[str], failures: list[TrustcacheError], **more: Any
) -> Output:
    """Return the result of a scoring: how many scores were made, what lacks, and which data sets failed.

    show: prints it for people. more: further fields of its document.
    """
    for line in lacks:
        say(f"note: {line}")
    for failure in failures[1:]:
        say_error(failure)
    if failures:  # each line above, and the last one, says what mends it
        say("note: all other data sets are scored; trustcache evaluate scores the rest once the errors are mended")
    document = {**more, "scores_made": made, "notes": lacks, "failed": [*map(str, failures)]}
    return Output(document, show, TrustcacheError(str(failures[0])) if failures else None)  # the others are scored
