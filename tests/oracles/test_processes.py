"""Several processes train one network: as one alone would, whatever their number before and after one dies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import Result

from tests.command_process import ROOT
from tests.faults.forks import Forks
from tests.ranks import port, together
from tests.refusals import tells
from trustcache.cache.workspace import Workspace
from trustcache.oracles.finetune import CHECKPOINT
from trustcache.oracles.runs import Run, finished_runs

# Shares of 31 and 32 images. At a higher rate, the last digits soon are others.
SHORT = ("--epochs", 2, "--batch-size", 63, "--lr", 0.002, "--workers", 0, "--device", "cpu")
TUNE = ("train", "--loss", "ce,class-balanced", *SHORT, "--together")
RunCli = Callable[..., Result]


def copy_of(workspace: Workspace, folder: Path) -> Workspace:
    """A copy of a workspace, without data to score, where a command in the folder finds it."""
    copy = Workspace(shutil.copytree(workspace.root, folder / "trustcache-workspace"))
    shutil.rmtree(copy.find_cache("test").folder)
    return copy


@pytest.fixture
def training(prepared_workspace: Workspace, in_tmp_path: Path) -> Workspace:
    return copy_of(prepared_workspace, in_tmp_path)


def assert_same_curves(runs: list[Run], expected: list[Run]) -> None:
    assert [run.name for run in runs] == [run.name for run in expected]
    for run, other in zip(runs, expected, strict=True):
        assert not (run.folder / CHECKPOINT).exists()
        for entry, wanted in zip(run.log(), other.log(), strict=True):
            assert entry.loss == pytest.approx(wanted.loss, abs=1e-5)
            assert entry.validation["auc"] == pytest.approx(wanted.validation["auc"], abs=0.01)


def test_another_number_of_processes_goes_on_where_one_died(
    prepared_workspace: Workspace, training: Workspace, tmp_path_factory: pytest.TempPathFactory, forks: Forks
) -> None:
    single = tmp_path_factory.mktemp("single")
    expected = copy_of(prepared_workspace, single)
    assert forks.command(single, *TUNE).code == 0
    folder, words = training.root.parent, (*TUNE, "--checkpoint-every", 0)
    left, died = together(forks, folder, (15, *words), function="tests.ranks:dying_trainer")
    assert (left.code, died.code) == (1, 9), left.text
    assert tells(left.err, "process 0 of 2", "last checkpoint")
    assert len([*training.runs.glob(f"*/{CHECKPOINT}")]) == 2  # both of the runs, taking turns
    outcomes = together(forks, folder, words, count=3)
    assert [one.code for one in outcomes] == [0, 0, 0], outcomes[0].text
    assert_same_curves(finished_runs(training), finished_runs(expected))
    assert "ce" in outcomes[0].out  # the first tells of it
    assert [one.out for one in outcomes[1:]] == ["", ""]


def test_two_nodes_that_meet_by_torchrun_train_one_network(
    prepared_workspace: Workspace, training: Workspace, tmp_path_factory: pytest.TempPathFactory, forks: Forks
) -> None:
    words = ("train", "--loss", "ce", *SHORT, "--epochs", 1)
    single = tmp_path_factory.mktemp("single")
    expected = copy_of(prepared_workspace, single)
    assert forks.command(single, *words).code == 0
    meeting = ("--nnodes", 2, "--nproc-per-node", 1, "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port()}")
    line = [sys.executable, "-m", "torch.distributed.run", *meeting, "-m", "trustcache", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TRUSTCACHE_PRECISION": "float32"}
    nodes = [
        subprocess.Popen(
            [*map(str, line)], cwd=training.root.parent, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    told = [node.communicate(timeout=200) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], told
    assert sorted(bool(out) for out, _ in told) == [False, True], "one of them tells of it"
    assert_same_curves(finished_runs(training), finished_runs(expected))


def test_a_batch_with_too_few_images_for_all_is_refused(training: Workspace, forks: Forks) -> None:
    words = ("train", "--loss", "ce", "--epochs", 1, "--batch-size", 2, "--workers", 0, "--device", "cpu")
    for outcome in together(forks, training.root.parent, words, count=3):
        assert outcome.code == 2, outcome.text
        assert tells(outcome.err, "--batch-size", "2 images", "3 processes")


def test_two_processes_fit_a_classifier_as_one_does(in_tmp_path: Path, forks: Forks) -> None:
    model = ("--classifier", "cifar-resnet8", "--preprocess", "input_size=8", "--optimiser", "sgd")
    few = (*SHORT, "--epochs", 1, "--batch-size", 101)
    words = ("fit-classifier", "--data", "digits-fit", *model, "--augment", "flip-crop", *few, "--out")
    single = forks.command(in_tmp_path, *words, "one.safetensors")
    first, second = together(forks, in_tmp_path, (*words, "two.safetensors"))
    assert (single.code, first.code, second.code) == (0, 0, 0), single.text + first.text + second.text
    assert first.out.replace("two", "one") == single.out
    one, two = load_file("one.safetensors"), load_file("two.safetensors")
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-5)
    assert not list(in_tmp_path.glob("*.checkpoint"))


HEADS = ("train", "--frozen", "--loss", "ce,ss", "--epochs", 5, "--device", "cpu")


@pytest.mark.parametrize("words", [HEADS, ("train", "--loss", "ce,ss", *SHORT, "--epochs", 1)])
def test_processes_that_cannot_meet_leave_what_is_trained_at_once_to_one(
    prepared_workspace: Workspace,
    training: Workspace,
    tmp_path_factory: pytest.TempPathFactory,
    forks: Forks,
    words: tuple,
) -> None:
    outcomes = together(forks, training.root.parent, words, meet=False)
    assert [one.code for one in outcomes] == [0, 0], outcomes[0].text + outcomes[1].text
    folder = tmp_path_factory.mktemp("single")
    single = copy_of(prepared_workspace, folder)
    assert forks.command(folder, *words).code == 0
    made = {path.relative_to(training.root): path.read_bytes() for path in training.runs.rglob("*.*")}
    assert made == {path.relative_to(single.root): path.read_bytes() for path in single.runs.rglob("*.*")}


def test_in_double_precision_the_steps_are_those_of_one_process(in_tmp_path: Path, forks: Forks) -> None:
    (single,) = together(forks, in_tmp_path, ["one"], count=1, function="tests.ranks:train_in_double")
    outcomes = together(forks, in_tmp_path, ["three"], count=3, function="tests.ranks:train_in_double")
    assert [single.code, *(one.code for one in outcomes)] == [0] * 4, single.text + outcomes[0].text
    one, three = load_file("one"), load_file("three")
    assert len(one["losses"]) == 8
    assert any("running_var" in name for name in one)
    for name, tensor in one.items():
        torch.testing.assert_close(three[name], tensor, rtol=1e-10, atol=1e-10)
