"""The report as one HTML page that needs no network: inline style, inline figures, a script only to sort tables."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence, Set
from html import escape

from trustcache.metrics.ranking import METRICS
from trustcache.paper.html import STYLE as PAPER_STYLE
from trustcache.paper.html import paper_section
from trustcache.paper.shown import Shown
from trustcache.report.figures import confidence_histogram, risk_coverage_chart
from trustcache.report.grids import Grid, grid_html
from trustcache.report.records import Scored
from trustcache.report.selection import foreground
from trustcache.report.svg import inline
from trustcache.report.tables import (
    COLUMNS,
    READING,
    Row,
    Table,
    best_rows,
    build_tables,
    entry_name,
    heading,
    higher_is_better,
    legend,
    method_label,
    row_key,
    table_key,
)

# With more sections than this the histograms start folded, so that the page stays short.
_MOST_UNFOLDED = 4

_WORDS = (
    ("classifier", "the frozen model whose answers are judged"),
    ("oracle", "a model trained to predict whether the classifier is right"),
    ("trust score", "one number an image, higher where the answer is more trustworthy"),
    ("trust confidence", "the trust score brought between 0 and 1; above one half an image is trusted"),
    ("coverage", "share of images accepted when only the most trusted are"),
)

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --rule: #d4dae0; --paper: #ffffff;
  --tint: #f3f6f9; --best: #dff3e4; --link: #0757a8; --gap: #fff6dd; --gap-rule: #d4a72c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #9aa5b1; --rule: #38414b; --paper: #14181d;
  --tint: #1c222a; --best: #1d3d29; --link: #6cb2f7; --gap: #2d2611; --gap-rule: #a5801d; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem clamp(1rem, 3vw, 2.5rem) 4rem; max-width: 80rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.35rem; margin: 0; overflow-wrap: anywhere; } h2 small { color: var(--soft); font-weight: 400; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
p { margin: .3rem 0; max-width: 50rem; text-wrap: pretty; } a { color: var(--link); }
header { margin-bottom: .5rem; } nav, section, aside, footer, .note { margin-bottom: 2.2rem; }
section, footer { border-top: 2px solid var(--rule); padding-top: 1rem; }
.facts, figcaption, .note { color: var(--soft); } figcaption, .note { font-size: .9rem; }
aside { background: var(--gap); border-left: 4px solid var(--gap-rule); padding: .7rem 1rem; }
aside ul { margin: .3rem 0 0; padding-left: 1.2rem; }
code { font: .92em ui-monospace, Consolas, monospace; }
.wide { overflow: auto; max-height: 90vh; margin-top: .8rem; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .45rem; text-align: left; border-bottom: 1px solid var(--rule); white-space: nowrap; }
thead th { position: sticky; top: 0; background: var(--paper); color: var(--soft); vertical-align: bottom;
  white-space: normal; }
tbody th { font-weight: 500; } tbody .name { white-space: normal; overflow-wrap: anywhere; min-width: 7.5rem; }
.number, .short td + td + td + td { text-align: right; }
tbody tr:hover, tr.baseline { background: var(--tint); } td.best { font-weight: 700; background: var(--best); }
th button { all: unset; cursor: pointer; } th button:focus-visible { outline: 2px solid var(--link); }
th button:hover { text-decoration: underline; } th[aria-sort] { color: var(--ink); }
figure { margin: 1.6rem 0; } svg { display: block; width: 100%; height: auto; } .chart { overflow-x: auto; }
.chart svg { max-width: 900px; min-width: 640px; }
summary { cursor: pointer; font-weight: 600; }
.small { display: grid; grid-template-columns: repeat(auto-fill, minmax(290px, 1fr)); gap: 1.4rem; margin-top: 1rem; }
.small svg { max-width: 360px; }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .2rem 1.2rem; margin: .3rem 0; }
dt { font-weight: 600; } dd { margin: 0; max-width: 50rem; overflow-wrap: anywhere; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .5rem; } }
@media print { .wide { overflow: visible; max-height: none; } thead th { position: static; } }
"""

