"""The alarm: silent on usual images, raised by others, told in every answer, and readable beside an exported graph."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from sklearn.datasets import load_digits

from tests.refusals import refusal_of, tells
from tests.sealed import edit_record
from trustcache import TrustedClassifier
from trustcache.cache import open_cache
from trustcache.cache.workspace import Workspace
from trustcache.deploy.alarm import Alarm
from trustcache.deploy.threshold import Watch
from trustcache.errors import DamagedError

RunCli = Callable[..., Result]
FROZEN = "digits-net-ce-frozen"
RNG = np.random.default_rng(0)
WATCH = Watch.of(0.01, [(RNG.normal(size=1000), RNG.integers(0, 10, size=1000))])


def usual(images: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=images)


def test_scores_that_stay_as_they_were_hide_no_change_of_the_predicted_classes() -> None:
    """A weak classifier is as sure of blurred images as of sharp ones, but sees cats and ships in them."""
    scores, classes = usual(600), np.random.default_rng(3).integers(0, 10, size=600)
    few = np.where(np.arange(600) < 300, classes, classes % 5)
    alarm, blind = Alarm(WATCH), Alarm(WATCH)
    assert not alarm.see(scores[:300], few[:300])
    assert (alarm.see(scores[300:], few[300:]), alarm.by_class) == (True, True)
    assert alarm.since == pytest.approx(301, abs=30)
    assert not blind.see(scores), "without classes"
    lower = np.where(classes == 3, scores - 3, np.where(classes == 4, scores + 3, scores))
    assert Alarm(WATCH).see(lower, classes), "scores within the classes"
    assert not Alarm(WATCH).see(scores, classes)


def test_it_keeps_silent_on_usual_scores_and_tells_when_and_since_when_others_came() -> None:
    alarm = Alarm(WATCH)
    assert not alarm.see(usual(2000))
    assert (alarm.raised_at, alarm.since, alarm.void) == (None, None, 0.0)
    assert alarm.see(usual(500, 2) - 1)
    assert alarm.raised_at is not None
    assert 2000 < alarm.raised_at < 2100
    assert alarm.since == pytest.approx(2001, abs=30)
    assert alarm.void == pytest.approx((2500 - alarm.since + 1) / 2500)
    assert alarm.see(usual(5)), "it stays"
    alarm.reset()
    assert not alarm.see(usual(2000))


def test_an_order_that_raises_it_is_told_from_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    classes = np.arange(400) % 10
    watch = Watch.of(0.01, [(rng.normal(size=400) + classes / 4, classes)])
    z = rng.normal(size=400) + classes / 4
    for kept in (10_000, 300):
        monkeypatch.setattr("trustcache.deploy.alarm._KEPT", kept)
        found = []
        for order, worse in ((np.argsort(classes), 0), (np.argsort(classes), 2), (np.arange(400), 0)):
            alarm = Alarm(watch)
            for part in np.split(order, 4):
                alarm.see(z[part] - worse, classes[part])
            found.append((alarm.raised_at is not None, alarm.by_order))
        assert found == [(True, True), (True, False), (False, False)]


def test_a_late_change_that_is_diluted_in_shuffled_order_is_told_from_where_it_began() -> None:
    alarm = Alarm(WATCH)
    assert "not raised" in repr(alarm)
    alarm.see(np.concatenate([usual(600), usual(40, 2) - 1]))
    assert (alarm.raised_at is not None, alarm.by_order) == (True, True)
    assert alarm.since == pytest.approx(601, abs=30)
    assert tells(repr(alarm), f"{alarm.raised_at}", f"since {alarm.since}", "640")


@pytest.mark.parametrize(
    ("scores", "classes", "facts"),
    [
        ([0.5, np.nan], [0, 1], ("row 1", "not a number")),
        ([[0.5], [0.7]], [0, 1], ("(2, 1)",)),
        ([0.5, 0.7], [0, 1, 2], ("2 scores", "(3,)")),
        ([0.5, 0.7], [0, -1], ("-1", "predictions")),
        ([0.5, 0.7], [0.0, 1.0], ("predictions",)),
        ([0.5, 0.7], ["cat", "dog"], ("cat", "predictions")),
        ([0.5, 0.7], None, ("all or in none",)),
    ],
)
def test_rows_that_nothing_can_be_bet_on_are_refused_and_not_counted(
    scores: list, classes: list | None, facts: tuple[str, ...]
) -> None:
    alarm = Alarm(WATCH)
    alarm.see([0.1], [3])
    assert tells(refusal_of(lambda: alarm.see(scores, classes)), "see", *facts)
    assert alarm.images == 1


def test_scores_one_by_one_and_all_at_once_are_the_same() -> None:
    scores = np.round(np.concatenate([usual(100), usual(200) - 1]), 1)  # many are equal
    together, single = Alarm(WATCH), Alarm(WATCH)
    together.see(scores)
    for score in scores:
        single.see([score])
    assert (together.raised_at, together.since) == (single.raised_at, single.since)
    assert together.raised_at


def test_calibrated_on_two_data_sets_each_is_usual_and_a_third_is_not() -> None:
    other = Watch.of(0.01, [(RNG.normal(2, 1, size=1000), RNG.integers(0, 10, size=1000))])
    watch = Watch(0.01, WATCH.references + other.references, WATCH.by_class + other.by_class)
    assert not Alarm(watch).see(usual(1000))
    assert not Alarm(watch).see(usual(1000) + 2)
    assert Alarm(watch).see(usual(1000) - 2)
    assert Alarm(WATCH).see(usual(1000) + 2)


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """A folder of images that are no digits."""
    folder = tmp_path / "noise"
    folder.mkdir()
    for number in range(150):
        pixels = np.random.default_rng(number).integers(0, 255, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    return folder


def test_predict_tells_at_which_image_the_promise_ends(
    with_runs: Workspace, run_cli: RunCli, digit_files: Path, noise: Path
) -> None:
    run_cli("calibrate", "mcp", "--data", "digits-test", "--max-risk", 0.2, "--delta", 0.1, "--alarm", 0.001)
    quiet = run_cli("predict", "mcp", digit_files, "--fail-on-alarm")
    estimates = map(float, re.findall(r"(\d+\.\d) % \((?:atc|doc|confidence)\)", quiet.stderr))
    cache = open_cache(with_runs.find_cache("test").folder)
    assert [*estimates] == pytest.approx([100 * cache.correct.mean()] * 3, abs=0.5), "the images calibrated on"
    assert (quiet.exit_code, "ALARM" in quiet.stderr, '"alarm"' in quiet.stdout) == (0, False, False)
    done = run_cli("predict", "mcp", digit_files, noise)
    assert done.exit_code == 0
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    at = next(number for number, answer in enumerate(answers, 1) if "alarm" in answer)
    assert 647 < at < 747
    assert [answer.get("alarm") for answer in answers] == [None] * (at - 1) + [True] * (len(answers) - at + 1)
    facts = ("ALARM", f"image {at}", answers[at - 1]["path"], "647 samples", "digits-test", "20.00 %", "0.10 %")
    assert tells(done.stderr, *facts)
    assert done.stderr.count("ALARM") == 1
    failed = run_cli("predict", "mcp", noise, "--fail-on-alarm", "--format", "csv")
    (*_, last) = csv.DictReader(failed.stdout.splitlines())
    assert (failed.exit_code, last["alarm"]) == (1, "true")
    assert tells(failed.stderr, "nothing is promised for", "%", "--fail-on-alarm")


def test_predict_says_where_the_order_of_class_folders_raised_it(
    with_runs: Workspace, run_cli: RunCli, digit_files: Path, tmp_path: Path
) -> None:
    labels = load_digits().target
    for file in sorted(digit_files.iterdir())[:200]:
        folder = tmp_path / "sorted" / str(labels[int(file.stem)])
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder)
    run_cli("calibrate", "mcp", "--data", "digits-test", "--coverage", 0.8)
    done = run_cli("predict", "mcp", tmp_path / "sorted", "--fail-on-alarm")
    assert tells(done.stderr, "ALARM", "order", "folder by folder", "in shuffled order they raise no alarm", "sorted")
    (since,) = re.findall(r"since about image (\d+)", done.stderr)
    assert tells(done.stderr, "changed on the way", f"from about image {since} on")
    assert tells(done.stderr, "error:", "shuffle", "--fail-on-alarm")
    only = run_cli("predict", "mcp", tmp_path / "sorted" / "3")
    assert tells(only.stderr, "ALARM", "nothing is promised for", "in shuffled order they raise it too")
    assert "folder by folder" not in only.stderr


def test_a_trusted_classifier_carries_the_alarm_over_its_calls(
    with_runs: Workspace, run_cli: RunCli, noise: Path
) -> None:
    run_cli("calibrate", FROZEN, "--data", "digits-test", "--coverage", 0.5)
    trusted, files = TrustedClassifier.load(with_runs.root, FROZEN, device="cpu"), sorted(noise.iterdir())
    assert trusted.alarm
    (whole,) = {answer.alarm for answer in [*trusted(files)][-1:]}
    raised = trusted.alarm.raised_at
    assert (whole, raised is not None) == (True, True)
    trusted.alarm.reset()
    answers = [answer for file in files for answer in trusted([file])]
    assert trusted.alarm.raised_at == raised == next(n for n, answer in enumerate(answers, 1) if answer.alarm)
    assert tells(trusted.announcement("x.png"), f"image {raised}", "x.png", "coverage", "0.5")


def test_a_program_beside_an_exported_graph_reads_the_same_alarm(with_runs: Workspace, run_cli: RunCli) -> None:
    run_cli("export", FROZEN, "--format", "torch", "--output", "net.pt2")
    assert tells(refusal_of(lambda: Alarm.read("net.pt2.json")), "net.pt2.json", "trustcache calibrate")
    goal = ("--max-risk", 0.2, "--delta", 0.2, "--by", "class")
    assert run_cli("calibrate", FROZEN, "--data", "digits-test", *goal).exit_code == 0
    run_cli("export", FROZEN, "--format", "torch", "--output", "net.pt2")
    described = json.loads(Path("net.pt2.json").read_text())
    assert tells(described["trusted"], "predicted class", "calibration.groups")
    assert len(described["calibration"]["groups"]) == 10
    (kept,) = with_runs.runs.glob("*/threshold.json")
    beside, own = Alarm.read("net.pt2.json"), Alarm.read(kept)
    assert beside.watch == own.watch
    assert beside.watch.references[0].samples == 647
    text = Path("net.pt2.json").read_text()
    Path("net.pt2.json").write_text(text.replace('"rate": 0.01', '"rate": 0.02'))
    with pytest.raises(DamagedError, match=r"net.pt2.json.*export"):
        Alarm.read("net.pt2.json")


@pytest.mark.parametrize(
    "entries",
    [
        {"watch.rate": 0.0},
        {"watch.references": []},
        {"watch.by_class": []},
        {"watch.references": [{"edges": [1.0, 0.0], "tie_breaks": [0.5, 0.5], "counts": [1, 1, 1], "classes": []}]},
        {"watch.references": [{"edges": [1.0], "tie_breaks": [0.5], "counts": [1, 0], "classes": []}]},
        {"watch.references": [{"edges": [1.0], "tie_breaks": [0.5], "counts": [1, 10**400], "classes": []}]},
        {"watch.references": [{"edges": [], "tie_breaks": [], "counts": [], "classes": []}]},
    ],
    ids=lambda entries: str(entries)[:60],
)
def test_a_threshold_whose_reference_is_none_is_refused(with_runs: Workspace, run_cli: RunCli, entries: dict) -> None:
    run_cli("calibrate", "mcp", "--data", "digits-test", "--coverage", 0.5)
    (kept,) = with_runs.runs.glob("*/threshold.json")
    edit_record(kept, entries)
    refused = run_cli("predict", "mcp", kept)
    assert (refused.exit_code, tells(refused.stderr, str(kept.name), "watch", "trustcache calibrate")) == (1, True)
