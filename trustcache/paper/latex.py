"""The paper's tables as LaTeX: a document of article, booktabs, longtable and geometry to take pieces from."""

from __future__ import annotations

import re
from collections.abc import Sequence

from trustcache.paper.shown import LEGEND, PaperGrid, Shown

_PREAMBLE = r"""% Made by trustcache report. Each table needs booktabs, one of several pages longtable as well.
\documentclass{article}
\usepackage[utf8]{inputenc}
\usepackage{booktabs}
\usepackage{longtable}
\usepackage[landscape,margin=1.5cm]{geometry}
\begin{document}
"""
_LONGEST = 32
"""Lines that fit on a page; longer tables go over several."""

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    **{mark: "\\" + mark for mark in "#$%&_"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "⟨": r"$\langle$",
    "⟩": r"$\rangle$",
    "‖": r"$\Vert$",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "–": "--",
    "−": "$-$",
    "□": r"\fbox{\rule{0pt}{2pt}\rule{2pt}{0pt}}",
    "⁺": "$^{+}$",
    "⁻": "$^{-}$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "γ": r"$\gamma$",
    "δ": r"$\delta$",
    "λ": r"$\lambda$",
    "≥": r"$\geq$",
    "R̂": r"$\hat{R}$",
}


def tables_latex(shown: Sequence[Shown]) -> str:
    """Every table that has been begun; the commands that fill its gaps follow as comments."""
    parts = [_PREAMBLE]
    for one in shown:
        parts += [_table(one, grid) for grid in one.grids]
    if len(parts) == 1:
        parts.append("Nothing of the paper's tables has been run yet.\n")
    return "\n".join([*parts, "\\end{document}\n"])


def escaped(text: str) -> str:
    """Text as LaTeX sets it: its special characters escaped, the signs of our tables as mathematics."""
    marks = "|".join(re.escape(mark) for mark in sorted(_SPECIAL, key=len, reverse=True))
    return re.sub(marks, lambda match: _SPECIAL[match[0]], " ".join(text.split()))


def _table(one: Shown, grid: PaperGrid) -> str:
    long = len(grid.lines) > _LONGEST
    columns = "l" * len(grid.label_heads) + "r" * len(grid.heads)
    head = _row((*grid.label_heads, *grid.heads))
    caption = f"\\caption{{{escaped(f'{one.title}. {grid.subject}')}}}"
    rows: list[str] = []
    block = None
    for line, labels in zip(grid.lines, grid.shown_labels(), strict=True):
        if block is not None and line.labels[:-1] != block:
            rows.append("\\addlinespace")
        block = line.labels[:-1]
        rows.append(_row((*labels, *map(str, line.cells))))
    missing = any(cell.missing for line in grid.lines for cell in line.cells)
    notes = " ".join(escaped(note) for note in (*grid.notes, *([LEGEND + "."] if missing else [])))
    if long:
        body = [
            "{\\footnotesize\\setlength{\\tabcolsep}{3pt}",
            f"\\begin{{longtable}}{{{columns}}}",
            caption + " \\\\",
            f"\\toprule\n{head}\n\\midrule\n\\endhead",
            *rows,
            "\\bottomrule",
            "\\end{longtable}",
            f"\\noindent {notes}" if notes else "",
            "\\par}",
        ]
    else:
        body = [
            "\\begin{table}[p]",
            "\\centering\\footnotesize\\setlength{\\tabcolsep}{3pt}",
            caption,
            f"\\begin{{tabular}}{{{columns}}}",
            f"\\toprule\n{head}\n\\midrule",
            *rows,
            "\\bottomrule",
            "\\end{tabular}",
            f"\\par\\medskip\\parbox{{0.95\\linewidth}}{{{notes}}}" if notes else "",
            "\\end{table}",
        ]
    comments = [f"% fills a gap: {command}" for command in grid.commands]
    return "\n".join([f"% {one.key}", *(part for part in body if part), *comments, ""])


def _row(cells: Sequence[str]) -> str:
    return " & ".join(escaped(cell) for cell in cells) + r" \\"
