"""Figure 2b and the figures of 4b-c: what the curves go through."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trustcache.paper.curves import Panel, loss_figures
from trustcache.paper.paper_index import PaperIndex


@pytest.fixture(scope="module")
def halves():
    """Of Fig. 2b: for right and for wrong answers its curves by name, each as z and loss."""
    found = []
    for figure in loss_figures(PaperIndex([])):
        names = dict.fromkeys(row["m"] for row in figure.chart.rows)
        found.append(
            {m: np.array([(row["x"], row["y"]) for row in figure.chart.rows if row["m"] == m]).T for m in names}
        )
    return found


def test_there_are_curves_of_every_loss_for_right_and_for_wrong_answers(halves):
    assert [list(curves) for curves in halves] == [
        ["ce", "focal γ2", "tcp, p_y = 1", "ss α⁺1", "ss α⁺2"],
        ["ce", "focal γ2", "tcp, p_y = 0", "ss α⁻3", "ss α⁻5"],
    ]


def test_curves_go_where_the_equations_say(halves):
    right, wrong = halves

    def at(curves, name, z):
        return np.interp(z, *curves[name])

    assert at(right, "ce", 0) == pytest.approx(math.log(2), abs=1e-5)
    assert at(right, "focal γ2", 0) == pytest.approx(math.log(2) / 4, abs=1e-5)
    assert at(right, "tcp, p_y = 1", 0) == pytest.approx(0.25, abs=1e-5)
    assert at(right, "ss α⁺1", 0) == pytest.approx(1 - math.exp(-1), abs=1e-5)
    assert at(wrong, "ss α⁻3", 5) == pytest.approx(math.exp(3 * 5 / 6) - math.exp(-3), abs=1e-5)
    assert at(wrong, "ce", 10) == pytest.approx(10, abs=1e-3)


def test_ss_falls_with_z_for_right_answers_and_rises_for_wrong_ones(halves):
    right, wrong = halves
    assert (np.diff(right["ss α⁺1"][1]) <= 0).all()
    assert (np.diff(wrong["ss α⁻3"][1]) >= 0).all()


def test_deviations_are_bars_about_the_means_that_never_fall_below_zero():
    swept = Panel("TPR", np.array([1.0, 2.0]), np.array([40.0, 5.0]), np.array([10.0, 8.0]))
    rows = swept.chart().rows
    assert [(row["x"], row["y"], row["low"], row["high"]) for row in rows] == [(1, 40, 30, 50), (2, 5, 0, 13)]
    assert all(row["dot"] for row in rows)
