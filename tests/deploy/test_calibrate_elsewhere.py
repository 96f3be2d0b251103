"""Thresholds beyond one data set: what they do on others, a promise kept on several, and one for each group."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from scipy.special import expit
from scipy.stats import binomtest

from tests.caches_in_memory import cache_of
from tests.refusals import refusal_of, tells
from trustcache import TrustedClassifier
from trustcache.cache import CacheView, open_cache
from trustcache.cache.workspace import Workspace
from trustcache.deploy.calibrate import calibrate_on
from trustcache.errors import TrustcacheError, percent
from trustcache.metrics.calibration import wilson
from trustcache.metrics.estimated_accuracy import estimated_accuracy, fit_accuracy
from trustcache.metrics.selective import guaranteed, working_point
from trustcache.scores import post_hoc_score

RunCli = Callable[..., Result]
FROZEN = "digits-net-ce-frozen"
HELD_OUT, OTHER = cache_of(600, 1, name="held-out"), cache_of(300, 2, name="other")


def simulated(rows: int, error: float, rng: np.random.Generator) -> CacheView:
    """Scores z uniform in (0, 1), the first logit, each wrong with chance error * (1 - z)."""
    z = rng.random(rows)
    wrong = rng.random(rows) < error * (1 - z)
    return CacheView.from_arrays(np.stack([1 + z, np.zeros(rows)], axis=1), wrong.astype(int))


def test_a_check_says_what_the_threshold_does_there_and_what_would_be_guessed_without_labels() -> None:
    found = calibrate_on("mcp", HELD_OUT, coverage=0.6, check_on=[OTHER, HELD_OUT])
    check, same = found.checks
    z, odds = post_hoc_score("mcp", OTHER), post_hoc_score("mcp", HELD_OUT)
    assert check.point == working_point(z, OTHER.correct, float(found))
    assert (check.data, check.accuracy) == ("other", OTHER.correct.mean())
    assert check.coverage == pytest.approx(wilson(check.point.trusted, 300))
    assert check.risk == pytest.approx(wilson(check.point.wrong, check.point.trusted))
    fit = fit_accuracy(odds, HELD_OUT.correct, expit(odds))
    assert check.estimates == estimated_accuracy(fit, z, expit(z))
    assert same.point.trusted == found.point.trusted


@pytest.mark.parametrize("more", [1, 2, 3])
def test_it_shows_which_data_set_each_figure_is_of(more: int) -> None:
    others = [cache_of(200, 10 + n, name=f"other-{n}") for n in range(more)]
    found = calibrate_on("mcp", HELD_OUT, max_risk=0.3, delta=0.05, worst_of=others)
    points = {"held-out": found.point} | {one.data: one.point for one in found.worst_of}
    worst = max(found.worst_of, key=lambda one: one.point.risk or 0).data
    for name in points if more < 3 else ("held-out", worst):
        point = points[name]
        assert f"coverage {percent(point.coverage)}, risk {percent(point.risk or 0)} on {name}" in repr(found)
    assert "there" not in repr(found)


def test_the_command_line_checks_families_and_leaves_out_images_that_were_calibrated_on(
    with_runs: Workspace, run_cli: RunCli, extract_digits: RunCli
) -> None:
    assert extract_digits("--data", "digits-c/contrast/4").exit_code == 0
    words = ("calibrate", "mcp", "--data", "digits-test", "--coverage", 0.5, "--part", "first-half")
    done = run_cli(*words, "--check-on", "digits-c", "--check-on", "digits-train", "--json")
    assert done.exit_code == 0, done.stderr
    threshold = json.loads(done.stdout)["threshold"]
    contrast, train = threshold["checks"]
    assert contrast["data"] == "digits-c/contrast/4"
    assert contrast["point"]["samples"] == threshold["other_half"]["samples"] == 324
    assert (train["data"], train["point"]["samples"]) == ("digits-train", 700)
    low, high = train["risk"]
    assert low < train["point"]["wrong"] / train["point"]["trusted"] < high
    printed = run_cli(*words, "--check-on", "digits-c").stdout
    assert tells(printed, "risk", "atc", "doc", "digits-c/contrast/4", "324", percent(contrast["accuracy"], 1))


def test_the_threshold_is_the_most_careful_of_all_and_says_so() -> None:
    rng = np.random.default_rng(0)
    easy, hard = simulated(2000, 0.3, rng), simulated(2000, 0.6, rng)
    score = {"max_risk": 0.1, "delta": 0.05}
    alone, other = (guaranteed(one.logits[:, 0], one.correct, 0.1, 0.05) for one in (easy, hard))
    assert alone
    assert other
    found = calibrate_on(first_logit, easy, worst_of=[hard], **score)
    assert float(found) == other.threshold > alone.threshold
    assert found.point.trusted == (easy.logits[:, 0] > other.threshold).sum()
    assert found.worst_of[0].point.trusted == other.trusted
    assert tells(found.guarantee, "0.95", "10 %", "2 data sets")
    assert float(calibrate_on(first_logit, hard, worst_of=[easy], **score)) == other.threshold


def first_logit(logits: np.ndarray) -> np.ndarray:
    return logits[:, 0].astype(np.float64)


def test_over_draws_the_promise_is_broken_on_any_data_set_no_more_often_than_delta_allows() -> None:
    rng, draws, delta, broken = np.random.default_rng(1), 150, 0.2, 0
    for _ in range(draws):
        first, *others = (simulated(500, error, rng) for error in (0.3, 0.6, 0.58))
        try:
            found = calibrate_on(first_logit, first, worst_of=others, max_risk=0.1, delta=delta)
        except TrustcacheError:  # no threshold breaks no promise
            continue
        broken += 0.6 * (1 - (float(found) - 1)) / 2 > 0.1  # the risk above a threshold, where most are wrong
    assert binomtest(broken, draws, delta, alternative="greater").pvalue > 0.01, broken
    assert broken > 0


def test_each_class_has_a_threshold_at_its_share_of_delta_and_void_ones_are_told() -> None:
    found = calibrate_on("mcp", HELD_OUT, max_risk=0.25, delta=0.05, by="class")
    z, predictions = post_hoc_score("mcp", HELD_OUT), HELD_OUT.predictions
    assert [one.group for one in found.groups] == ["0", "1", "2"]
    for one in found.groups:
        mine = predictions == int(one.group)
        assert one.point == guaranteed(z[mine], HELD_OUT.correct[mine], 0.25, 0.05 / 3)
        assert one.samples == mine.sum()
    assert found.point.trusted == sum(one.point.trusted for one in found.groups if one.point)
    assert tells(found.guarantee, "each of 3 groups", "class")
    half = calibrate_on("mcp", HELD_OUT, max_risk=0.4, by="class", part="first-half", check_on=[OTHER])
    cuts, predictions = half.of_groups(), OTHER.predictions.astype(str)
    trusted = post_hoc_score("mcp", OTHER) > [cuts[group] for group in predictions]
    (check,) = half.checks
    assert (check.point.trusted, check.point.wrong) == (trusted.sum(), (trusted & ~OTHER.correct).sum())
    assert half.other_half
    assert half.other_half.samples == 300
    few = ["rare" if row < 5 else "common" for row in range(600)]
    rare = {one.group: one.point for one in calibrate_on("mcp", HELD_OUT, max_risk=0.3, by=few).groups}
    assert tells(refusal_of(lambda: calibrate_on("mcp", HELD_OUT, max_risk=0.3, by=few, check_on=[OTHER])), "check_on")
    assert rare["rare"] is None
    assert rare["common"]


def test_groups_in_which_nothing_is_trusted_are_counted_and_named() -> None:
    few = [f"rare {row}" if row < 5 else "common" for row in range(600)]
    found = calibrate_on("mcp", HELD_OUT, max_risk=0.3, by=few)
    for text in (repr(found), found.guarantee):
        assert tells(text, "nothing is trusted in 5 of 6 groups: rare 0, rare 1, rare 2 and 2 more")
    halves = calibrate_on("mcp", HELD_OUT, max_risk=0.3, by=["even", "odd"] * 300)
    assert "nothing is trusted" not in repr(halves) + halves.guarantee


def test_thresholds_of_groups_are_applied_group_by_group_and_are_no_single_number() -> None:
    z = post_hoc_score("mcp", HELD_OUT)
    plain = calibrate_on("mcp", HELD_OUT, max_risk=0.25, delta=0.05)
    assert plain.trusts(z).tolist() == plain.trusts(z, HELD_OUT).tolist() == (z > float(plain)).tolist()
    assert tells(refusal_of(lambda: plain.trusts(z[:50], HELD_OUT)), "50", "600")
    assert plain.trusts([np.nan, np.inf]).tolist() == [False, True]
    by_class = calibrate_on("mcp", HELD_OUT, max_risk=0.25, delta=0.05, by="class")
    assert tells(refusal_of(lambda: float(by_class)), "3", "class", "trusts")
    assert tells(refusal_of(lambda: by_class.trusts(z)), "class", "cache")
    assert tells(refusal_of(lambda: by_class.trusts(z[:50], HELD_OUT)), "50", "600")
    trusted = by_class.trusts(z, HELD_OUT)
    for one in by_class.groups:
        of_class = trusted[str(one.group) == HELD_OUT.predictions.astype(str)]
        assert of_class.sum() == (one.point.trusted if one.point else 0)
    named = ["night" if row % 3 else "day" for row in range(len(z))]
    by_list = calibrate_on("mcp", HELD_OUT, max_risk=0.3, delta=0.05, by=named)
    assert tells(refusal_of(lambda: by_list.trusts(z, HELD_OUT)), "group", "groups")
    assert tells(refusal_of(lambda: by_list.trusts(z, groups=named[:-1])), "600", "599")
    assert by_list.trusts(z, groups=named).sum() == by_list.point.trusted
    assert not by_list.trusts(z, groups=["dusk"] * len(z)).any()


def test_predict_goes_by_the_predicted_class(with_runs: Workspace, run_cli: RunCli, digit_files: Path) -> None:
    words = ("calibrate", "mcp", "--data", "digits-test", "--max-risk", 0.1, "--delta", 0.2, "--by", "class")
    done = run_cli(*words, "--json")
    groups = {one["group"]: one["point"] for one in json.loads(done.stdout)["threshold"]["groups"]}
    assert None in groups.values()
    assert tells(run_cli(*words).stdout, "nothing", f"in {[*groups.values()].count(None)} of {len(groups)} groups")
    answers = [json.loads(line) for line in run_cli("predict", "mcp", digit_files).stdout.splitlines()]
    assert {answer["trusted"] for answer in answers} == {True, False}
    for answer in answers:
        point = groups[str(answer["class_number"])]
        cut = point["threshold"] if point else np.inf
        # One sample has the threshold's own score, and is printed with six digits.
        assert answer["trusted"] is bool(answer["score"] > cut) or answer["score"] == pytest.approx(cut, rel=1e-5)


def test_predict_goes_by_a_file_of_groups(with_runs: Workspace, run_cli: RunCli, digit_files: Path) -> None:
    ids = open_cache(with_runs.find_cache("test").folder).sample_ids
    groups = {name: "even" if number % 2 else "odd" for number, name in enumerate(ids)}
    Path("groups.csv").write_text("id,group\n" + "".join(f"{name},{group}\n" for name, group in groups.items()))
    words = ("calibrate", "mcp", "--data", "digits-test", "--max-risk", 0.2, "--delta", 0.2)
    done = run_cli(*words, "--by", "groups.csv", "--json")
    assert done.exit_code == 0, done.stderr
    cuts = {one["group"]: one["point"]["threshold"] for one in json.loads(done.stdout)["threshold"]["groups"]}
    assert set(cuts) == {"even", "odd"}
    Path("new.csv").write_text("id,group\n" + "".join(f"{n}.png,{g}\n" for n, g in [*groups.items()][:-9]))
    done = run_cli("predict", "mcp", digit_files, "--groups", "new.csv")
    assert done.exit_code == 0, done.stderr
    trusted = TrustedClassifier.load(with_runs.root, "mcp", device="cpu")
    few = [*trusted(sorted(digit_files.iterdir())[:30], groups=["odd"] * 20)]
    assert [answer.trusted for answer in few] == [n < 20 and a.score > cuts["odd"] for n, a in enumerate(few)]
    known, lost = {*ids[:-9]}, 0
    for answer in map(json.loads, done.stdout.splitlines()):
        name = Path(answer["path"]).stem
        lost += name not in known
        assert answer["trusted"] is (name in known and answer["score"] > cuts[groups[name]])
    assert lost == 9
    refused = run_cli("predict", "mcp", digit_files)
    assert (refused.exit_code, "no groups are given" in refused.stderr) == (2, True)
    refused = run_cli(*words, "--by", "new.csv")  # its ids end in .png
    assert (refused.exit_code, tells(refused.stderr, "new.csv", "647 samples", ids[0])) == (2, True)


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        (("--coverage", 0.5, "--by", "class"), ("--by", "--coverage", "--max-risk")),
        (("--coverage", 0.5, "--worst-of", "digits-test"), ("--worst-of", "--coverage", "--max-risk")),
        (("--max-risk", 0.5, "--by", "class", "--worst-of", "digits-test"), ("--by", "--worst-of")),
        (("--coverage", 0.5, "--alarm", 0), ("--alarm 0",)),
        (("--coverage", 0.5, "--check-on", "digits"), ("--check-on digits: ", "digits-train")),
        (("--coverage", 0.5, "--check-on", "digits-train"), ("--check-on digits-train", "learnt")),
        (("--max-risk", 0.5, "--worst-of", "digits-train"), ("--worst-of digits-train", "learnt")),
        (("--max-risk", 0.5, "--by", "absent.csv"), ("absent.csv", "id,group")),
        (("--max-risk", 0.5, "--by", "wrong.csv"), ("wrong.csv", "id", "group")),
        (("--max-risk", 0.5, "--by", "gap.csv"), ("gap.csv", "line 2")),
        (("--max-risk", 0.5, "--by", "latin.csv"), ("latin.csv", "UTF-8")),
    ],
)
def test_what_cannot_be_kept_or_found_is_refused(
    with_runs: Workspace, run_cli: RunCli, options: tuple, facts: tuple
) -> None:
    Path("wrong.csv").write_text("name,kind\na,b\n")
    Path("gap.csv").write_text("id,group\na,\n")
    Path("latin.csv").write_bytes("id,group\na,é\n".encode("latin-1"))
    refused = run_cli("calibrate", FROZEN, "--data", "digits-test", *options)
    assert refused.exit_code == 2
    assert tells(refused.stderr, *facts)
    assert not list(with_runs.runs.glob("*/threshold.json"))


def test_groups_that_are_no_one_each_and_a_hopeless_data_set_are_refused() -> None:
    assert tells(refusal_of(lambda: calibrate_on("mcp", HELD_OUT, max_risk=0.3, by=["a"])), "1 groups", "600")
    with pytest.raises(TrustcacheError, match=r"max_risk 0.3.*30 samples of tiny"):
        calibrate_on("mcp", HELD_OUT, max_risk=0.3, worst_of=[cache_of(30, 3, name="tiny")], delta=1e-9)
