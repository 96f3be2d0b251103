"""The paper's tables and figures on the page: one fold each, gaps marked, with the commands that fill them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from trustcache.paper.shown import LEGEND, TO_DRAW, Chart, Line, PaperGrid, Shown, Value
from trustcache.report.svg import inline

STYLE = """
.paper details { border-bottom: 1px solid var(--rule); padding: .5rem 0; } .paper summary small { color: var(--soft);
  font-weight: 400; } .paper h3 { margin-top: 1rem; } .paper tr.published > * { color: var(--link); }
.paper tr.reference { background: var(--tint); } .paper tr.mean { font-weight: 600; }
.paper td.gap { background: var(--gap); text-align: center; } .paper tr.block > * { border-top: 2px solid var(--rule); }
.paper .note { margin: .3rem 0; } .drawings { display: flex; flex-wrap: wrap; gap: 1.2rem; }
.drawings figure { margin: .6rem 0; flex: 0 1 auto; width: 100%; }
.paper pre { background: var(--gap); border-left: 4px solid var(--gap-rule); padding: .5rem .8rem; overflow-x: auto;
  margin: .5rem 0; font: .82rem/1.5 ui-monospace, Consolas, monospace; }
"""

_WIDEST = 900


def paper_section(shown: Sequence[Shown]) -> str:
    """The section of the page; nothing where nothing is to be shown."""
    begun, rest = [one for one in shown if one.begun], [one for one in shown if not one.begun]
    if not shown:
        return ""
    parts = [
        '<section class="paper" id="paper"><h2>The paper’s tables and figures</h2>',
        "<p>Those of <em>Learning to Predict Trustworthiness with Steep Slope Loss</em>, made from this workspace. A",
        "published figure stands beside ours, in colour, only where both are defined alike.",
        f"{escape(LEGEND)}; the commands below a table fill its gaps.</p>",
        *(_artefact(one) for one in begun),
    ]
    if rest:
        items = (
            f"<li><code>{escape(one.key)}</code>: takes {escape(one.needs)}"
            + (f"; <code>{escape(one.recipe)}</code>" if one.recipe else "")
            + "</li>"
            for one in rest
        )
        parts.append(f"<h3>Not run yet</h3><ul>{''.join(items)}</ul>")
    return "\n".join([*parts, "</section>"])


def _artefact(one: Shown) -> str:
    summary = f"<summary>{escape(one.title)} <small>{escape(one.state())}</small></summary>"
    inside = [*_charts(one.charts), *(part for grid in one.grids for part in _grid(grid))]
    inside += [f'<p class="note">{TO_DRAW}:</p>{_commands(one.to_draw)}'] if one.to_draw else []
    return f'<details id="paper-{escape(one.key)}">{summary}{"".join(inside)}</details>'


def _grid(grid: PaperGrid) -> Iterator[str]:
    yield f"<h3>{escape(grid.subject)}</h3>"
    heads = [f'<th scope="col">{escape(head)}</th>' for head in grid.label_heads]
    heads += [f'<th scope="col" class="number">{escape(head).replace(" ", "&nbsp;")}</th>' for head in grid.heads]
    rows = "\n".join(_rows(grid))
    yield f'<div class="wide"><table><thead><tr>{"".join(heads)}</tr></thead><tbody>{rows}</tbody></table></div>'
    yield from (f'<p class="note">{escape(note)}</p>' for note in grid.notes)
    if grid.commands:
        yield _commands(grid.commands)


def _commands(commands: Sequence[str]) -> str:
    return f"<pre>{escape(chr(10).join(commands))}</pre>"


def _rows(grid: PaperGrid) -> Iterator[str]:
    above: Line | None = None
    for line, labels in zip(grid.lines, grid.shown_labels(), strict=True):
        names = "".join(f'<th scope="row" class="name">{escape(label)}</th>' for label in labels)
        block = " block" if above is not None and above.labels[:-1] != line.labels[:-1] else ""
        yield f'<tr class="{line.kind}{block}">{names}{"".join(map(_cell, line.cells))}</tr>'
        above = line


def _cell(cell: Value) -> str:
    return f'<td class="{"gap" if cell.missing else "number"}">{escape(str(cell))}</td>'


def _charts(charts: Iterable[Chart]) -> Iterator[str]:
    """Charts of one subject stand together below its name; small ones side by side."""
    subject = None
    for chart in charts:
        if chart.subject != subject:
            yield f'{"" if subject is None else "</div>"}<h3>{escape(chart.subject)}</h3><div class="drawings">'
            subject = chart.subject
        caption = f"<figcaption>{escape(chart.caption)}</figcaption>" if chart.caption else ""
        yield f'<figure style="max-width: {_width(chart.svg)}px">{inline(chart.svg)}{caption}</figure>'
    if subject is not None:
        yield "</div>"


def _width(svg: str) -> int:
    """A drawing's own width, beyond which it is not blown up."""
    found = re.search(r'viewBox="0 0 (\d+)', svg)
    return int(found[1]) if found else _WIDEST
