"""`trustcache sets` and `tc.prediction_sets`: sets of classes with a promise, kept, checked, and told by `predict`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy
from click.testing import Result

from tests.caches_in_memory import cache_of
from tests.refusals import refusal_of, tells
from tests.sealed import edit_record
from trustcache.cache import CacheView, open_cache
from trustcache.cache.workspace import Workspace
from trustcache.deploy.sets import PredictionSets, prediction_sets
from trustcache.deploy.trusted import TrustedClassifier
from trustcache.errors import DamagedError
from trustcache.models.classifiers import Classifier

RunCli = Callable[..., Result]
CALIBRATE = ("sets", "--data", "digits-test", "--confidence", 0.8)


def softmax(logits: np.ndarray) -> np.ndarray:
    return scipy.special.softmax(logits.astype(np.float64), axis=1)


def test_a_class_is_in_where_its_probability_reaches_the_rank_of_its_own_images() -> None:
    cache, new = cache_of(300, 1), cache_of(100, 2)
    found = prediction_sets(cache, confidence=0.9)
    p = softmax(cache.logits)
    for number in range(3):
        own = np.sort(p[cache.labels == number, number])[::-1]
        least = own[int(np.ceil(0.9 * (len(own) + 1) - 1e-9)) - 1]
        assert (found.sets(new.logits)[:, number] == (softmax(new.logits)[:, number] >= least)).all()
    assert found.samples == tuple(np.bincount(cache.labels))
    hits = found.sets(cache.logits)[np.arange(300), cache.labels]
    assert min(hits[cache.labels == number].mean() for number in range(3)) >= 0.9
    everywhere = prediction_sets(cache, confidence=0.9, by_class=False)
    assert len({*everywhere.cuts}) == 1
    assert "not of those of each class" in everywhere.promise


def test_new_logits_are_rounded_as_the_calibrations_were() -> None:
    logits = np.array([[0.3, 0.0], [0.0, 0.3]] * 10)
    cache = CacheView.from_arrays(logits.astype(np.float16), [0, 1] * 10)
    found = prediction_sets(cache)
    assert found.sets(logits)[np.arange(20), cache.labels].all()
    assert found.sets([[1e6, 0.0]]).tolist() == [[True, False]]  # more than float16 holds


def test_probabilities_and_caches_in_place_of_logits_are_refused() -> None:
    cache = cache_of(300, 1)
    found = prediction_sets(cache)
    assert tells(refusal_of(lambda: found.sets(softmax(cache.logits))), "logits", "sum to one", "probabilities")
    with pytest.raises(TypeError, match=r"sets\.sets\(cache\.logits\)"):
        found.sets(cache)
    assert found.sets([[0.25, 0.25, 0.5]]).shape == (1, 3), "logits of one image may sum to one"
    assert not found.sets(cache.logits[:0]).size


def test_a_class_with_too_few_images_is_in_every_set(run_cli: RunCli, workspace: Workspace) -> None:
    labels = np.repeat([0, 1, 2], [8, 9, 40])
    found = prediction_sets(CacheView.from_arrays(9 * np.eye(3)[labels], labels, classes=["ant", "bee", "cow"]))
    assert found.always == ("ant",)
    assert found.sets([[0.0, 9.0, 0.0], [0.0, 0.0, 9.0]]).tolist() == [[True, True, False], [True, False, True]]
    done = run_cli("sets", "--data", "digits-test", "--confidence", 0.9999)
    assert done.exit_code == 0
    assert tells(done.stdout, "10 of 10 classes", "in every set", "9,999 images")


def test_saved_sets_are_the_same_and_damaged_or_foreign_files_are_refused(tmp_path: Path) -> None:
    path, found = tmp_path / "sets.json", prediction_sets(cache_of(60, 1))
    found.save(path)
    assert PredictionSets.load(str(path)) == found
    edit_record(path, {"cuts": [0.5]})
    with pytest.raises(DamagedError, match=r"sets\.json: damaged"):
        PredictionSets.load(path)
    path.write_bytes(path.read_bytes().replace(b"0.5", b"0.6"))
    with pytest.raises(DamagedError, match=r"sets\.json: damaged"):
        PredictionSets.load(path)
    path.write_text("no record")
    assert tells(refusal_of(lambda: PredictionSets.load(path)), "sets.json", "PredictionSets.save")


def test_a_slice_of_rows_that_stand_class_by_class_is_warned_of() -> None:
    labels = np.repeat([0, 1, 2], 40)
    with pytest.warns(UserWarning, match=r"^prediction_sets: .* 60 rows.* class by class.*before you slice$") as warned:
        prediction_sets(CacheView.from_arrays(9 * np.eye(3)[labels], labels)[:60])
    assert warned[0].filename == __file__


def test_what_cannot_be_calibrated_on_is_refused_with_the_remedy(run_cli: RunCli, workspace: Workspace) -> None:
    found = prediction_sets(cache_of(60, 1))
    assert tells(refusal_of(lambda: found.sets(np.zeros((2, 5)))), "(2, 5)", "3 classes")
    assert tells(refusal_of(lambda: found.sets([[np.nan, 0, 0]])), "not finite")
    assert "labels" in refusal_of(lambda: prediction_sets(CacheView.from_arrays(5 * np.eye(3))))
    assert tells(refusal_of(lambda: prediction_sets(cache_of(60, 1), confidence=90)), "confidence 90", "0.9")
    with pytest.raises(TypeError, match="cache"):
        prediction_sets(np.eye(3))  # type: ignore[arg-type]
    for words, facts in [
        (("sets", "--data", "digits-train"), ("--data digits-train", "evaluation data")),
        (("sets", "--data", "nowhere"), ("--data nowhere", "digits-test")),
        ((*CALIBRATE, "--seed", 1), ("--seed", "--part")),
        ((*CALIBRATE, "--check-on", "fog"), ("--check-on fog", "digits-test")),
    ]:
        done = run_cli(*words)
        assert done.exit_code == 2
        assert tells(done.stderr, *facts)
    assert not list(workspace.runs.rglob("sets.json"))


def test_the_command_keeps_the_sets_of_python_and_tells_what_they_are_worth(
    run_cli: RunCli, workspace: Workspace
) -> None:
    cache = open_cache(workspace.find_cache("test").folder)
    done = run_cli(*CALIBRATE)
    assert done.exit_code == 0, done.stderr
    kept = PredictionSets.load(workspace.runs / "digits-net@sets" / "sets.json")
    assert kept == prediction_sets(cache, confidence=0.8)
    assert "digits-net@sets" in done.stdout
    half = json.loads(run_cli(*CALIBRATE, "--part", "first-half", "--check-on", "digits-test", "--json").stdout)
    assert half["other_half"] == half["checks"]["digits-test"]  # images that were calibrated on are left out
    other, made = half["other_half"], PredictionSets.load(half["path"])
    rest = np.setdiff1d(
        np.arange(len(cache)), np.sort(np.random.default_rng(0).permutation(len(cache))[: len(cache) // 2])
    )
    members, labels = made.sets(cache.logits)[rest], cache.labels[rest]
    hits = members[np.arange(len(rest)), labels]
    assert (other["samples"], other["coverage"], other["mean_size"]) == (
        len(rest),
        hits.mean(),
        pytest.approx(members.sum() / len(rest)),
    )
    assert other["worst_coverage"] == min(hits[labels == number].mean() for number in range(10))
    printed = run_cli(*CALIBRATE, "--part", "first-half", "--marginal").stdout
    assert tells(printed, "the first half", "the other half", "not of those of each class")


def test_predict_tells_each_images_set_or_the_command_that_makes_them(
    run_cli: RunCli, workspace: Workspace, digit_files: Path, digits_classifier: Classifier, tmp_path: Path
) -> None:
    images = sorted(digit_files.iterdir())[:40]
    assert run_cli("calibrate", "mcp", "--data", "digits-test", "--coverage", 0.8).exit_code == 0
    refused = run_cli("predict", "mcp", *images, "--sets")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert tells(refused.stderr, "--sets", "trustcache sets --classifier digits-net --data digits-test")
    command = refused.stderr.split("run trustcache ")[1].split()
    assert run_cli(*command).exit_code == 0
    (tmp_path / "broken.png").write_text("no image")
    done = run_cli("predict", "mcp", *images, tmp_path / "broken.png", "--sets")
    *lines, broken = [json.loads(line) for line in done.stdout.splitlines()]
    assert "class_set" not in broken
    assert tells(done.stderr, "sets: at least 90.0 %", "digits-test")
    trusted = TrustedClassifier.load(workspace.root, "mcp", device="cpu")
    assert next(trusted(images[:1])).class_set is None
    trusted.sets = PredictionSets.load(workspace.runs / "digits-net@sets" / "sets.json")
    assert [list(answer.class_set or ()) for answer in trusted(images)] == [line["class_set"] for line in lines]
    made = TrustedClassifier(digits_classifier, "mcp", sets=trusted.sets, device="cpu")
    assert list(next(made(images[:1])).class_set or ()) == lines[0]["class_set"]
    assert sum(line["class_set"][0] == line["class_name"] for line in lines if line["class_set"]) > 30
    table = run_cli("predict", "mcp", *images, "--sets", "--format", "csv").stdout
    cells = [row["class_set"] for row in csv.DictReader(io.StringIO(table))]
    assert [json.loads(cell) for cell in cells] == [line["class_set"] for line in lines]
    edit_record(workspace.runs / "digits-net@sets" / "sets.json", {"judged": "another"})
    foreign = run_cli("predict", "mcp", *images, "--sets")
    assert foreign.exit_code == 1
    assert tells(foreign.stderr, "sets.json", "another digits-net", "trustcache sets")
