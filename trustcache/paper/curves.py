"""Curves that the general report does not have: the losses over z (Fig. 2b), and quantities over alpha- (Fig. 4b-c)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trustcache.losses import cross_entropy, focal, steep_slope, true_class_probability
from trustcache.paper.paper_index import PaperIndex
from trustcache.report.charts import Chart, Numbers, curve_rows, lines
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
    z, figures = np.linspace(-_REACH, _REACH, 201), []
    for right in (True, False):
        curves, limit = losses_over(z, right), 8.0 if right else _CEILING
        rows = [row for name, curve in curves.items() for row in curve_rows(name, x=z, y=np.minimum(curve, 10 * limit))]
        chart = Chart(lines([*curves], "z, the oracle's output", "loss", limit), rows)
        figures.append(Figure(_half_title(right), chart, _CAPTION))
    return tuple(figures)


def _half_title(right: bool) -> str:
    return f"o = {right:d}: the classifier is {'right' if right else 'wrong'}"


@dataclass(frozen=True)
class Panel:
    """One quantity over alpha-: the means and deviations of its values (0 where there is one seed), for each x."""

    label: str
    x: Numbers
    mean: Numbers
    std: Numbers

    def chart(self) -> Chart:
        """Return the mean over alpha- with a bar of one standard deviation either way."""
        low, high = np.maximum(self.mean - self.std, 0), self.mean + self.std
        rows = curve_rows(self.label, dots=len(self.x), x=self.x, y=self.mean, low=low, high=high)
        return Chart(lines([self.label], "α⁻", self.label, bars=True), rows)
