"""The figures: well-formed, readable without colours or sight, and true to the numbers they are drawn from."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from trustcache.report.figures import GROUPS, MAX_CURVES, confidence_histogram, risk_coverage_chart

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "<i>&'\""


def parsed(svg):
    return ET.fromstring(svg)


def texts(figure):
    return [element.text for element in figure.iter(f"{SVG}text")]


def bars(figure, group):
    """Left edges and heights of one group's bars, in the order of the bins."""
    (holder,) = (g for g in figure.iter(f"{SVG}g") if g.get("data-group") == group)
    return [(float(rect.get("x")), float(rect.get("height")), float(rect.get("y"))) for rect in holder]


def curves(figure):
    """Each named curve's points, in pixels, by name and in drawing order."""
    lines = (line for line in figure.iter(f"{SVG}polyline") if line.get("data-name"))
    return {
        line.get("data-name"): np.array([pair.split(",") for pair in line.get("points").split()], float)
        for line in lines
    }


def histogram(tp=(0, 0), fn=(0, 0), fp=(0, 0), tn=(0, 0)):
    return {name: np.array(counts) for name, counts in (("TP", tp), ("FN", fn), ("FP", fp), ("TN", tn))}


# --- confidences -----------------------------------------------------------------------------------------------


def test_bar_heights_are_proportional_to_counts_in_each_half(scored):
    shown = histogram(tp=(0, 0, 200, 600), fn=(50, 100, 0, 0), fp=(0, 0, 1, 4), tn=(6, 3, 0, 0))
    figure = parsed(confidence_histogram(scored(histogram=shown)))
    for half in (("TP", "FN"), ("FP", "TN")):
        heights = [height for group in half for _, height, _ in bars(figure, group)]
        counts = [count for group in half for count in shown[group] if count]
        assert np.allclose(np.array(heights) / max(heights), np.array(counts) / max(counts), atol=1e-3)


def test_a_few_errors_stand_as_tall_as_many_right_answers(scored):
    figure = parsed(confidence_histogram(scored(histogram=histogram(tp=(0, 90_000), fp=(0, 7)))))
    assert bars(figure, "TP")[0][1] == bars(figure, "FP")[0][1]


def test_right_answers_stand_above_the_middle_line_and_wrong_ones_hang_below_it(scored):
    figure = parsed(confidence_histogram(scored(histogram=histogram(tp=(0, 5), fn=(2, 0), fp=(0, 3), tn=(9, 0)))))
    ends = {group: y + height for group in ("TP", "FN") for _, height, y in bars(figure, group)}
    starts = {group: y for group in ("FP", "TN") for _, _, y in bars(figure, group)}
    assert len({*ends.values(), *starts.values()}) == 1


def test_the_ticks_of_both_halves_lie_at_the_height_of_as_many_samples(scored):
    figure = parsed(confidence_histogram(scored(histogram=histogram(tp=(0, 500), fp=(0, 20)))))
    ticks = {t.text: float(t.get("y")) - 4 for t in figure.iter(f"{SVG}text") if t.get("text-anchor") == "end"}
    (_, _, right_top), (_, wrong_height, wrong_top) = bars(figure, "TP")[0], bars(figure, "FP")[0]
    assert ticks == pytest.approx({"500": right_top, "20": wrong_top + wrong_height}, abs=0.02)
    words = {t.text: float(t.get("y")) for t in figure.iter(f"{SVG}text")}
    assert words["right"] < wrong_top < words["wrong"]


@pytest.mark.parametrize(("most", "tick"), [(1, "1"), (7, "5"), (49, "20"), (950, "500"), (123_456, "100,000")])
def test_the_tick_is_the_largest_round_count_that_fits(scored, most, tick):
    figure = parsed(confidence_histogram(scored(histogram=histogram(tp=(0, most)))))
    assert [t.text for t in figure.iter(f"{SVG}text") if t.get("text-anchor") == "end"] == [tick]


