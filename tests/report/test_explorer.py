"""The counts behind the page: exact at every threshold, the same thresholds on every data set."""

from __future__ import annotations

import json
import math
import zlib
from base64 import b64decode
from dataclasses import replace

import numpy as np
import pytest

from tests.page_contents import CALIBRATED, Reader, make_contents
from trustcache.metrics.selective import EVERYTHING, at_target, working_point
from trustcache.report.charts import IDEAL, heat_map
from trustcache.report.render.html import page
from trustcache.report.render.page_data import page_data
from trustcache.report.unit_charts import unit_charts


@pytest.fixture
def unit(scored):
    made = []
    for name, accuracy, more in (
        ("digits", 0.8, {}),
        ("digits-c/fog/1", 0.6, {"variant_of": "digits", "shows": "fog/1"}),
        ("digits-c/fog/3", 0.3, {"variant_of": "digits", "shows": "fog/3"}),
    ):
        of = {"dataset": name, "accuracy": accuracy, "n": 700, **more}
        made += [scored("mcp", **of), scored("ce", 0, **of), scored("ce", 1, **of), scored("ss", 0, **of)]
    (made,) = make_contents(made, made={}).units
    return made


def test_counts_are_the_metrics_at_every_threshold_of_every_method_on_every_data_set(unit):
    for method in unit.methods:
        for steps in method.explored.steps.values():
            samples = Reader().read(steps.record)
            points = [working_point(samples.z, samples.correct, t) for t in method.explored.thresholds]
            assert steps.trusted.tolist() == [point.trusted for point in points]
            assert steps.wrong.tolist() == [point.wrong for point in points]


def test_mcp_stands_beside_at_the_smallest_coverage_that_is_no_smaller(unit):
    method = unit.methods[unit.chosen]
    steps = method.explored.steps["digits-c/fog/1"]
    (mcp,) = [one.explored.steps["digits-c/fog/1"] for one in unit.methods if one.baseline]
    samples = Reader().read(mcp.record)
    for k in np.flatnonzero(steps.trusted):
        same = at_target(samples.z, samples.correct, "coverage", steps.trusted[k] / 700)
        assert (steps.mcp_trusted[k], steps.mcp_wrong[k]) == (same.trusted, same.wrong)


def test_thresholds_fall_from_nothing_to_everything_and_hold_what_was_calibrated(unit):
    for method in unit.methods:
        thresholds = method.explored.thresholds
        assert (np.diff(thresholds) < 0).all()
        assert thresholds[-1] == EVERYTHING
        steps = method.explored.steps["digits"]
        assert (steps.trusted[0], steps.trusted[-1]) == (0, 700)
        assert 0.0 in thresholds
    assert CALIBRATED in unit.methods[unit.chosen].explored.thresholds


@pytest.mark.parametrize(
    ("kind", "target"), [("coverage", 0.9), ("coverage", 0.55), ("tpr", 0.95), ("precision", 0.95)]
)
def test_targets_on_the_answers_data_are_met_exactly(unit, kind, target):
    steps = unit.methods[unit.chosen].explored.steps["digits"]
    samples = Reader().read(steps.record)
    wanted = at_target(samples.z, samples.correct, kind, target)
    assert (wanted.trusted, wanted.wrong) in zip(steps.trusted.tolist(), steps.wrong.tolist(), strict=True)


def test_histograms_hold_every_sample(unit):
    for method in unit.methods:
        for steps in method.explored.steps.values():
            assert steps.wrong_bins.sum() == steps.wrong[-1]
            assert steps.right_bins.sum() + steps.wrong_bins.sum() == 700


def test_infinite_scores_are_counted(scored, monkeypatch):
    read = Reader.read

    def with_infinities(self, record):
        samples = read(self, record)
        samples.z[:3], samples.z[3:5] = np.inf, -np.inf
        return samples

    monkeypatch.setattr(Reader, "read", with_infinities)
    (unit,) = make_contents([scored("mcp"), scored("ce")], made={}).units
    steps = unit.methods[unit.chosen].explored.steps["digits"]
    assert steps.trusted[-1] == steps.right_bins.sum() + steps.wrong_bins.sum() == 1000
    json.loads(zlib.decompress(b64decode(page_data([unit]))))


def test_of_a_family_the_answers_own_seed_is_explored_and_its_seeds_are_counted(unit):
    chosen = unit.methods[unit.chosen]
    assert (chosen.explored.record.run, chosen.explored.seeds) == (unit.answer.record.run, 2)


def test_means_are_over_clean_and_over_changed_data(unit):
    chosen = unit.methods[unit.chosen]
    metrics = {
        name: np.mean([Reader().read(record) and record.metrics["auc"] for record in records])
        for name, records in (
            ("clean", [row for row in _records(unit, chosen) if row.dataset == "digits"]),
            ("changed", [row for row in _records(unit, chosen) if row.dataset != "digits"]),
        )
    }
    assert chosen.changed == pytest.approx(metrics["changed"], abs=0.1)
    assert chosen.clean.value == pytest.approx(metrics["clean"], abs=0.1)
    assert chosen.against == 2


def _records(unit, method):
    return [steps.record for steps in method.explored.steps.values()]


def test_the_heat_maps_rows_are_corruptions_and_its_columns_severities(unit):
    assert [(data.row, data.column, data.clean) for data in unit.data] == [
        ("digits", "", True), ("fog", "1", False), ("fog", "3", False)
    ]  # fmt: skip


def test_the_charts_of_the_answer_show_mcp_the_best_of_each_family_and_the_ideal(unit):
    charts = unit_charts(unit)
    assert {row["m"].partition(",")[0] for row in charts["risk"].rows} == {"mcp", "ce", "ss", IDEAL}
    assert charts["histogram"].now["threshold"] == CALIBRATED
    assert {(row["row"], row["column"]) for row in charts["heat"].rows} == {
        ("digits", "unchanged"), ("fog", "1"), ("fog", "3")
    }  # fmt: skip


def test_the_colours_of_a_heat_map_span_ten_points_at_least():
    scales = [heat_map("", values)["layer"][0]["encoding"]["color"]["scale"] for values in ([26.9, 27.4], [5.0, 40.0])]
    assert [scale["domain"] for scale in scales] == [pytest.approx([22.15, 32.15]), [5, 40]]


def test_images_for_a_threshold_come_last_and_count_in_no_mean(scored):
    names = "calibration", "digits"
    made = [scored(method, 0, dataset=name, accuracy=0.8, n=300) for name in names for method in ("ce", "mcp")]
    made = [replace(one, record=replace(one.record, run="run" if one.record.method == "ce" else None)) for one in made]
    contents = make_contents([*reversed(made)], spare=["calibration"], made={})
    (unit,) = contents.units
    assert [data.name for data in unit.data] == ["digits", "calibration"]
    assert [one.dataset for one in contents.comparisons] == ["digits", "calibration"]
    for method in unit.methods:
        assert method.clean.value == pytest.approx(method.explored.steps["digits"].record.metrics["auc"])
        assert math.isnan(method.changed)


def test_a_debiased_error_of_nothing_does_not_read_as_perfect(scored):
    contents = make_contents([scored("mcp"), scored("ce")], made={})
    cells = contents.units[0].methods[0].calibration
    assert ">&lt; 0.01</td>" not in page(contents)
    cells["ece"] = replace(cells["ece"], mean=0.0)
    assert ">&lt; 0.01</td>" in page(contents)
