"""Presets: printed, changed, passed, and overridden by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from trustcache.cache.workspace import Workspace
from trustcache.errors import UsageError
from trustcache.oracles.loss_grid import loss_grid
from trustcache.oracles.presets.preset import (
    papers_preset,
    preset_names,
    preset_text,
    read_preset,
    small_scale_preset,
)
from trustcache.oracles.runs import finished_runs
from trustcache.protocols import Optimiser

RunCli = Callable[..., Result]


@pytest.mark.parametrize(
    ("name", "alpha_pos", "alpha_neg"),
    [
        ("paper-imagenet-vit", 1, 3),
        ("paper-imagenet-resnet", 2, 5),
        ("paper-cifar10", 1, 1),
        ("paper-mnist", 10, 6),
    ],
)
def test_the_papers_presets_hold_its_hyperparameters(name: str, alpha_pos: float, alpha_neg: float) -> None:
    preset = read_preset(name)
    (ss,) = (c for c in loss_grid(preset.losses, {}, preset=preset.settings) if c.name == "ss")
    assert (ss.settings["alpha_pos"], ss.settings["alpha_neg"]) == (alpha_pos, alpha_neg)
    assert len(preset.seeds) == 3
    assert name in preset_names()


def test_the_optimisers_are_the_scripts() -> None:
    imagenet = Optimiser("sgd", 1, 40, 1e-5, 0.05, warmup_steps=100, cycle_momentum=True)
    assert read_preset("paper-imagenet-vit").fine_tuning == read_preset("paper-imagenet-resnet").fine_tuning == imagenet
    assert read_preset("paper-cifar10").fine_tuning == Optimiser("adam", 5, 128, 9e-7)
    assert read_preset("paper-mnist").fine_tuning == Optimiser("adam", 100, 128, 5e-7)


@pytest.mark.parametrize(
    ("architecture", "preset"),
    [("resnet", "resnet"), ("cifar-resnet32", "resnet"), ("vit", "vit"), ("mnist-convnet", "vit")],
)
def test_a_preset_declares_the_architectures_it_is_for(architecture: str, preset: str) -> None:
    assert papers_preset(architecture) == f"paper-imagenet-{preset}"


@pytest.mark.parametrize(
    ("data", "preset"),
    [("mnist", "mnist"), ("mnist-train", "mnist"), ("cifar10-test", "cifar10"), ("mnist-of-mine", "cifar10")],
)
def test_a_preset_declares_the_suites_it_is_for(data: str, preset: str) -> None:
    assert small_scale_preset(data) == f"paper-{preset}"


def test_presets_are_listed_and_printed_as_they_can_be_passed(run_cli: RunCli, tmp_path: Path) -> None:
    listed = run_cli("presets").stdout
    for name in preset_names():
        assert f"{name}\t{read_preset(name).title}\n" in listed
    printed = run_cli("presets", "paper-imagenet-vit").stdout
    (tmp_path / "mine.toml").write_text(printed)
    assert read_preset(str(tmp_path / "mine.toml")) == read_preset("paper-imagenet-vit")


def test_a_changed_preset_decides_what_is_trained_and_options_given_go_before_it(
    workspace: Workspace, run_cli: RunCli, tmp_path: Path
) -> None:
    text = preset_text("paper-imagenet-vit").replace("alpha_neg = 3", "alpha_neg = [3, 4]")
    (tmp_path / "mine.toml").write_text(text)
    done = run_cli("train", "--frozen", "--preset", "mine.toml", "--loss", "ss", "--seed", 5, "--alpha-pos", 2)
    assert done.exit_code == 0, done.stderr
    configs = [run.config for run in finished_runs(workspace)]
    assert [c.seed for c in configs] == [5, 5]
    assert sorted((c.loss.settings["alpha_pos"], c.loss.settings["alpha_neg"]) for c in configs) == [(2, 3), (2, 4)]
    assert {c.val_fraction for c in configs} == {0}
    assert {c.optimiser.name for c in configs} == {"adam"}  # the preset's is for fine-tuning


@pytest.mark.parametrize(("given", "momentum", "cycled"), [((), 0.05, True), (("--momentum", 0.5), 0.5, False)])
def test_a_momentum_given_by_hand_takes_the_place_of_the_presets_and_of_onecycles(
    workspace: Workspace, run_cli: RunCli, given: tuple, momentum: float, cycled: bool
) -> None:
    done = run_cli("train", "--preset", "paper-imagenet-vit", "--loss", "ce", "--seed", 0, "--workers", 0, *given)
    assert done.exit_code == 0, done.stderr
    (run,) = finished_runs(workspace)
    assert (run.config.optimiser.momentum, run.config.optimiser.cycle_momentum) == (momentum, cycled)


def test_ss_goes_on_from_the_tcp_oracle_of_its_seed(workspace: Workspace, run_cli: RunCli) -> None:
    preset = ("train", "--preset", "paper-cifar10", "--seed", 1, "--epochs", 1, "--workers", 0, "--device", "cpu")
    refused = run_cli(*preset)
    assert refused.exit_code == 2
    assert "trustcache train --loss tcp --seed 1" in refused.stderr
    assert (
        run_cli("train", "--loss", "tcp", "--seed", 1, "--epochs", 1, "--workers", 0, "--device", "cpu").exit_code == 0
    )
    done = run_cli(*preset)
    assert done.exit_code == 0, done.stderr
    runs = {run.config.loss.name: run for run in finished_runs(workspace)}
    assert runs["ss"].config.start == runs["tcp"].name
    began, ended = runs["tcp"].weights(), runs["ss"].weights()
    moved = max(float((ended[key] - began[key]).abs().max()) for key in ended if key.startswith("head"))
    assert 0 < moved < 1e-4  # five or so steps of Adam at 9e-7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("losses = ['ce']\nlr = 1", "unknown key 'lr'"),
        ("[settings]\nalpha = 1", "settings: unknown key 'alpha'"),
        ("[settings]\nalpha_pos = 'one'", "'alpha_pos'"),
        ("[settings]\nbeta = 1", "settings: 'beta'"),
        ("seeds = [0, -1]", "'seeds'"),
        ("[fine_tuning]\noptimiser = 'lamb'", "one of adam, sgd"),
        ("[fine_tuning]\noptimiser = 'sgd'\nepochs = 1\nbatch_size = 4", "'lr' must be given"),
        ("[head]\nkind = 'mlp'\ndropout = 2", "'dropout' must lie from 0 to 0.95"),
        ("[head]\nkind = 'mlp'\nhiden = 2", "unknown key 'hiden'"),
        ("val_fraction = 2", "from 0 to 0.9"),
        ("losses = [", "not valid TOML"),
    ],
)
def test_a_mistake_in_a_preset_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_preset(str(file))
    assert str(caught.value).startswith(f"--preset {file}")
    assert said in str(caught.value)


def test_an_unknown_preset_is_refused_with_the_known_ones(workspace: Workspace, run_cli: RunCli) -> None:
    for command in (("train", "--preset", "paper"), ("presets", "paper")):
        done = run_cli(*command)
        assert done.exit_code == 2
        assert all(fact in done.stderr for fact in ("--preset paper:", "paper-cifar10, paper-imagenet-resnet"))


def test_a_training_needs_a_loss_or_a_preset(workspace: Workspace, run_cli: RunCli) -> None:
    done = run_cli("train", "--frozen")
    assert done.exit_code == 2
    assert "--loss: is missing" in done.stderr
