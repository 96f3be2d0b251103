"""Settings that differ from those of the caches that are there: one refusal for all of them, with one command."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
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
