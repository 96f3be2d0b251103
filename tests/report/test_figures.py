"""The charts: true to the numbers they are drawn from, and curves that nobody takes for one another."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from trustcache.report.charts import GROUPS, IDEAL, look
from trustcache.report.figures import MAX_CURVES, confidence_histogram, risk_coverage_chart


def histogram(tp=(0, 0), fn=(0, 0), fp=(0, 0), tn=(0, 0)):
    return {name: np.array(counts) for name, counts in (("TP", tp), ("FN", fn), ("FP", fp), ("TN", tn))}


def named(chart):
    return {row["m"] for row in chart.rows}


def curve(chart, name):
    return [(row["coverage"], row["risk"]) for row in chart.rows if row["m"] == name]


def risk_axis(chart):
    return chart.spec["layer"][0]["encoding"]["y"]["scale"]["domainMax"]


# --- looks -----------------------------------------------------------------------------------------------------


def test_no_two_of_many_curves_share_colour_dash_and_symbol():
    looks = {(colour, tuple(dash), shape) for _, colour, dash, shape in look([f"m{i}" for i in range(60)])}
    assert len(looks) == 60


def test_neighbouring_curves_differ_in_colour_and_in_dash_and_in_symbol():
    found = look([f"m{i}" for i in range(30)])
    for one, other in itertools.pairwise(found):
        assert all(one[part] != other[part] for part in (1, 2, 3))


def test_the_baseline_has_the_colour_of_the_text_and_the_ideal_is_dotted():
    looks = {name: (colour, dash) for name, colour, dash, _ in look(["mcp", "ce", IDEAL])}
    assert looks["mcp"][0] == "currentColor"
    assert looks[IDEAL][1] == [1, 3]


# --- confidences -----------------------------------------------------------------------------------------------


def test_right_answers_stand_up_and_wrong_ones_hang_down_each_as_shares_of_their_own(scored):
    shown = histogram(tp=(0, 300), fn=(100, 0), fp=(0, 1), tn=(3, 0))
    rows = confidence_histogram(scored(histogram=shown)).rows
    assert {(row["what"], row["share"], row["count"]) for row in rows} == {
        ("TP", 75.0, 300), ("FN", 25.0, 100), ("FP", -25.0, 1), ("TN", -75.0, 3)
    }  # fmt: skip


def test_bars_stand_at_their_bins_from_0_to_1(scored):
    rows = confidence_histogram(scored(histogram=histogram((1,) * 4, (0,) * 4, (0,) * 4, (0,) * 4))).rows
    assert [(row["lo"], row["hi"]) for row in rows] == [(0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1)]


def test_a_classifier_without_errors_leaves_half_of_it_empty(scored):
    assert {row["what"] for row in confidence_histogram(scored(histogram=histogram(tp=(0, 9)))).rows} == {"TP"}


@pytest.mark.parametrize(
    "broken", [{}, histogram(tp=(1, 2, 3)), {name: c for name, c in histogram().items() if name != "FN"}]
)
def test_a_histogram_without_all_groups_in_the_same_bins_is_refused(scored, broken):
    with pytest.raises(ValueError, match="TP, FP, TN and FN"):
        confidence_histogram(scored(histogram=broken))


def test_the_four_groups_have_four_colours(scored):
    scale = confidence_histogram(scored()).spec["layer"][0]["encoding"]["color"]["scale"]
    assert scale["domain"] == [*GROUPS]
    assert len(set(scale["range"])) == 4


# --- risk and coverage -----------------------------------------------------------------------------------------


def test_curves_pass_through_their_points_in_percent(scored):
    chart = risk_coverage_chart([scored(coverage=[0.25, 0.5, 1.0], risk=[0.02, 0.05, 0.2])])
    assert curve(chart, "ce, frozen") == [(25, 2), (50, 5), (100, 20)]


def test_a_spike_among_the_first_few_samples_does_not_flatten_the_rest(scored):
    coverage = np.linspace(0.01, 1, 100)
    chart = risk_coverage_chart([scored(coverage=coverage, risk=np.where(coverage < 0.05, 1.0, 0.1))])
    assert risk_axis(chart) == 10


@pytest.mark.parametrize("error", [0.0, 0.0004, 0.17, 1.0])
def test_the_risk_axis_reaches_the_error_rate(scored, error):
    coverage = np.linspace(0.01, 1, 50)
    chart = risk_coverage_chart([scored(coverage=coverage, risk=error * coverage, accuracy=1 - error)])
    assert risk_axis(chart) == pytest.approx(100 * error or 1)


def test_the_key_ranks_the_methods_by_aurc_and_an_undefined_one_comes_last(scored):
    shown = [scored("mcp", aurc=0.05), scored("ce", aurc=math.nan), scored("ss", aurc=0.03)]
    scale = risk_coverage_chart(shown).spec["layer"][0]["encoding"]["color"]["scale"]
    assert scale["domain"] == ["ss, frozen", "mcp", "ce, frozen", IDEAL]


def test_two_oracles_are_told_apart_by_name(scored):
    assert named(risk_coverage_chart([scored("ce", oracle="vit"), scored("ce", oracle="resnet")])) == {
        "ce, frozen, vit", "ce, frozen, resnet", IDEAL
    }  # fmt: skip


def test_beyond_what_one_figure_can_hold_the_first_and_the_best_are_drawn(scored):
    many = [scored("ce", settings={"depth": i}, aurc=0.5 - i / 100) for i in range(20)]
    best = {f"ce depth={i}, frozen" for i in range(20 - (MAX_CURVES - 1), 20)}
    assert named(risk_coverage_chart([scored("mcp", aurc=0.9), *many])) == {"mcp", IDEAL, *best}


def test_a_perfect_ranking_is_drawn_for_comparison(scored):
    coverage, risk = np.array(curve(risk_coverage_chart([scored(accuracy=0.8)]), IDEAL)[1:]).T / 100
    assert np.allclose(risk, 1 - 0.8 / coverage, atol=1e-6)
    assert coverage[0] == pytest.approx(0.8)


def test_points_that_are_not_finite_are_left_out(scored):
    chart = risk_coverage_chart([scored(coverage=[0.2, 0.6, 1.0], risk=[0.1, math.nan, 0.2])])
    assert len(curve(chart, "ce, frozen")) == 2


def test_an_unknown_accuracy_costs_only_the_reference_curve(scored):
    assert named(risk_coverage_chart([scored(accuracy=math.nan)])) == {"ce, frozen"}


def test_no_curves_at_all_are_refused():
    with pytest.raises(ValueError, match="no risk-coverage curve"):
        risk_coverage_chart([])
