"""The charts as Vega-Lite specifications: plain dictionaries, drawn by the page's script or, to files, by vl-convert.

The rows of a chart are the named data set `rows`; where a threshold can move, `now` is its place. Text is
`currentColor`, so that one drawing serves a light and a dark page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trustcache.errors import visible

Spec = dict[str, Any]
Numbers = npt.NDArray[np.float64]

COLOURS = ("#2487C8", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#8C6BB1", "#7A5230")
"""Of Okabe and Ito, which colour-blind readers can tell apart; darkened where white would swallow them."""
DASHES = ([1, 0], [7, 3], [2, 2], [8, 3, 2, 3], [12, 3, 3, 3, 3, 3])
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
IDEAL = "ideal"
SPIKE = 10.0
"""Percent of coverage below which a risk is of too few images to decide an axis."""
LEAST_SPAN = 10.0
"""Points that the colours of a heat map span at least, so that a small difference looks small."""
RIGHT, WRONG = "#2487C8", "#D55E00"
GROUPS = {
    "TP": ("#0072B2", "right answers that are trusted"),
    "FN": ("#56B4E9", "right answers that are not trusted"),
    "FP": ("#D55E00", "wrong answers that are trusted"),
    "TN": ("#E69F00", "wrong answers that are not trusted"),
}
PLOT_HEIGHT, LEGEND_ROW = 270, 19
"""Points of a chart on a page without its legend, and of one row of that, which has two names."""
_TEXT: Spec = {"labelColor": "currentColor", "titleColor": "currentColor", "titleFontWeight": "normal"}
_TEXT |= {"labelFontSize": 12, "titleFontSize": 13}
CONFIG: Spec = {
    "font": "Helvetica, Arial, sans-serif",
    "background": None,
    "view": {"stroke": None},
    "axis": {**_TEXT, "gridColor": "#8888", "gridOpacity": 0.35, "domainColor": "#888", "tickColor": "#888"},
    "legend": {
        **_TEXT,
        "orient": "bottom",
        "columns": 2,
        "symbolStrokeWidth": 2,
        "symbolSize": 60,
        "labelFontSize": 11,
        "labelLimit": 134,
        "symbolLimit": 100,
    },
    "title": {"color": "currentColor", "anchor": "start", "fontWeight": 600},
    "line": {"strokeWidth": 1.8},
    "text": {"color": "currentColor"},
}


def look(names: Sequence[str]) -> list[tuple[str, str, Sequence[int], str]]:
    """Return name, colour, dash and symbol of each curve; no two of 280 share all three.

    >>> [colour for _, colour, _, _ in look(["mcp", "ideal"])]
    ['currentColor', '#888888']
    """
    found: list[tuple[str, str, Sequence[int], str]] = []
    place = 0
    for name in names:
        if name == "mcp":
            found.append((name, "currentColor", DASHES[0], "stroke"))
        elif name == IDEAL:
            found.append((name, "#888888", [1, 3], "stroke"))
        else:
            shape = SHAPES[place % len(SHAPES)]
            found.append((name, COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)], shape))
            place += 1
    return found


def _curves(x: str, y: str, names: Sequence[str], x_title: str, y_title: str, now: bool) -> Spec:
    """Return lines of the rows `m`, x, y by name, a symbol where a row has `dot`, and the place of a threshold."""
    looks = look(names)
    scale = {"domain": [*names]}
    encoding = {
        "x": {"field": x, "type": "quantitative", "title": x_title, "scale": {"domain": [0, 100], "nice": False}},
        "y": {"field": y, "type": "quantitative", "title": y_title},
        "color": {
            "field": "m",
            "type": "nominal",
            "title": None,
            "scale": {**scale, "range": [c for _, c, _, _ in looks]},
        },
    }
    dash = {"field": "m", "type": "nominal", "title": None, "scale": {**scale, "range": [d for _, _, d, _ in looks]}}
    shape = {"field": "m", "type": "nominal", "title": None, "scale": {**scale, "range": [s for _, _, _, s in looks]}}
    layers: list[Spec] = [
        {
            "mark": {"type": "line", "clip": True},
            "encoding": {**encoding, "strokeDash": dash, "order": {"field": "i", "type": "quantitative"}},
        },
        {
            "transform": [{"filter": "datum.dot"}],
            "mark": {"type": "point", "size": 34, "opacity": 1, "clip": True},
            "encoding": {**encoding, "shape": shape},
        },
    ]
    if now:
        layers += [
            {
                "data": {"name": "now"},
                "mark": {"type": "rule", "strokeDash": [4, 3], "color": "currentColor"},
                "encoding": {"x": {"field": x, "type": "quantitative"}},
            },
            {
                "data": {"name": "now"},
                "mark": {"type": "point", "filled": True, "size": 90, "color": "#D55E00", "opacity": 1},
                "encoding": {"x": {"field": x, "type": "quantitative"}, "y": {"field": y, "type": "quantitative"}},
            },
        ]
    return {"data": {"name": "rows"}, "layer": layers}


def risk_coverage(names: Sequence[str], rows: Sequence[Spec] = (), *, now: bool = False) -> Spec:
    """Return the chart of the error rate among accepted images over the share accepted, rows m, coverage, risk.

    The few images of a small coverage decide the curve there, but not the axis.
    """
    spec = _curves("coverage", "risk", names, "coverage: share accepted (%)", "risk: wrong among accepted (%)", now)
    highest = max((row["risk"] for row in rows if row["coverage"] >= SPIKE), default=0) or 1
    for layer in spec["layer"][:2]:
        layer["encoding"]["y"]["scale"] = {"domainMin": 0, "domainMax": highest, "nice": True}
    return spec


def roc(names: Sequence[str]) -> Spec:
    """Return the chart of the right answers that are accepted over the wrong ones that are, rows m, fpr, tpr."""
    spec = _curves("fpr", "tpr", names, "wrong answers accepted (%)", "right answers accepted (%)", now=True)
    for layer in spec["layer"][:2]:
        layer["encoding"]["y"]["scale"] = {"domain": [0, 100]}
        layer["mark"]["clip"] = False  # all of it is inside, and half the stroke of a curve along an edge is not
    return spec


def score_histogram() -> Spec:
    """Return the chart of right answers (up) and wrong ones (down) over the score, rows lo, hi, share, what."""
    layers: list[Spec] = [
        {
            "mark": {"type": "bar", "binSpacing": 0.5},
            "encoding": {
                "x": {"field": "lo", "bin": {"binned": True}, "type": "quantitative", "title": "trust score"},
                "x2": {"field": "hi"},
                "y": {
                    "field": "share",
                    "type": "quantitative",
                    "title": "share of the wrong | of the right (%)",
                    "axis": {"labelExpr": "abs(datum.value)"},
                    "scale": {"padding": 8},
                },
                "color": {
                    "field": "what",
                    "type": "nominal",
                    "title": None,
                    "scale": {"domain": ["right", "wrong"], "range": [RIGHT, WRONG]},
                },
            },
        },
        {
            "data": {"name": "now"},
            "mark": {"type": "rule", "strokeDash": [4, 3], "color": "currentColor"},
            "encoding": {"x": {"field": "threshold", "type": "quantitative"}},
        },
    ]
    return {"data": {"name": "rows"}, "layer": layers}


def confidences(counts: Mapping[str, npt.NDArray[np.int64]]) -> Chart:
    """Return the histogram of trust confidences: right answers up, wrong ones down, each as shares.

    Raises ValueError unless there are counts of TP, FP, TN and FN in the same bins.
    """
    if {*GROUPS} - counts.keys() or len({counts[group].shape for group in GROUPS}) > 1 or not counts["TP"].size:
        raise ValueError("A histogram needs counts of TP, FP, TN and FN in the same bins.")
    bins = counts["TP"].size
    rows = []
    for group in GROUPS:
        sign = 1 if group in ("TP", "FN") else -1
        total = max(1, int(sum(counts[other].sum() for other in (("TP", "FN") if sign > 0 else ("FP", "TN")))))
        rows += [
            {"lo": i / bins, "hi": (i + 1) / bins, "share": 100 * sign * int(n) / total, "count": int(n), "what": group}
            for i, n in enumerate(counts[group])
            if n
        ]
    spec = score_histogram()
    spec["layer"] = spec["layer"][:1]
    encoding = spec["layer"][0]["encoding"]
    encoding["x"] |= {"title": "trust confidence", "scale": {"domain": [0, 1]}}
    encoding["color"]["scale"] = {"domain": [*GROUPS], "range": [colour for colour, _ in GROUPS.values()]}
    return Chart(spec, rows)


def reliability(names: Sequence[str]) -> Spec:
    """Return the chart of accuracy over confidence, rows m, confidence, accuracy, low, high, all in percent."""
    percent = {"scale": {"domain": [0, 100]}, "type": "quantitative"}
    x = {"field": "confidence", **percent, "title": "mean confidence of the bin (%)"}
    looks, scale = look(names), {"domain": [*names]}
    colour = {"field": "m", "type": "nominal", "title": None, "scale": {**scale, "range": [c for _, c, _, _ in looks]}}
    shape = {"field": "m", "type": "nominal", "title": None, "scale": {**scale, "range": ["diamond", "circle"]}}
    layers: list[Spec] = [
        {
            "data": {"values": [{"a": 0}, {"a": 100}]},
            "mark": {"type": "line", "strokeDash": [1, 3], "color": "#888888"},
            "encoding": {"x": {"field": "a", **percent}, "y": {"field": "a", **percent}},
        },
        {
            "mark": {"type": "rule"},
            "encoding": {
                "x": x,
                "y": {"field": "low", **percent, "title": "right answers in the bin (%)"},
                "y2": {"field": "high"},
                "color": colour,
            },
        },
        {
            "mark": {"type": "point", "filled": True, "size": 45, "opacity": 1},
            "encoding": {"x": x, "y": {"field": "accuracy", **percent}, "color": colour, "shape": shape},
        },
    ]
    return {"data": {"name": "rows"}, "layer": layers}


def heat_map(measure: str, values: Sequence[float] = (), diverging: bool = False) -> Spec:
    """Return the chart of a measure by corruption and severity, rows row, column, value.

    values: all of them, of a scale that does not diverge; without them the colours' ends are left to be set.
    """
    light = {"name": "blueorange", "extent": [0.2, 0.8]} if diverging else {"name": "blues", "extent": [0.05, 0.6]}
    scale = {"scheme": light, **({"domainMid": 0, "reverse": True} if diverging else {})}
    if values:
        middle, half = (min(values) + max(values)) / 2, max(max(values) - min(values), LEAST_SPAN) / 2
        scale |= {"domain": [middle - half, middle + half]}
    common = {
        "x": {"field": "column", "type": "nominal", "title": "severity", "axis": {"labelAngle": 0}},
        "y": {"field": "row", "type": "nominal", "title": None, "sort": None},
    }
    layers: list[Spec] = [
        {
            "mark": "rect",
            "encoding": {
                **common,
                "color": {"field": "value", "type": "quantitative", "title": measure, "scale": scale},
            },
        },
        {
            "mark": {"type": "text", "fontSize": 10, "color": "black"},
            "encoding": {**common, "text": {"field": "value", "type": "quantitative", "format": ".1f"}},
        },
    ]
    return {"data": {"name": "rows"}, "layer": layers}


def lines(
    names: Sequence[str], x_title: str, y_title: str, y_limit: float | None = None, *, bars: bool = False
) -> Spec:
    """Return the chart of curves by name, rows m, x, y; bars: and an error bar from low to high."""
    spec = _curves("x", "y", names, x_title, y_title, now=False)
    for layer in spec["layer"]:
        layer["encoding"]["x"].pop("scale", None)
        layer["encoding"]["y"]["scale"] = {"domain": [0, y_limit]} if y_limit else {"zero": True}
    bar = {
        "mark": {"type": "rule", "opacity": 0.6},
        "encoding": {
            "x": {"field": "x", "type": "quantitative"},
            "y": {"field": "low", "type": "quantitative"},
            "y2": {"field": "high"},
            "color": spec["layer"][0]["encoding"]["color"],
        },
    }
    spec["layer"] += [bar] if bars else []
    return spec


def page_height(names: int) -> int:
    """Return the height of a chart on a page whose legend has so many names, in points.

    >>> page_height(0), page_height(3)
    (270, 308)
    """
    return PLOT_HEIGHT + LEGEND_ROW * -(-names // 2)


def curve_rows(name: str, dots: int = 10, **columns: Numbers) -> list[Spec]:
    """Return the rows of one curve: `i` counts them, and some have a `dot` for its symbol."""
    size = len(next(iter(columns.values())))
    every = max(1, size // dots)
    shift = sum(map(ord, name)) % every  # symbols of curves that run together stand beside each other
    return [
        {"m": name, "i": i, **{key: round(float(v[i]), 6) for key, v in columns.items()}, "dot": i % every == shift}
        for i in range(size)
    ]


def ideal_rows(error: float) -> list[Spec]:
    """Return the rows of the risk of a ranking that puts every right answer before every wrong one."""
    coverage = np.append(0, np.linspace(1 - error, 1, 40))
    risk = np.maximum(coverage - (1 - error), 0) / np.maximum(coverage, 1e-9)
    return [row | {"dot": False} for row in curve_rows(IDEAL, coverage=100 * coverage, risk=100 * risk)]


@dataclass(frozen=True)
class Chart:
    """A specification with its rows; `now` is the place of a threshold, where there is one."""

    spec: Spec
    rows: Sequence[Mapping[str, Any]]
    now: Mapping[str, float] | None = None

    def shown_rows(self) -> list[Spec]:
        """Return the rows with names as they may be shown."""
        return [{k: visible(v) if isinstance(v, str) else v for k, v in row.items()} for row in self.rows]

    def sized(self, width: float | str, height: float) -> Spec:
        """Return the whole specification, ready to draw, in points."""
        datasets = {"rows": self.shown_rows(), "now": [self.now] if self.now else []}
        fit = {"type": "fit", "contains": "padding"}
        spec = _shown(self.spec)
        return {**spec, "datasets": datasets, "width": width, "height": height, "autosize": fit, "config": CONFIG}


def _shown(value: Any) -> Any:
    """Return a specification with its texts as a page may show them; a lone surrogate would end the process."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {key: _shown(entry) for key, entry in value.items()}
    return [_shown(entry) for entry in value] if isinstance(value, list | tuple) else value
