"""The figures as SVG text: where the trust confidences lie, and what error rate each coverage costs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from trustcache.report.names import BASELINE, entry_name, method_label
from trustcache.report.records import Scored
from trustcache.report.svg import (
    PALETTE,
    Box,
    Numbers,
    even_ticks,
    grid_line,
    joined_points,
    round_below,
    shortened,
    svg_document,
    svg_text,
    tag,
    y_grid,
)

GROUPS = {
    "TP": ("#0072B2", "right answers that are trusted"),
    "FN": ("#56B4E9", "right answers that are not trusted"),
    "FP": ("#D55E00", "wrong answers that are trusted"),
    "TN": ("#E69F00", "wrong answers that are not trusted"),
}
MAX_CURVES = 12
_DASHES = {"frozen": "6 3", "fine-tuned": "none"}
_OTHER_DASH = "2 3"
_HALO: dict[str, str | float] = {"stroke": "Canvas", "stroke_width": 3, "paint_order": "stroke"}
_SPIKE = 0.1  # below this coverage a handful of samples decides the risk; they may not decide the axis
_CLEARANCE = 11.0  # pixels from a label's middle to any other curve; its own is 9 away


def confidence_histogram(scored: Scored) -> str:
    """Return a histogram of the trust confidences of right (up) and wrong (down) answers, as an SVG document.

    Each half is scaled to its own fullest bin, since errors can be a hundred times rarer; counts are printed.
    Raises ValueError unless the histogram has TP, FP, TN and FN in the same bins.
    """
    histogram = scored.histogram or {}
    counts = {group: np.asarray(histogram.get(group, ())) for group in GROUPS}
    if not counts["TP"].size or len({count.shape for count in counts.values()}) > 1:
        raise ValueError("A histogram needs counts of TP, FP, TN and FN in the same bins.")
    totals = {group: int(count.sum()) for group, count in counts.items()}
    box = Box(left=56, top=40, width=252, height=160)
    title = entry_name(scored.record, with_oracle=True)
    parts = [svg_text(4, 14, shortened(title, 42), font_weight=600), *_confidence_axis(box)]
    for word, groups, up in (("right", ("FN", "TP"), True), ("wrong", ("TN", "FP"), False)):
        parts += _bars(box, word, {group: counts[group] for group in groups}, up=up)
        y = box.top - 8 if up else box.bottom + 16
        parts += _counted(box.left, y, groups[0], totals) + _counted(box.right - 80, y, groups[1], totals)
    described = "; ".join(f"{totals[group]:,} {text} ({group})" for group, (_, text) in GROUPS.items())
    about = f"Trust confidences on {scored.record.dataset}: {described}."
    return svg_document(320, 252, title, about, parts)


def risk_coverage_chart(scored: Sequence[Scored]) -> str:
    """Return the error rate among accepted images over the share accepted, one curve each, as an SVG document.

    Beyond `MAX_CURVES` only the first and those of lowest AURC are drawn, and the figure says so. The dotted
    curve is a perfect ranking's. Points that are not finite are left out. Raises ValueError on no curves.
    """
    if not scored:
        raise ValueError("There is no risk-coverage curve to draw.")
    curves = _curves(scored)
    record = scored[0].record
    error = 1 - record.metrics.get("accuracy", math.nan)
    heights = [curve.risk[curve.coverage >= _SPIKE].max(initial=0.0) for curve in curves]
    ticks = even_ticks(max(heights))
    box = Box(left=62, top=34, width=470, height=290, y_limit=ticks[-1])
    lines = [curve.path(box) for curve in curves] + ([_perfect(box, error)] if math.isfinite(error) else [])
    title = f"Error rate over coverage on {record.dataset}, classifier {record.classifier}"
    parts = [
        svg_text(box.left, 16, shortened(title, 105), font_weight=600),
        *_risk_axes(box, ticks),
        box.clipped(lines),  # the first few samples may lie above the axis
        *_direct_labels(box, curves),
        *_key(box.right + 16, box.top + 12, curves, left_out=len(scored) - len(curves)),
    ]
    ranked = ", ".join(f"{curve.name} {curve.aurc}" for curve in curves)
    return svg_document(900, 372, title, f"AURC in percent, lower is better: {ranked}.", parts)


def _bars(box: Box, word: str, counts: dict[str, Numbers], *, up: bool) -> list[str]:
    """Return stacked bars that grow from the middle line; only the threshold's own bin has both groups."""
    sign = -1 if up else 1
    middle, room = box.top + box.height / 2, box.height / 2 - 4
    centre = middle + sign * box.height / 4
    parts = [svg_text(11, centre, word, "middle", transform=f"rotate(-90 11 {centre})")]
    most = int(sum(counts.values(), start=np.zeros(1)).max())
    if not most:
        return [*parts, svg_text(box.left + box.width / 2, centre, f"no {word} answers", "middle")]
    tick = round_below(most)
    tick_y = middle + sign * room * tick / most
    parts += [grid_line(box.left, tick_y, box.right, tick_y), svg_text(box.left - 5, tick_y + 4, f"{tick:,}", "end")]
    base = np.zeros(1)
    for group, count in counts.items():
        heights, width = room * count / most, box.width / count.size
        tops = middle - base - heights if up else middle + base + 0 * heights
        bars = [
            tag("rect", x=box.left + width * (i + 0.08), y=tops[i], width=0.84 * width, height=heights[i])
            for i in np.flatnonzero(count)
        ]
        parts.append(tag("g", "".join(bars), data_group=group, fill=GROUPS[group][0]))
        base = base + heights
    return parts


