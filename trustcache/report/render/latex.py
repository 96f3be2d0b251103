"""The tables as LaTeX, to be read into a paper with \\input; none is wider than its text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len

from trustcache.errors import visible
from trustcache.report.contents import Contents
from trustcache.report.render.templates import render
from trustcache.report.table import LEGEND, Table

_LONGEST = 32
"""Rows that fit on a page; longer tables go over several."""
_WIDEST_LABEL = 36
"""Characters of a label before it is broken into lines."""
_PAGE = 345.0
"""Points between the margins of an article, for tables of several pages; others are scaled to whatever there is."""
_NUMBERED = re.compile(r"^((?:Table|Figure|Theorem) \S+): ")
"""A number in the paper, which does not stand for LaTeX's own."""
_SIZES = {r"\footnotesize": 4.5, r"\scriptsize": 3.9, r"\tiny": 3.0}
"""Font sizes with the points that a character takes, somewhat more than on average."""
_GAP = 4.0

# fmt: off
_SPECIAL = {mark: "\\" + mark for mark in "#$%&_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "’": "'", "–": "--", "−": "$-$",
    "±": r"$\pm$", "·": r"$\cdot$", "×": r"$\times$", "≥": r"$\geq$", "○": r"$\circ$",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "▲": r"$\blacktriangle$", "▼": r"$\blacktriangledown$",
    "⟨": r"$\langle$", "⟩": r"$\rangle$", "‖": r"$\Vert$", "⁺": "$^{+}$", "⁻": "$^{-}$", "R̂": r"$\hat{R}$",
    "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$", "δ": r"$\delta$", "Δ": r"$\Delta$", "λ": r"$\lambda$",
    "□": r"\fbox{\rule{0pt}{2pt}\rule{2pt}{0pt}}",
}
# fmt: on


def tables_latex(contents: Contents) -> str:
    """Return every table of the report, one after the other; commands that fill gaps follow their table as comments.

    Labels are `tab:` and the key of the exhibit, such as tab:table1; its second table is tab:table1-2.
    """
    seen, tables = Counter[str](), []
    for key, title, table in contents.every_table():
        seen[key] += 1
        label = key if seen[key] == 1 else f"{key}-{seen[key]}"
        tables.append(_part(key, title, table) | {"label": f"tab:{label}"})
    return render("tables.tex", {}, tables=tables)


def table_latex(table: Table) -> str:
    """Return one table, without the lines about what it needs."""
    whole = render("tables.tex", {}, tables=[_part("table", "", table)])
    return whole.partition("% table\n")[2].strip() + "\n"


def escaped(text: str) -> str:
    """Return text as LaTeX sets it: special characters escaped, the signs of the tables as mathematics."""
    marks = "|".join(re.escape(mark) for mark in sorted(_SPECIAL, key=len, reverse=True))
    return re.sub(marks, lambda match: _SPECIAL[match[0]], visible(" ".join(text.split())))


def _part(key: str, title: str, table: Table) -> dict[str, Any]:
    """Return a table as the template sets it; rows are finished lines."""
    heads = [*table.labels, *table.heads]
    labels = [_widest(head, [row.labels[i] for row in table.rows]) for i, head in enumerate(table.labels)]
    values = [_widest(head, [str(row.cells[i]) for row in table.rows]) for i, head in enumerate(table.heads)]
    characters = sum(min(width, _WIDEST_LABEL) for width in labels) + sum(values)
    room = _PAGE - _GAP * len(heads)
    size = next((size for size, points in _SIZES.items() if characters * points <= room), [*_SIZES][-1])
    broken = rf">{{\raggedright\arraybackslash}}p{{{_WIDEST_LABEL * _SIZES[size]:.0f}pt}}"
    columns = "".join("l" if width <= _WIDEST_LABEL else broken for width in labels) + "r" * len(values)
    rows: list[str] = []
    for texts, starts in zip(table.texts(_bold), table.starts_block(), strict=True):
        rows += ["\\addlinespace"] if starts else []
        rows.append(" & ".join(texts) + r" \\")
    notes = [*([f"{LEGEND}."] if table.has_gaps else []), *table.notes]
    number = rf"{'' if table.papers else 'Like '}\1 of the paper: "
    titles = dict.fromkeys(_NUMBERED.sub(number, text) for text in (title, table.title))
    caption = escaped(". ".join(filter(None, (*titles, table.facts))))
    head, text = " & ".join(map(escaped, heads)) + r" \\", " ".join(map(escaped, notes))
    fits = characters * _SIZES[size] <= room
    long = len(table.rows) > _LONGEST and fits
    # Only what is on one page can be scaled, so that a table both long and wide is several, each
    # set before the next: LaTeX holds only so many back.
    rows_a_page = len(rows) if fits else _LONGEST
    pages = [rows[at : at + rows_a_page] for at in range(0, len(rows), rows_a_page or 1)] or [[]]
    parts = {"key": key, "caption": caption, "size": size, "columns": columns, "head": head, "rows": rows}
    return parts | {"label": "", "pages": pages, "notes": text, "commands": table.commands, "long": long}


def _widest(head: str, texts: Sequence[str]) -> int:
    return max(map(cell_len, (head, *texts)))


def _bold(text: str, bold: bool) -> str:
    return rf"\textbf{{{escaped(text)}}}" if bold and text.strip() else escaped(text)
