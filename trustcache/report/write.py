"""The report's files: Markdown, CSV, JSON and the page, each replaced whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from trustcache.cache.publish import publish
from trustcache.metrics.ranking import METRICS
from trustcache.paper.latex import tables_latex
from trustcache.paper.long_csv import tables_csv
from trustcache.paper.markdown import paper_markdown
from trustcache.paper.shown import Chart, Shown
from trustcache.report.grids import Grid, grid_markdown
from trustcache.report.markdown import escaped
from trustcache.report.page import page
from trustcache.report.records import Record, Scored
from trustcache.report.tables import COLUMNS, READING, Table, best_rows, build_tables, heading, legend, method_label

_IDS = ("dataset", "classifier", "oracle", "method", "training", "protocol", "seed", "n", "settings", "run")


def write_report(
    folder: Path,
    scored: list[Scored],
    notes: list[str],
    made: dict[str, str],
    paper: Sequence[Shown] = (),
    grids: Sequence[Grid] = (),
    files: Mapping[str, str] = MappingProxyType({}),
) -> list[Path]:
    """Write the report's files to `folder`, and return their paths.

    report.md, results.csv, results.json, index.html and `files` (text by name); of `paper` also tables.tex, paper.csv
    and its figures as SVG.

    Everything is rendered before anything is written. `notes` say what is missing, `made` how the report was
    made; `grids` follow the tables. Raises OSError where a file cannot be written, and ValueError on a histogram that
    lacks a group.
    """
    records = [one.record for one in scored]
    drawn = _figure_files(paper)
    contents = {
        "report.md": report_markdown(records, notes, made, paper, grids),
        "results.csv": results_csv(records),
        "results.json": results_json(records),
        "index.html": page(scored, notes, made, paper, grids),
        **files,
    }
    if paper:
        contents |= {"tables.tex": tables_latex(paper), "paper.csv": tables_csv(paper)}
    figures = {name: chart.svg for name, chart in drawn}
    for name, text in (contents | figures).items():
        publish(folder / name, text.encode())
    for stale in folder.glob("figures/*.svg"):
        if f"figures/{stale.name}" not in figures:
            stale.unlink()
    return [folder / name for name in contents]


def _figure_files(paper: Sequence[Shown]) -> list[tuple[str, Chart]]:
    """The paper's figures with the paths of their files below the report's folder."""
    return [(f"figures/{one.key}-{i}.svg", chart) for one in paper for i, chart in enumerate(one.charts, start=1)]


def report_markdown(
    records: Sequence[Record],
    notes: Sequence[str],
    made: dict[str, str],
    paper: Sequence[Shown] = (),
    grids: Sequence[Grid] = (),
) -> str:
    """All tables as GitHub-flavoured Markdown, then the grids and the paper's, with what is missing."""
    tables = build_tables(records)
    parts = ["# trustcache report"]
    if notes:
        parts.append("**What is missing**\n\n" + "\n".join(f"- {escaped(note, '`')}" for note in notes))
    parts += [_markdown_table(table) for table in tables] or ["Nothing is scored yet."]
    if tables:
        parts.append(f"{READING} The best of each ranking column is bold.")
    parts += map(grid_markdown, grids)
    for title, entries in (legend(tables) if tables else {}).items():
        parts.append(f"**{title}**\n\n" + _definitions(entries))
    if paper:
        parts.append(paper_markdown(paper, _figure_files(paper)))
    parts.append("**How this was made**\n\n" + _definitions(made.items()))
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: Table) -> str:
    heads = ["Method", "Oracle", "Training", "Seeds", *(heading(key, table.protocol) for key in COLUMNS)]
    best = {key: best_rows(table, key) for key in COLUMNS}
    lines = [heads, ["---"] * 3 + ["---:"] * (len(heads) - 3)]
    for i, row in enumerate(table.rows):
        names = method_label(row), row.oracle or "none", row.training or "none"
        cells = [str(row.cells.get(key, "–")) for key in COLUMNS]
        marked = [f"**{cell}**" if i in best[key] else cell for key, cell in zip(COLUMNS, cells, strict=True)]
        lines.append([*map(escaped, names), str(row.seeds), *marked])
    grid = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"## {escaped(table.dataset)}\n\n{escaped(table.facts)}\n\n{grid}"


def _definitions(entries: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- **{escaped(term)}**: {escaped(text)}" for term, text in entries)


def results_csv(records: Sequence[Record]) -> str:
    """One line a record: its ids, its settings as JSON, and every metric as a fraction in full precision.

    A value that is not finite or not there is an empty cell.
    """
    keys = [*METRICS, *sorted({key for record in records for key in record.metrics} - METRICS.keys())]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*_IDS, *keys])
    for record in records:
        plain = _plain(record)
        settings = json.dumps(plain["settings"], ensure_ascii=False, allow_nan=False)
        ids = [settings if name == "settings" else plain[name] for name in _IDS]
        writer.writerow([*ids, *(plain["metrics"].get(key) for key in keys)])
    return file.getvalue()


def results_json(records: Sequence[Record]) -> str:
    """The records as a JSON list, metrics as fractions; null stands where a value is not finite."""
    plain = [_plain(record) for record in records]
    return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(record: Record) -> dict[str, Any]:
    ids = {name: getattr(record, name) for name in _IDS}
    settings = {name: _finite(value) for name, value in sorted(record.settings.items())}
    return {**ids, "settings": settings, "metrics": {key: _finite(value) for key, value in record.metrics.items()}}


def _finite(value: float | str) -> float | str | None:
    """Plain numbers for JSON, which knows neither NumPy's nor those that are not finite."""
    if isinstance(value, str):
        return value
    return float(value) if math.isfinite(value) else None
