"""The report as one HTML page that needs no network: inline style, inline figures, a script only to sort tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from trustcache.report.comparison import Comparison
from trustcache.report.contents import Contents
from trustcache.report.figures import confidence_histogram, risk_coverage_chart
from trustcache.report.render.templates import render
from trustcache.report.table import Cell

# With more sections than this the histograms start folded, so that the page stays short.
_MOST_UNFOLDED = 4


@dataclass(frozen=True)
class _Part:
    """A comparison on the page, with its figures where its data set is drawn."""

    anchor: str
    comparison: Comparison
    chart: str = ""
    histograms: Sequence[str] = ()


def page(contents: Contents) -> str:
    """Return the whole report as one HTML document.

    All text from data is escaped. With nothing scored the page says so. Raises ValueError on a histogram that lacks a
    group.
    """
    drawn = contents.selection.drawn
    parts = list(_parts(contents, drawn))
    protocols = ", ".join(sorted({part.comparison.protocol for part in parts}))
    filters: dict[str, Callable[..., Any]] = {
        "exact": _exact,
        "inline": _inline,
        "unbroken": _unbroken,
        "width": _width,
        "with_code": _with_code,
    }
    return render(
        "page.html",
        filters,
        contents=contents,
        parts=parts,
        folded=len(parts) > _MOST_UNFOLDED,
        left_out=len({part.comparison.dataset for part in parts} - drawn),
        made=[*contents.made.items(), *([("protocol", protocols)] if protocols else [])],
    )


def _parts(contents: Contents, drawn: Set[str]) -> Iterator[_Part]:
    by_record = {one.record: one for one in contents.scored}
    for i, comparison in enumerate(contents.comparisons, 1):
        # Unique by its number, readable by the name after it.
        anchor = f"{i}-" + re.sub(r"[^a-z0-9]+", "-", comparison.dataset.lower()).strip("-")
        if comparison.dataset not in drawn:
            yield _Part(anchor, comparison)
            continue
        entries = [by_record[row.record] for row in comparison.rows]
        histograms = [confidence_histogram(one) for one in entries if one.histogram is not None]
        yield _Part(anchor, comparison, risk_coverage_chart(entries), histograms)


def _exact(cell: Cell) -> str:
    """Return the number to sort by, "" for none."""
    return "" if cell.mean is None or cell.undefined else repr(float(cell.mean))


def _unbroken(text: str) -> Markup:
    return Markup(str(escape(text)).replace(" ", "&nbsp;"))


def _with_code(note: str) -> Markup:
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(note))))


def _inline(svg: str) -> Markup:
    """Return a figure as part of a page, where its namespace is implied and would read as an address."""
    return Markup(svg.replace(' xmlns="http://www.w3.org/2000/svg"', "", 1))


def _width(svg: str) -> str:
    """Return a figure's own width in pixels, beyond which it is not enlarged."""
    return svg.partition('viewBox="0 0 ')[2].partition(" ")[0]
