"""Table A1: every corruption at every severity, and the mean over them, which says over how many it goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from trustcache.data.manifest import Manifest
from trustcache.paper.commands import Need, commands
from trustcache.paper.comparisons import METRICS, heads, row_label, value, values
from trustcache.paper.evidence import Evidence, Found, Method, Stage, known_manifests, pair_name
from trustcache.paper.needs import extraction, needs_of
from trustcache.paper.shown import MISSING, Line, PaperGrid
from trustcache.protocols import PROTOCOLS

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

    def grids(self, evidence: Evidence) -> tuple[PaperGrid, ...]:
        """A grid for each stage and family of corrupted sets; those from files and those made here are never mixed."""
        made = [
            self._grid(evidence, stage, family)
            for stage in evidence.stages()
            for family in dict.fromkeys(m.family for m in _corrupted(evidence.variants(stage.data)))
        ]
        return tuple(grid for grid in made if any(line.kind == "ours" and not line.missing for line in grid.lines))

    def _grid(self, evidence: Evidence, stage: Stage, family: str) -> PaperGrid:
        pair = evidence.first_pair(stage)
        here = {m.condition: m.name for m in _corrupted(evidence.variants(stage.data)) if m.family == family}
        known = PROTOCOLS[stage.protocol].losses
        lines: list[Line] = []
        means: list[Line] = []
        needs: list[Need] = []
        for method in (method for method in self.methods if method.loss in known):
            rows = {c: evidence.find(stage, here[c], pair, method) for c in CONDITIONS if c in here}
            for condition, found in rows.items():
                needs += needs_of(evidence, stage, here[condition], pair, method, found)
                lines.append(_line(condition, method, found))
            means.append(_mean(method, [found for found in rows.values() if found], len(_expected(family))))
        lines.sort(key=lambda line: CONDITIONS.index("/".join(line.labels[:2])))
        notes = list(_absent(here, _expected(family)))
        if notes:
            needs.append(extraction(evidence, pair[1], (family,)))
        subject = f"{replace(stage, data=family)} · {pair_name(pair)}"
        columns = tuple(heads(METRICS, stage.protocol))
        labels, rows_shown = ("corruption", "severity", "method"), (*means, *lines)
        return PaperGrid(subject, labels, columns, rows_shown, tuple(notes), commands(needs, evidence.place))


def _corrupted(manifests: Sequence[Manifest]) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest.condition in CONDITIONS]


def _expected(family: str) -> list[str]:
    """The paper's conditions that a family has as trustcache knows it, else all of them."""
    known = [m.condition for m in known_manifests() if m.family == family and m.condition in CONDITIONS]
    return known or [*CONDITIONS]


def _line(condition: str, method: Method, found: Found | None) -> Line:
    labels = condition.split("/")
    if found is None:
        return Line((*labels, method.label), (MISSING,) * len(METRICS))
    return Line((*labels, row_label(method, found)), values(METRICS, found), seeds=len(found.seeds))


def _mean(method: Method, founds: Sequence[Found], expected: int) -> Line:
    """The mean over data sets, seed by seed, of those seeds that have scored all of them."""
    counted = "all" if len(founds) == expected else f"{len(founds)} of"
    labels = (f"mean of {counted} {expected} sets", "")
    seeds = sorted(set.intersection(*(set(found.seeds) for found in founds))) if founds else []
    if not seeds:
        return Line((*labels, method.label), (MISSING,) * len(METRICS), "mean")
    cells = []
    for column in METRICS.values():
        by_seed = []
        for seed in seeds:
            figures = [column.of(found.scored[found.seeds.index(seed)]) for found in founds]
            by_seed.append(sum(figures) / len(figures))
        cells.append(value(by_seed, column))
    return Line((*labels, row_label(method, founds[0], len(seeds))), tuple(cells), "mean", len(seeds))


def _absent(here: dict[str, str], expected: Sequence[str]) -> Iterator[str]:
    """Which sets are not here, in one line."""
    lacking: dict[str, list[str]] = {}
    for condition in expected:
        if condition not in here:
            name, severity = condition.split("/")
            lacking.setdefault(name, []).append(severity)
    if lacking:
        named = ", ".join(
            name if len(lacking[name]) == len(SEVERITIES) else f"{name} {' '.join(lacking[name])}" for name in lacking
        )
        count = sum(map(len, lacking.values()))
        yield f"{count} of {len(expected)} sets are not extracted, and the mean goes over the others only: {named}."
