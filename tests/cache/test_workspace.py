"""Finding caches in a workspace, and saying what to do where there is none or more than one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import Result

from tests.index_builder import build_index
from trustcache.cache.index import create_or_continue
from trustcache.cache.workspace import Workspace, plain_name
from trustcache.errors import UsageError


def make(workspace: Workspace, classifier: str, data: str, role: str = "train") -> Path:
    """A cache with an index and nothing else."""
    folder = workspace.cache_folder(classifier, data)
    create_or_continue(build_index(folder, classifier, data, role), lambda start, stop: "")
    return folder


@pytest.fixture
def several(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    for classifier in ("vit", "resnet"):
        make(workspace, classifier, "birds-train")
        make(workspace, classifier, "birds-c/fog/3", "test")
    make(workspace, "vit", "cars-train")
    return workspace


def test_caches_are_listed_by_classifier_and_data(several: Workspace) -> None:
    assert [f"{index.classifier}/{index.data}" for index in several.caches()] == [
        "resnet/birds-c/fog/3",
        "resnet/birds-train",
        "vit/birds-c/fog/3",
        "vit/birds-train",
        "vit/cars-train",
    ]


def test_the_one_cache_that_fits_is_found(several: Workspace) -> None:
    assert several.find_cache("train", "resnet").data == "birds-train"
    assert several.find_cache("train", data="cars-train").classifier == "vit"
    assert several.find_cache("test", "vit").folder == several.root / "cache/vit/birds-c/fog/3"


def test_without_a_cache_that_fits_it_says_what_is_there_and_how_to_make_one(several: Workspace) -> None:
    with pytest.raises(UsageError) as caught:
        several.find_cache("train", "resnet", "cars-train")
    said = str(caught.value)
    there = ("resnet/birds-c/fog/3 (test)", "resnet/birds-train (train)", "vit/cars-train (train)")
    assert all(fact in said for fact in ("'cars-train'", "'resnet'", f"{several.root}/cache", *there))
    assert said.endswith("trustcache extract --classifier resnet")
    assert caught.value.exit_code == 2


def test_in_an_empty_workspace_it_says_so_and_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing.*trustcache extract --classifier vit"):
        Workspace(tmp_path / "new").find_cache("train")
    assert not list(tmp_path.iterdir())


def test_with_several_that_fit_it_lists_the_options_that_choose(several: Workspace) -> None:
    with pytest.raises(UsageError) as caught:
        several.find_cache("train", data="birds-train")
    said = str(caught.value)
    assert f"{several.root}/cache" in said
    assert said.endswith(", ".join(f"--classifier {name} --data birds-train" for name in ("resnet", "vit")))
    assert caught.value.exit_code == 2


def test_the_command_line_gives_exit_code_2_for_none_and_for_several(
    several: Workspace, run_cli: Callable[..., Result]
) -> None:
    args = ("train", "--loss", "ss", "--frozen", "--workspace", several.root)
    for options, words in (((), "several train caches"), (("--classifier", "no"), "no train of 'no' cache")):
        failed = run_cli(*args, *options)
        assert failed.exit_code == 2
        assert failed.stderr.startswith(f"error: {words}")
        assert failed.stderr.count("\n") == 1


def test_caches_kept_on_another_disk_are_found_through_a_link(several: Workspace, tmp_path: Path) -> None:
    elsewhere = tmp_path / "another disk"
    (several.root / "cache" / "resnet").rename(elsewhere)
    (several.root / "cache" / "resnet").symlink_to(elsewhere)
    assert len(several.caches()) == 5


@given(st.text(min_size=1))
def test_any_name_becomes_one_plain_folder(name: str) -> None:
    plain = plain_name(name)
    assert plain
    assert plain not in (".", "..")
    assert set(plain) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert plain_name(plain) == plain


def test_a_cache_folder_stays_inside_the_workspace() -> None:
    folder = Workspace(Path("w")).cache_folder("../my model:v2", "birds-c/fog/3")
    assert folder == Path("w/cache/my-model-v2/birds-c/fog/3")


def test_caches_whose_names_differ_after_a_dot_keep_their_resamples_apart() -> None:
    one, two = (Workspace(Path("w")).bootstrap_file("vit", data) for data in ("photos.v1", "photos.v2"))
    assert one != two
    assert one.suffix == two.suffix == ".safetensors"
