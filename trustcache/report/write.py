"""The report's files: Markdown, LaTeX, CSV, JSON and the page, each replaced whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from trustcache.cache.publish import publish
from trustcache.report.contents import Contents
from trustcache.report.records import Record, plain
from trustcache.report.render.csv import results_csv, tables_csv
from trustcache.report.render.html import page
from trustcache.report.render.latex import tables_latex
from trustcache.report.render.markdown import report_markdown


def write_report(folder: Path, contents: Contents, files: Mapping[str, str] = MappingProxyType({})) -> list[Path]:
    """Write the report's files and `files` (text by name) to a folder, and return their paths but for the figures'.

    Everything is rendered before anything is written. Raises OSError where a file cannot be written, and ValueError on
    a histogram that lacks a group.
    """
    texts = {
        "report.md": report_markdown(contents),
        "tables.tex": tables_latex(contents),
        "tables.csv": tables_csv(contents),
        "results.csv": results_csv(contents.records),
        "results.json": results_json(contents.records),
        "index.html": page(contents),
        **files,
    }
    figures = {name: figure.svg for name, figure in contents.figure_files.items()}
    for name, text in (texts | figures).items():
        publish(folder / name, text.encode())
    for stale in folder.glob("figures/*.svg"):
        if f"figures/{stale.name}" not in figures:
            stale.unlink()
    return [folder / name for name in texts]


def results_json(records: Sequence[Record]) -> str:
    """Return the records as a JSON list, metrics as fractions; null stands where a value is not finite."""
    return json.dumps([*map(plain, records)], indent=2, ensure_ascii=False, allow_nan=False) + "\n"
