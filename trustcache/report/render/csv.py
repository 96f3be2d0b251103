"""Every table as one long CSV, and every record as another."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence

from trustcache.cache.versions import trustcache_version
from trustcache.errors import spreadsheet_cell
from trustcache.metrics.ranking import METRICS
from trustcache.report.contents import Contents
from trustcache.report.records import ID_FIELDS, VERSION, Record, plain
from trustcache.report.table import Cell

_HEAD = (
    "artefact",
    "subject",
    "row",
    "column",
    "kind",
    "state",
    "mean",
    "std",
    "low",
    "high",
    "seeds",
    "unit",
    VERSION,
)


def tables_csv(contents: Contents) -> str:
    """Return a line a cell of every table: numbers in the unit given, empty where the state is not "measured"."""
    version = trustcache_version()
    return _csv(
        _HEAD,
        (
            [key, table.title, _joined(row.labels), head, row.kind, *_numbers(cell, row.seeds), version]
            for key, _, table in contents.every_table()
            for row in table.rows
            for head, cell in zip(table.heads, row.cells, strict=True)
        ),
    )


def _joined(labels: Iterable[str]) -> str:
    return " / ".join(label.strip() for label in labels if label)


def _numbers(cell: Cell, seeds: int) -> list[object]:
    """Return state, mean, std, ends of the interval, seeds and unit."""
    state = "not run" if cell.missing else "undefined" if cell.undefined else "measured"
    numbers = [cell.mean, cell.std, *(cell.interval or (None, None))]
    if state != "measured":
        numbers = [None] * 4
    # A text stands for a number that is no fraction.
    scale = 1.0 if cell.text else cell.scale
    written = ["" if number is None else repr(float(scale * number)) for number in numbers]
    return [state, *written, seeds or "", "percent" if scale == 100 and not cell.missing else ""]


def results_csv(records: Sequence[Record]) -> str:
    """Return a line a record: its ids, its settings as JSON, and every metric as a fraction in full precision.

    A value that is not finite or not there is an empty cell.
    """
    keys = [*METRICS, *sorted({key for record in records for key in record.metrics} - METRICS.keys())]
    lines = []
    for record in map(plain, records):
        settings = json.dumps(record["settings"], ensure_ascii=False, allow_nan=False)
        ids = [settings if name == "settings" else record[name] for name in ID_FIELDS]
        lines.append([*ids, *(record["metrics"].get(key) for key in keys), record[VERSION]])
    return _csv([*ID_FIELDS, *keys, VERSION], lines)


def _csv(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(map(spreadsheet_cell, line) for line in lines)
    return file.getvalue()
