"""Where the chosen score fails: counts beside a plain loop, and images that are the ones that were extracted."""

from __future__ import annotations

import io
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest

from trustcache.cache import open_cache
from trustcache.cache.workspace import Workspace
from trustcache.data.dataset import open_dataset
from trustcache.data.known_data import find_manifests
from trustcache.report.build import report
from trustcache.report.failures import IMAGE_BYTES, SIDE, Failures, class_names, share
from trustcache.report.samples import Samples, ScoreReader


@pytest.fixture
def workspace(runs_workspace: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(runs_workspace.root, tmp_path / "workspace")
    return Workspace(tmp_path / "workspace")


def found(workspace: Workspace, data_root: Path | None) -> tuple[Failures, Samples, np.ndarray]:
    (failing,) = report(workspace, data_root=data_root).contents.failures
    samples = ScoreReader(workspace).read(failing.answer.record)
    return failing, samples, samples.z > failing.answer.threshold


def test_each_class_is_counted_as_a_loop_counts_it(workspace: Workspace) -> None:
    failing, samples, trusted = found(workspace, None)
    rows = list(zip(samples.cache.labels.tolist(), samples.correct.tolist(), trusted.tolist(), strict=True))
    for number, one in enumerate(failing.classes):
        mine = [(right, accepted) for label, right, accepted in rows if label == number]
        assert (one.n, one.right) == (len(mine), sum(right for right, _ in mine))
        assert (one.trusted[failing.step], one.wrong_trusted[failing.step]) == (
            sum(accepted for _, accepted in mine),
            sum(accepted and not right for right, accepted in mine),
        )
        theirs = binomtest(one.right, one.n).proportion_ci(method="wilson")
        assert one.accuracy == pytest.approx((one.right / one.n, theirs.low, theirs.high))
    assert sum(one.n for one in failing.classes) == len(rows)


def test_classes_that_the_index_lacks_are_named_by_their_numbers(workspace: Workspace) -> None:
    cache = open_cache(workspace.find_cache("test").folder)
    cache.index = replace(cache.index, made_from=replace(cache.index.made_from, classes=("nought", "one")))
    assert class_names(cache) == ("nought", "one", *map(str, range(2, 10)))


def test_nothing_trusted_has_no_risk_and_an_interval_of_everything() -> None:
    assert share(0, 0) == (0.0, 0.0, 1.0)


def test_the_pairs_confused_most_come_first(workspace: Workspace) -> None:
    failing, samples, _ = found(workspace, None)
    pairs = Counter(zip(samples.cache.labels.tolist(), samples.cache.predictions.tolist(), strict=True))
    expected = sorted((n for (label, answer), n in pairs.items() if label != answer), reverse=True)
    assert [one.n for one in failing.confused] == expected[: len(failing.confused)]
    assert all(pairs[int(one.label), int(one.prediction)] == one.n == one.trusted[-1] for one in failing.confused)


def test_examples_are_the_extremes_and_their_images_the_ones_extracted(workspace: Workspace) -> None:
    failing, samples, trusted = found(workspace, Path("nowhere"))
    shown = failing.examples
    assert not any(one.right for one in shown.trusted_wrong)
    assert all(one.right for one in shown.doubted_right)
    assert shown.trusted_wrong[0].z == samples.z[~samples.correct].max()
    assert shown.doubted_right[0].z == samples.z[samples.correct].min()
    dataset = open_dataset(find_manifests("digits-test")[0], Path())
    for one in (*shown.trusted_wrong, *shown.doubted_right, *shown.disagreements):
        number = dataset.ids.index(one.sample)
        with Image.open(io.BytesIO(one.image)) as image:
            assert image.format == "WEBP"
            assert max(image.size) <= SIDE
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), np.asarray(dataset.read(number)))
        assert one.trusted == trusted[number]
        assert 0 <= one.mcp <= 1
    assert sum(len(one.image) for kind in vars(shown).values() for one in kind) <= IMAGE_BYTES


def test_images_that_changed_since_they_were_extracted_are_not_shown(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trustcache.report.failures.content_of", lambda raw: 0)
    failing, _, _ = found(workspace, Path("nowhere"))
    assert {one.image for one in failing.examples.trusted_wrong} == {b""}
    assert not failing.examples.seen


def test_without_images_no_example_is_named(workspace: Workspace, run_cli) -> None:
    failing, _, _ = found(workspace, None)
    assert not any(vars(failing.examples).values())


def test_no_images_leaves_them_off_the_page(workspace: Workspace, run_cli) -> None:
    for words, there in (((), True), (("--no-images",), False)):
        assert run_cli("report", *words, "--workspace", workspace.root).exit_code == 0
        page = (workspace.report / "index.html").read_text(encoding="utf-8")
        assert ("data:image/webp" in page) == there, words
        assert "or have changed" not in page


def test_calibration_is_in_the_results_where_a_score_is_a_confidence(workspace: Workspace, run_cli) -> None:
    assert run_cli("report", "--workspace", workspace.root).exit_code == 0
    rows = json.loads((workspace.report / "results.json").read_text())
    by_method = {row["method"]: row["metrics"] for row in rows}
    assert 0 <= by_method["mcp"]["ece"] <= 1
    assert by_method["mcp"]["brier_scaled"] == by_method["temperature"]["brier"]
    assert by_method["margin"]["nll"] is None