def test_in_the_bin_of_the_threshold_one_group_is_stacked_on_the_other(scored):
    figure = parsed(confidence_histogram(scored(histogram=histogram(tp=(2, 0), fn=(6, 0), fp=(1, 0), tn=(1, 0)))))
    (_, tp_height, tp_top), (_, _, fn_top) = bars(figure, "TP")[0], bars(figure, "FN")[0]
    assert tp_top + tp_height == pytest.approx(fn_top, abs=0.02)
    (_, _, fp_top), (_, tn_height, tn_top) = bars(figure, "FP")[0], bars(figure, "TN")[0]
    assert tn_top + tn_height == pytest.approx(fp_top, abs=0.02)


def test_bars_stand_at_their_bins_from_0_to_1(scored):
    figure = parsed(
        confidence_histogram(scored(histogram=histogram(tp=(1, 1, 1, 1), fn=(0,) * 4, fp=(0,) * 4, tn=(0,) * 4)))
    )
    lefts = [left for left, _, _ in bars(figure, "TP")]
    assert np.allclose(np.diff(lefts), np.diff(lefts)[0], atol=0.02)
    ticks = {t.text: float(t.get("x")) for t in figure.iter(f"{SVG}text") if t.get("text-anchor") == "middle"}
    assert ticks["0"] < lefts[0] < lefts[3] < ticks["1"]
    assert lefts[1] - lefts[0] == pytest.approx((ticks["1"] - ticks["0"]) / 4, abs=0.02)


def test_the_count_of_every_group_is_printed_and_described(scored):
    shown = histogram(tp=(0, 1200), fn=(34, 0), fp=(0, 5), tn=(6, 1))
    figure = parsed(confidence_histogram(scored(histogram=shown)))
    assert {"TP 1,200", "FN 34", "FP 5", "TN 7"} <= set(texts(figure))
    described = figure.find(f"{SVG}desc").text
    assert re.search(r"1,200 right [^;]*\(TP\)", described)
    assert re.search(r"\b7 wrong [^;]*\(TN\)", described)


def test_a_classifier_without_errors_leaves_a_half_that_says_so(scored):
    figure = parsed(confidence_histogram(scored(histogram=histogram(tp=(0, 9)))))
    assert "no wrong answers" in texts(figure)
    assert "no right answers" not in texts(figure)


@pytest.mark.parametrize(
    "broken", [{}, histogram(tp=(1, 2, 3)), {name: c for name, c in histogram().items() if name != "FN"}]
)
def test_a_histogram_without_all_groups_in_the_same_bins_is_refused(scored, broken):
    with pytest.raises(ValueError, match="TP, FP, TN and FN"):
        confidence_histogram(scored(histogram=broken))


def test_the_four_groups_have_four_colours(scored):
    figure = parsed(confidence_histogram(scored()))
    assert len({g.get("fill") for g in figure.iter(f"{SVG}g") if g.get("data-group")}) == 4
    assert len({colour for colour, _ in GROUPS.values()}) == 4


# --- risk and coverage -----------------------------------------------------------------------------------------


def axis(figure):
    """Pixels of 0 on both axes, and pixels per unit of coverage and of risk, from the tick labels."""
    labels = [(t.text, float(t.get("x")), float(t.get("y")), t.get("text-anchor")) for t in figure.iter(f"{SVG}text")]
    across = {float(text): x for text, x, _, anchor in labels if anchor == "middle" and text.isdigit()}
    up = {float(text): y - 4 for text, _, y, anchor in labels if anchor == "end"}
    return across[0], up[0], across[100] - across[0], (up[0] - up[max(up)]) / (max(up) / 100)


def test_curves_pass_through_their_points_on_axes_from_zero(scored):
    coverage, risk = np.array([0.25, 0.5, 0.75, 1.0]), np.array([0.02, 0.05, 0.11, 0.2])
    figure = parsed(risk_coverage_chart([scored(coverage=coverage, risk=risk)]))
    left, bottom, per_coverage, per_risk = axis(figure)
    points = curves(figure)["ce, frozen"]
    assert np.allclose((points[:, 0] - left) / per_coverage, coverage, atol=1e-3)
    assert np.allclose((bottom - points[:, 1]) / per_risk, risk, atol=1e-3)


def test_a_spike_among_the_first_few_samples_does_not_flatten_the_rest(scored):
    coverage = np.linspace(0.01, 1, 100)
    risk = np.where(coverage < 0.05, 1.0, 0.1)
    figure = parsed(risk_coverage_chart([scored(coverage=coverage, risk=risk, accuracy=0.9)]))
    assert max(float(t.text) for t in figure.iter(f"{SVG}text") if t.get("text-anchor") == "end") <= 15


