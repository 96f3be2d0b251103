"""What figures draw, as tables: the numbers of the very scores that are drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trustcache.paper.artefacts import ARTEFACTS
from trustcache.paper.paper_index import PaperIndex


def grids(key, *scored):
    return ARTEFACTS[key].tables(PaperIndex(scored))


def test_the_histograms_table_counts_what_is_drawn_of_the_first_seed(scored):
    counts = {"TP": np.array([0, 5]), "FN": np.array([3, 0]), "FP": np.array([0, 2]), "TN": np.array([1, 0])}
    (grid,) = grids("figure3", scored("ss", 1), scored("ss", 0, histogram=counts))
    (line,) = grid.rows
    assert grid.heads == ("TP", "FN", "FP", "TN")
    assert line.labels[:2] == ("⟨mlp, mlp⟩", "digits")
    assert line.labels[2].startswith("ss")
    assert [str(cell) for cell in line.cells] == ["5", "3", "2", "1"]


def test_the_risks_table_reads_the_curve_where_it_first_covers_as_much(scored):
    # Five samples tie at the top, so nothing between 0 and half of them can be accepted.
    curve = {"coverage": np.array([0.5, 0.6, 0.9, 1.0]), "risk": np.array([0.1, 0.15, 0.2, 0.3])}
    (grid,) = grids("figure4a", scored("ce", **curve), scored("mcp"))
    reference, line = grid.rows
    assert grid.heads == ("20 %", "40 %", "60 %", "80 %", "90 %", "100 %")
    assert [str(cell) for cell in line.cells] == ["10.00", "10.00", "15.00", "20.00", "20.00", "30.00"]
    assert (reference.kind, reference.labels[2]) == ("reference", "mcp, not in the paper's")


def test_ties_that_accept_more_than_a_columns_share_are_counted_and_others_not_spoken_of(scored):
    (grid,) = grids("figure4a", scored("ce", n=10, coverage=[0.5, 0.6, 0.8, 0.9, 1.0]))
    assert any("ce by up to 3 samples" in note for note in grid.notes)
    (grid,) = grids("figure4a", scored("ce", n=10, coverage=np.arange(1, 11) / 10))
    assert len(grid.notes) == 1


def test_tcps_two_thresholds_are_told_where_it_is_counted(scored):
    assert any("tcp" in note and "chance" in note for note in grids("figure3", scored("tcp"))[0].notes)
    (figure,) = ARTEFACTS["figure3"].figures(PaperIndex((scored("tcp"),)))
    assert "chance" in figure.caption
    assert len(grids("figure3", scored("ss"))[0].notes) == 1


@pytest.mark.parametrize("key", ["figure3", "figure4a"])
def test_the_classifiers_confidence_alone_is_no_figure_of_the_papers(scored, key):
    assert not grids(key, scored("mcp"))


def test_the_losses_table_has_the_losses_by_their_equations(scored):
    right, wrong = grids("figure2b", scored("mcp"))
    at = {line.labels[0]: dict(zip(right.heads, line.cells, strict=True)) for line in right.rows}
    p = 1 / (1 + math.exp(-2))
    assert at["2"]["ce"].mean == pytest.approx(-math.log(p))
    assert at["2"]["focal γ2"].mean == pytest.approx(-((1 - p) ** 2) * math.log(p))
    assert at["2"]["tcp, p_y = 1"].mean == pytest.approx((p - 1) ** 2)
    assert at["2"]["ss α⁺1"].mean == pytest.approx(math.exp(-2 / 3) - math.exp(-1))
    at = {line.labels[0]: dict(zip(wrong.heads, line.cells, strict=True)) for line in wrong.rows}
    assert at["2"]["ss α⁻3"].mean == pytest.approx(math.exp(2) - math.exp(-3))
