"""Charts drawn by vl-convert, without browser or network: inline, and as files at the widths of a paper's columns."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from markupsafe import Markup

from trustcache.cache.publish import publish
from trustcache.cache.records import read_record, write_record
from trustcache.errors import DamagedError, spreadsheet_cell
from trustcache.report.charts import CONFIG, Chart, Spec
from trustcache.report.kept import REMADE
from trustcache.report.render.engine import engine

_SIZES = {"": (240, 170), "-wide": (500, 240)}
"""Width and height in points of a figure of one column and of two."""
_DRAWN = "drawn.json"
_PRINTED = {
    "axis": {**CONFIG["axis"], "labelFontSize": 7, "titleFontSize": 8, "titlePadding": 3},
    "legend": {**CONFIG["legend"], "labelFontSize": 7, "titleFontSize": 8, "symbolSize": 30, "symbolStrokeWidth": 1.2}
    | {"labelLimit": 130},
    "line": {"strokeWidth": 1.1},
    "point": {"strokeWidth": 1},
}


@dataclass(frozen=True)
class Drawings:
    """The charts of a page as SVG, by the SHA-256 of what they show: a third of a report's time, kept for the next."""

    SCHEMA: ClassVar[int] = 1

    svg: dict[str, str]


def inline(specs: Mapping[str, Spec], kept: Path | None = None) -> dict[str, Markup]:
    """Return charts as parts of a page by their names, which make their ids their own.

    Their text is in the colour of what surrounds it. The namespaces are implied there, and would read as addresses.
    kept: the file that remembers drawings; a damaged one counts as none.
    """
    before: dict[str, str] = {}
    with contextlib.suppress(FileNotFoundError, DamagedError):
        before = read_record(kept, Drawings, REMADE).svg if kept else {}
    keys = {name: _key(spec) for name, spec in specs.items()}
    drawn = {key: before.get(key) or _svg(specs[name]) for name, key in keys.items()}
    if kept and drawn.keys() - before.keys():
        write_record(kept, Drawings(drawn))
    return {name: _inline(name, drawn[key]) for name, key in keys.items()}


def _inline(name: str, svg: str) -> Markup:
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    return Markup(re.sub(r'( id="|url\(#)', rf"\1{name}-", text))


def draw_figures(folder: Path, charts: Mapping[str, Chart]) -> None:
    """Write each chart as SVG and PDF at both widths and its numbers as CSV, and remove the files of others.

    One that is there already and would be drawn again as it is stays. Raises OSError where a file cannot be written.
    """
    before = _drawn_before(folder)
    files: dict[str, str] = {}
    for name, chart in charts.items():
        rows = chart.shown_rows()
        mine = dict.fromkeys(_names(name), _key([_SIZES, _PRINTED, CONFIG, chart.spec, rows, chart.now]))
        if not all(before.get(file) == shown and (folder / file).is_file() for file, shown in mine.items()):
            _draw(folder, name, chart)
        files |= mine
    if charts:
        publish(folder / _DRAWN, json.dumps(files, indent=0).encode())
    kept = {*files, *([_DRAWN] if charts else [])}
    for stale in folder.glob("*.*"):
        if stale.name not in kept:
            stale.unlink()


def _key(made_of: Any) -> str:
    """Return the SHA-256 of what a drawing is made of."""
    return hashlib.sha256(json.dumps([version("vl-convert-python"), made_of]).encode()).hexdigest()


def _names(name: str) -> list[str]:
    return [f"{name}.csv", *(f"{name}{suffix}.{kind}" for suffix in _SIZES for kind in ("svg", "pdf"))]


def _draw(folder: Path, name: str, chart: Chart) -> None:
    publish(folder / f"{name}.csv", rows_csv(chart).encode())
    for suffix, size in _SIZES.items():
        # Files for print: in a program that shows them on a dark page, text in its colour could not be read.
        text = _svg({**chart.sized(*size), "config": {**CONFIG, **_PRINTED}}).replace("currentColor", "#000")
        publish(folder / f"{name}{suffix}.svg", text.encode())
        publish(folder / f"{name}{suffix}.pdf", engine().svg_to_pdf(text))


def _drawn_before(folder: Path) -> dict[str, str]:
    """Return the hashes of what the files in a folder show; none where they cannot be read."""
    try:
        found: Any = json.loads((folder / _DRAWN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def rows_csv(chart: Chart) -> str:
    """Return the numbers that a chart draws."""
    rows = chart.shown_rows()
    keys = list(dict.fromkeys(key for row in rows for key in row if key not in ("i", "dot")))
    file = io.StringIO()
    writer = csv.DictWriter(file, keys, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: spreadsheet_cell(value) for key, value in row.items()} for row in rows)
    return file.getvalue()


def _svg(spec: Spec) -> str:
    text: str = engine().vegalite_to_svg(spec, allowed_base_urls=[])
    # Ids are counted through the process: begun anew, the same chart is the same file.
    ids = {name: f"d{number}" for number, name in enumerate(dict.fromkeys(_ID.findall(text)))}
    return _USED_ID.sub(lambda use: f"{use[1]}{ids.get(use[2], use[2])}", text)


_ID = re.compile(r' id="([^"]*)"')
_USED_ID = re.compile(r'( id="|url\(#)([^")]*)')