@pytest.mark.parametrize("error", [0.0, 0.0004, 0.013, 0.17, 0.5, 0.84, 1.0])
def test_the_risk_axis_has_a_few_round_ticks_that_reach_over_the_error_rate(scored, error):
    coverage = np.linspace(0.01, 1, 50)
    figure = parsed(risk_coverage_chart([scored(coverage=coverage, risk=error * coverage, accuracy=1 - error)]))
    ticks = [float(t.text) for t in figure.iter(f"{SVG}text") if t.get("text-anchor") == "end"]
    assert 3 <= len(ticks) <= 7
    assert ticks[0] == 0
    assert 100 * error <= ticks[-1] + 1e-9 <= max(250 * error, 0.2)
    assert np.allclose(np.diff(ticks), ticks[1])


def test_the_key_ranks_the_methods_by_aurc(scored):
    figure = parsed(risk_coverage_chart([scored("mcp", aurc=0.05), scored("ce", aurc=0.08), scored("ss", aurc=0.03)]))
    key = [text for text in texts(figure) if re.match(r"\d+\.\d\d  ", text)]
    assert key == ["3.00  ss, frozen", "5.00  mcp", "8.00  ce, frozen"]


def test_an_undefined_aurc_comes_last_with_a_dash(scored):
    figure = parsed(risk_coverage_chart([scored("ce", aurc=math.nan), scored("ss", aurc=0.03)]))
    assert [text for text in texts(figure) if "frozen" in text and "  " in text] == [
        "3.00  ss, frozen",
        "–  ce, frozen",
    ]


def strokes(figure):
    lines = [line for line in figure.iter(f"{SVG}polyline") if line.get("data-name")]
    return {line.get("data-name"): (line.get("stroke"), line.get("stroke-dasharray")) for line in lines}


def test_a_colour_is_a_method_and_a_dash_is_a_training(scored):
    methods = [scored(m, training=t) for t in ("frozen", "fine-tuned") for m in ("ce", "ss")]
    drawn = strokes(parsed(risk_coverage_chart([scored("mcp"), *methods])))
    assert drawn["ce, frozen"][0] == drawn["ce, fine-tuned"][0] != drawn["ss, frozen"][0]
    assert drawn["ce, frozen"][1] == drawn["ss, frozen"][1] != drawn["ce, fine-tuned"][1]
    assert drawn["mcp"][0] == "currentColor"


def test_two_oracles_are_told_apart_by_name_and_colour(scored):
    drawn = strokes(parsed(risk_coverage_chart([scored("ce", oracle="vit"), scored("ce", oracle="resnet")])))
    assert len(drawn) == len({colour for colour, _ in drawn.values()}) == 2


def test_beyond_what_one_figure_can_hold_the_first_and_the_best_are_drawn_and_the_rest_is_counted(scored):
    many = [scored("ce", settings={"depth": i}, aurc=0.5 - i / 100) for i in range(20)]
    figure = parsed(risk_coverage_chart([scored("mcp", aurc=0.9), *many]))
    expected = {"mcp", *(f"ce depth={i}, frozen" for i in range(20 - (MAX_CURVES - 1), 20))}
    assert set(curves(figure)) == expected
    assert f"{21 - MAX_CURVES} more not drawn" in texts(figure)


def test_curves_far_apart_are_labelled_where_they_run(scored):
    coverage = np.linspace(0.01, 1, 100)
    low, high = (scored(m, coverage=coverage, risk=r * coverage) for m, r in (("ss", 0.05), ("ce", 0.2)))
    figure = parsed(risk_coverage_chart([low, high]))
    labels = {t.text: (float(t.get("x")), float(t.get("y"))) for t in figure.iter(f"{SVG}text") if t.get("paint-order")}
    assert set(labels) == {"ss, frozen", "ce, frozen"}
    for name, (x, y) in labels.items():
        others = {other: np.abs(line - (x, y)).sum(axis=1).min() for other, line in curves(figure).items()}
        end = {
            other: np.abs(line - (x + 6.4 * len(name), y)).sum(axis=1).min() for other, line in curves(figure).items()
        }
        assert min({other: min(others[other], end[other]) for other in others}.items(), key=lambda kv: kv[1])[0] == name


