"""Table A1: every corruption at every severity, and the mean over them, which says over how many it goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from trustcache.command_lines import Command, merged
from trustcache.data.manifest import Manifest
from trustcache.paper.comparisons import COLUMNS, begun, heads, row_label, table_row
from trustcache.paper.gaps import extraction, fill
from trustcache.paper.paper_index import Found, Method, PaperIndex, Setup, known_manifests, pair_name
from trustcache.protocols import PROTOCOLS
from trustcache.report.table import Row, Table, grouped_table

PAPERS = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur"),
    *("motion_blur", "zoom_blur", "snow", "frost", "fog"),
    *("brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
"""The corruptions of the paper, in ImageNet-C's order; its four extra ones are not among them."""
SEVERITIES = (1, 2, 3, 4, 5)
CONDITIONS = tuple(f"{name}/{severity}" for name in PAPERS for severity in SEVERITIES)


@dataclass(frozen=True)
class Corruptions:
    """The table's layout: a row a corrupted set and method, and one a method for the mean; the first pair only."""

    methods: Sequence[Method]

    def tables(self, paper: PaperIndex) -> tuple[Table, ...]:
        """Return a table for each setup and family of sets; sets from files and sets made here are never mixed."""
        return begun(
            self._table(paper, setup, family)
            for setup in paper.setups()
            for family in dict.fromkeys(m.family for m in _corrupted(paper.variants(setup.data)))
        )

    def _table(self, paper: PaperIndex, setup: Setup, family: str) -> Table:
        pair, expected = paper.first_pair(setup), _expected(family)
        here = {m.condition: m.name for m in _corrupted(paper.variants(setup.data)) if m.family == family}
        rows: list[Row] = []
        means: list[Row] = []
        commands: list[Command] = []
        for method in (method for method in self.methods if method.loss in PROTOCOLS[setup.protocol].losses):
            by_condition = {c: paper.find(setup, here[c], pair, method) for c in CONDITIONS if c in here}
            for condition, found in by_condition.items():
                commands += fill(paper, setup, here[condition], pair, method, found)
                rows.append(table_row(condition.split("/"), method, found, COLUMNS))
            means.append(_mean(method, [found for found in by_condition.values() if found], len(expected)))
        rows.sort(key=lambda row: CONDITIONS.index("/".join(row.labels[:2])))
        notes = list(_absent(here, expected))
        commands += [extraction(paper, pair[1], (family,))] if notes else []
        return grouped_table(
            f"{replace(setup, data=family)} · {pair_name(pair)}",
            ("corruption", "severity", "method"),
            heads(COLUMNS, setup.protocol),
            (*means, *rows),
            notes,
            merged(commands, paper.place),
        )


def _corrupted(manifests: Sequence[Manifest]) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest.condition in CONDITIONS]


def _expected(family: str) -> list[str]:
    """Return the paper's conditions that a family has as trustcache knows it, else all of them."""
    known = [m.condition for m in known_manifests() if m.family == family and m.condition in CONDITIONS]
    return known or [*CONDITIONS]


def _mean(method: Method, founds: Sequence[Found], expected: int) -> Row:
    """Return the mean over data sets, seed by seed, of those seeds that have scored all of them."""
    counted = "all" if len(founds) == expected else f"{len(founds)} of"
    labels = (f"mean of {counted} {expected} sets", "")
    seeds = sorted(set.intersection(*(set(found.seeds) for found in founds))) if founds else []
    if not seeds:
        return table_row(labels, method, None, COLUMNS, "mean")
    means = []
    for column in COLUMNS.values():
        by_seed = []
        for seed in seeds:
            values = [column.of(found.scored[found.seeds.index(seed)]) for found in founds]
            by_seed.append(sum(values) / len(values))
        means.append(column.cell(by_seed))
    return Row((*labels, row_label(method, founds[0], len(seeds))), tuple(means), "mean", len(seeds))


def _absent(here: dict[str, str], expected: Sequence[str]) -> Iterator[str]:
    """Name the sets that are not here, in one line."""
    lacking: dict[str, list[str]] = {}
    for name, severity in (condition.split("/") for condition in expected if condition not in here):
        lacking.setdefault(name, []).append(severity)
    if lacking:
        named = ", ".join(
            name if len(lacking[name]) == len(SEVERITIES) else f"{name} {' '.join(lacking[name])}" for name in lacking
        )
        count = sum(map(len, lacking.values()))
        yield f"{count} of {len(expected)} sets are not extracted, and the mean goes over the others only: {named}."
