"""Fine-tuning several oracles in one pass over the images: each becomes what it becomes alone."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

from tests.refusals import tells
from trustcache.cache.workspace import Workspace
from trustcache.oracles import finetune as module
from trustcache.oracles.finetune import CHECKPOINT
from trustcache.oracles.runs import finished_runs
from trustcache.oracles.training_loop import TrainingLoop

RunCli = Callable[..., Result]
SHORT = ("--epochs", 2, "--batch-size", 100, "--workers", 0, "--device", "cpu")
SMALL = """
import torch
from torch import nn


def build(classes=10):
    torch.manual_seed(7)  # it has no weights of its own, and a run is named by them
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten())
    model = nn.Sequential(body, nn.Linear(144, classes))
    model.pretrained_cfg = {"input_size": (3, 8, 8), "crop_pct": 1.0}
    return model
"""


@pytest.fixture
def words(workspace: Workspace, in_tmp_path: Path) -> tuple[object, ...]:
    """Fine-tunings of two losses and seeds of a network with dropout, on mirrored images."""
    (in_tmp_path / "small.py").write_text(SMALL, encoding="utf-8")
    return ("train", "--oracle", "small:build", "--loss", "ce,ss", "--seed", "0,1", "--protocol", "released", *SHORT)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of images that are decoded at a time."""
    seen: list[int] = []
    view = module.viewed_batches

    def counting(dataset: object, viewer: object, batches: list[np.ndarray]) -> object:
        seen.append(sum(map(len, batches)))
        return view(dataset, viewer, batches)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "viewed_batches", counting)
    return seen


def made(workspace: Workspace) -> dict[str, bytes]:
    """All that the runs are."""
    files = [path for path in workspace.runs.rglob("*.*") if path.is_file()]
    return {str(path.relative_to(workspace.root)): path.read_bytes() for path in files}


@pytest.fixture
def each_alone(
    workspace: Workspace, run_cli: RunCli, words: tuple[object, ...], decoded: list[int]
) -> dict[str, bytes]:
    """The runs as each is made by itself; the workspace is left without them."""
    done = run_cli(*words)
    assert done.exit_code == 0, done.stderr
    assert sum(decoded) == 4 * 2 * (600 + 70)
    decoded.clear()
    files = made(workspace)
    shutil.rmtree(workspace.runs)
    return files


def test_runs_of_one_pass_are_those_of_single_ones_to_the_bit(
    each_alone: dict[str, bytes], workspace: Workspace, run_cli: RunCli, words: tuple[object, ...], decoded: list[int]
) -> None:
    done = run_cli(*words, "--together")
    assert done.exit_code == 0, done.stderr
    assert len(finished_runs(workspace)) == 4
    assert made(workspace) == each_alone
    assert sum(decoded) == 2 * 2 * (600 + 70)  # once for both losses of a seed


def test_a_stopped_pass_goes_on_with_one_that_was_begun_alone(
    each_alone: dict[str, bytes],
    workspace: Workspace,
    run_cli: RunCli,
    words: tuple[object, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take = TrainingLoop.take

    def stop_after(steps: int) -> None:
        left = iter(range(steps))

        def stopping(self: TrainingLoop, *args: object) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt
            take(self, *args)  # type: ignore[arg-type]

        monkeypatch.setattr(TrainingLoop, "take", stopping)

    stop_after(9)
    stopped = run_cli(*words, "--loss", "ss", "--checkpoint-every", 0)
    assert (stopped.exit_code, "--checkpoint-every" in stopped.stderr) == (130, True)
    stop_after(7)  # ss waits for ce at its ninth step
    assert run_cli(*words, "--together", "--checkpoint-every", 0).exit_code == 130
    assert len([*workspace.runs.glob(f"*/{CHECKPOINT}")]) == 2
    monkeypatch.setattr(TrainingLoop, "take", take)
    done = run_cli(*words, "--together")
    assert done.exit_code == 0, done.stderr
    assert re.findall(r"goes on from step (\d+) of", done.stderr) == ["7", "9"]
    assert made(workspace) == each_alone


def test_one_whose_loss_runs_away_leaves_the_others(workspace: Workspace, run_cli: RunCli, in_tmp_path: Path) -> None:
    (in_tmp_path / "hot.py").write_text("def loss(z, correct):\n    return z.exp() * 1e30 * 1e30\n", encoding="utf-8")
    done = run_cli("train", "--loss", "hot:loss,ce", *SHORT, "--together")
    assert done.exit_code == 1
    assert tells(done.stderr, "hot:loss", "step 1 of", "smaller --lr")
    assert [run.config.loss.name for run in finished_runs(workspace)] == ["ce"]


def test_heads_on_cached_features_are_together_anyhow(workspace: Workspace, run_cli: RunCli) -> None:
    refused = run_cli("train", "--frozen", "--loss", "ce", "--together")
    assert (refused.exit_code, tells(refused.stderr, "--together", "--frozen")) == (2, True)
