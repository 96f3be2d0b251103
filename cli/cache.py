"""`trustcache cache list|show|verify`: what has been extracted."""

from __future__ import annotations

from typing import Annotated

import typer

from trustcache.errors import TrustcacheError, UsageError

from .program import Place, app, command

group = typer.Typer(no_args_is_help=True, help="What has been extracted: list, show, verify.")
app.add_typer(group, name="cache")

Name = Annotated[str | None, typer.Argument(help="CLASSIFIER/DATA, as cache list prints it; all without it.")]


@command(group, "list")
def list_caches(place: Place) -> None:
    """One line a cache: classifier/data, role, samples, shards there of all."""
    for index in _chosen(place, None):
        shards = f"{len(index.records())}/{len(index.ranges())} shards"
        print(f"{index.classifier}/{index.data}\t{index.role}\t{index.samples:,} samples\t{shards}")


@command(group, "show")
def show(place: Place, name: Annotated[str, typer.Argument(help="CLASSIFIER/DATA, as cache list prints it.")]) -> None:
    """What a cache's numbers mean, and what the classifier got right."""
    import json

    from trustcache.cache import open_cache

    (index,) = _chosen(place, name)
    cache = open_cache(index.folder)
    skipped = {sample: reason for record in index.records() for sample, reason in record.skipped.items()}
    facts = {
        "folder": str(index.folder),
        "rows": len(cache),
        "accuracy": round(float(cache.correct.mean()), 6),
        "classes": cache[:1].logits.shape[1],
        "features": cache[:1].features.shape[1],
        "skipped": skipped,
    }
    print(json.dumps({**facts, "meaning": index.meaning, "made_with": index.made_with}, indent=2, ensure_ascii=False))


@command(group, "verify")
def verify(place: Place, name: Name = None) -> None:
    """Re-read every shard and name each that is missing or damaged; extract then rebuilds just those."""
    faults = []
    for index in _chosen(place, name):
        found = index.faults()
        faults += list(found.values())
        state = "sound" if not found else f"{len(found)} of {len(index.ranges())} shards at fault"
        print(f"{index.classifier}/{index.data}: {state}")
        for number, fault in found.items():
            print(f"  shard {number:05d}: {fault}")
    if faults:
        raise TrustcacheError(
            f"{len(faults)} shards at fault; the same trustcache extract as before rebuilds just those"
        )


def _chosen(place: Place, name: str | None) -> list:
    from trustcache.workspace import Workspace

    caches = Workspace(place.workspace).caches()
    chosen = [index for index in caches if name in (None, f"{index.classifier}/{index.data}")]
    if not chosen:
        wanted = f"no cache '{name}'" if name else "no caches"
        raise UsageError(f"{wanted} in {place.workspace / 'cache'}; make one with trustcache extract")
    return chosen