# A first click puts the good end on top, a second turns it round; missing values stay at the bottom.
_SCRIPT = """
for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
  const head = button.closest("th"), body = head.closest("table").tBodies[0], column = head.cellIndex;
  const sorted = head.getAttribute("aria-sort"), good = head.dataset.good;
  const rising = sorted ? sorted === "descending" : good !== "high";
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent.replace("–", "");
  const compare = (a, b) => good ? parseFloat(a) - parseFloat(b) : a.localeCompare(b, undefined, {numeric: true});
  body.append(...[...body.rows].sort((a, b) => (value(a) === "") - (value(b) === "")
    || (rising ? 1 : -1) * compare(value(a), value(b))));
});
"""

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>trustcache report</title>
"""

_OPENING = """<header><h1>When can the classifier be trusted?</h1>
<p>A classifier answered every image of each data set below, and each method then gave every answer a trust score,
which should be high where the answer is right and low where it is wrong. The tables compare how well the methods tell
right from wrong, first of all with the classifier’s own confidence (mcp), which costs nothing.</p></header>"""

_READING_HERE = f"{READING} The best of each ranking column is marked; mcp is shaded. Click a heading to sort."


def page(
    scored: Sequence[Scored],
    notes: Sequence[str],
    made: dict[str, str],
    paper: Sequence[Shown] = (),
    grids: Sequence[Grid] = (),
) -> str:
    """The whole report as one HTML document.

    `notes` say what is missing, with `code` in backticks; `made` says when and with which versions the report
    was made, as term and value; `grids` follow the tables; `paper` are the paper's tables and figures. All text from
    data is escaped. With nothing scored the page says so. Raises ValueError on a histogram that lacks a group, as
    `confidence_histogram` does.
    """
    tables = build_tables(one.record for one in scored)
    folded = len(tables) > _MOST_UNFOLDED
    entries, drawn = _first_seeds(scored), foreground(scored).drawn
    sections = [
        _section(anchor, table, entries, folded) if table.dataset in drawn else _short_section(anchor, table)
        for anchor, table in ((_anchor(i, table), table) for i, table in enumerate(tables))
    ]
    body = [
        _OPENING,
        f'<p class="note">{_READING_HERE}{_left_out(tables, drawn)}</p>'
        if tables
        else "<p><strong>Nothing is scored yet.</strong></p>",
        _gaps(notes),
        _contents(tables) if len(tables) > 1 else "",
        '<p><a href="#paper">The paper’s tables and figures</a> come last.</p>' if paper else "",
        *sections,
        *map(grid_html, grids),
        paper_section(paper),
        _closing(tables, made),
    ]
    head = [_HEAD, f"<style>{_STYLE}{PAPER_STYLE}</style>", "</head>", "<body>"]
    return _joined([*head, *body, f"<script>{_SCRIPT}</script>", "</body>", "</html>", ""])


def _gaps(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    marked = (re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(note)) for note in notes)
    items = _joined(f"<li>{note}</li>" for note in marked)
    return f'<aside aria-label="What is missing"><strong>What is missing</strong><ul>{items}</ul></aside>'


def _left_out(tables: Sequence[Table], drawn: Set[str]) -> str:
    """Of which data sets the page has tables alone; empty where of none."""
    if not (short := {table.dataset for table in tables} - drawn):
        return ""
    return (
        f" {len(short)} variants have closed tables without drawings, since they are many; the paper’s figures at the "
        "end have some."
    )


def _contents(tables: Sequence[Table]) -> str:
    """An overview of the sections, with links to them."""
    names, numbers = ("Data set", "Classifier", "Protocol"), ("n", "Accuracy (%)", "AUC of mcp", "Highest AUC")
    heads = [f'<th scope="col">{name}</th>' for name in names]
    heads += [f'<th scope="col" class="number">{name}</th>' for name in numbers]
    rows = []
    for i, table in enumerate(tables):
        link = f'<th scope="row"><a href="#{_anchor(i, table)}">{escape(table.dataset)}</a></th>'
        cells = [f'<td class="name">{escape(text)}</td>' for text in (table.classifier, table.protocol)]
        aucs = _auc(_baseline(table)), _auc((_leaders(table) or table.rows)[0])
        cells += [f'<td class="number">{text}</td>' for text in (f"{table.n:,}", table.accuracy, *aucs)]
        rows.append(("", _joined([link, *cells])))
    return f'<nav aria-label="Contents"><h2>Contents</h2>{_table(heads, rows)}</nav>'


def _anchor(index: int, table: Table) -> str:
    """Unique by its number, readable by the name after it."""
    return f"{index + 1}-" + re.sub(r"[^a-z0-9]+", "-", table.dataset.lower()).strip("-")


def _section(anchor: str, table: Table, first: dict[object, Scored], folded: bool) -> str:
    entries = [first[_entry(table, row)] for row in table.rows]
    histograms = _joined(inline(confidence_histogram(one)) for one in entries if one.histogram is not None)
    return _joined(
        [
            *_section_head(anchor, table),
            _comparison(table),
            f'<figure class="chart">{inline(risk_coverage_chart(entries))}',
            "<figcaption>Lower is better; every curve ends at the classifier’s error rate.",
            "Each method’s first seed.</figcaption></figure>",
            f"<details{'' if folded else ' open'}><summary>Where the trust confidences lie</summary>",
            "<p>Right answers stand up and wrong ones hang down, each half on its own scale;",
            "dark bars are trusted, light ones are not. Each method’s first seed; scores that have no threshold",
            "are not shown.</p>",
            f'<div class="small">{histograms}</div>',
            "</details></section>",
        ]
    )


def _short_section(anchor: str, table: Table) -> str:
    """One of many variants: its table alone, closed."""
    return _joined(
        [
            *_section_head(anchor, table),
            f'<details class="short"><summary>All {len(table.rows)} rows</summary>',
            _short_comparison(table),
            "</details></section>",
        ]
    )


def _section_head(anchor: str, table: Table) -> list[str]:
    return [
        f'<section id="{anchor}">',
        f"<h2>{escape(table.dataset)} <small>{escape(table.classifier)}</small></h2>",
        f'<p class="facts">{escape(table.facts)}</p>',
        _finding(table),
    ]


def _first_seeds(scored: Sequence[Scored]) -> dict[object, Scored]:
    """The lowest seed of each row of each table, by `_entry`."""
    first: dict[object, Scored] = {}
    for one in sorted(scored, key=lambda one: -1 if one.record.seed is None else one.record.seed):
        first.setdefault((table_key(one.record), row_key(one.record)), one)
    return first


def _entry(table: Table, row: Row) -> object:
    return (table.dataset, table.classifier, table.protocol), row_key(row)


def _finding(table: Table) -> str:
    """What a reader should take home: the best ranking, beside the one that costs nothing."""
    leaders, baseline = _leaders(table), _baseline(table)
    if not leaders:
        return ""
    several = len({row.oracle for row in table.rows if row.oracle}) > 1
    names = " and ".join(entry_name(row, with_oracle=several) for row in leaders[:2])
    text = f"Highest AUC: {_auc(leaders[0])}, by {names if len(leaders) < 3 else f'{len(leaders)} methods alike'}."
    if baseline in leaders:
        text += " No trained method ranks better than the classifier’s own confidence (mcp)."
    elif baseline:
        text += f" The classifier’s own confidence (mcp) reaches {_auc(baseline)}."
    return f"<p>{escape(text)}</p>"


def _leaders(table: Table) -> list[Row]:
    return [table.rows[i] for i in sorted(best_rows(table, "auc"))]


def _baseline(table: Table) -> Row | None:
    return next((row for row in table.rows if row.method == "mcp"), None)


def _auc(row: Row | None) -> str:
    return str(row.cells["auc"]) if row and "auc" in row.cells else "–"


def _short_comparison(table: Table) -> str:
    """The same table in a third of the bytes, since there may be hundreds: it sorts by the digits that it shows."""
    best = {key: best_rows(table, key) for key in COLUMNS}
    marked = {True: ' class="best"', False: ""}
    rows = []
    for i, row in enumerate(table.rows):
        names = method_label(row), row.oracle or "none", row.training or "none", str(row.seeds)
        cells = [f"<td>{escape(name)}</td>" for name in names]
        cells += [f"<td{marked[i in best[key]]}>{row.cells.get(key) or '–'}</td>" for key in COLUMNS]
        rows.append(("baseline" if row.method == "mcp" else "", "".join(cells)))
    return _table(_comparison_heads(table), rows)


def _comparison_heads(table: Table) -> list[str]:
    heads = [_sortable(name) for name in ("Method", "Oracle", "Training")] + [_sortable("Seeds", "high")]
    for key in COLUMNS:
        good = "low" if higher_is_better(key, table.protocol) is False else "high"
        heads.append(_sortable(heading(key, table.protocol), good, METRICS[key].meaning))
    return heads


def _comparison(table: Table) -> str:
    best = {key: best_rows(table, key) for key in COLUMNS}
    rows = []
    for i, row in enumerate(table.rows):
        names = (("", method_label(row)), ("name", row.oracle or "none"), ("", row.training or "none"))
        cells = [f'<td class="{kind}" data-value="{escape(name)}">{escape(name)}</td>' for kind, name in names]
        cells.append(f'<td class="number" data-value="{row.seeds}">{row.seeds}</td>')
        for key in COLUMNS:
            cell = row.cells.get(key)
            value = "" if cell is None or math.isnan(cell.mean) else repr(float(cell.mean))
            kind = "number best" if i in best[key] else "number"
            cells.append(f'<td class="{kind}" data-value="{value}">{cell or "–"}</td>')
        rows.append(("baseline" if row.method == "mcp" else "", "".join(cells)))
    return _table(_comparison_heads(table), rows)


def _sortable(name: str, good: str = "", meaning: str = "") -> str:
    """A heading to sort by; `good` says which end of a numeric column comes first, and is empty for text."""
    numeric = f' class="number" data-good="{good}"' if good else ""
    unbroken = escape(name).replace(" ", "&nbsp;")
    return f'<th scope="col"{numeric} title="{escape(meaning)}"><button type="button">{unbroken}</button></th>'


def _table(heads: Iterable[str], rows: Iterable[tuple[str, str]]) -> str:
    """A table of finished headings and of rows, each a class and its cells."""
    body = _joined(f'<tr class="{kind}">{cells}</tr>' for kind, cells in rows)
    return f'<div class="wide"><table><thead><tr>{"".join(heads)}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def _closing(tables: Sequence[Table], made: dict[str, str]) -> str:
    """The glossary, and how the report was made."""
    protocols = ", ".join(sorted({table.protocol for table in tables}))
    groups = {"Words": _WORDS, **legend(tables)} if tables else {"Words": _WORDS}
    lists = [f"<h3>{title}</h3>{_definitions(entries)}" for title, entries in groups.items()]
    origin = _definitions([*made.items(), *([("protocol", protocols)] if protocols else [])])
    return f"<footer><h2>Glossary</h2>{_joined(lists)}<h3>How this was made</h3>{origin}</footer>"


def _definitions(entries: Iterable[tuple[str, str]]) -> str:
    return f"<dl>{_joined(f'<dt>{escape(term)}</dt><dd>{escape(text)}</dd>' for term, text in entries)}</dl>"


def _joined(parts: Iterable[str]) -> str:
    return "\n".join(parts)
