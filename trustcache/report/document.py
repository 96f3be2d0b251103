"""A report as plain data, for `trustcache report --json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trustcache.report.answer import Answer
from trustcache.report.build import Report
from trustcache.report.records import plain
from trustcache.report.table import Exhibit, Table


def document(report: Report) -> dict[str, Any]:
    """Return a report's answers, figures (a record a method and data set), exhibits asked for, notes, and files."""
    return {
        "answers": plain_answers(report.contents.answers),
        "results": [*map(plain, report.contents.records)],
        "exhibits": [*map(_exhibit, report.exhibits)],
        "notes": report.contents.notes,
        "paths": report.paths,
    }


def plain_answers(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Return the answers with their lines."""
    return [
        {name: value for name, value in vars(one).items() if name != "rows"}
        | {"probability": one.probability, "lines": one.lines()}
        for one in answers
    ]


def _exhibit(exhibit: Exhibit) -> dict[str, Any]:
    return {"key": exhibit.key, "title": exhibit.title, "tables": [*map(_table, exhibit.tables)]}


def _table(table: Table) -> dict[str, Any]:
    """Return a table's rows as records by the names of its columns."""
    names = [*table.labels, *table.heads]
    rows = [[*row.labels, *(cell.mean if cell.text is None else cell.text for cell in row.cells)] for row in table.rows]
    return {"title": table.title, "columns": names, "rows": rows, "notes": table.notes}
