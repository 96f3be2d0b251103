"""Intervals: every row of the tables with the bootstrap's, and its difference to the classifier's own confidence."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trustcache.metrics.bootstrap import LEVEL, RESAMPLES, interval
from trustcache.report.grids import Grid
from trustcache.report.records import Record
from trustcache.report.resampled import Resampler
from trustcache.report.tables import Row, Table, build_tables, entry_name, heading, higher_is_better, row_key, table_key

BASELINE = "mcp"
DIFFERENCES = ("auc", "aupr_error", "fpr_at_95_tpr", "aurc")
"""The metrics whose differences the tables show; intervals.json has all."""
MARKS = {"better": "▲", "worse": "▼", "undecided": "○"}
READING = (
    f"Percent, and points of difference to {BASELINE}, each with its {100 * LEVEL:g} % interval: {RESAMPLES:,} "
    "resamples of the test samples, the same for all methods and seeds. ▲ better and ▼ worse than mcp, the whole "
    "interval on one side; ○ undecided. Intervals are of the mean over seeds; they do not tell how other seeds would "
    "differ, and each stands for itself: of twenty differences of nothing one passes for something."
)


@dataclass(frozen=True)
class Estimate:
    """A figure, as a fraction, and the ends of its interval; nan where there is none."""

    value: float
    low: float
    high: float

    def verdict(self, higher_is_better: bool | None) -> str | None:
        """What a difference says: "better", "worse" or "undecided"; None where it or its direction is undefined."""
        if higher_is_better is None or not math.isfinite(self.low + self.high):
            return None
        if self.low <= 0 <= self.high:
            return "undecided"
        return "better" if (self.low > 0) == higher_is_better else "worse"


@dataclass(frozen=True)
class Compared:
    """A row of a table: by metric its figure, and, but for mcp's own row, its difference to mcp's."""

    table: Table
    row: Row
    figures: dict[str, Estimate]
    differences: dict[str, Estimate]

    def verdict(self, key: str) -> str | None:
        found = self.differences.get(key)
        return found.verdict(higher_is_better(key, self.table.protocol)) if found else None


def compare(records: Sequence[Record], resampler: Resampler) -> list[Compared]:
    """Every row of every table, in their order. Raises what reading scores raises."""
    by_cache: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        by_cache.setdefault((record.classifier, record.dataset), []).append(record)
    draws: dict[object, list[dict[str, np.ndarray]]] = {}
    for group in by_cache.values():
        for record, values in zip(group, resampler.metrics(group), strict=True):
            draws.setdefault((table_key(record), row_key(record)), []).append(values)
    found = []
    for table in build_tables(records):
        name = table.dataset, table.classifier, table.protocol
        rows = {row_key(row): _mean(draws[name, row_key(row)]) for row in table.rows}
        # A run that learnt from one half of these data is compared on the other, where the table has mcp of that half.
        baselines = {_half(row): row for row in table.rows if row.method == BASELINE}
        whole = baselines.get(None)
        found += [_compared(table, row, baselines.get(_half(row), whole), rows) for row in table.rows]
    return found


def _half(row: Row) -> float | str | None:
    return dict(row.settings).get("rows")


def _mean(seeds: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {key: np.mean([values[key] for values in seeds], axis=0) for key in seeds[0]}


def _compared(table: Table, row: Row, baseline: Row | None, draws: Mapping[Any, dict[str, np.ndarray]]) -> Compared:
    own = draws[row_key(row)]
    values = {key: cell.mean for key, cell in row.cells.items() if key in own}
    figures = {key: _estimate(value, own[key]) for key, value in values.items()}
    if baseline is None or baseline is row:
        return Compared(table, row, figures, {})
    other = draws[row_key(baseline)]
    differences = {
        key: _estimate(value - baseline.cells[key].mean, own[key] - other[key])
        for key, value in values.items()
        if key != "accuracy"
    }
    return Compared(table, row, figures, differences)


def _estimate(value: float, drawn: np.ndarray) -> Estimate:
    # A score without a threshold has no TPR, whatever lies above 0 in it.
    return Estimate(value, *(interval(drawn) if math.isfinite(value) else (math.nan, math.nan)))


def interval_grids(compared: Sequence[Compared]) -> list[Grid]:
    """A grid a table: the AUC, and how AUC, AUPR-Error, FPR@95 and AURC differ from mcp's."""
    by_table: dict[tuple[str, str, str], list[Compared]] = {}
    for one in compared:
        by_table.setdefault((one.table.dataset, one.table.classifier, one.table.protocol), []).append(one)
    return [_grid(group) for group in by_table.values()]


