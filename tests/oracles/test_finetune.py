"""Fine-tuning: it learns, and a killed one ends where the uninterrupted one ends."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import Result

from tests.command_process import CommandProcess
from tests.refusals import tells
from trustcache.cache import CacheView, open_cache
from trustcache.cache.provenance import original_dataset, original_model
from trustcache.cache.workspace import Workspace
from trustcache.data.dataset import Dataset
from trustcache.data.loader import Viewer
from trustcache.deploy.trusted import TrustedClassifier
from trustcache.errors import TrustcacheError
from trustcache.losses import LOSSES, LossChoice
from trustcache.metrics.ranking import trust_metrics
from trustcache.oracles.backbones import tuned_oracle
from trustcache.oracles.finetune import CHECKPOINT, finetune, in_batches, load_oracle, score_images
from trustcache.oracles.network import Oracle
from trustcache.oracles.optim import Machine
from trustcache.oracles.plan import TrainSettings, plan
from trustcache.oracles.runs import Run, finished_runs, open_run
from trustcache.protocols import Optimiser

MACHINE = Machine(device="cpu", workers=0)
SHORT = Optimiser("sgd", epochs=2, batch_size=64, lr=0.02, momentum=0.9)


def new_run(workspace: Workspace, loss: str = "ss", optimiser: Optimiser = SHORT, seed: int = 0) -> Run:
    index = workspace.find_cache("train")
    choice = LossChoice(loss, dict(LOSSES[loss].defaults))
    oracle = tuned_oracle(workspace, index, None, "equations")
    (config,) = plan(index, oracle, [choice], TrainSettings(False, optimiser, (seed,))).configs
    return open_run(workspace, config)


def scored(oracle: Oracle, dataset: Dataset, cache: CacheView, batches: list[np.ndarray]) -> np.ndarray:
    viewer = Viewer(oracle.preprocessing, torch.device("cpu"), workers=0)
    return score_images([oracle], dataset, batches, viewer, cache, "float32")[:, 0]


def tune(workspace: Workspace, run: Run, machine: Machine = MACHINE) -> Run:
    index = workspace.find_cache("train")
    dataset = original_dataset(index, Path())
    finetune([run], original_model(index), dataset, open_cache(index.folder), machine)
    return run


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make training raise KeyboardInterrupt after some steps, as Ctrl-C would."""
    from trustcache.oracles import finetune as module

    def arm(steps: int) -> None:
        original = module._Training._loss
        left = iter(range(steps))

        def loss(self: object, *args: object) -> object:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return original(self, *args)  # type: ignore[arg-type]

        monkeypatch.setattr(module._Training, "_loss", loss)

    return arm


@pytest.mark.parametrize("loss", LOSSES)
def test_fine_tuning_learns_to_tell_right_from_wrong(workspace: Workspace, loss: str) -> None:
    run = tune(workspace, new_run(workspace, loss, Optimiser("sgd", 8, 64, 0.02, 0.9)))
    log = run.log()
    assert [entry.epoch for entry in log] == list(range(1, 9))
    assert log[-1].loss < log[0].loss
    index = next(i for i in workspace.caches() if i.role == "test")
    cache = open_cache(index.folder)
    oracle = load_oracle(run)
    z = scored(oracle, original_dataset(index, Path()), cache, in_batches(cache.sample_indices))
    assert trust_metrics(z, cache.correct)["auc"] > 0.6


