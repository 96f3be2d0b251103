"""The figures as SVG text: where the trust confidences lie, and what error rate each coverage costs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from trustcache.report.names import BASELINE, entry_name, method_label
from trustcache.report.records import Scored
from trustcache.report.svg import PALETTE, Box, Numbers, drawing, even_ticks, round_below, shortened

GROUPS = {
    "TP": ("#0072B2", "right answers that are trusted"),
    "FN": ("#56B4E9", "right answers that are not trusted"),
    "FP": ("#D55E00", "wrong answers that are trusted"),
    "TN": ("#E69F00", "wrong answers that are not trusted"),
}
MAX_CURVES = 12
_DASHES = {"frozen": "6 3", "fine-tuned": "none"}
_OTHER_DASH = "2 3"
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
    halves = [
        _half(box, word, {group: counts[group] for group in groups}, sign)
        for word, groups, sign in (("right", ("FN", "TP"), -1), ("wrong", ("TN", "FP"), 1))
    ]
    described = "; ".join(f"{totals[group]:,} {text} ({group})" for group, (_, text) in GROUPS.items())
    about = f"Trust confidences on {scored.record.dataset}: {described}."
    parts = {"box": box, "name": shortened(title, 42), "halves": halves, "groups": GROUPS, "totals": totals}
    return drawing("histogram.svg", (320, 252), title, about, **parts)


def _half(box: Box, word: str, counts: Mapping[str, Numbers], sign: int) -> dict[str, Any]:
    """Return what is drawn of one half: stacked bars that stand on the middle line (sign -1) or hang from it (1).

    Only the threshold's own bin has bars of both groups.
    """
    middle, room = box.top + box.height / 2, box.height / 2 - 4
    most = int(sum(counts.values(), start=np.zeros(1)).max())
    tick = round_below(most) if most else 0
    base, bars = np.zeros(1), {}
    for group, count in counts.items():
        heights, width = room * count / max(most, 1), box.width / count.size
        tops = middle + sign * base - (heights if sign < 0 else 0 * heights)
        bars[group] = [
            (box.left + width * (i + 0.08), tops[i], 0.84 * width, heights[i]) for i in np.flatnonzero(count)
        ]
        base = base + heights
    return {
        "word": word,
        "centre": middle + sign * box.height / 4,
        "tick": tick,
        "tick_y": middle + sign * room * tick / max(most, 1),
        "bars": bars,
        "count_y": box.top - 8 if sign < 0 else box.bottom + 16,
    }


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
    ticks = even_ticks(max(curve.risk[curve.coverage >= _SPIKE].max(initial=0.0) for curve in curves))
    box = Box(left=62, top=34, width=470, height=290, y_limit=ticks[-1])
    title = f"Error rate over coverage on {record.dataset}, classifier {record.classifier}"
    ranked = ", ".join(f"{curve.name} {curve.aurc}" for curve in curves)
    return drawing(
        "risk-coverage.svg",
        (900, 372),
        title,
        f"AURC in percent, lower is better: {ranked}.",
        box=box,
        percent=replace(box, x_range=(0, 100)),
        ticks=ticks,
        heading=shortened(title, 105),
        curves=[vars(curve) | {"points": box.points(curve.coverage, curve.risk)} for curve in curves],
        perfect=_perfect(box, error) if math.isfinite(error) else "",
        labels=list(_direct_labels(box, curves)),
        left_out=len(scored) - len(curves),
    )


@dataclass(frozen=True)
class _Curve:
    name: str
    aurc: str
    colour: str
    dash: str
    coverage: Numbers
    risk: Numbers


def _curves(scored: Sequence[Scored]) -> list[_Curve]:
    """Return the curves, best AURC first; a colour is a method with its settings, a dash a kind of training."""
    kept = {scored[0], *sorted(scored[1:], key=_aurc)[: MAX_CURVES - 1]}
    drawn = [one for one in scored if one in kept]
    oracles = {one.record.oracle for one in drawn if one.record.training is not None}
    colours: dict[tuple[str, str | None], str] = {}
    curves: dict[Scored, _Curve] = {}
    for one in drawn:
        record, finite = one.record, np.isfinite(one.coverage) & np.isfinite(one.risk)
        key = method_label(record), record.oracle
        if record.method != BASELINE:
            colours.setdefault(key, PALETTE[len(colours) % len(PALETTE)])
        name = entry_name(record, with_oracle=len(oracles) > 1)
        dash = _DASHES.get(record.training or "", _OTHER_DASH)
        colour = colours.get(key, "currentColor")
        aurc = f"{100 * _aurc(one):.2f}" if math.isfinite(_aurc(one)) else "–"
        curves[one] = _Curve(name, aurc, colour, dash, one.coverage[finite], one.risk[finite])
    return [curves[one] for one in sorted(drawn, key=_aurc)]


def _aurc(scored: Scored) -> float:
    aurc = scored.record.metrics.get("aurc", math.inf)
    return aurc if math.isfinite(aurc) else math.inf


def _perfect(box: Box, error: float) -> str:
    """Return the points of the risk curve of a ranking that puts every right answer before every wrong one."""
    coverage = np.linspace(1 - error, 1, 50)
    risk = (coverage - (1 - error)) / np.maximum(coverage, 1e-9)
    return box.points(coverage, risk)


def _direct_labels(box: Box, curves: list[_Curve]) -> Iterator[tuple[_Curve, float, float]]:
    """Yield each curve with the place of its name, where all others are farthest; none where there is no room.

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
            yield curve, *found