def test_curves_on_top_of_one_another_are_left_to_the_key(scored):
    figure = parsed(risk_coverage_chart([scored("ce"), scored("focal"), scored("tcp")]))
    assert not [t for t in figure.iter(f"{SVG}text") if t.get("paint-order")]


def test_a_perfect_ranking_is_drawn_for_comparison(scored):
    figure = parsed(risk_coverage_chart([scored(accuracy=0.8)]))
    (reference,) = (line for line in figure.iter(f"{SVG}polyline") if not line.get("data-name"))
    points = np.array([pair.split(",") for pair in reference.get("points").split()], float)
    left, bottom, per_coverage, per_risk = axis(figure)
    coverage, risk = (points[:, 0] - left) / per_coverage, (bottom - points[:, 1]) / per_risk
    assert np.allclose(risk, np.maximum(0, 1 - 0.8 / coverage), atol=2e-3)
    assert coverage[0] == pytest.approx(0.8, abs=1e-3)


def test_points_that_are_not_finite_are_left_out(scored):
    figure = parsed(risk_coverage_chart([scored(coverage=[0.2, 0.6, 1.0], risk=[0.1, math.nan, 0.2])]))
    assert len(curves(figure)["ce, frozen"]) == 2


def test_an_unknown_accuracy_costs_only_the_reference_curve(scored):
    figure = parsed(risk_coverage_chart([scored(accuracy=math.nan)]))
    assert len(list(figure.iter(f"{SVG}polyline"))) == len(curves(figure)) == 1


def test_no_curves_at_all_are_refused():
    with pytest.raises(ValueError, match="no risk-coverage curve"):
        risk_coverage_chart([])


# --- both ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["histogram", "chart"])
def drawn(request):
    return confidence_histogram if request.param == "histogram" else lambda one: risk_coverage_chart([one])


def test_a_figure_is_an_image_with_a_title_and_a_description(scored, drawn):
    figure = parsed(drawn(scored(dataset="digits")))
    assert figure.tag == f"{SVG}svg"
    assert figure.get("role") == "img"
    assert figure[0].tag == f"{SVG}title"
    assert figure[0].text
    assert figure[1].tag == f"{SVG}desc"
    assert "digits" in figure[0].text + figure[1].text


def test_names_with_markup_stay_text(scored, drawn):
    figure = parsed(drawn(scored(NASTY, dataset=NASTY, classifier=NASTY, oracle=NASTY)))
    assert not list(figure.iter(f"{SVG}i"))
    assert any(NASTY in text for text in texts(figure))


def test_every_mark_lies_within_the_figure(scored, drawn):
    figure = parsed(drawn(scored("class-balanced", settings={"beta": 0.9999, "base": "ce"}, oracle="a" * 60)))
    _, _, width, height = map(float, figure.get("viewBox").split())
    for element in figure.iter():
        if element.get("x") and element.get("y"):
            assert 0 <= float(element.get("x")) <= width
            assert 0 <= float(element.get("y")) <= height


def test_long_names_are_cut_where_they_are_shown_and_whole_where_they_are_read_out(scored):
    long = "vit_base_patch16_384.orig_in21k_ft_in1k"
    one = scored("class-balanced", oracle=long, dataset="d" * 200)
    figure = parsed(confidence_histogram(one))
    assert max(map(len, texts(figure))) <= 42
    assert figure[0].text == f"class-balanced, frozen, {long}"
    figure = parsed(risk_coverage_chart([one, scored("class-balanced", oracle=f"{long}_2")]))
    assert max(len(text) for text in texts(figure) if "class-balanced" in text) <= len("50.00  ") + 40
    assert max(map(len, texts(figure))) <= 105
    assert f"class-balanced, frozen, {long}_2" in figure[1].text


def test_ink_is_the_pages_so_that_figures_suit_light_and_dark(scored, drawn):
    svg = drawn(scored())
    assert parsed(svg).get("fill") == "currentColor"
    assert not re.search(r"#000|#fff|black|white", svg, re.IGNORECASE)
