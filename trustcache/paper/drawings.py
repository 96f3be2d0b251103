"""Figures that the general report does not have: loss curves over z (2b), and what a sweep of alpha- does (4b-c)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trustcache.losses import cross_entropy, focal, steep_slope, true_class_probability
from trustcache.report.svg import (
    PALETTE,
    Box,
    Numbers,
    even_ticks,
    grid_line,
    joined_points,
    svg_document,
    svg_text,
    tag,
)

_REACH = 10.0  # z from -10 to 10
_CEILING = 22.0  # just above e^3: what the steepest curve does beyond would flatten all others


def losses_over(z: Numbers, right: bool) -> dict[str, Numbers]:
    """What Fig. 2b compares, by name: each loss at z (N,) of samples that the classifier is right (or wrong) on."""
    o = np.full_like(z, float(right))
    curves = {
        "ce": cross_entropy(z, o),
        "focal γ2": focal(z, o, 2.0),
        f"tcp, p_y = {right:d}": true_class_probability(z, o),
    }
    for alpha in (1.0, 2.0) if right else (3.0, 5.0):
        curves[f"ss α{'⁺' if right else '⁻'}{alpha:g}"] = steep_slope(z, o, alpha, alpha)
    return curves


def half_title(right: bool) -> str:
    """What one half of Fig. 2b is of."""
    return f"o = {right:d}: the classifier is {'right' if right else 'wrong'}"


def loss_curves() -> str:
    """Each loss over z, for a right answer (o = 1) and for a wrong one (o = 0), as an SVG document (Fig. 2b)."""
    z = np.linspace(-_REACH, _REACH, 401)
    parts: list[str] = []
    for side, right in enumerate((True, False)):
        limit = 8.0 if right else _CEILING
        box = Box(left=52 + 430 * side, top=34, width=360, height=230, y_limit=limit)
        parts += [svg_text(box.left, 16, half_title(right), font_weight=600), *_axes(box, even_ticks(limit))]
        parts += _drawn(box, z, losses_over(z, right))
    about = "The loss over the oracle's output z, for right answers on the left and wrong ones on the right."
    return svg_document(880, 350, "Losses over z", about, parts)


def _axes(box: Box, ticks: Sequence[float]) -> Iterator[str]:
    for value in ticks:
        y = box.bottom - box.height * value / box.y_limit
        if y >= box.top - 1:
            yield grid_line(box.left, y, box.right, y)
            yield svg_text(box.left - 6, y + 4, f"{value:g}", "end")
    for z in (-10, -5, 0, 5, 10):
        x = box.left + box.width * (z + _REACH) / (2 * _REACH)
        yield grid_line(x, box.top, x, box.bottom)
        yield svg_text(x, box.bottom + 17, f"{z}", "middle")
    yield svg_text(box.left + box.width / 2, box.bottom + 34, "z", "middle")


def _drawn(box: Box, z: Numbers, curves: dict[str, Numbers]) -> Iterator[str]:
    lines = []
    for colour, (name, curve) in zip(PALETTE, curves.items(), strict=False):
        points = joined_points(box.x((z + _REACH) / (2 * _REACH)), box.y(np.minimum(curve, 10 * box.y_limit)))
        lines.append(tag("polyline", points=points, fill="none", stroke=colour, stroke_width=1.8, data_name=name))
    window = f"{box.left} {box.top} {box.width} {box.height + 2}"
    yield tag("svg", "".join(lines), x=box.left, y=box.top, width=box.width, height=box.height + 2, viewBox=window)
    x = box.left
    for colour, name in zip(PALETTE, curves, strict=False):
        yield tag("path", d=f"M{x} {box.bottom + 58}h16", stroke=colour, stroke_width=2.5)
        yield svg_text(x + 20, box.bottom + 62, name)
        x += 32 + 6.4 * len(name)


@dataclass(frozen=True)
class Swept:
    """One quantity over a sweep: its values' means and deviations (0 where there is one seed), for each x."""

    label: str
    x: Numbers
    mean: Numbers
    std: Numbers
    limit: float


def sweep_chart(title: str, quantities: Sequence[Swept]) -> str:
    """Panels side by side, each a mean over alpha- with a bar of one standard deviation either way (Fig. 4b-c)."""
    parts = [svg_text(4, 16, title, font_weight=600)]
    for i, (swept, colour) in enumerate(zip(quantities, PALETTE, strict=False)):
        ticks = even_ticks(swept.limit)
        box = Box(left=46 + 292 * i, top=52, width=230, height=170, y_limit=ticks[-1])
        parts.append(svg_text(box.left, 40, swept.label))
        for value in ticks:
            y = box.bottom - box.height * value / box.y_limit
            parts += [grid_line(box.left, y, box.right, y), svg_text(box.left - 6, y + 4, f"{value:g}", "end")]
        low, high = float(swept.x.min()), float(swept.x.max())
        at = box.x(0.04 + 0.92 * (swept.x - low) / ((high - low) or 1.0))
        marked = _spread_out(at)
        for x, value in zip(at[marked], swept.x[marked], strict=True):
            parts.append(svg_text(float(x), box.bottom + 17, f"{value:g}", "middle"))
        parts.append(svg_text(box.left + box.width / 2, box.bottom + 34, "α⁻", "middle"))
        middle, up, down = (
            box.y(swept.mean),
            box.y(swept.mean + swept.std),
            box.y(np.maximum(swept.mean - swept.std, 0)),
        )
        for x, top, bottom in zip(at, up, down, strict=True):
            bar = f"M{float(x):.1f} {float(top):.1f}V{float(bottom):.1f}"
            parts.append(tag("path", d=bar, stroke=colour, stroke_opacity=0.6))
        parts.append(tag("polyline", points=joined_points(at, middle), fill="none", stroke=colour, stroke_width=1.8))
        parts += [tag("circle", cx=float(x), cy=float(v), r=2.6, fill=colour) for x, v in zip(at, middle, strict=True)]
    about = "; ".join(f"{s.label} from {s.mean[0]:.3g} to {s.mean[-1]:.3g}" for s in quantities)
    return svg_document(46 + 292 * len(quantities), 270, title, about, parts)


def _spread_out(at: Numbers) -> list[int]:
    """Which labels there is room for: the first, and each that stands 26 pixels after the last one taken."""
    taken: list[int] = []
    for i, x in enumerate(at):
        if not taken or x - at[taken[-1]] >= 26:
            taken.append(i)
    return taken
