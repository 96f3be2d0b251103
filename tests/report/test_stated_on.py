"""The data set that an answer is stated on: given, else clean, of no threshold, and extracted first."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.refusals import refusal_of, tells
from trustcache.deploy.threshold import Threshold, Watch
from trustcache.metrics.estimated_accuracy import AccuracyFit
from trustcache.metrics.selective import working_point
from trustcache.report.records import Scored
from trustcache.report.stated_on import others_than, require_statable, stated_on

Make = Callable[..., Scored]


def used_whole(data: str) -> dict[tuple[str, str], Threshold]:
    """A threshold that all images of a data set have set."""
    point = working_point(np.arange(4.0), np.ones(4, bool), 1.5)
    watch, accuracy = Watch.of(0.01, [([1.0], [0])]), AccuracyFit(1.0, 1.0, 0.0, 0.0, 0.0)
    made = ("coverage", 0.5, None, "", watch, accuracy, "", "")
    return {("mlp", "mcp"): Threshold(point, None, (), (), "", (), data, "all", 0, *made)}


@pytest.mark.parametrize(
    ("names", "whole", "half", "stated"),
    [
        (["photos-calibration", "photos-test"], None, None, "photos-test"),
        (["birds", "cats"], None, None, "birds"),
        (["birds", "cats"], "birds", None, "cats"),
        (["birds", "cats"], "birds, its second-half", None, "cats"),
        (["birds", "cats"], None, "birds", "birds"),
        (["birds"], "birds", None, "birds"),
        (["birds", "calibration"], "birds", None, "calibration"),
    ],
)
def test_it_is_one_whose_images_set_no_threshold_where_there_are_any(
    scored, names: list[str], whole: str | None, half: str | None, stated: str
) -> None:
    thresholds = {
        ("mlp", f"run {part}"): replace(one, part=part)
        for data, part in ((whole, "all"), (half, "first-half"))
        if data
        for one in used_whole(data).values()
    }
    assert stated_on([scored("mcp", dataset=name) for name in names], thresholds) == {"mlp": stated}
    strangers = {("other", name): one for (_, name), one in thresholds.items()}
    assert stated_on([scored("mcp", dataset=name) for name in names], strangers) == stated_on(
        [scored("mcp", dataset=name) for name in names], {}
    )


def test_of_equal_ones_it_is_that_which_was_extracted_first(scored: Make, tmp_path: Path) -> None:
    found = []
    for age, name in enumerate(("b-test", "a-shifted"), 1):
        (tmp_path / name).mkdir()
        for number, file in enumerate(("00000.h5", "index.json")):
            (tmp_path / name / file).touch()
            os.utime(
                tmp_path / name / file, (age, age + 5 * number)
            )  # an index is written again when extraction goes on
        one = scored("mcp", dataset=name)
        found.append(replace(one, index=replace(one.index, folder=tmp_path / name)))
    assert stated_on(found[::-1], {}) == {"mlp": "b-test"}
    assert others_than("b-test", found, {}) == ["a-shifted"]


def test_the_first_that_is_given_heads_all_others_but_for_one_that_set_a_threshold(scored: Make) -> None:
    found = [scored("mcp", dataset=name) for name in ("a", "b", "c-calibration")]
    assert stated_on(found, {}, ["b", "a"]) == {"mlp": "b"}
    assert stated_on(found, {}, ["c-calibration"]) == {"mlp": "c-calibration"}, (
        "what is asked for, not what it is called"
    )
    assert stated_on(found, used_whole("b"), ["b", "c-calibration"]) == {"mlp": "c-calibration"}
    require_statable("b", found, {})
    assert tells(refusal_of(lambda: require_statable("b", found, used_whole("b"))), "--data b", "threshold", "--part")
    assert tells(refusal_of(lambda: require_statable("calibration", found, {})), "--data calibration", "c-calibration")
