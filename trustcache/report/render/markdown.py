"""The report as GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from collections.abc import Callable

from trustcache.errors import visible
from trustcache.report.contents import Contents
from trustcache.report.render.templates import render
from trustcache.report.table import Table


def report_markdown(contents: Contents) -> str:
    """Return the whole report as one document."""
    filters: dict[str, Callable[..., str]] = {"escaped": escaped, "grid": grid}
    text = render("report.md", filters, contents=contents)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def grid(table: Table) -> str:
    """Return the lines of a table; the best values and marked rows are bold."""
    heads = [*table.labels, *table.heads]
    lines = [[escaped(head) for head in heads]]
    lines.append(["---"] * len(table.labels) + ["---:"] * len(table.columns))
    lines += table.texts(_bold)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _bold(text: str, bold: bool) -> str:
    return f"**{escaped(text)}**" if bold and text else escaped(text)


def escaped(text: str, kept: str = "") -> str:
    """Return text that Markdown shows as it is, on one line; underscores within words need no escape."""
    one_line = visible(" ".join(text.split()))
    special = "".join(mark for mark in r"\`*|<>[]&~#" if mark not in kept)
    return re.sub(rf"[{re.escape(special)}]|\b_|_\b", r"\\\g<0>", one_line)
