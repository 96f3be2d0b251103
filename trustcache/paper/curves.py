"""Curves that the general report does not have: the losses over z (Fig. 2b), and panels over alpha- (Fig. 4b-c)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trustcache.losses import cross_entropy, focal, steep_slope, true_class_probability
from trustcache.paper.paper_index import PaperIndex
from trustcache.report.svg import PALETTE, Box, Numbers, drawing, even_ticks
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
    halves = [_half(side, right) for side, right in enumerate((True, False))]
    about = "The loss over the oracle's output z, for right answers on the left and wrong ones on the right."
    return (Figure("equations", drawing("losses.svg", (880, 350), "Losses over z", about, halves=halves), _CAPTION),)


def _half(side: int, right: bool) -> dict[str, Any]:
    z = np.linspace(-_REACH, _REACH, 401)
    limit = 8.0 if right else _CEILING
    box = Box(left=52 + 430 * side, top=34, width=360, height=230, y_limit=limit, x_range=(-_REACH, _REACH))
    key, x = [], box.left
    for colour, (name, curve) in zip(PALETTE, losses_over(z, right).items(), strict=False):
        points = box.points(z, np.minimum(curve, 10 * limit))
        key.append({"name": name, "colour": colour, "points": points, "x": x})
        x += 32 + 6.4 * len(name)
    return {"box": box, "title": _half_title(right), "ticks": even_ticks(limit), "key": key}


def _half_title(right: bool) -> str:
    return f"o = {right:d}: the classifier is {'right' if right else 'wrong'}"


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
    parts = [_panel(46 + 292 * i, panel, colour) for i, (panel, colour) in enumerate(zip(drawn, PALETTE, strict=False))]
    about = "; ".join(f"{p.label} from {p.mean[0]:.3g} to {p.mean[-1]:.3g}" for p in drawn)
    return drawing("panels.svg", (46 + 292 * len(drawn), 270), title, about, panels=parts)


def _panel(left: float, panel: Panel, colour: str) -> dict[str, Any]:
    ticks, low, high = even_ticks(panel.limit), float(panel.x.min()), float(panel.x.max())
    margin = ((high - low) or 1.0) / 23
    span = low - margin, (high if high > low else low + 1) + margin
    box = Box(left=left, top=52, width=230, height=170, y_limit=ticks[-1], x_range=span)
    at, low_ends, high_ends = box.x(panel.x), np.maximum(panel.mean - panel.std, 0), panel.mean + panel.std
    return {
        "box": box,
        "label": panel.label,
        "colour": colour,
        "ticks": ticks,
        "labelled": panel.x[_spread_out(at)],
        "bars": list(zip(at, box.y(low_ends), box.y(high_ends), strict=True)),
        "points": box.points(panel.x, panel.mean),
        "dots": list(zip(at, box.y(panel.mean), strict=True)),
    }


def _spread_out(at: Numbers) -> list[int]:
    """Return the labels there is room for: the first, and each that stands 26 pixels after the last one taken."""
    taken: list[int] = []
    for i, x in enumerate(at):
        if not taken or x - at[taken[-1]] >= 26:
            taken.append(i)
    return taken
