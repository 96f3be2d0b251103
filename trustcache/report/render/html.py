"""The report as a page that needs no network: style, script and numbers inline; and a second page of all tables."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from trustcache.report.comparison import Comparison
from trustcache.report.contents import Contents
from trustcache.report.intervals import MARKS
from trustcache.report.render.defaults import drawings, point
from trustcache.report.render.library import charts_script
from trustcache.report.render.page_data import packed, page_data
from trustcache.report.render.templates import render, without_folders
from trustcache.report.table import MISSING, UNDEFINED, Cell


def page(contents: Contents, kept: Path | None = None) -> str:
    """Return the report as one HTML document. All text from data is escaped. With nothing scored it says so.

    kept: the file that remembers how its charts are drawn.
    """
    units = contents.units
    return render(
        "index.html",
        _FILTERS,
        contents=contents,
        units=units,
        point=point(units[0]) if units else None,
        drawings=drawings(units[0], kept) if units else {},
        pictured=any(one.examples.trusted_wrong or one.examples.doubted_right for one in contents.failures),
        marks={**MARKS, None: "", "": ""},
        missing=MISSING,
        numbers=Markup(page_data(units, contents.failures)),
        library=Markup(charts_script() if units else ""),
    )


def tables_page(contents: Contents) -> str:
    """Return all tables of the report as one HTML document, with the figures of its sections."""
    selection = contents.selection
    parts = list(_parts(contents, selection.drawn))
    protocols = ", ".join(sorted({part.comparison.protocol for part in parts}))
    made = [*contents.made.items(), *([("protocol", protocols)] if protocols else [])]
    exhibits = [one for section in contents.sections for one in section.exhibits]
    figures = [figure for one in exhibits for figure in one.figures]
    places = {id(figure): i for i, figure in enumerate(figures)}
    specs = json.dumps([figure.chart.sized("container", 260) for figure in figures], allow_nan=False)
    return render(
        "paper.html",
        _FILTERS,
        contents=contents,
        place=lambda figure: places[id(figure)],
        parts=parts,
        made=made,
        figures=Markup(packed(specs)) if figures else "",
        library=Markup(charts_script()) if figures else "",
    )


@dataclass(frozen=True)
class _Part:
    """A comparison on the page; one of many variants starts closed."""

    anchor: str
    comparison: Comparison
    open: bool


def _parts(contents: Contents, drawn: Set[str]) -> Iterator[_Part]:
    for i, comparison in enumerate(contents.comparisons, 1):
        # Unique by its number, readable by the name after it.
        anchor = f"{i}-" + re.sub(r"[^a-z0-9]+", "-", comparison.dataset.lower()).strip("-")
        yield _Part(anchor, comparison, comparison.dataset in drawn)


def _exact(value: Cell | float) -> str:
    """Return the number to sort by, "" for none."""
    if isinstance(value, Cell):
        return "" if value.mean is None or value.undefined else repr(float(value.mean))
    return repr(float(value)) if math.isfinite(value) else ""


def _data(image: bytes) -> Markup:
    return Markup(f"data:image/webp;base64,{base64.b64encode(image).decode()}")


def _mean(cell: Cell, scale: float) -> str:
    if cell.mean is None or cell.undefined:
        return UNDEFINED
    digits = 2 if scale > 1 else 3
    # No figure here is perfect: a debiased one of 0 is below its noise.
    least = f"< {10**-digits:g}"
    return f"{scale * cell.mean:.{digits}f}" if scale * cell.mean >= 10**-digits / 2 else least


def _percent(share: float) -> str:
    return f"{100 * share:.2f}" if math.isfinite(share) else UNDEFINED


def _points(share: float, digits: int = 2) -> str:
    return f"{100 * share:+.{digits}f}".replace("-", "−") if math.isfinite(share) else UNDEFINED


def _number(value: float) -> str:
    return f"{value:.4g}".replace("-", "−") if value > -1e300 else "everything"


def _unbroken(text: str) -> Markup:
    return Markup(str(escape(text)).replace(" ", "&nbsp;"))


def _with_code(note: str) -> Markup:
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(without_folders(note)))))


_FILTERS: dict[str, Callable[..., Any]] = {
    "data": _data,
    "exact": _exact,
    "mean": _mean,
    "number": _number,
    "percent": _percent,
    "points": _points,
    "unbroken": _unbroken,
    "with_code": _with_code,
}
