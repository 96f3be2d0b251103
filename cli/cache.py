"""Caches that have been extracted: list, show, verify, remove."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from trustcache.errors import TrustcacheError, UsageError

from .options import Yes
from .output import confirm, print_facts
from .program import Output, Place, command, command_group, console, print_line, print_table

group = command_group("cache", __doc__)

NAME = "CLASSIFIER/DATA, as cache list prints it"


@command("list", group)
def list_caches(place: Place) -> Output:
    """List the caches: classifier/data, role, samples, finished shards of all."""
    from trustcache.cache.listing import summarise

    found = [summarise(index) for index in _chosen(place, None)]
    rows = [(one.cache, one.role, one.size, one.state) for one in found]
    return Output({"caches": found}, lambda: print_table(("cache", "role", "samples", "state"), rows))


@command("show", group)
def show(place: Place, name: Annotated[str, typer.Argument(help=f"{NAME}.")]) -> Output:
    """Show what a cache's numbers mean, and the classifier's accuracy."""
    from trustcache.cache.listing import describe
    from trustcache.cache.workspace import Workspace

    facts = describe(Workspace(place.workspace).cache_named(name))
    return Output(facts, lambda: print_facts(facts))


@command("verify", group)
def verify(place: Place, name: Annotated[str | None, typer.Argument(help=f"{NAME}; all without it.")] = None) -> Output:
    """Re-read every shard and name each that is missing or damaged; extract then rebuilds just those."""
    from trustcache.cache.listing import verified

    checked = [verified(index, console) for index in _chosen(place, name)]
    faulty = sum(bool(one.faults) for one in checked)
    failure = TrustcacheError(
        f"{faulty} {'caches' if faulty > 1 else 'cache'} at fault; the same trustcache extract as before "
        "rebuilds just those shards"
    )

    def print_checked() -> None:
        for one in checked:
            print_line(f"{one.cache}: {one.state}")
            for shard, fault in one.faults.items():
                print_line(f"  shard {shard}: {fault}")

    return Output({"caches": checked}, print_checked, failure if faulty else None)


@command("rm", group)
def remove(
    place: Place,
    names: Annotated[list[str], typer.Argument(help=f"{NAME}, or CLASSIFIER for all of its; one or several.")],
    yes: Yes = False,
) -> Output:
    """Remove caches with the scores made on them, after saying what depends on them; runs stay."""
    from trustcache.cache.workspace import Workspace
    from trustcache.evaluate.removal import cache_removal

    return confirm(cache_removal(Workspace(place.workspace), names), yes)


def _chosen(place: Place, name: str | None) -> list[Any]:
    from trustcache.cache.workspace import Workspace

    workspace = Workspace(place.workspace)
    chosen = [workspace.cache_named(name)] if name else workspace.caches()
    if not chosen:
        raise UsageError(f"no caches in {workspace.root / 'cache'}; make one with trustcache extract")
    return chosen
