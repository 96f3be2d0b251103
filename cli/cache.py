"""Caches that have been extracted: list, show, verify."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from trustcache.errors import TrustcacheError, UsageError

from .program import Place, command, command_group, print_line

group = command_group("cache", __doc__)

NAME = "CLASSIFIER/DATA, as cache list prints it"


@command("list", group)
def list_caches(place: Place) -> None:
    """Print one line a cache: classifier/data, role, samples, finished shards of all."""
    for index in _chosen(place, None):
        try:
            state = f"{len(index.records())}/{len(index.ranges())} shards"
        except TrustcacheError:
            state = "damaged: run trustcache cache verify"
        samples = index.meaning.data.subset or f"{index.samples:,}"
        print_line(f"{index.classifier}/{index.data}\t{index.role}\t{samples} samples\t{state}")


@command("show", group)
def show(place: Place, name: Annotated[str, typer.Argument(help=f"{NAME}.")]) -> None:
    """Print what a cache's numbers mean, and the classifier's accuracy."""
    import json

    import msgspec

    from trustcache.cache import open_cache
    from trustcache.cache.workspace import Workspace

    index = Workspace(place.workspace).cache_named(name)
    cache = open_cache(index.folder)
    skipped = {sample: reason for record in index.records() for sample, reason in record.skipped.items()}
    facts = {
        "folder": str(index.folder),
        "rows": len(cache),
        "accuracy": round(float(cache.correct.mean()), 6),
        "accuracy_within_subset": cache.accuracy_within_subset(),
        "classes": cache[:1].logits.shape[1],
        "features": cache[:1].features.shape[1] if index.holds("features") else 0,
        "stages": cache[:1].stages.shape[1] if index.holds("stages") else 0,
        "skipped": skipped,
        **({"imported": index.made_from.imported} if index.imported else {}),
        "meaning": msgspec.to_builtins(index.meaning),
        "made_with": index.made_with,
    }
    print_line(json.dumps(facts, indent=2, ensure_ascii=False), kept="\n")


@command("verify", group)
def verify(place: Place, name: Annotated[str | None, typer.Argument(help=f"{NAME}; all without it.")] = None) -> None:
    """Re-read every shard and name each that is missing or damaged; extract then rebuilds just those."""
    from trustcache.progress import console

    faulty = 0
    for index in _chosen(place, name):
        faults = index.faults(console)
        state = f"{len(faults)} of {len(index.ranges())} shards at fault" if faults else "sound"
        print_line(f"{index.classifier}/{index.data}: {state}")
        for number, fault in faults.items():
            print_line(f"  shard {number:05d}: {fault}")
        faulty += bool(faults)
    if faulty:
        raise TrustcacheError(
            f"{faulty} {'caches' if faulty > 1 else 'cache'} at fault; the same trustcache extract as before "
            "rebuilds just those shards"
        )


def _chosen(place: Place, name: str | None) -> list[Any]:
    from trustcache.cache.workspace import Workspace

    caches = Workspace(place.workspace).caches()
    chosen = [index for index in caches if name in (None, f"{index.classifier}/{index.data}")]
    if not chosen:
        wanted = f"no cache '{name}'" if name else "no caches"
        raise UsageError(f"{wanted} in {place.workspace / 'cache'}; make one with trustcache extract")
    return chosen