def _confidence_axis(box: Box) -> Iterator[str]:
    middle = box.top + box.height / 2
    yield tag("path", d=f"M{box.left} {middle}H{box.right}", stroke="currentColor")
    for value in (0, 0.25, 0.5, 0.75, 1):
        x = box.left + box.width * value
        yield grid_line(x, box.top, x, box.bottom)
        yield svg_text(x, box.bottom + 33, f"{value:g}", "middle")
    yield svg_text(box.left + box.width / 2, box.bottom + 48, "trust confidence", "middle")


def _counted(x: float, y: float, group: str, totals: dict[str, int]) -> list[str]:
    swatch = tag("rect", x=x, y=y - 9, width=9, height=9, fill=GROUPS[group][0])
    return [swatch, svg_text(x + 13, y, f"{group} {totals[group]:,}")]


@dataclass(frozen=True)
class _Curve:
    name: str
    aurc: str
    colour: str
    dash: str
    coverage: Numbers
    risk: Numbers

    def path(self, box: Box) -> str:
        points = joined_points(box.x(self.coverage), box.y(self.risk))
        return tag("polyline", points=points, fill="none", data_name=self.name, **self.stroke)

    @property
    def stroke(self) -> dict[str, str]:
        return {"stroke": self.colour, "stroke_dasharray": self.dash, "stroke_width": "1.8"}


def _curves(scored: Sequence[Scored]) -> list[_Curve]:
    """Return the curves, best AURC first; a colour is a method with its settings, a dash a kind of training."""
    ranked = sorted(scored[1:], key=_aurc)[: MAX_CURVES - 1]
    drawn = [one for one in scored if one is scored[0] or any(one is kept for kept in ranked)]
    oracles = {one.record.oracle for one in drawn if one.record.training is not None}
    colours: dict[tuple[str, str | None], str] = {}
    curves = {}
    for one in drawn:
        record, finite = one.record, np.isfinite(one.coverage) & np.isfinite(one.risk)
        key = method_label(record), record.oracle
        if record.method != BASELINE:
            colours.setdefault(key, PALETTE[len(colours) % len(PALETTE)])
        name = entry_name(record, with_oracle=len(oracles) > 1)
        dash = _DASHES.get(record.training or "", _OTHER_DASH)
        colour = colours.get(key, "currentColor")
        aurc = f"{100 * _aurc(one):.2f}" if math.isfinite(_aurc(one)) else "–"
        curves[id(one)] = _Curve(name, aurc, colour, dash, one.coverage[finite], one.risk[finite])
    return [curves[id(one)] for one in sorted(drawn, key=_aurc)]


def _aurc(scored: Scored) -> float:
    aurc = scored.record.metrics.get("aurc", math.inf)
    return aurc if math.isfinite(aurc) else math.inf


def _perfect(box: Box, error: float) -> str:
    """Return the risk curve of a ranking that puts every right answer before every wrong one."""
    coverage = np.linspace(1 - error, 1, 50)
    risk = (coverage - (1 - error)) / np.maximum(coverage, 1e-9)
    points = joined_points(box.x(coverage), box.y(risk))
    return tag("polyline", points=points, fill="none", stroke="currentColor", stroke_dasharray="1 3")


def _risk_axes(box: Box, ticks: list[float]) -> Iterator[str]:
    yield from y_grid(box, ticks, scale=100)
    for percent in range(0, 101, 20):
        x = box.left + box.width * percent / 100
        yield grid_line(x, box.bottom, x, box.bottom + 5)
        yield svg_text(x, box.bottom + 18, f"{percent}", "middle")
    yield svg_text(box.left + box.width / 2, box.bottom + 35, "coverage: share of images accepted (%)", "middle")
    y = box.top + box.height / 2
    yield svg_text(16, y, "error rate among the accepted (%)", "middle", transform=f"rotate(-90 16 {y})")


def _direct_labels(box: Box, curves: list[_Curve]) -> Iterator[str]:
    """Yield each name beside its curve where all others are farthest; none where there is no room.

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
            yield svg_text(*found, curve.name, "start", fill=curve.colour, **_HALO)


def _key(x: float, y: float, curves: list[_Curve], left_out: int) -> Iterator[str]:
    yield svg_text(x, y, "AURC (%), best first")
    for curve in curves:
        y += 20
        yield tag("path", d=f"M{x} {y - 4}h26", **curve.stroke)
        yield svg_text(x + 32, y, f"{curve.aurc}  {shortened(curve.name, 40)}")
    yield svg_text(x, y + 20, "dotted: a perfect ranking")
    if left_out:
        yield svg_text(x, y + 40, f"{left_out} more not drawn")
