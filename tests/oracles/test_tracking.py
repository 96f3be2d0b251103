"""What training reports to TensorBoard and Weights & Biases is what its own log says."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from tests.refusals import tells
from trustcache.cache.workspace import Workspace
from trustcache.oracles.runs import Run, finished_runs
from trustcache.oracles.tracking import figures

RunCli = Callable[..., Result]
HEADS = ("train", "--frozen", "--loss", "ce,ss", "--epochs", 4, "--device", "cpu")


def own_log(run: Run) -> dict[str, list[tuple[int, float]]]:
    """The figures of a run's log by name, with their epochs."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in (run.folder / "log.jsonl").read_text().splitlines():
        entry = json.loads(line)
        for name, value in figures(entry).items():
            found.setdefault(name, []).append((entry["epoch"], value))
    return found


@pytest.mark.parametrize("words", [HEADS, ("train", "--loss", "ce", "--epochs", 2, "--workers", 0, "--device", "cpu")])
def test_tensorboard_reads_every_figure_of_the_log(workspace: Workspace, run_cli: RunCli, words: tuple) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    done = run_cli(*words, "--log", "tensorboard")
    assert done.exit_code == 0, done.stderr
    for run in finished_runs(workspace):
        events = reader.EventAccumulator(str(workspace.tracking / "tensorboard" / run.folder.name)).Reload()
        kept = own_log(run)
        assert {*events.Tags()["scalars"]} == {*kept}
        for name, values in kept.items():
            shown = [(event.step, event.value) for event in events.Scalars(name)]
            assert shown == [(epoch, pytest.approx(value, rel=1e-6)) for epoch, value in values]
    verified = run_cli("verify")
    assert (verified.exit_code, "not checked" in verified.stderr) == (0, False)


@pytest.fixture
def fake_wandb(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """In place of Weights & Biases, a module that keeps what it is told."""
    kept: list[dict] = []

    class Open:
        def __init__(self, **about: object) -> None:
            self.about = {**about, "logged": [], "open": True}
            kept.append(self.about)

        def log(self, values: dict, step: int) -> None:
            self.about["logged"].append((step, values))

        def finish(self) -> None:
            self.about["open"] = False

    module = types.ModuleType("wandb")
    module.init = Open  # type: ignore[attr-defined]
    module.__spec__ = importlib.util.spec_from_loader("wandb", None)
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return kept


def test_weights_and_biases_gets_a_run_for_each_and_stays_offline(
    workspace: Workspace, run_cli: RunCli, fake_wandb: list[dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    assert run_cli(*HEADS, "--log", "wandb").exit_code == 0
    assert os.environ["WANDB_MODE"] == "offline"
    runs = {run.name: run for run in finished_runs(workspace)}
    assert {each["name"] for each in fake_wandb} == {*runs}
    for each in fake_wandb:
        assert not each["open"]
        assert each["config"]["loss"]["name"] == runs[each["name"]].config.loss.name
        logged = {name: [] for _, values in each["logged"] for name in values}
        for step, values in each["logged"]:
            for name, value in values.items():
                logged[name].append((step, value))
        assert logged == own_log(runs[each["name"]])


@pytest.mark.slow
def test_the_real_weights_and_biases_writes_its_files_without_a_network(
    workspace: Workspace, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")
    assert run_cli(*HEADS, "--log", "wandb").exit_code == 0
    assert len([*(workspace.tracking / "wandb").rglob("run-*.wandb")]) == 2


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_what_is_not_installed_is_named_with_its_pip_line_before_any_work(
    workspace: Workspace, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda asked, *rest: None if asked == name else there(asked, *rest)
    )
    done = run_cli(*HEADS, "--log", name)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert tells(done.stderr, f"--log {name}", f"pip install 'trustcache[{name}]'")
    assert not finished_runs(workspace)


def test_an_unknown_tracker_is_refused(workspace: Workspace, run_cli: RunCli) -> None:
    done = run_cli(*HEADS, "--log", "paper")
    assert (done.exit_code, tells(done.stderr, "--log paper", "tensorboard", "wandb")) == (2, True)
    assert not Path("paper").exists()
