"""Caches that are there already, of other settings or another role: one refusal, with one command that helps."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import Result

from tests.refusals import tells
from trustcache.cache.workspace import Workspace
from trustcache.models import classifiers

Cli = Callable[..., Result]
TWO = ("--data", "digits-train")  # beside digits-test


def test_all_caches_of_other_settings_are_refused_at_once_before_the_model_is_loaded(
    workspace: Workspace, extract_digits: Cli, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(classifiers, "load_classifier", None)
        refused = extract_digits("--views", "mirrored", *TWO)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    line = "trustcache cache rm digits-net/digits-test digits-net/digits-train"
    assert tells(refused.stderr, "views was () and is now ('mirrored',)", line, "--as NAME")
    assert refused.stderr.count("views was") == 1
    assert run_cli(*shlex.split(line)[1:], "--yes").exit_code == 0
    assert extract_digits("--views", "mirrored", "--subset", "20", *TWO).exit_code == 0


def test_the_command_names_a_workspace_elsewhere(workspace: Workspace, extract_digits: Cli) -> None:
    refused = extract_digits("--store", "float32", "--workspace", workspace.root)
    assert tells(refused.stderr, "store", f"cache rm digits-net/digits-test --workspace {workspace.root},")


def test_all_caches_of_other_weights_are_refused_at_once(
    workspace: Workspace, extract_digits: Cli, classifier_file: Path, tmp_path: Path
) -> None:
    save_file({name: tensor * 2 for name, tensor in load_file(classifier_file).items()}, tmp_path / "other.safetensors")
    refused = extract_digits(*TWO, weights=tmp_path / "other.safetensors")
    assert (refused.exit_code, refused.stderr.count("error: ")) == (2, 1)
    assert tells(refused.stderr, "weights was", "cache rm digits-net/digits-test digits-net/digits-train,")


def test_train_without_training_data_names_the_extraction_that_makes_it(
    in_tmp_path: Path, extract_digits: Cli, run_cli: Cli
) -> None:
    for part in ("train", "test"):
        for number in range(10):
            folder = Path("photos", part, str(number))
            folder.mkdir(parents=True)
            Image.new("RGB", (8, 8), (number * 20,) * 3).save(folder / "a.png")
    assert extract_digits(data="photos/test").exit_code == 0
    assert "--data FOLDER:train" in run_cli("train", "--frozen").stderr
    assert extract_digits("--views", "mirrored", data="photos/train").exit_code == 0
    refused = run_cli("train", "--frozen").stderr
    line = refused[refused.index("trustcache extract") :]
    assert tells(line, "--classifier cifar-resnet8", "--as digits-net", "--views mirrored", "photos/train:train\n")
    assert run_cli(*shlex.split(line)[1:], "--shard-rows", "200", "--device", "cpu").exit_code == 0
    roles = {one["cache"]: one["role"] for one in json.loads(run_cli("cache", "list", "--json").stdout)["caches"]}
    assert roles == {"digits-net/photos-test": "test", "digits-net/photos-train": "train"}
