"""The figures as SVG text: where the trust confidences lie, and what error rate each coverage costs.

Lines and text are `currentColor` and fills are mid-tones of the Okabe-Ito palette, which colour-blind readers
can tell apart, so one figure serves a light and a dark page.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import product

import numpy as np
import numpy.typing as npt

from trustcache.report.records import Scored
from trustcache.report.tables import entry_name, method_label

Numbers = npt.NDArray[np.float64]

GROUPS = {
    "TP": ("#0072B2", "right answers that are trusted"),
    "FN": ("#56B4E9", "right answers that are not trusted"),
    "FP": ("#D55E00", "wrong answers that are trusted"),
    "TN": ("#E69F00", "wrong answers that are not trusted"),
}
MAX_CURVES = 12
_PALETTE = ("#2487C8", "#009E73", "#CC79A7", "#D55E00", "#E69F00", "#56B4E9", "#8C6BB1", "#A6761D")
_DASHES = {"frozen": "6 3", "fine-tuned": "none"}
_OTHER_DASH = "2 3"
_HALO: dict[str, str | float] = {"stroke": "Canvas", "stroke_width": 3, "paint_order": "stroke"}
_SPIKE = 0.1  # below this coverage a handful of samples decides the risk; they may not decide the axis
_CLEARANCE = 11.0  # pixels from a label's middle to any other curve; its own is 9 away


def confidence_histogram(scored: Scored) -> str:
    """How the trust confidences of right (up) and wrong (down) answers fall, as an SVG document.

    Each half is scaled to its own fullest bin, since errors can be a hundred times rarer; counts are printed.
    Raises ValueError unless the histogram has TP, FP, TN and FN in the same bins.
    """
    histogram = scored.histogram or {}
    counts = {group: np.asarray(histogram.get(group, ())) for group in GROUPS}
    if not counts["TP"].size or len({count.shape for count in counts.values()}) > 1:
        raise ValueError("A histogram needs counts of TP, FP, TN and FN in the same bins.")
    totals = {group: int(count.sum()) for group, count in counts.items()}
    box = _Box(left=56, top=40, width=252, height=160)
    title = entry_name(scored.record, with_oracle=True)
    parts = [_text(4, 14, _shortened(title, 42), font_weight=600), *_confidence_axis(box)]
    for word, groups, up in (("right", ("FN", "TP"), True), ("wrong", ("TN", "FP"), False)):
        parts += _bars(box, word, {group: counts[group] for group in groups}, up=up)
        y = box.top - 8 if up else box.bottom + 16
        parts += _counted(box.left, y, groups[0], totals) + _counted(box.right - 80, y, groups[1], totals)
    described = "; ".join(f"{totals[group]:,} {text} ({group})" for group, (_, text) in GROUPS.items())
    about = f"Trust confidences on {scored.record.dataset}: {described}."
    return _svg(320, 252, title, about, parts)


def risk_coverage_chart(scored: Sequence[Scored]) -> str:
    """The error rate among accepted images over the share accepted, one curve each, as an SVG document.

    Beyond `MAX_CURVES` only the first and those of lowest AURC are drawn, and the figure says so. The dotted
    curve is a perfect ranking's. Points that are not finite are left out. Raises ValueError on no curves.
    """
    if not scored:
        raise ValueError("There is no risk-coverage curve to draw.")
    curves = _curves(scored)
    record = scored[0].record
    error = 1 - record.metrics.get("accuracy", math.nan)
    heights = [curve.risk[curve.coverage >= _SPIKE].max(initial=0.0) for curve in curves]
    ticks = _ticks(max(heights))
    box = _Box(left=62, top=34, width=470, height=290, y_limit=ticks[-1])
    lines = [curve.path(box) for curve in curves] + ([_perfect(box, error)] if math.isfinite(error) else [])
    window = f"{box.left} {box.top} {box.width} {box.height + 2}"
    title = f"Error rate over coverage on {record.dataset}, classifier {record.classifier}"
    parts = [
        _text(box.left, 16, _shortened(title, 105), font_weight=600),
        *_risk_axes(box, ticks),
        # A nested svg clips what the first few samples do above the axis, and needs no id unique in the page.
        _tag("svg", "".join(lines), x=box.left, y=box.top, width=box.width, height=box.height + 2, viewBox=window),
        *_direct_labels(box, curves),
        *_key(box.right + 16, box.top + 12, curves, left_out=len(scored) - len(curves)),
    ]
    ranked = ", ".join(f"{curve.name} {curve.aurc}" for curve in curves)
    return _svg(900, 372, title, f"AURC in percent, lower is better: {ranked}.", parts)


@dataclass(frozen=True)
class _Box:
    """A plot area in pixels; data from (0, 0) to (1, y_limit) fill it."""

    left: float
    top: float
    width: float
    height: float
    y_limit: float = 1.0

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height

    def x(self, value: Numbers) -> Numbers:
        return self.left + self.width * value

    def y(self, value: Numbers) -> Numbers:
        return self.bottom - self.height * value / self.y_limit


def _bars(box: _Box, word: str, counts: dict[str, Numbers], *, up: bool) -> list[str]:
    """Stacked bars that grow from the middle line; only in the threshold's own bin do both groups stand."""
    sign = -1 if up else 1
    middle, room = box.top + box.height / 2, box.height / 2 - 4
    centre = middle + sign * box.height / 4
    parts = [_text(11, centre, word, "middle", transform=f"rotate(-90 11 {centre})")]
    most = int(sum(counts.values(), start=np.zeros(1)).max())
    if not most:
        return [*parts, _text(box.left + box.width / 2, centre, f"no {word} answers", "middle")]
    tick = _round_below(most)
    tick_y = middle + sign * room * tick / most
    parts += [_grid_line(box.left, tick_y, box.right, tick_y), _text(box.left - 5, tick_y + 4, f"{tick:,}", "end")]
    base = np.zeros(1)
    for group, count in counts.items():
        heights, width = room * count / most, box.width / count.size
        tops = middle - base - heights if up else middle + base + 0 * heights
        bars = [
            _tag("rect", x=box.left + width * (i + 0.08), y=tops[i], width=0.84 * width, height=heights[i])
            for i in np.flatnonzero(count)
        ]
        parts.append(_tag("g", "".join(bars), data_group=group, fill=GROUPS[group][0]))
        base = base + heights
    return parts


