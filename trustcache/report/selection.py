"""The data sets that a report of many brings forward: the clean ones, and variants where they are few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trustcache.data.manifest import Manifest
from trustcache.report.comparison import table_key
from trustcache.report.records import Scored, manifests_of

MOST_TABLES = 8
"""With more tables than this a terminal prints those of clean data sets alone."""
MOST_VARIANTS = 8
"""More corruptions (or attacks, or styles) of one data set than this have no intervals."""


@dataclass(frozen=True)
class Selection:
    """Names of data sets, of those that anything is scored on.

    printed: those whose tables a terminal shows. detailed: those that have intervals. drawn: those that the page draws,
    all of them, or where some have no intervals only the clean ones, since drawings are most of a page's bytes.
    left_out: the number of tables that a terminal leaves out.
    """

    printed: frozenset[str]
    detailed: frozenset[str]
    drawn: frozenset[str]
    left_out: int


def select(scored: Sequence[Scored]) -> Selection:
    """Choose the data sets to bring forward; one is clean where its manifest is of no variant."""
    manifests = manifests_of(scored)
    clean = {name for name, manifest in manifests.items() if not manifest.variant_of and not manifest.condition}
    kinds: dict[tuple[str, str], set[str]] = {}
    for name in manifests.keys() - clean:
        kinds.setdefault(_kind(manifests[name]), set()).add(name)
    few = {name for names in kinds.values() if len(names) <= MOST_VARIANTS for name in names}
    tables = {table_key(one.record) for one in scored}
    printed = set(manifests)
    if len(tables) > MOST_TABLES:
        printed = clean or set(sorted(manifests)[:1])  # never nothing at all
    left_out = sum(dataset not in printed for dataset, *_ in tables)
    detailed = clean | few
    drawn = detailed if len(detailed) == len(manifests) else clean
    return Selection(frozenset(printed), frozenset(detailed), frozenset(drawn), left_out)


def _kind(manifest: Manifest) -> tuple[str, str]:
    """Return what variants are counted by: their clean data set and the change, all corruptions being one."""
    return manifest.variant_of, "corruption" if manifest.corruption else manifest.condition
