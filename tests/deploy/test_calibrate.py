"""Calibrating through the command line: on which samples, to which threshold, and what is said and kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from scipy.special import expit
from scipy.stats import binomtest

from tests.refusals import tells
from tests.sealed import edit_record
from trustcache.cache import open_cache
from trustcache.cache.workspace import Workspace
from trustcache.data.splits import validation_rows
from trustcache.errors import percent
from trustcache.evaluate.scoring import Scoring
from trustcache.metrics.calibration import fitted_temperature
from trustcache.metrics.ranking import trust_metrics
from trustcache.metrics.selective import (
    EVERYTHING,
    WorkingPoint,
    first_tests,
    guaranteed,
    least_risk,
    samples_needed,
    selected,
)
from trustcache.oracles.optim import Machine
from trustcache.oracles.runs import Run, finished_runs
from trustcache.scores import post_hoc_score

RunCli = Callable[..., Result]
FROZEN, TUNED = "digits-net-ce-frozen", "digits-net-ce-fine-tuned"


def run_named(workspace: Workspace, beginning: str) -> Run:
    return next(run for run in finished_runs(workspace) if run.name.startswith(beginning))


def kept(folder: Path) -> dict:
    return json.loads((folder / "threshold.json").read_text())


@pytest.mark.parametrize(("beginning", "risk"), [(FROZEN, 0.08), (TUNED, 0.14)])
def test_a_guarantee_on_evaluation_data_is_that_of_the_runs_scores_there(
    with_runs: Workspace, run_cli: RunCli, beginning: str, risk: float
) -> None:
    done = run_cli("calibrate", beginning, "--max-risk", risk, "--delta", 0.05, "--data", "digits-test")
    assert done.exit_code == 0, done.stderr
    run = run_named(with_runs, beginning)
    cache = open_cache(with_runs.find_cache("test").folder)
    z = run.scores(cache.index)
    point = guaranteed(z, cache.correct, risk, 0.05)
    found = kept(run.folder)
    assert found["point"] == vars(point)
    assert (found["goal"], found["target"], found["delta"]) == ("max-risk", risk, 0.05)
    assert (found["data"], found["part"], found["other_half"]) == ("digits-test", "all", None)
    assert point.trusted >= selected(z, cache.correct, risk, 0.05).trusted, "never less than SGR here"
    assert tells(found["guarantee"], "confidence 0.95", f"at most {100 * risk:g} %")
    assert found["guarantee"] in done.stdout
    assert f"coverage {percent(point.coverage)}" in done.stdout
    assert f"(bound {percent(point.bound)})" in done.stdout
    assert str(with_runs.root.name) in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("beginning", [FROZEN, TUNED])
def test_without_data_the_part_that_the_run_set_aside_is_taken(
    with_runs: Workspace, run_cli: RunCli, beginning: str
) -> None:
    run = run_named(with_runs, beginning)
    done = run_cli("calibrate", beginning, "--coverage", 0.7, "--workers", 0, "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    cache = open_cache(with_runs.find_cache("train").folder)
    rows = validation_rows(len(cache), 0.3, 0)
    found = kept(run.folder)
    assert tells(found["data"], "validation part", "digits-train")
    assert found["point"]["samples"] == rows.sum() == 210
    assert found["point"]["trusted"] / 210 == pytest.approx(0.7, abs=0.01)
    assert found["point"]["bound"] == pytest.approx(binomtest(found["point"]["trusted"], 210).proportion_ci(0.9).low)
    assert tells(found["guarantee"], "coverage", "confidence 0.95", f"{found['point']['bound']:.4f}")
    assert percent(found["point"]["bound"]) in done.stdout
    at_all = run_cli("calibrate", beginning, "--coverage", 1, "--workers", 0, "--device", "cpu")
    assert at_all.exit_code == 0
    assert kept(run.folder)["point"]["wrong"] == (~cache.correct[rows]).sum()
    run_cli("calibrate", beginning, "--tpr", 0.9, "--workers", 0, "--device", "cpu")
    point = kept(run.folder)["point"]
    sensitivity = (point["trusted"] - point["wrong"]) / cache.correct[rows].sum()
    assert sensitivity == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("beginning", [FROZEN, TUNED])
def test_scores_of_the_part_set_aside_have_the_metrics_that_training_logged(
    runs_workspace: Workspace, beginning: str
) -> None:
    run, index = run_named(runs_workspace, beginning), runs_workspace.find_cache("train")
    rows, z = Scoring(runs_workspace.caches(), Path(), Machine("cpu", 0)).of_validation(run, index)
    logged = run.log()[-1].validation
    correct = open_cache(index.folder).correct[rows]
    found = {**trust_metrics(z, correct), "temperature": fitted_temperature(z, correct)}
    assert found == pytest.approx(logged, abs=1e-6)


def test_a_half_is_calibrated_on_and_the_other_checked(with_runs: Workspace, run_cli: RunCli) -> None:
    cache = open_cache(with_runs.find_cache("test").folder)
    z, folder = post_hoc_score("mcp", cache), with_runs.runs / "digits-net@mcp"
    args = ("calibrate", "mcp", "--data", "digits-test", "--precision", 0.99)
    halves = {}
    for half in ("first-half", "second-half"):
        done = run_cli(*args, "--part", half, "--seed", 3)
        assert done.exit_code == 0, done.stderr
        found = halves[half] = kept(folder)
        assert (found["part"], found["seed"]) == (half, 3)
        assert f"{half.replace('-', ' ')} by seed 3" in done.stdout
        point, other = WorkingPoint(**found["point"]), WorkingPoint(**found["other_half"])
        assert point.samples + other.samples == len(cache)
        trusted = z > point.threshold
        assert point.trusted + other.trusted == trusted.sum()
        assert point.wrong + other.wrong == (trusted & ~cache.correct).sum()
        assert point.risk is not None
        assert point.risk <= 0.01
        assert tells(done.stdout, "other half", f"coverage {percent(other.coverage)}")
    order = np.random.default_rng(3).permutation(len(z))
    first = order[: len(z) // 2]
    point = WorkingPoint(**halves["first-half"]["point"])
    assert point.samples == len(first)
    assert point.trusted == (z[first] > point.threshold).sum()
    run_cli(*args, "--part", "first-half", "--seed", 4)
    assert kept(folder)["point"]["threshold"] != point.threshold


def test_where_no_threshold_keeps_the_promise_it_is_said_and_the_one_before_stays(
    with_runs: Workspace, run_cli: RunCli
) -> None:
    run_cli("calibrate", FROZEN, "--data", "digits-test", "--coverage", 0.5)
    folder = run_named(with_runs, FROZEN).folder
    before = kept(folder)
    failed = run_cli("calibrate", FROZEN, "--data", "digits-test", "--max-risk", 0.001)
    assert failed.exit_code == 1
    assert tells(failed.stderr, "--max-risk 0.001", "647 samples of digits-test", "--delta 0.001", "6,905 trusted")
    assert len(failed.stderr.strip().splitlines()) == 1
    assert kept(folder) == before


def test_where_no_threshold_keeps_the_promise_it_is_told_where_the_tests_ended(
    with_runs: Workspace, run_cli: RunCli
) -> None:
    cache = open_cache(with_runs.find_cache("test").folder)
    z = post_hoc_score("mcp", cache)
    least = least_risk(z, cache.correct, 0.001)
    assert least
    tests = first_tests(z, cache.correct, least - 0.001, 0.001)
    trusted, wrong = (", ".join(str(n) for n in ns) for ns in zip(*((t.trusted, t.wrong) for t in tests), strict=True))
    failed = run_cli("calibrate", "mcp", "--data", "digits-test", "--max-risk", least - 0.001)
    assert failed.exit_code == 1
    assert tells(failed.stderr, f"{trusted} most trusted", f"{wrong} are wrong", f"--max-risk {least:g}", "--plan")
    assert run_cli("calibrate", "mcp", "--data", "digits-test", "--max-risk", least).exit_code == 0


def test_the_threshold_of_log_odds_is_shown_as_a_probability_too(with_runs: Workspace, run_cli: RunCli) -> None:
    told = run_cli("calibrate", "mcp", "--data", "digits-test", "--coverage", 0.5).stdout
    z = kept(with_runs.threshold_folder("digits-net", "mcp"))["point"]["threshold"]
    assert f"a probability above {percent(float(expit(z)))}" in told
    assert "a probability" not in run_cli("calibrate", FROZEN, "--data", "digits-test", "--coverage", 0.5).stdout


def test_every_other_threshold_tried_on_the_same_images_is_counted(with_runs: Workspace, run_cli: RunCli) -> None:
    def noted(*words: object, code: int = 0) -> str:
        done = run_cli("calibrate", *words)
        assert done.exit_code == code
        return done.stderr

    on_test = "--data", "digits-test"
    assert "same images" not in noted("mcp", *on_test, "--coverage", 0.5)
    assert "same images" not in noted("mcp", *on_test, "--coverage", 0.5)  # is no second one
    assert tells(noted("mcp", *on_test, "--coverage", 0.6), "1 other threshold ", "same images", "digits-test")
    assert "1 other threshold " in noted("mcp", *on_test, "--coverage", 0.5)  # the threshold in between is overwritten
    noted(FROZEN, *on_test, "--max-risk", 1e-6, code=1)  # finds none, but spends confidence too
    assert "3 other thresholds " in noted(FROZEN, *on_test, "--coverage", 0.7)
    assert "4 other thresholds " in noted("mcp", *on_test, "--coverage", 0.7, "--part", "first-half")
    assert "4 other thresholds " in noted("mcp", *on_test, "--coverage", 0.7, "--part", "second-half")
    assert "same images" not in noted(FROZEN, "--coverage", 0.7)  # on what it set aside


def test_a_folder_that_was_extracted_names_its_cache(with_runs: Workspace, run_cli: RunCli) -> None:
    for option in ("--data", "--check-on"):
        own = () if option == "--data" else ("--data", "digits-test")
        done = run_cli("calibrate", "mcp", *own, option, "digits/test", "--coverage", 0.5)
        assert done.exit_code == 0, done.stderr
    refused = run_cli("calibrate", "mcp", "--data", "digits-tset", "--coverage", 0.5)
    assert "did you mean digits-test" in refused.stderr


@pytest.mark.parametrize(("right", "code"), [(True, 0), (False, 1)])
def test_all_right_is_trusted_whole_and_all_wrong_is_refused(
    with_runs: Workspace, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, right: bool, code: int
) -> None:
    monkeypatch.setattr("trustcache.cache.CacheView.correct", property(lambda view: np.full(len(view), right)))
    for goal in ("--max-risk", "--precision", "--tpr"):
        assert run_cli("calibrate", "mcp", "--data", "digits-test", goal, 0.9).exit_code == code
    if right:
        run_cli("calibrate", "mcp", "--data", "digits-test", "--max-risk", 0.1)
        point = WorkingPoint(**kept(with_runs.runs / "digits-net@mcp")["point"])
        assert (point.threshold, point.coverage, point.wrong) == (EVERYTHING, 1, 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "--max-risk, --coverage, --tpr, --precision, not 0"),
        (("--max-risk", 0.1, "--tpr", 0.9), "exactly one of"),
        (("--max-risk", 1), "--max-risk 1: "),
        (("--coverage", 1.5), "--coverage 1.5: "),
        (("--tpr", 0), "--tpr 0: must be"),
        (("--max-risk", "nan"), "--max-risk nan: must be"),
        (("--max-risk", 0.1, "--delta", 1), "--delta 1: "),
        (("--coverage", 0.5, "--delta", 0.1), "--delta: means nothing to --coverage"),
        (("--coverage", 0.5, "--seed", 1), "--seed: draws the halves of --part"),
        (("--max-risk", 10), "10 % is 0.1"),
        (("--coverage", 0.5, "--data", "cifar10-test"), "there are digits-train, digits-test"),
        (("--coverage", 0.5, "--data", "digits-train"), "learnt from its images"),
    ],
)
def test_a_request_that_means_nothing_is_refused(
    with_runs: Workspace, run_cli: RunCli, options: tuple, said: str
) -> None:
    refused = run_cli("calibrate", FROZEN, *options)
    assert refused.exit_code == 2
    assert said in refused.stderr
    assert not list(with_runs.runs.glob("*/threshold.json"))


def test_a_score_or_run_that_set_nothing_aside_needs_data(with_runs: Workspace, run_cli: RunCli) -> None:
    refused = run_cli("calibrate", "mcp", "--coverage", 0.5)
    assert refused.exit_code == 2
    assert "--data (digits-test, digits-train)" in refused.stderr
    run_cli("train", "--frozen", "--loss", "ss", "--val-fraction", 0, "--epochs", 1)
    refused = run_cli("calibrate", "digits-net-ss", "--coverage", 0.5)
    assert refused.exit_code == 2
    assert "with no validation part; " in refused.stderr


def test_a_score_that_learns_is_calibrated_and_predicts_as_one_of_logits_does(
    with_runs: Workspace, run_cli: RunCli, digit_files: Path
) -> None:
    training, cache = (open_cache(with_runs.find_cache(role).folder) for role in ("train", "test"))
    refused = run_cli("predict", "delta-knn", digit_files)
    assert refused.exit_code == 2
    assert "delta-knn: only orders samples" in refused.stderr
    refused = run_cli("calibrate", "delta-knn", "--data", "digits-train", "--coverage", 0.5)
    assert refused.exit_code == 2
    assert tells(refused.stderr, "--data digits-train", "delta-knn learns")
    assert run_cli("calibrate", "delta-knn", "--data", "digits-test", "--coverage", 0.5).exit_code == 0
    point = WorkingPoint(**kept(with_runs.runs / "digits-net@delta-knn")["point"])
    z = post_hoc_score("delta-knn", cache, training)
    assert point.trusted == (z > point.threshold).sum() == pytest.approx(len(z) / 2, abs=1)
    answers = [json.loads(line) for line in run_cli("predict", "delta-knn", digit_files).stdout.splitlines()]
    assert sum(answer["trusted"] for answer in answers) == pytest.approx(len(z) / 2, abs=3)


def test_a_threshold_of_a_score_that_learns_ends_with_what_it_has_learnt_from(
    with_runs: Workspace, run_cli: RunCli, extract_digits: RunCli, digit_files: Path
) -> None:
    assert run_cli("calibrate", "temperature", "--data", "digits-test", "--coverage", 0.5).exit_code == 0
    assert run_cli("predict", "temperature", digit_files).exit_code == 0
    path = with_runs.find_cache("train").folder / "index.json"
    edit_record(path, {"meaning.data.fingerprint": "0" * 64})
    refused = run_cli("predict", "temperature", digit_files)
    assert refused.exit_code == 1
    assert "another training cache" in refused.stderr
    assert "trustcache calibrate" in refused.stderr
    assert run_cli("calibrate", "temperature", "--data", "digits-test", "--coverage", 0.5).exit_code == 0
    assert run_cli("predict", "temperature", digit_files).exit_code == 0


def test_a_cache_without_features_stands_in_no_other_s_way(
    with_runs: Workspace, run_cli: RunCli, classifier_file: Path
) -> None:
    bare = ("--data", "digits-c/contrast/4", "--features", "none", "--workers", 0)
    model = ("--classifier", "cifar-resnet8", "--weights", classifier_file, "--preprocess", "input_size=8")
    assert run_cli("extract", *model, "--as", "digits-net", *bare).exit_code == 0
    done = run_cli("calibrate", "knn", "--data", "digits-test", "--coverage", 0.5)
    assert done.exit_code == 0, done.stderr
    refused = run_cli("calibrate", "knn", "--data", "digits-c/contrast/4", "--coverage", 0.5)
    assert refused.exit_code == 2
    assert "--features last" in refused.stderr


def test_without_training_data_a_score_that_learns_says_what_it_lacks(with_runs: Workspace, run_cli: RunCli) -> None:
    shutil.rmtree(with_runs.find_cache("train").folder)
    refused = run_cli("calibrate", "knn", "--data", "digits-test", "--coverage", 0.5)
    assert refused.exit_code == 2
    assert tells(refused.stderr, "digits-net", "`trustcache extract")


def test_scores_that_are_missing_are_made(with_runs: Workspace, run_cli: RunCli) -> None:
    run = run_named(with_runs, FROZEN)
    index = with_runs.find_cache("test")
    before = run.scores(index)
    (run.folder / "scores" / "digits-test.safetensors").unlink()
    assert run_cli("calibrate", FROZEN, "--data", "digits-test", "--coverage", 0.5).exit_code == 0
    np.testing.assert_array_equal(run.scores(index), before)


def test_a_plan_looks_at_no_workspace(run_cli: Callable[..., Result]) -> None:
    rows = [line.split("\t") for line in run_cli("calibrate", "--plan", "--max-risk", 0.02).stdout.splitlines()]
    numbers = [[int(cell.replace(",", "")) for cell in row[1:]] for row in rows[1:]]
    assert numbers[0][0] == samples_needed(0.02, 0.001, 0.0, 0.5)
    assert all(row == sorted(row) for row in numbers), "fewer trusted take more images"
    assert [row[0] for row in numbers] == sorted(row[0] for row in numbers), "more wrong take more images"
    assert not [*Path().iterdir()]


@pytest.mark.parametrize(
    ("words", "fact"), [(("--plan", "--coverage", 0.5), "--max-risk"), (("--coverage", 0.5), "RUN")]
)
def test_what_a_plan_or_a_calibration_lacks_is_named(run_cli: Callable[..., Result], words: tuple, fact: str) -> None:
    done = run_cli("calibrate", *words)
    assert (done.exit_code, fact in done.stderr) == (2, True)


@pytest.mark.parametrize(("rows", "learnt"), [((450, 550), 100), ((1145, 1455), 5), ((1145, 1797), 5)])
def test_images_that_were_learnt_from_are_known_under_another_name(
    with_runs: Workspace, run_cli: RunCli, extract_digits: RunCli, tmp_path: Path, rows: tuple[int, int], learnt: int
) -> None:
    lines = 'name = "again"', 'role = "test"', f"rows = {list(rows)}", "[[files]]", 'layout = "digits"'
    (tmp_path / "again.toml").write_text("\n".join(lines), encoding="utf-8")
    assert extract_digits(data="again.toml").exit_code == 0
    share = learnt / (rows[1] - rows[0])
    for method, learns in ((FROZEN, True), ("knn", True), ("mcp", False)):
        done = run_cli("calibrate", method, "--data", "again", "--coverage", "0.5")
        assert (done.exit_code == 0) == (not learns or share < 0.01), done.stderr
        assert tells(done.stderr, "again", f"{learnt} of its {rows[1] - rows[0]}") == learns
