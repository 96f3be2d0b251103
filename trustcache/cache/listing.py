"""Caches as they are listed and shown: their state at a glance, and what their numbers mean."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trustcache.cache.index import Index
from trustcache.cache.view import open_cache
from trustcache.data.progress import Progress, silent
from trustcache.errors import TrustcacheError


@dataclass(frozen=True)
class CacheSummary:
    """A line of `trustcache cache list`.

    cache: CLASSIFIER/DATA. samples: images of the data set, or of the part that --subset took, which size has in words
    with what there is here and in what was published. shards: those that are
    there, of `shards_of`; None where the cache is damaged.
    """

    cache: str
    role: str
    samples: int
    subset: str
    size: str
    shards: int | None
    shards_of: int
    folder: Path

    @property
    def state(self) -> str:
        """State of it, in words."""
        if self.shards is None:
            return "damaged: run trustcache cache verify"
        return f"{self.shards}/{self.shards_of} shards"


def summarise(index: Index) -> CacheSummary:
    """Return a cache's state at a glance, which reads none of its numbers.

    >>> summarise(demo_workspace.cache_named("net/birds")).state
    '3/3 shards'
    """
    try:
        shards = len(index.records())
    except TrustcacheError:
        shards = None
    name, subset = index.name, index.meaning.data.subset or ""
    return CacheSummary(name, index.role, index.samples, subset, index.size, shards, len(index.ranges()), index.folder)


@dataclass(frozen=True)
class Verified:
    """A cache whose shards were read again. faults: by the number of each shard that is missing or damaged."""

    cache: str
    shards_of: int
    faults: dict[str, str]

    @property
    def state(self) -> str:
        """Its state in words."""
        return f"{len(self.faults)} of {self.shards_of} shards at fault" if self.faults else "sound"


def verified(index: Index, progress: Progress = silent) -> Verified:
    """Read every shard of a cache again.

    >>> verified(demo_workspace.cache_named("net/birds")).state
    'sound'
    """
    faults = {f"{number:05d}": fault for number, fault in index.faults(progress).items()}
    return Verified(index.name, len(index.ranges()), faults)


def describe(index: Index) -> dict[str, Any]:
    """Return what a cache holds and what its numbers mean. Raises TrustcacheError where it is unfinished or damaged.

    >>> describe(demo_workspace.cache_named("net/birds"))["classes"]
    4
    """
    cache = open_cache(index.folder)
    return {
        "cache": index.name,
        "folder": index.folder,
        "rows": len(cache),
        "accuracy": round(float(cache.correct.mean()), 6),
        "accuracy_within_subset": cache.accuracy_within_subset(),
        "classes": cache[:1].logits.shape[1],
        "features": cache[:1].features.shape[1] if index.holds("features") else 0,
        "stages": cache[:1].stages.shape[1] if index.holds("stages") else 0,
        "views": index.meaning.views,
        "skipped": {sample: reason for record in index.records() for sample, reason in record.skipped.items()},
        **({"imported": index.made_from.imported} if index.imported else {}),
        "meaning": index.meaning,
        "made_with": index.made_with,
    }