@pytest.mark.parametrize("steps", [1, 9, 12])  # in the first epoch, at its end, in the second
def test_an_interrupted_fine_tuning_ends_where_the_uninterrupted_one_ends(
    workspace: Workspace, tmp_path: Path, stop_after: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    whole = tune(workspace, new_run(workspace))
    expected, log = whole.weights(), whole.log()
    (whole.folder / "weights.safetensors").unlink()
    with monkeypatch.context():
        stop_after(steps)
        with pytest.raises(KeyboardInterrupt):
            tune(workspace, new_run(workspace), Machine("cpu", 0, checkpoint_every_s=0))
    monkeypatch.undo()
    assert (whole.folder / CHECKPOINT).is_file()
    resumed = tune(workspace, new_run(workspace))
    assert resumed.log() == log
    assert not (whole.folder / CHECKPOINT).exists()
    for name, tensor in resumed.weights().items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_a_signal_waits_for_the_end_of_a_step_and_loses_none(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    from trustcache.oracles import finetune as module

    whole = tune(workspace, new_run(workspace))
    expected, log = whole.weights(), whole.log()
    (whole.folder / "weights.safetensors").unlink()
    original, taken = module._Training._loss, []

    def loss(self: object, *args: object) -> object:
        taken.append(None)
        if len(taken) == 3:
            signal.raise_signal(number)
        return original(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(module._Training, "_loss", loss)
    usual = signal.signal(number, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            tune(workspace, new_run(workspace))
        assert len(taken) == 3
        resumed = tune(workspace, new_run(workspace))
    finally:
        signal.signal(number, usual)
    assert len(taken) == len(log) * 9
    assert resumed.log() == log
    for name, tensor in resumed.weights().items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.slow
def test_a_killed_command_goes_on_from_its_checkpoint(
    workspace: Workspace, start_cli: Callable[..., CommandProcess]
) -> None:
    command = [
        "train",
        "--loss",
        "ss",
        "--epochs",
        "2",
        "--batch-size",
        "32",
        "--workers",
        "0",
        "--checkpoint-every",
        "0",
    ]
    process = start_cli(*command)
    deadline = time.monotonic() + 120
    while not list(workspace.runs.glob(f"*/{CHECKPOINT}")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert list(workspace.runs.glob(f"*/{CHECKPOINT}"))
    assert not finished_runs(workspace)
    assert start_cli(*command).wait() == 0
    (run,) = finished_runs(workspace)
    resumed = run.weights()
    (run.folder / "weights.safetensors").unlink()
    assert start_cli(*command).wait() == 0
    # As a disk leaves it that fails when the weights are written already.
    (run.folder / CHECKPOINT).touch()
    assert start_cli(*command).wait() == 0
    assert not (run.folder / CHECKPOINT).exists()
    for name, tensor in run.weights().items():
        torch.testing.assert_close(tensor, resumed[name], rtol=1e-5, atol=1e-6)


def test_a_damaged_checkpoint_is_named(workspace: Workspace) -> None:
    run = new_run(workspace)
    run.begin()
    (run.folder / CHECKPOINT).write_bytes(b"PK not really")
    with pytest.raises(TrustcacheError, match=r"checkpoint\.pt: .*; remove it"):
        tune(workspace, run)


def test_a_loss_that_runs_away_is_named_with_the_remedy(workspace: Workspace) -> None:
    with pytest.raises(TrustcacheError, match="smaller --lr"):
        tune(workspace, new_run(workspace, "ce", Optimiser("sgd", 2, 64, 1e18, 0.9)))


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried much"), "smaller --batch-size"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GiB)"), "smaller --batch-size"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "images of 8 x 8"),
    ],
)
def test_a_model_that_fails_or_is_too_large_is_one_sentence(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, raised: Exception, said: str
) -> None:
    def failing(self: Oracle, x: torch.Tensor) -> torch.Tensor:
        raise raised

    monkeypatch.setattr(Oracle, "forward", failing)
    with pytest.raises(TrustcacheError, match=said):
        tune(workspace, new_run(workspace))


def test_scores_do_not_depend_on_batches_and_follow_the_asked_indices(workspace: Workspace) -> None:
    run = tune(workspace, new_run(workspace))
    index = workspace.find_cache("test", data="digits-test")
    dataset, oracle = original_dataset(index, Path()), load_oracle(run)
    rows = np.array([7, 3, 100, 55, 4])
    some = scored(oracle, dataset, open_cache(index.folder), [rows[:2], rows[2:]])
    everything = scored(oracle, dataset, open_cache(index.folder), in_batches(np.arange(len(dataset))))
    np.testing.assert_allclose(some, everything[rows], atol=1e-5)


def test_validation_images_are_not_trained_on(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from trustcache.data.splits import validation_rows
    from trustcache.oracles import finetune as module

    seen: list[np.ndarray] = []
    original = module.epoch_batches
    monkeypatch.setattr(module, "epoch_batches", lambda *a: seen.extend(b := original(*a)) or b)
    run = tune(workspace, new_run(workspace, seed=3))
    cache = open_cache(workspace.find_cache("train").folder)
    held_out = np.flatnonzero(validation_rows(len(cache), run.config.val_fraction, 3))
    assert not set(np.concatenate(seen)) & set(held_out)
    assert set(np.concatenate(seen)) <= set(range(len(cache)))


def trained(run_cli: Callable[..., Result], workspace: Workspace, *options: object) -> Run:
    done = run_cli(
        "train", "--loss", "ce", "--epochs", 1, "--batch-size", 64, "--workers", 0, "--device", "cpu", *options
    )
    assert done.exit_code == 0, done.stderr
    return max(finished_runs(workspace), key=lambda run: run.folder.stat().st_mtime_ns)


def test_an_oracle_learns_and_scores_in_the_precision_that_its_run_records(
    workspace: Workspace, run_cli: Callable[..., Result], digit_files: Path
) -> None:
    plain, half = trained(run_cli, workspace), trained(run_cli, workspace, "--precision", "bf16")
    assert (plain.config.precision, half.config.precision) == ("float32", "bf16")
    assert plain.name != half.name
    weights, others = plain.weights()["head.weight"], half.weights()["head.weight"]
    assert weights.dtype == others.dtype == torch.float32
    assert not torch.equal(weights, others)
    assert run_cli("evaluate").exit_code == 0
    index = workspace.find_cache("test", data="digits-test")
    z = half.scores(index)
    assert len(np.unique(z)) > len(z) * 0.9  # a head in bf16 would give many images the same score
    oracle, cache = load_oracle(half), open_cache(index.folder)
    exact = scored(oracle, original_dataset(index, Path()), cache, in_batches(cache.sample_indices))
    assert 0 < np.abs(z - exact).max() < 0.1 * np.ptp(exact)
    files = [digit_files / f"{sample}.png" for sample in cache.sample_ids[:128]]
    answers = TrustedClassifier.load(workspace.root, half.name, device="cpu")(files, batch_size=128)
    np.testing.assert_allclose([answer.score for answer in answers], z[:128], rtol=1e-4, atol=1e-4)


def test_an_oracle_learns_in_the_precision_of_the_cache_unless_told_otherwise(
    workspace: Workspace, run_cli: Callable[..., Result], extract_digits: Callable[..., Result]
) -> None:
    assert extract_digits("--data", "digits-train", "--precision", "bf16", name="half").exit_code == 0
    assert trained(run_cli, workspace, "--classifier", "half").config.precision == "bf16"
    asked = trained(run_cli, workspace, "--classifier", "half", "--precision", "float32")
    assert asked.config.precision == "float32"


NET = """
from torch import nn

SIZES = []


class Net(nn.Sequential):
    def forward(self, pixels):
        SIZES.append(len(pixels))
        return super().forward(pixels)


def net():
    return Net(nn.Flatten(), nn.Linear(3 * 8 * 8, 16), nn.LayerNorm(16), nn.Tanh(), nn.Linear(16, 2))
"""


def test_a_step_of_several_forward_passes_is_that_of_one(
    workspace: Workspace, run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "plainnet.py").write_text(NET)
    model = ("--oracle", "plainnet:net", "--allow-code", "plainnet:net", "--oracle-preprocess", "input_size=8")
    words = (*model, "--batch-size", 50, "--precision", "float32")
    whole, parts = trained(run_cli, workspace, *words), trained(run_cli, workspace, *words, "--accumulate", 3)
    assert (whole.config.accumulate, parts.config.accumulate) == (1, 3)
    assert parts.log()[0].loss == pytest.approx(whole.log()[0].loss, abs=1e-5)
    for name, tensor in parts.weights().items():
        torch.testing.assert_close(tensor, whole.weights()[name], rtol=0, atol=1e-5)
    assert {16, 17, 50} <= set(sys.modules["plainnet"].SIZES)


def test_more_forward_passes_than_images_are_refused(workspace: Workspace, run_cli: Callable[..., Result]) -> None:
    words = ("train", "--loss", "ce", "--workers", 0, "--device", "cpu")
    few = run_cli(*words, "--batch-size", 4, "--accumulate", 5)
    assert few.exit_code == 2
    assert tells(few.stderr, "--batch-size", "4 images", "5 forward passes")
    frozen = run_cli(*words, "--frozen", "--accumulate", 2)
    assert frozen.exit_code == 2
    assert tells(frozen.stderr, "--accumulate", "--frozen")


@pytest.mark.parametrize(("option", "facts"), [("--frozen", "--frozen"), ("--workers=0", "tf32")])
def test_a_precision_that_does_nothing_or_is_not_here_is_refused(
    workspace: Workspace, run_cli: Callable[..., Result], option: str, facts: str
) -> None:
    refused = run_cli("train", "--loss", "ce", "--precision", "tf32", "--device", "cpu", option)
    assert refused.exit_code == 2
    assert "--precision" in refused.stderr
    assert facts in refused.stderr
