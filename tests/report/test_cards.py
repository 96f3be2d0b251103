"""The card of a run: what it learnt from and is worth, sealed, and no part of the run's identity."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli import app
from trustcache.cache.workspace import Workspace
from trustcache.oracles.runs import CARD, finished_runs
from trustcache.report.verify import verify


@pytest.fixture
def workspace(runs_workspace: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(runs_workspace.root, tmp_path / "workspace")
    return Workspace(tmp_path / "workspace")


def call(workspace: Workspace, *words: str) -> Result:
    done = CliRunner().invoke(app, [*words, "--workspace", str(workspace.root)])
    assert done.exit_code == 0, done.output
    return done


def card(workspace: Workspace, run: str) -> str:
    return (workspace.run_folder(run) / CARD).read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_each_run_has_one_with_its_data_figures_and_the_way_to_load_it(workspace: Workspace, command: str) -> None:
    before = [run.name for run in finished_runs(workspace)]
    call(workspace, command)
    runs = finished_runs(workspace)
    assert [run.name for run in runs] == before
    call(workspace, "report")
    rows = {row["run"]: row for row in json.loads((workspace.report / "results.json").read_text())}
    for run in runs:
        text = card(workspace, run.name)
        assert run.config.data in text
        assert f"{100 * rows[run.name]['metrics']['auc']:.2f} \\[" in text
        assert f"trustcache predict {run.name}" in text
        assert "TrustedClassifier.load" in text
        assert str(workspace.root) not in text


def test_verify_checks_it_and_a_report_makes_it_anew(workspace: Workspace) -> None:
    call(workspace, "report")
    run = finished_runs(workspace)[0]
    path = run.folder / CARD
    assert (verify(workspace).faults, verify(workspace).unknown) == ([], [])
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"oracle", b"oracIe", 1))
    (fault,) = verify(workspace).faults
    assert str(path) in fault
    assert "trustcache report" in fault
    call(workspace, "report")
    assert path.read_bytes() == whole


def test_it_tells_the_threshold_once_there_is_one_and_is_only_written_where_it_changed(workspace: Workspace) -> None:
    call(workspace, "report")
    first, second = finished_runs(workspace)[:2]
    written = (second.folder / CARD).stat().st_mtime_ns
    call(workspace, "calibrate", first.name, "--data", "digits-test", "--coverage", "0.7")
    call(workspace, "report")
    threshold = json.loads((first.folder / "threshold.json").read_text())["point"]["threshold"]
    assert str(threshold) in card(workspace, first.name)
    assert (second.folder / CARD).stat().st_mtime_ns == written