def _grid(group: list[Compared]) -> Grid:
    table = group[0].table
    several = len({one.row.oracle for one in group if one.row.oracle}) > 1
    return Grid(
        title=f"{table.dataset}: against the classifier's own confidence",
        facts=table.facts,
        heads=("Method", "AUC ↑", *(f"Δ {heading(key, table.protocol)}" for key in DIFFERENCES)),
        rows=tuple((entry_name(one.row, with_oracle=several), *_cells(one)) for one in group),
        marked=frozenset(i for i, one in enumerate(group) if one.row.method == BASELINE),
        said=(_summary(group), READING, *_without(group)),
    )


def _cells(one: Compared) -> Iterator[str]:
    yield _shown(one.figures.get("auc"), ".2f")
    for key in DIFFERENCES:
        yield _shown(one.differences.get(key), "+.2f", MARKS.get(one.verdict(key) or "", ""))


def _shown(estimate: Estimate | None, form: str, mark: str = "") -> str:
    """Figure and mark, and on a second line the interval."""
    if estimate is None or not math.isfinite(estimate.value):
        return "–"
    value, low, high = (f"{100 * end:{form}}" for end in (estimate.value, estimate.low, estimate.high))
    interval_too = [f"[{low}, {high}]"] if math.isfinite(estimate.low) else []
    return "\n".join([f"{value} {mark}".strip(), *interval_too])


def _summary(group: list[Compared]) -> str:
    """How many rows are better, worse or undecided by AUC and by AURC."""
    parts = []
    for key in ("auc", "aurc"):
        counted = Counter(verdict for one in group if (verdict := one.verdict(key)))
        parts.append(f"by {key.upper()} {', '.join(f'{counted[word]} {word}' for word in MARKS)}")
    return f"Against {BASELINE}: {'; '.join(parts)}."


def _without(group: list[Compared]) -> Iterator[str]:
    """Why figures have no interval."""
    table = group[0].table
    if table.protocol == "released":
        yield (
            "FPR@95 has no interval here: whether one of the released code's 10,000 thresholds comes close enough to "
            "a TPR of 95 % is luck, and another on each resample."
        )
    if any(math.isfinite(auc.value) > math.isfinite(auc.low) for one in group if (auc := one.figures.get("auc"))):
        yield "AUC and others have no interval here: there are so few right or wrong samples that resamples hold none."


def intervals_json(compared: Sequence[Compared]) -> str:
    """Every row with all its intervals as fractions: a JSON list, null where a value is not finite."""
    return json.dumps([_plain(one) for one in compared], indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(one: Compared) -> dict[str, object]:
    table, row = one.table, one.row
    return {
        "dataset": table.dataset,
        "classifier": table.classifier,
        "oracle": row.oracle,
        "method": row.method,
        "training": row.training,
        "protocol": table.protocol,
        "settings": dict(row.settings),
        "seeds": row.seeds,
        "n": table.n,
        "resamples": RESAMPLES,
        "level": LEVEL,
        "intervals": {key: [_finite(e.low), _finite(e.high)] for key, e in one.figures.items()},
        "difference_to_mcp": {
            key: [_finite(e.value), _finite(e.low), _finite(e.high)] for key, e in one.differences.items()
        },
        "verdict": {key: one.verdict(key) for key in one.differences},
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
