"""Choosing by the validation part: what a sweep tries, how it ranks, and what it leaves for the report."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from click.testing import Result

from tests.refusals import tells
from trustcache.cache import open_cache
from trustcache.cache.workspace import Workspace
from trustcache.data.splits import validation_rows
from trustcache.errors import TrustcacheError
from trustcache.evaluate.sweep import Candidate, Sweep, mean_metrics, ranked, save, saved_sweeps
from trustcache.losses import LOSSES
from trustcache.metrics.ranking import trust_metrics
from trustcache.oracles.loss_grid import loss_grid
from trustcache.oracles.runs import finished_runs
from trustcache.protocols import PROTOCOLS
from trustcache.scores import post_hoc_score


def candidate(name: str, aurc: float | None, **metrics: float | None) -> Candidate:
    return Candidate(name, {}, (f"run-{name}",), {"aurc": aurc, **metrics})


def sweep_of(*candidates: Candidate, reference: dict[str, float | None] | None = None) -> Sweep:
    return Sweep("net", "data", "judged", "net", "frozen", "equations", (0,), candidates, reference or {"aurc": 0.05})


def test_the_least_aurc_wins_whatever_other_metrics_say() -> None:
    order = ranked([candidate("a", 0.3, auc=0.9), candidate("b", 0.1, auc=0.5), candidate("c", 0.2, auc=0.7)])
    assert [c.method for c in order] == ["b", "c", "a"]


def test_equal_candidates_keep_the_order_given_and_those_without_a_figure_are_last() -> None:
    order = ranked([candidate("a", None), candidate("b", 0.2), candidate("c", 0.1), candidate("d", 0.1)])
    assert [c.method for c in order] == ["c", "d", "b", "a"]


def test_a_metric_is_the_mean_over_seeds_and_missing_where_a_seed_lacks_it() -> None:
    means = mean_metrics([{"aurc": 0.1, "auc": 0.5}, {"aurc": 0.3, "auc": None}])
    assert means == {"aurc": pytest.approx(0.2), "auc": None}
    assert mean_metrics([{"aurc": 0.1}, {}]) == {"aurc": None}


def test_the_grid_touches_every_setting_of_every_loss_and_has_their_defaults() -> None:
    grid = loss_grid(["all"], {}, sweep=True)
    assert len(grid) == 17
    assert {c.name for c in grid} == set(LOSSES)
    for choice in loss_grid(["all"], {}):
        assert choice in grid
    assert len(loss_grid(["all"], {}, "released", sweep=True)) == 14


@pytest.mark.parametrize(("reference", "leads"), [({"aurc": 0.09}, True), ({"aurc": 0.1}, False), ({}, False)])
def test_mcp_leads_where_it_is_better_than_the_winner(reference: dict, leads: bool) -> None:
    assert sweep_of(candidate("a", 0.1), reference=reference or {"aurc": None}).reference_leads() is leads


def test_a_sweep_is_read_as_it_was_kept(tmp_path) -> None:
    workspace = Workspace(tmp_path)
    sweep = sweep_of(candidate("a", 0.1, auc=None), candidate("b", 0.2))
    save(workspace, sweep)
    save(workspace, sweep)
    assert saved_sweeps(workspace) == [sweep]
    assert saved_sweeps(Workspace(tmp_path / "empty")) == []


@pytest.mark.parametrize("text", ["{", "[]", '{"candidates": [{"loss": 1}]}'])
def test_a_damaged_sweep_is_refused_with_its_remedy(tmp_path, text: str) -> None:
    workspace = Workspace(tmp_path)
    workspace.sweeps.mkdir()
    (workspace.sweeps / "x.json").write_text(text)
    with pytest.raises(TrustcacheError, match=r"x\.json: damaged .* train --sweep"):
        saved_sweeps(workspace)


# --- the command ---------------------------------------------------------------------------------------------------

QUICK = ("--frozen", "--epochs", 3, "--batch-size", 64)


def test_a_sweep_ranks_by_what_its_runs_logged_names_the_winner_and_shows_mcp_on_the_same_rows(
    workspace: Workspace, run_cli: Callable[..., Result]
) -> None:
    result = run_cli("train", "--loss", "all", "--sweep", "--seed", "0,1", *QUICK)
    assert result.exit_code == 0, result.output
    (sweep,) = saved_sweeps(workspace)
    runs = {run.name: run for run in finished_runs(workspace)}
    assert len(sweep.candidates) == 17
    assert {name for c in sweep.candidates for name in c.runs} == runs.keys()
    for c in sweep.candidates:
        assert [runs[name].config.seed for name in c.runs] == [0, 1]
        assert {runs[name].config.loss.name for name in c.runs} == {c.method}
        logged = [runs[name].log()[-1].validation["aurc"] for name in c.runs]
        assert c.validation["aurc"] == pytest.approx(np.mean(logged))
    values = [c.validation["aurc"] for c in sweep.candidates]
    assert values == sorted(values)
    assert f"its run {sweep.winner.runs[0]}" in " ".join(result.stdout.split())

    cache = open_cache(workspace.find_cache("train").folder)
    z = post_hoc_score("mcp", cache)
    parts = [validation_rows(len(cache), 0.1, seed) for seed in (0, 1)]
    wanted = np.mean([trust_metrics(z[rows], cache.correct[rows])["aurc"] for rows in parts])
    assert sweep.reference["aurc"] == pytest.approx(wanted)
    assert ("better choice" in " ".join(result.stdout.split())) is sweep.reference_leads()

    assert run_cli("train", "--loss", "all", "--sweep", "--seed", "0,1", *QUICK).exit_code == 0
    assert saved_sweeps(workspace) == [sweep]


def test_settings_given_are_not_swept_and_go_before_a_presets(
    workspace: Workspace, run_cli: Callable[..., Result], tmp_path
) -> None:
    preset = tmp_path / "mine.toml"
    preset.write_text('title = "mine"\n[settings]\nalpha_pos = 7\n')
    assert run_cli("train", "--loss", "ss", "--alpha-neg", "2,4", "--sweep", "--preset", preset, *QUICK).exit_code == 0
    (sweep,) = saved_sweeps(workspace)
    settings = {(c.settings["alpha_pos"], c.settings["alpha_neg"]) for c in sweep.candidates}
    assert settings == {(7.0, 2.0), (7.0, 4.0)}


def test_a_sweep_under_released_ranks_that_codes_losses(workspace: Workspace, run_cli: Callable[..., Result]) -> None:
    options = ("--loss", "ce,ss", "--sweep", "--protocol", "released", "--alpha-neg", 3)
    assert run_cli("train", *options, *QUICK).exit_code == 0
    (sweep,) = saved_sweeps(workspace)
    assert sweep.protocol == "released"
    cache = open_cache(workspace.find_cache("train").folder)
    rows = validation_rows(len(cache), 0.1, 0)
    wanted = PROTOCOLS["released"].metrics(post_hoc_score("mcp", cache)[rows], cache.correct[rows])
    assert sweep.reference["aupr_error"] == pytest.approx(wanted["aupr_error"])


def test_a_sweep_without_validation_rows_is_refused_before_anything_is_trained(
    workspace: Workspace, run_cli: Callable[..., Result]
) -> None:
    result = run_cli("train", "--loss", "all", "--sweep", "--val-fraction", 0, *QUICK)
    assert result.exit_code == 2
    assert "--val-fraction 0: " in result.stderr
    assert not finished_runs(workspace)


def test_a_validation_part_of_one_class_leaves_nothing_to_choose_by(
    workspace: Workspace, run_cli: Callable[..., Result]
) -> None:
    result = run_cli("train", "--loss", "ce", "--sweep", "--val-fraction", 0.002, *QUICK)
    assert result.exit_code == 2
    assert "only right" in " ".join(result.stderr.split())
    assert not saved_sweeps(workspace)


def test_the_report_shows_validation_beside_test_and_says_where_runs_are_gone(
    workspace: Workspace, run_cli: Callable[..., Result]
) -> None:
    run_cli("train", "--loss", "ce,focal", "--sweep", *QUICK)
    (sweep,) = saved_sweeps(workspace)
    assert run_cli("report").exit_code == 0
    results = json.loads((workspace.report / "results.json").read_text(encoding="utf-8"))
    test = {row["run"]: row["metrics"]["aurc"] for row in results if row["run"]}
    markdown = (workspace.report / "report.md").read_text(encoding="utf-8")
    table = markdown[markdown.index("what a sweep chose") :]
    winner = next(line for line in table.splitlines() if "chosen" in line and line.startswith("| **1**"))
    assert f"{100 * sweep.winner.validation['aurc']:.2f}" in winner
    assert f"{100 * test[sweep.winner.runs[0]]:.2f}" in winner
    assert "what a sweep chose" in (workspace.report / "paper.html").read_text(encoding="utf-8")

    (workspace.runs / sweep.winner.runs[0] / "weights.safetensors").unlink()
    again = " ".join(run_cli("report").output.split())
    assert tells(again, "1 of its 4 runs", "digits-test")
    assert "what a sweep chose" not in again
