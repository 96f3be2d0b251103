"""Runs, the trained oracles: list, show, remove."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import Yes
from .output import confirm, print_facts
from .program import Output, Place, command, command_group, print_table

group = command_group("runs", __doc__)

NAME = "A run's name, or its unambiguous beginning"


@command("list", group)
def list_runs(place: Place) -> Output:
    """List the runs: what each is and judges, the AUC on its validation part, and its threshold."""
    from trustcache.cache.workspace import Workspace
    from trustcache.report.run_list import list_runs as listed

    found = listed(Workspace(place.workspace))
    heads = ("oracle", "seed", "classifier", "learnt from", "validation AUC", "threshold", "run")
    rows = [
        (one.name, one.seed, one.classifier_in_words, one.data, one.auc_in_words, one.threshold_in_words, one.run)
        for one in found
    ]
    return Output({"runs": found}, lambda: print_table(heads, rows))


@command("show", group)
def show(place: Place, name: Annotated[str, typer.Argument(help=f"{NAME}.")]) -> Output:
    """Show a run's settings, its last epoch, its threshold, and which data sets it has scored."""
    from trustcache.cache.workspace import Workspace
    from trustcache.report.run_list import describe_run

    facts = describe_run(Workspace(place.workspace), name)
    return Output(facts, lambda: print_facts(facts))


@command("rm", group)
def remove(
    place: Place, names: Annotated[list[str], typer.Argument(help=f"{NAME}; one or several.")], yes: Yes = False
) -> Output:
    """Remove runs with their weights, scores and thresholds, after saying what depends on them."""
    from trustcache.cache.workspace import Workspace
    from trustcache.evaluate.removal import run_removal

    return confirm(run_removal(Workspace(place.workspace), names), yes)
