"""What a report of many data sets brings forward: the clean ones, and variants where they are few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trustcache.data.manifest import Manifest
from trustcache.paper.evidence import Evidence
from trustcache.paper.shown import Shown
from trustcache.report.records import Scored
from trustcache.report.tables import table_key

MOST_TABLES = 8
"""With more tables than this a terminal prints those of clean data sets alone."""
MOST_VARIANTS = 8
"""More corruptions (or attacks, or styles) of one data set than this have no intervals."""

SUMMARIES = ("table-a1", "table-e")
"""The paper's tables that have a row of means over corruptions, or a line a variant."""


@dataclass(frozen=True)
class Foreground:
    """Names of data sets, of those that anything is scored on.

    printed: those whose tables a terminal shows. detailed: those that have intervals. drawn: those that the page draws,
    all of them, or where some have no intervals only the clean ones, since drawings are most of a page's bytes.
    tables: how many tables there are of the data sets that are not printed.
    """

    printed: frozenset[str]
    detailed: frozenset[str]
    drawn: frozenset[str]
    tables: int

    def elsewhere(self, shown: Sequence[Shown]) -> str:
        """Where the tables are that a terminal leaves out, a sentence; empty where it prints all.

        `shown` are the paper's, of which those that sum up variants are named where they are begun.
        """
        if not self.tables:
            return ""
        told = (
            f"{self.tables:,} more tables, of variants, are in report.md and index.html, and all figures in results.csv"
        )
        keys = [one.key for one in shown if one.begun and one.key in SUMMARIES]
        return f"{told}. In short: trustcache report --only {','.join(keys)}" if keys else f"{told}."


def foreground(scored: Sequence[Scored]) -> Foreground:
    """What stands in front where `scored` are shown; a data set is clean where its manifest is of no variant."""
    manifests = Evidence(scored).manifests
    clean = {name for name, manifest in manifests.items() if _is_clean(manifest)}
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
    return Foreground(frozenset(printed), frozenset(detailed), frozenset(drawn), left_out)


def _is_clean(manifest: Manifest) -> bool:
    return not manifest.variant_of and not manifest.condition


def _kind(manifest: Manifest) -> tuple[str, str]:
    """What variants are counted by: whose they are, and what was done to them, all corruptions being one."""
    return manifest.variant_of, "corruption" if "/" in manifest.condition else manifest.condition
