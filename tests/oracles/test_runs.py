"""Runs on disk: what was written comes back, and what an older trustcache left is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from typer.testing import Result

from tests.sealed import edit_record
from trustcache.cache.workspace import Workspace
from trustcache.errors import DamagedError
from trustcache.oracles.finetune import load_oracle
from trustcache.oracles.plan import frozen_head
from trustcache.oracles.runs import finished_runs


def test_runs_come_back_with_their_names(runs_workspace: Workspace) -> None:
    runs = finished_runs(runs_workspace)
    assert [run.config.training for run in runs] == ["fine-tuned", "frozen"]
    assert [run.config.name for run in runs] == [run.name for run in runs]


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"schema": None}, "schema"),
        ({"schema": 1}, "schema 1"),
        ({"seed": "x"}, "field seed"),
        ({"backbone": 1}, "back"),
        ({"seed": 7}, "not the config of this run"),
    ],
)
def test_a_config_that_is_damaged_or_of_before_is_refused_with_the_remedy(
    with_runs: Workspace, run_cli: Callable[..., Result], change: dict, fact: str
) -> None:
    run = finished_runs(with_runs)[0]
    path = run.folder / "config.json"
    edit_record(path, change)
    failed = run_cli("report")
    assert failed.exit_code == 1
    assert f"{run.name}/config.json: " in failed.stderr
    assert fact in failed.stderr
    assert "train it again" in failed.stderr


def test_weights_that_are_not_those_of_the_run_s_oracle_are_refused(with_runs: Workspace) -> None:
    for run, load in zip(finished_runs(with_runs), (load_oracle, frozen_head), strict=True):
        run.finish({"other": torch.zeros(3)}, [{"epoch": 1, "loss": 0.5}])
        with pytest.raises(DamagedError, match=rf"{run.name}/weights.safetensors: .*train it again"):
            load(run)
