"""Curves that the general report does not have: the losses over z (Fig. 2b), and panels over alpha- (Fig. 4b-c)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trustcache.losses import cross_entropy, focal, steep_slope, true_class_probability
from trustcache.paper.paper_index import PaperIndex
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
    y_grid,
)
from trustcache.report.table import Cell, Figure, Row, Table, grouped_table

_REACH = 10.0  # z from -10 to 10
_CEILING = 22.0  # just above e^3: what the steepest curve does beyond would flatten all others
_OUTPUTS = np.array([-10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5, 10])
_CAPTION = (
    "Each loss by its equation. ss is bounded, at most e^α − e^(−α) far on the wrong side, and steep near 0; "
    "α⁻ = 5 goes on to 148.4, beyond the axis. The released code's ce and focal are not these."
)


def losses_over(z: Numbers, right: bool) -> dict[str, Numbers]:
    """Return the losses that Fig. 2b compares at z (N,), of samples that the classifier is right (or wrong) on."""
    o = np.full_like(z, float(right))
    curves = {
        "ce": cross_entropy(z, o),
        "focal γ2": focal(z, o, 2.0),
        f"tcp, p_y = {right:d}": true_class_probability(z, o),
    }
    for alpha in (1.0, 2.0) if right else (3.0, 5.0):
        curves[f"ss α{'⁺' if right else '⁻'}{alpha:g}"] = steep_slope(z, o, alpha, alpha)
    return curves


def loss_tables(paper: PaperIndex) -> tuple[Table, ...]:
    """Return the losses of Fig. 2b at some outputs z, for right and for wrong answers."""
    tables = []
    for right in (True, False):
        curves = losses_over(_OUTPUTS, right)
        values = zip(_OUTPUTS, *curves.values(), strict=True)
        rows = [Row((f"{z:g}",), tuple(Cell(float(value), scale=1) for value in losses)) for z, *losses in values]
        tables.append(grouped_table(_half_title(right), ("z",), curves, rows))
    return tuple(tables)


def loss_figures(paper: PaperIndex) -> tuple[Figure, ...]:
    """Return Fig. 2b: each loss over z, for a right answer (o = 1) and for a wrong one (o = 0)."""
    z = np.linspace(-_REACH, _REACH, 401)
    parts: list[str] = []
    for side, right in enumerate((True, False)):
        limit = 8.0 if right else _CEILING
        box = Box(left=52 + 430 * side, top=34, width=360, height=230, y_limit=limit)
        parts += [svg_text(box.left, 16, _half_title(right), font_weight=600), *y_grid(box, even_ticks(limit))]
        parts += [*_z_axis(box), *_drawn(box, z, losses_over(z, right))]
    about = "The loss over the oracle's output z, for right answers on the left and wrong ones on the right."
    return (Figure("equations", svg_document(880, 350, "Losses over z", about, parts), _CAPTION),)


def _half_title(right: bool) -> str:
    return f"o = {right:d}: the classifier is {'right' if right else 'wrong'}"


def _z_axis(box: Box) -> Iterator[str]:
    for z in (-10, -5, 0, 5, 10):
        x = box.left + box.width * (z + _REACH) / (2 * _REACH)
        yield grid_line(x, box.top, x, box.bottom)
        yield svg_text(x, box.bottom + 17, f"{z}", "middle")
    yield svg_text(box.left + box.width / 2, box.bottom + 34, "z", "middle")


def _drawn(box: Box, z: Numbers, curves: dict[str, Numbers]) -> Iterator[str]:
    lines, x = [], box.left
    for colour, (name, curve) in zip(PALETTE, curves.items(), strict=False):
        points = joined_points(box.x((z + _REACH) / (2 * _REACH)), box.y(np.minimum(curve, 10 * box.y_limit)))
        lines.append(tag("polyline", points=points, fill="none", stroke=colour, stroke_width=1.8, data_name=name))
        yield tag("path", d=f"M{x} {box.bottom + 58}h16", stroke=colour, stroke_width=2.5)
        yield svg_text(x + 20, box.bottom + 62, name)
        x += 32 + 6.4 * len(name)
    yield box.clipped(lines)


@dataclass(frozen=True)
class Panel:
    """One quantity over alpha-: the means and deviations of its values (0 where there is one seed), for each x."""

    label: str
    x: Numbers
    mean: Numbers
    std: Numbers
    limit: float


def panels(title: str, drawn: Sequence[Panel]) -> str:
    """Return panels side by side, each a mean over alpha- with a bar of one standard deviation either way."""
    parts = [svg_text(4, 16, title, font_weight=600)]
    for i, (panel, colour) in enumerate(zip(drawn, PALETTE, strict=False)):
        ticks = even_ticks(panel.limit)
        box = Box(left=46 + 292 * i, top=52, width=230, height=170, y_limit=ticks[-1])
        parts += [svg_text(box.left, 40, panel.label), *y_grid(box, ticks)]
        low, high = float(panel.x.min()), float(panel.x.max())
        at = box.x(0.04 + 0.92 * (panel.x - low) / ((high - low) or 1.0))
        for place in _spread_out(at):
            parts.append(svg_text(float(at[place]), box.bottom + 17, f"{panel.x[place]:g}", "middle"))
        parts.append(svg_text(box.left + box.width / 2, box.bottom + 34, "α⁻", "middle"))
        ends = box.y(panel.mean + panel.std), box.y(np.maximum(panel.mean - panel.std, 0))
        for x, top, bottom in zip(at, *ends, strict=True):
            bar = f"M{float(x):.1f} {float(top):.1f}V{float(bottom):.1f}"
            parts.append(tag("path", d=bar, stroke=colour, stroke_opacity=0.6))
        y = box.y(panel.mean)
        parts.append(tag("polyline", points=joined_points(at, y), fill="none", stroke=colour, stroke_width=1.8))
        parts += [tag("circle", cx=float(x), cy=float(v), r=2.6, fill=colour) for x, v in zip(at, y, strict=True)]
    about = "; ".join(f"{p.label} from {p.mean[0]:.3g} to {p.mean[-1]:.3g}" for p in drawn)
    return svg_document(46 + 292 * len(drawn), 270, title, about, parts)


def _spread_out(at: Numbers) -> list[int]:
    """Return the labels there is room for: the first, and each that stands 26 pixels after the last one taken."""
    taken: list[int] = []
    for i, x in enumerate(at):
        if not taken or x - at[taken[-1]] >= 26:
            taken.append(i)
    return taken