def _confidence_axis(box: _Box) -> Iterator[str]:
    middle = box.top + box.height / 2
    yield _tag("path", d=f"M{box.left} {middle}H{box.right}", stroke="currentColor")
    for value in (0, 0.25, 0.5, 0.75, 1):
        x = box.left + box.width * value
        yield _grid_line(x, box.top, x, box.bottom)
        yield _text(x, box.bottom + 33, f"{value:g}", "middle")
    yield _text(box.left + box.width / 2, box.bottom + 48, "trust confidence", "middle")


def _counted(x: float, y: float, group: str, totals: dict[str, int]) -> list[str]:
    swatch = _tag("rect", x=x, y=y - 9, width=9, height=9, fill=GROUPS[group][0])
    return [swatch, _text(x + 13, y, f"{group} {totals[group]:,}")]


@dataclass(frozen=True)
class _Curve:
    name: str
    aurc: str
    colour: str
    dash: str
    coverage: Numbers
    risk: Numbers

    def path(self, box: _Box) -> str:
        points = _points(box.x(self.coverage), box.y(self.risk))
        return _tag("polyline", points=points, fill="none", data_name=self.name, **self.stroke)

    @property
    def stroke(self) -> dict[str, str]:
        return {"stroke": self.colour, "stroke_dasharray": self.dash, "stroke_width": "1.8"}


def _curves(scored: Sequence[Scored]) -> list[_Curve]:
    """The curves to draw, best AURC first; a colour is a method with its settings, a dash a kind of training."""
    ranked = sorted(scored[1:], key=_aurc)[: MAX_CURVES - 1]
    drawn = [one for one in scored if one is scored[0] or any(one is kept for kept in ranked)]
    oracles = {one.record.oracle for one in drawn if one.record.training is not None}
    colours: dict[tuple[str, str | None], str] = {}
    curves = {}
    for one in drawn:
        record, finite = one.record, np.isfinite(one.coverage) & np.isfinite(one.risk)
        key = method_label(record), record.oracle
        if record.method != "mcp":
            colours.setdefault(key, _PALETTE[len(colours) % len(_PALETTE)])
        name = entry_name(record, with_oracle=len(oracles) > 1)
        dash = _DASHES.get(record.training or "", _OTHER_DASH)
        colour = colours.get(key, "currentColor")
        aurc = f"{100 * _aurc(one):.2f}" if math.isfinite(_aurc(one)) else "–"
        curves[id(one)] = _Curve(name, aurc, colour, dash, one.coverage[finite], one.risk[finite])
    return [curves[id(one)] for one in sorted(drawn, key=_aurc)]


def _aurc(scored: Scored) -> float:
    aurc = scored.record.metrics.get("aurc", math.inf)
    return aurc if math.isfinite(aurc) else math.inf


def _perfect(box: _Box, error: float) -> str:
    """The risk of a ranking that puts every right answer before every wrong one."""
    coverage = np.linspace(1 - error, 1, 50)
    risk = (coverage - (1 - error)) / np.maximum(coverage, 1e-9)
    points = _points(box.x(coverage), box.y(risk))
    return _tag("polyline", points=points, fill="none", stroke="currentColor", stroke_dasharray="1 3")


