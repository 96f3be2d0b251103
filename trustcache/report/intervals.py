"""Intervals: every row of the tables with the bootstrap's, and its difference to the classifier's own confidence."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import numpy as np

from trustcache.cache.versions import trustcache_version
from trustcache.metrics.bootstrap import LEVEL, RESAMPLES, interval
from trustcache.report.comparison import Average, Comparison, column, compare_methods, higher_is_better
from trustcache.report.names import BASELINE, entry_name
from trustcache.report.records import VERSION, Record, finite
from trustcache.report.table import Cell, Row, Table

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
        """Return "better", "worse" or "undecided" for a difference; None where it or its direction is undefined."""
        if higher_is_better is None or not math.isfinite(self.low + self.high):
            return None
        if self.low <= 0 <= self.high:
            return "undecided"
        return "better" if (self.low > 0) == higher_is_better else "worse"


@dataclass(frozen=True)
class Compared:
    """A row of a comparison: by metric its figure, and, but for mcp's own row, its difference to mcp's."""

    table: Comparison
    row: Average
    figures: dict[str, Estimate]
    differences: dict[str, Estimate]

    def verdict(self, key: str) -> str | None:
        found = self.differences.get(key)
        return found.verdict(higher_is_better(key, self.table.protocol)) if found else None


class Resampling(Protocol):
    """Resampling of records, as `Resampler` does those of a workspace."""

    def metrics(self, records: Sequence[Record]) -> list[dict[str, np.ndarray]]:
        """Return each record's metrics on every resample, float64 (R,); the records are of one cache."""
        ...


def compare(records: Sequence[Record], resampler: Resampling) -> list[Compared]:
    """Return every row of every comparison with its intervals. Raises what reading scores raises."""
    by_cache: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        by_cache.setdefault((record.classifier, record.dataset), []).append(record)
    draws: _Draws = {}
    for group in by_cache.values():
        draws |= zip(group, resampler.metrics(group), strict=True)
    found = []
    for table in compare_methods(records):
        # A run that learnt from one half of these data is compared on the other, where the table has mcp of that half.
        baselines = {_half(row): row for row in table.rows if row.record.method == BASELINE}
        whole = baselines.get(None)
        found += [_compared(table, row, baselines.get(_half(row), whole), draws) for row in table.rows]
    return found


_Draws = dict[Record, dict[str, np.ndarray]]
"""The resampled metrics of each record."""


def _half(row: Average) -> float | str | None:
    return row.record.settings.get("rows")


def _compared(table: Comparison, row: Average, baseline: Average | None, draws: _Draws) -> Compared:
    def drawn(row: Average, key: str) -> np.ndarray:
        return np.mean([draws[record][key] for record in row.records], axis=0)

    keys = [key for key in row.cells if key in draws[row.record]]
    figures = {key: _estimate(row.value(key), drawn(row, key)) for key in keys}
    if baseline is None or baseline is row:
        return Compared(table, row, figures, {})
    differences = {
        key: _estimate(row.value(key) - baseline.value(key), drawn(row, key) - drawn(baseline, key))
        for key in keys
        if key != "accuracy"
    }
    return Compared(table, row, figures, differences)


def _estimate(value: float, drawn: np.ndarray) -> Estimate:
    # A score without a threshold has no TPR, whatever lies above 0 in it.
    return Estimate(value, *(interval(drawn) if math.isfinite(value) else (math.nan, math.nan)))


def interval_tables(compared: Sequence[Compared]) -> list[Table]:
    """Return a table a comparison: the AUC, and how AUC, AUPR-Error, FPR@95 and AURC differ from mcp's."""
    return [_table(list(group)) for _, group in groupby(compared, key=lambda one: one.table)]


def _table(group: list[Compared]) -> Table:
    table = group[0].table
    rows = [
        Row(
            (entry_name(one.row.record, with_oracle=table.several_oracles),),
            (_cell(one.figures.get("auc")), *(difference_cell(one, key) for key in DIFFERENCES)),
            "marked" if one.row.record.method == BASELINE else "ours",
            one.row.seeds,
        )
        for one in group
    ]
    title = f"{table.title}: against the classifier's own confidence"
    columns = column("auc", table.protocol), *(column(key, table.protocol, "Δ ") for key in DIFFERENCES)
    notes = _summary(group), READING, *_without(group)
    return Table(title, table.facts, ("Method",), columns, tuple(rows), notes, data=table.dataset)


def difference_cell(one: Compared, key: str) -> Cell:
    """Return the difference of a row to mcp in one metric, with its interval and the sign of the verdict."""
    return _cell(one.differences.get(key), signed=True, mark=MARKS.get(one.verdict(key) or "", ""))


def _cell(estimate: Estimate | None, **written: Any) -> Cell:
    if estimate is None or not math.isfinite(estimate.value):
        return Cell(math.nan)
    ends = (estimate.low, estimate.high) if math.isfinite(estimate.low) else None
    return Cell(estimate.value, interval=ends, **written)


def _summary(group: list[Compared]) -> str:
    """Count the rows that are better, worse or undecided by AUC and by AURC."""
    parts = []
    for key in ("auc", "aurc"):
        counted = Counter(verdict for one in group if (verdict := one.verdict(key)))
        parts.append(f"by {key.upper()} {', '.join(f'{counted[word]} {word}' for word in MARKS)}")
    return f"Against {BASELINE}: {'; '.join(parts)}."


def _without(group: list[Compared]) -> Iterator[str]:
    """Yield the reasons why figures have no interval."""
    table = group[0].table
    if table.protocol == "released":
        yield (
            "FPR@95 has no interval here: whether one of the released code's 10,000 thresholds comes close enough to "
            "a TPR of 95 % is luck, and another on each resample."
        )
    if any(math.isfinite(auc.value) > math.isfinite(auc.low) for one in group if (auc := one.figures.get("auc"))):
        yield "AUC and others have no interval here: there are so few right or wrong samples that resamples hold none."


def intervals_json(compared: Sequence[Compared]) -> str:
    """Return every row with all its intervals as fractions: a JSON list, null where a value is not finite."""
    return json.dumps([_plain(one) for one in compared], indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(one: Compared) -> dict[str, object]:
    ids = ("dataset", "classifier", "oracle", "method", "training", "protocol")
    return {
        **{key: getattr(one.row.record, key) for key in ids},
        "settings": dict(sorted(one.row.record.settings.items())),
        "seeds": one.row.seeds,
        "n": one.table.n,
        "resamples": RESAMPLES,
        "level": LEVEL,
        "intervals": {key: [finite(e.low), finite(e.high)] for key, e in one.figures.items()},
        "difference_to_mcp": {k: [finite(e.value), finite(e.low), finite(e.high)] for k, e in one.differences.items()},
        "verdict": {key: one.verdict(key) for key in one.differences},
        VERSION: trustcache_version(),
    }
