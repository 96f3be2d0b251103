"""Figure 2b and the panels of 4b-c: what the curves go through, and that the documents are whole."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from trustcache.paper.curves import Panel, loss_figures
from trustcache.paper.curves import panels as panels_svg
from trustcache.paper.paper_index import PaperIndex

SVG = "{http://www.w3.org/2000/svg}"


def points(line):
    return np.array([[float(v) for v in pair.split(",")] for pair in line.get("points").split()])


@pytest.fixture(scope="module")
def panels():
    """Of Fig. 2b: for right and wrong answers, the clip window and its curves by name."""
    root = ET.fromstring(loss_figures(PaperIndex([]))[0].svg)
    clips = [clip for clip in root.iter(f"{SVG}svg") if clip.get("x")]
    return [(clip, {c.get("data-name"): points(c) for c in clip.iter(f"{SVG}polyline")}) for clip in clips]


def height(panel, name, z, limit):
    """A curve's loss at z, read off the drawing."""
    clip, curves = panel
    x0, width = float(clip.get("x")), float(clip.get("width"))
    y = np.interp(x0 + width * (z + 10) / 20, *curves[name].T)
    bottom, tall = float(clip.get("y")) + float(clip.get("height")) - 2, float(clip.get("height")) - 2
    return (bottom - y) / tall * limit


def test_there_are_curves_of_every_loss_for_right_and_for_wrong_answers(panels):
    assert [list(curves) for _, curves in panels] == [
        ["ce", "focal γ2", "tcp, p_y = 1", "ss α⁺1", "ss α⁺2"],
        ["ce", "focal γ2", "tcp, p_y = 0", "ss α⁻3", "ss α⁻5"],
    ]


def test_curves_go_where_the_equations_say(panels):
    right, wrong = panels
    assert height(right, "ce", 0, 8) == pytest.approx(math.log(2), abs=0.02)
    assert height(right, "focal γ2", 0, 8) == pytest.approx(math.log(2) / 4, abs=0.02)
    assert height(right, "tcp, p_y = 1", 0, 8) == pytest.approx(0.25, abs=0.02)
    assert height(right, "ss α⁺1", 0, 8) == pytest.approx(1 - math.exp(-1), abs=0.02)
    assert height(wrong, "ss α⁻3", 5, 22) == pytest.approx(math.exp(3 * 5 / 6) - math.exp(-3), abs=0.1)
    assert height(wrong, "ce", 10, 22) == pytest.approx(10, abs=0.1)


def test_ss_falls_with_z_for_right_answers_and_rises_for_wrong_ones(panels):
    (_, right), (_, wrong) = panels
    assert (np.diff(right["ss α⁺1"][:, 1]) >= 0).all()  # down on the page is a lower loss
    assert (np.diff(wrong["ss α⁻3"][:, 1]) <= 0).all()


def test_labels_of_a_dense_sweep_do_not_overlap():
    x = np.linspace(0.5, 8, 16)
    drawn = ET.fromstring(panels_svg("t", [Panel("TPR", x, 50 + 0 * x, 0 * x, 100.0)]))
    below = [(float(t.get("x")), t.text) for t in drawn.iter(f"{SVG}text") if t.text in {f"{v:g}" for v in x}]
    at = [x for x, _ in below if x > 46]
    assert len(at) > 3
    assert min(np.diff(at)) >= 26


def test_deviations_are_drawn_as_bars_about_the_means():
    swept = Panel("TPR", np.array([1.0, 2.0]), np.array([40.0, 60.0]), np.array([10.0, 0.0]), 100.0)
    drawn = ET.fromstring(panels_svg("t", [swept]))
    bars = [p.get("d") for p in drawn.iter(f"{SVG}path") if p.get("stroke-opacity") == "0.60"]
    top, bottom = map(float, bars[0].partition(" ")[2].split("V"))
    assert bottom - top == pytest.approx(170 * 20 / 100)