def _risk_axes(box: _Box, ticks: list[float]) -> Iterator[str]:
    for value in ticks:
        y = box.bottom - box.height * value / box.y_limit
        yield _grid_line(box.left, y, box.right, y)
        yield _text(box.left - 6, y + 4, f"{100 * value:g}", "end")
    for percent in range(0, 101, 20):
        x = box.left + box.width * percent / 100
        yield _grid_line(x, box.bottom, x, box.bottom + 5)
        yield _text(x, box.bottom + 18, f"{percent}", "middle")
    yield _text(box.left + box.width / 2, box.bottom + 35, "coverage: share of images accepted (%)", "middle")
    y = box.top + box.height / 2
    yield _text(16, y, "error rate among the accepted (%)", "middle", transform=f"rotate(-90 16 {y})")


def _direct_labels(box: _Box, curves: list[_Curve]) -> Iterator[str]:
    """Each name beside its curve where all others are farthest; none where there is no room to tell.

    Curves rise to the right, so there is room before and above a point, or after and below it.
    """
    curves = [curve for curve in curves if curve.risk.size]
    xs = np.linspace(box.left, box.right, 101)
    ys = np.array([box.y(np.interp(np.linspace(0, 1, 101), curve.coverage, curve.risk)) for curve in curves])
    taken: list[tuple[float, float, float]] = []
    for i, curve in enumerate(curves):
        length, roomiest, found = 6.4 * len(curve.name), _CLEARANCE, None
        for (x, y), above in product(zip(xs, ys[i], strict=True), (True, False)):
            left, base = (x - length, y - 5) if above else (x, y + 13)
            others = np.delete(ys, i, axis=0)[:, (xs > left - 1) & (xs < left + length + 1)]
            gap = np.abs(others - (base - 4)).min(initial=box.height)
            free = all(abs(base - b) > 13 or abs(left - a) > max(length, width) for a, b, width in taken)
            inside = box.left < left < box.right - length and box.top + 12 < base < box.bottom - 4
            if gap > roomiest and free and inside:
                roomiest, found = gap, (float(left), float(base))
        if found:
            taken.append((*found, length))
            yield _text(*found, curve.name, "start", fill=curve.colour, **_HALO)


def _key(x: float, y: float, curves: list[_Curve], left_out: int) -> Iterator[str]:
    yield _text(x, y, "AURC (%), best first")
    for curve in curves:
        y += 20
        yield _tag("path", d=f"M{x} {y - 4}h26", **curve.stroke)
        yield _text(x + 32, y, f"{curve.aurc}  {_shortened(curve.name, 40)}")
    yield _text(x, y + 20, "dotted: a perfect ranking")
    if left_out:
        yield _text(x, y + 40, f"{left_out} more not drawn")


def _ticks(limit: float) -> list[float]:
    """From 0 in steps of 1, 2, 2.5 or 5 times a power of ten to at least `limit`, at most six steps."""
    limit = max(limit, 0.001)
    power = 10.0 ** math.floor(math.log10(limit / 6))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m * 6 >= limit)
    return [step * i for i in range(math.ceil(limit / step - 1e-9) + 1)]


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _round_below(most: int) -> int:
    """The largest 1, 2 or 5 times a power of ten that is at most `most`."""
    power = 10 ** (len(str(most)) - 1)
    return next(m * power for m in (5, 2, 1) if m * power <= most)


def _points(x: Numbers, y: Numbers) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def _grid_line(x1: float, y1: float, x2: float, y2: float) -> str:
    return _tag("path", d=f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}", stroke="currentColor", stroke_opacity=0.25)


def _text(x: float, y: float, text: str, anchor: str = "start", /, **attributes: str | float) -> str:
    return _tag("text", escape(text), x=x, y=y, text_anchor=anchor, **attributes)


def _tag(element: str, content: str = "", /, **attributes: str | float) -> str:
    """One element with finished `content`; attribute values are escaped here, names are hyphenated."""
    written = [element]
    for name, value in attributes.items():
        shown = f"{value:.2f}" if isinstance(value, float) else escape(str(value))
        written.append(f'{name.replace("_", "-")}="{shown}"')
    return f"<{' '.join(written)}>{content}</{element}>"


def _svg(width: int, height: int, title: str, description: str, parts: Sequence[str]) -> str:
    content = f"<title>{escape(title)}</title><desc>{escape(description)}</desc>{''.join(parts)}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" fill="currentColor" '
        f'font-family="system-ui, sans-serif" font-size="12">{content}</svg>'
    )
