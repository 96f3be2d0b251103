"""Finding caches in a workspace, and saying what to do where there is none or more than one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import Result

from tests.index_builder import build_index, build_manifest
from tests.refusals import tells
from trustcache.cache.index import create_or_continue
from trustcache.cache.publish import publish
from trustcache.cache.workspace import LONGEST_NAME, Workspace, data_path, file_name
from trustcache.errors import UsageError


def make(workspace: Workspace, classifier: str, data: str, role: str = "train") -> Path:
    """A cache with an index and nothing else."""
    folder = workspace.cache_folder(classifier, data)
    create_or_continue(build_index(folder, classifier, manifest=build_manifest(data, role)), lambda start, stop: "")
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
    there = ("resnet/birds-train (train)", "resnet/birds-c/fog/3 (test)")
    assert said.startswith("--data cars-train: is no cache")
    assert tells(said, f"{several.root}/cache", *there, "trustcache extract", ":train")
    assert "vit/" not in said  # which was not asked for
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("asked", "begins", "ends"),
    [
        (("train", "resnett"), "--classifier resnett: has no cache", "; did you mean resnet?"),
        (("train", "vit", "cars-trian"), "--data cars-trian: is no cache", "; did you mean cars-train, birds-train?"),
        (("train", "vit", "birds-c/fog/3"), "--data birds-c/fog/3: is no train cache", ":train"),
        (("train", "vit", "owls", "--also"), "--also owls: is no cache", ":train"),
    ],
)
def test_a_name_that_fits_no_cache_is_told_with_the_nearest(
    several: Workspace, asked: tuple[str, ...], begins: str, ends: str
) -> None:
    with pytest.raises(UsageError) as caught:
        several.find_cache(*asked)
    assert str(caught.value).startswith(begins)
    assert str(caught.value).endswith(ends)


@pytest.mark.parametrize("request_", ["cars/train", "cars/train/:train", "cars-train", "/elsewhere/cars/train.tar"])
def test_data_are_named_as_extract_was_given_them_too(several: Workspace, request_: str) -> None:
    assert several.find_cache("train", "vit", request_).data == "cars-train"


def test_a_cache_that_is_not_there_is_told_with_the_nearest(several: Workspace) -> None:
    with pytest.raises(UsageError, match=r"did you mean vit/birds-train"):
        several.cache_named("vit/birds/train")


def test_in_an_empty_workspace_it_says_so_and_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing.*trustcache extract --classifier NAME"):
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
    for options, words in (((), "several train caches"), (("--classifier", "no"), "--classifier no: has no cache")):
        failed = run_cli(*args, *options)
        assert failed.exit_code == 2
        assert failed.stderr.startswith(f"error: {words}")
        assert failed.stderr.count("\n") == 1


def test_caches_kept_on_another_disk_are_found_through_a_link(several: Workspace, tmp_path: Path) -> None:
    elsewhere = tmp_path / "another disk"
    (several.root / "cache" / "resnet").rename(elsewhere)
    (several.root / "cache" / "resnet").symlink_to(elsewhere)
    assert len(several.caches()) == 5


# All of Unicode, lone surrogates too; and what file systems mind.
NAMES = st.one_of(
    st.text(st.characters(exclude_categories=[])),
    st.text(st.sampled_from("ab/.%-@ \0\\é")),
    st.text(st.sampled_from("aé:"), min_size=100, max_size=300),
    st.sampled_from(
        ["", ".", "..", " ", "NUL", "con", "con.v2", "LPT1", ".hidden", "c/x", "c-x", "a.", "a.h5", "n" * 300]
    ),
)


@given(NAMES)
def test_any_name_becomes_one_file_of_every_file_system(name: str) -> None:
    file = file_name(name)
    assert re.fullmatch(r"([A-Za-z0-9._+-]|%[0-9A-F]{2})+|%|.*%-[0-9a-f]{32}-.{8}", file)
    assert len(file) <= LONGEST_NAME
    assert file[0] != "."
    assert file[-1] != "."
    assert file.split(".")[0].upper() not in {
        "CON",
        "PRN",
        "AUX",
        "NUL",
        *(f"{d}{i}" for d in ("COM", "LPT") for i in range(10)),
    }
    if "%-" not in file and name:
        assert unquote(file, errors="surrogatepass") == name


@given(NAMES, NAMES)
def test_no_two_names_share_a_file(one: str, other: str) -> None:
    assert (file_name(one) == file_name(other)) == (one == other)
    assert (data_path(one) == data_path(other)) == (one == other)
    if one.lower() != other.lower():
        assert file_name(one).lower() != file_name(other).lower()


@given(st.text(st.sampled_from("aZ09-_"), min_size=1, max_size=140))
def test_an_ordinary_name_is_its_own_folder(name: str) -> None:
    assert file_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", " ", "c/x", "Vögel", "鳥", "NUL", "\udce9.jpg", "n" * 300])
def test_a_file_system_takes_any_name(tmp_path: Path, name: str) -> None:
    workspace = Workspace(tmp_path)
    folders = [workspace.cache_folder(name, name), workspace.scores_folder(name, name), workspace.run_folder(name)]
    folders += [workspace.threshold_folder(name, name), workspace.cache_folder("c-x", name)]
    for place in [
        *(folder / "file" for folder in folders),
        workspace.bootstrap_file(name, name),
        workspace.sweep_file(name),
    ]:
        assert tmp_path in place.parents
        assert ".." not in place.parts
        publish(place, b"")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] != []


def test_a_cache_folder_stays_inside_the_workspace() -> None:
    folder = Workspace(Path("w")).cache_folder("../my model:v2", "birds-c/fog/3")
    assert folder == Path("w/cache/%2E.%2Fmy%20model%3Av2/birds-c/fog/3")


@given(st.text(st.sampled_from("ab./-"), min_size=1), st.text(st.sampled_from("ab./-"), min_size=1))
def test_no_file_of_one_data_set_is_a_folder_of_another(one: str, other: str) -> None:
    workspace = Workspace(Path("w"))
    file = workspace.bootstrap_file("net", one)
    assert file not in workspace.bootstrap_file("net", f"{other}.h5/c").parents
    assert workspace.cache_folder("net", one) / "index.json" not in (
        folder := workspace.cache_folder("net", f"{one}/index.json"),
        *folder.parents,
    )


def test_a_threshold_of_a_score_is_no_other_classifiers() -> None:
    workspace = Workspace(Path("w"))
    assert workspace.threshold_folder("net", "delta-knn") != workspace.threshold_folder("net-delta", "knn")


def test_caches_whose_names_differ_after_a_dot_keep_their_resamples_apart() -> None:
    one, two = (Workspace(Path("w")).bootstrap_file("vit", data) for data in ("photos.v1", "photos.v2"))
    assert one != two
    assert one.suffix == two.suffix == ".safetensors"


def test_classifiers_of_any_name_go_through_both_stages_beside_one_another(
    extract_digits: Callable[..., Result], run_cli: Callable[..., Result], digit_files: Path
) -> None:
    names = ["c-x", "c/x", "..", f"Vögel 鳥:{'n' * 300}"]

    def done(*args: object) -> str:
        result = run_cli(*args)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    for name in names:
        assert extract_digits("--data", "digits-train", name=name).exit_code == 0
        done("train", "--frozen", "--loss", "ce", "--epochs", 1, "--classifier", name)
    scores = Path("trustcache-workspace/scores")
    kept = {path: path.stat().st_mtime_ns for path in scores.rglob("mcp.safetensors")}
    done("evaluate")
    assert {path: path.stat().st_mtime_ns for path in scores.rglob("mcp.safetensors")} == kept
    assert len({path.parent for path in kept}) == len(names)
    listed = done("cache", "list")
    assert all(f"{name}/digits-test\t" in listed for name in names)
    done("report")
    records = json.loads(Path("trustcache-workspace/report/results.json").read_text())
    assert {record["classifier"] for record in records} == {*names}
    for name in names:
        (run,) = {record["run"] for record in records if record["classifier"] == name and record["run"]}
        assert run.startswith(f"{name}-ce-frozen")
        done("cache", "show", f"{name}/digits-train")
        done("calibrate", "mcp", "--classifier", name, "--data", "digits-test", "--coverage", 0.5)
        for scorer in ("mcp", run):
            done("predict", scorer, digit_files / "1150.png", "--classifier", name)


def test_a_data_set_of_a_long_name_stands_beside_the_others(
    with_runs: Workspace, extract_digits: Callable[..., Result], run_cli: Callable[..., Result],
    image_folder: Callable[..., Path],
) -> None:  # fmt: skip
    photos = image_folder({f"{digit}": 3 for digit in range(10)})
    name = "n" * 250
    manifest = Path("long.toml")
    manifest.write_text(f'name = "{name}"\nrole = "test"\n[[files]]\nlayout = "folders"\npath = "{photos}"\n')
    assert extract_digits("--data", manifest).exit_code == 0
    for words in (("evaluate",), ("report",), ("verify",), ("calibrate", "mcp", "--data", name, "--coverage", 0.5)):
        assert run_cli(*words).exit_code == 0, words
    records = json.loads(Path("trustcache-workspace/report/results.json").read_text())
    scored = {record["dataset"] for record in records if record["run"]}
    assert scored == {name, "digits-test"}


def test_links_that_lead_round_end(tmp_path: Path) -> None:
    folder = Workspace(tmp_path).cache_folder("net", "birds")
    folder.mkdir(parents=True)
    (folder / "index.json").touch()
    (folder.parent / "round").symlink_to(tmp_path / "cache")
    assert Workspace(tmp_path).cache_folders() == [folder]
