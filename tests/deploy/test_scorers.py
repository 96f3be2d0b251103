"""Runs and post-hoc scores are found by name, and a threshold belongs to one classifier."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace

import pytest

from tests.refusals import refusal_of
from tests.sealed import edit_record
from trustcache.cache.workspace import Workspace
from trustcache.deploy.scorers import find_scorer
from trustcache.errors import TrustcacheError, UsageError
from trustcache.evaluate.sweep import choose, save
from trustcache.oracles.runs import Run, finished_runs, open_run


def test_a_run_is_found_by_its_name_or_an_unambiguous_beginning(runs_workspace: Workspace) -> None:
    for run in finished_runs(runs_workspace):
        by_name = find_scorer(runs_workspace, run.name)
        assert (by_name.name, by_name.folder, by_name.classifier) == (run.name, run.folder, "digits-net")
        assert find_scorer(runs_workspace, f"digits-net-ce-{run.config.training}").name == run.name
        assert by_name.caches[0].data == "digits-train"


@pytest.mark.parametrize(
    ("name", "classifier", "said"),
    [
        ("digits-net-ce", None, "2 runs .*: digits-net-ce-fine-tuned-seed0-"),
        ("nothing", None, "no finished run in .*; there are digits-"),
        ("digts-net-ce", None, "did you mean digits-net-ce-"),
        ("winer", None, "did you mean winner"),
        ("digits-net-ce-frozen", "other", "--classifier other: has no cache in .*, which holds digits-net/digits-test"),
        ("mcp", "digits-nte", "--classifier digits-nte: has no cache .*; did you mean digits-net"),
    ],
)
def test_a_name_that_fits_none_or_several_is_refused_with_what_there_is(
    runs_workspace: Workspace, name: str, classifier: str | None, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        find_scorer(runs_workspace, name, classifier)


def test_a_post_hoc_score_is_one_of_the_classifier_that_is_there(with_runs: Workspace) -> None:
    scorer = find_scorer(with_runs, "mcp")
    assert scorer.run is None
    assert scorer.folder == with_runs.runs / "digits-net@mcp"
    # Another classifier beside it, and the name alone no longer says whose score is meant.
    other = with_runs.root / "cache" / "other"
    shutil.copytree(with_runs.root / "cache" / "digits-net" / "digits-test", other / "digits-test")
    path = other / "digits-test" / "index.json"
    edit_record(path, {"meaning.label": "other"})
    with pytest.raises(UsageError, match=r"\(digits-net, other\).*--classifier"):
        find_scorer(with_runs, "mcp")
    assert find_scorer(with_runs, "mcp", "other").folder == with_runs.runs / "other@mcp"


def test_a_run_without_a_cache_of_its_classifier_is_refused(with_runs: Workspace) -> None:
    shutil.rmtree(with_runs.root / "cache")
    with pytest.raises(UsageError, match=r"digits-net .*trustcache extract"):
        find_scorer(with_runs, "digits-net-ce-frozen")


def test_the_classes_are_those_of_the_cache_or_else_numbers(with_runs: Workspace) -> None:
    scorer = find_scorer(with_runs, "mcp")
    assert scorer.classes(10) == tuple("0123456789")
    assert scorer.classes(3) == ("0", "1", "2")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{}", "damaged"),
        ("no json", "damaged"),
        (None, "another digits-net"),
    ],
)
def test_a_threshold_that_is_damaged_or_another_classifiers_is_refused(
    with_runs: Workspace, run_cli, content: str | None, said: str
) -> None:
    assert run_cli("calibrate", "mcp", "--data", "digits-test", "--coverage", 0.5).exit_code == 0
    scorer = find_scorer(with_runs, "mcp")
    kept = scorer.threshold()
    assert kept is not None
    path = scorer.threshold_path
    if content is None:
        edit_record(path, {"judged": "x"})
    else:
        path.write_text(content)
    with pytest.raises(TrustcacheError, match=said) as caught:
        scorer.threshold()
    assert str(path) in str(caught.value)
    assert "trustcache calibrate mcp again" in str(caught.value)


def test_winner_is_the_run_that_the_only_sweep_chose(with_runs: Workspace) -> None:
    with pytest.raises(UsageError, match=r"winner: .*trustcache train .* --sweep"):
        find_scorer(with_runs, "winner")
    index = with_runs.find_cache("train")
    by_training = {run.config.training: run for run in finished_runs(with_runs)}
    save(with_runs, choose(index, [by_training["frozen"]]))
    assert find_scorer(with_runs, "winner").name == by_training["frozen"].name
    save(with_runs, choose(index, [by_training["fine-tuned"]]))
    with pytest.raises(UsageError, match=r"winner: .*2 runs.*digits-net-ce-fine-tuned.*digits-net-ce-frozen"):
        find_scorer(with_runs, "winner")
    shutil.rmtree(by_training["fine-tuned"].folder)  # a sweep whose winner is gone counts no more
    assert find_scorer(with_runs, "winner").name == by_training["frozen"].name


def test_a_beginning_takes_the_only_run_whose_cache_is_here(with_runs: Workspace, run_cli) -> None:
    runs = {run.config.training: run for run in finished_runs(with_runs)}
    kept, stale = runs["frozen"], runs["fine-tuned"]
    renamed = judging_another(with_runs, stale)
    assert find_scorer(with_runs, "digits-net-ce").name == kept.name
    with pytest.raises(UsageError, match=rf"{renamed}: .*gone.*trustcache runs rm {renamed}"):
        find_scorer(with_runs, renamed)
    slip = refusal_of(lambda: find_scorer(with_runs, renamed.replace("-ce-", "-cee-")))
    there, meant = slip.split("there are ")[1].split("; did you mean ")
    assert there.startswith(kept.name), "the live ones first"
    assert (kept.name in meant, renamed in meant) == (True, False)
    listed = {line.split("\t")[-1]: line.split("\t")[2] for line in run_cli("runs", "list").stdout.splitlines()}
    assert listed[kept.name] == "digits-net"
    assert "no cache" in listed[renamed]
    noted = run_cli("report").stderr
    assert f"1 runs judge another digits-net than the one digits-test was extracted with; {REMOVES} {renamed}`" in noted
    assert run_cli("runs", "rm", renamed, "--yes").exit_code == 0
    assert "another digits-net" not in run_cli("report").stderr


REMOVES = "they have no cache any more; `trustcache runs rm"


def judging_another(workspace: Workspace, run: Run) -> str:
    """Let a run judge a classifier of the same name that no cache is of, and return its new name."""
    config = replace(run.config, judged="0" * 64)
    log, weights = [asdict(entry) for entry in run.log()], run.weights()
    shutil.rmtree(run.folder)
    moved = open_run(workspace, config)
    moved.begin()
    moved.finish(weights, log)
    return moved.name


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("calibrate", "digits-net-ce-forzen", "--coverage", "0.5"), "digits-net-ce-frozen-seed0-"),
        (("calibrate", "mpc", "--coverage", "0.5"), "mcp"),
        (("runs", "show", "digits-net-ce-forzen"), "digits-net-ce-frozen-seed0-"),
        (("train", "--frozen", "--preset", "stong"), "strong"),
        (("evaluate", "--score", "enrgy"), "energy"),
    ],
)
def test_a_name_with_a_slip_suggests_the_near_ones(with_runs: Workspace, run_cli, words, meant: str) -> None:
    done = run_cli(*words)
    assert done.exit_code == 2
    assert meant in " ".join(done.stderr.split()).split("did you mean ")[1]
