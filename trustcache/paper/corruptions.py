"""Table A1: every corruption at every severity, and the mean over them, which says over how many it goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter

from trustcache.command_lines import Command, merged
from trustcache.data.known_data import packaged_manifests
from trustcache.data.manifest import Manifest
from trustcache.data.variants.corruptions import COMMON, SEVERITIES
from trustcache.paper.comparisons import COLUMNS, begun, heads, key_to_figures, row_label, table_row
from trustcache.paper.figures import FOUR
from trustcache.paper.gaps import extraction, fill
from trustcache.paper.paper_index import Found, Method, PaperIndex, Setup, pair_name
from trustcache.protocols import PROTOCOLS
from trustcache.report.footnotes import footnotes
from trustcache.report.table import Row, Table, grouped_table

CONDITIONS = {f"{name}/{severity}": (name, str(severity)) for name in COMMON for severity in SEVERITIES}
"""The corruption and severity of each of the paper's conditions, in ImageNet-C's order."""


def corruption_tables(paper: PaperIndex) -> tuple[Table, ...]:
    """Return a table for each setup and family of sets; sets from files and sets made here are never mixed.

    It has a row for each corrupted set and loss, and one a loss for the mean; of the first pair only.
    """
    return begun(
        _table(paper, setup, family)
        for setup in paper.setups()
        for family in dict.fromkeys(m.family for m in paper.variants(setup.data) if m.condition in CONDITIONS)
    )


def _table(paper: PaperIndex, setup: Setup, family: str) -> Table:
    pair, here = paper.first_pair(setup), _by_condition(paper.variants(setup.data), family)
    expected = list(_by_condition(packaged_manifests(), family)) or [*CONDITIONS]
    rows: list[Row] = []
    means: list[Row] = []
    every: list[Found] = []
    commands: list[Command] = []
    for method in (method for method in FOUR if method.loss in PROTOCOLS[setup.protocol].losses):
        founds = {condition: paper.find(setup, name, pair, method) for condition, name in here.items()}
        every += [found for found in founds.values() if found]
        for condition, found in founds.items():
            commands += fill(paper, setup, here[condition], pair, method, found)
            rows.append(table_row(CONDITIONS[condition], method, found, COLUMNS))
        means.append(_mean(method, [found for found in founds.values() if found], len(expected)))
    rows.sort(key=lambda row: [*CONDITIONS].index("/".join(row.labels[:2])))
    notes = list(_absent([CONDITIONS[c] for c in expected if c not in here], len(expected)))
    commands += [extraction(paper, pair[1], (family,))] if notes else []
    told = footnotes([one.record for found in every for one in found.scored], COLUMNS)
    notes = [key_to_figures(every), *notes, *told]
    title, labels = f"{replace(setup, data=family)} · {pair_name(pair)}", ("corruption", "severity", "method")
    lines = merged(commands, paper.place)
    return grouped_table(title, labels, heads(COLUMNS, setup.protocol), (*means, *rows), notes, lines)


def _by_condition(manifests: Sequence[Manifest], family: str) -> dict[str, str]:
    """Return the names of a family's data sets by condition, in the paper's order."""
    names = {m.condition: m.name for m in manifests if m.family == family}
    return {condition: names[condition] for condition in CONDITIONS if condition in names}


def _mean(method: Method, founds: Sequence[Found], expected: int) -> Row:
    """Return the mean over data sets, seed by seed, of those seeds that have scored all of them."""
    counted = "all" if len(founds) == expected else f"{len(founds)} of"
    labels = (f"mean of {counted} {expected} sets", "")
    seeds = sorted(set.intersection(*(set(found.seeds) for found in founds))) if founds else []
    if not seeds:
        return table_row(labels, method, None, COLUMNS, "mean")
    means = []
    for column in COLUMNS.values():
        by_seed = [[column.of(found.scored[found.seeds.index(seed)]) for found in founds] for seed in seeds]
        means.append(column.cell([sum(values) / len(values) for values in by_seed]))
    return Row((*labels, row_label(method, founds[0], len(seeds))), tuple(means), "mean", len(seeds))


def _absent(sets: Sequence[tuple[str, str]], expected: int) -> Iterator[str]:
    """Name the sets that are not here, in one line."""
    lacking = {name: [severity for _, severity in them] for name, them in groupby(sets, key=itemgetter(0))}
    if lacking:
        named = (name if len(them) == len(SEVERITIES) else f"{name} {' '.join(them)}" for name, them in lacking.items())
        yield (
            f"{len(sets)} of {expected} sets are not extracted, and the mean goes over the others only: "
            f"{', '.join(named)}."
        )
