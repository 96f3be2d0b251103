"""Removing caches and runs: all of it or nothing, and what depends on them is said."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from tests.refusals import tells
from trustcache.cache.workspace import Workspace
from trustcache.evaluate import removal
from trustcache.oracles.runs import read_runs

RunCli = Callable[..., Result]
CACHE = "digits-net/digits-test"


def files(workspace: Workspace) -> set[str]:
    """Every file but locks, which stay."""
    found = (path for path in workspace.root.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return {path.relative_to(workspace.root).as_posix() for path in found}


def test_a_cache_goes_with_what_was_made_from_it_and_nothing_else(with_runs: Workspace, run_cli: RunCli) -> None:
    run_cli("report")
    before = files(with_runs)
    done = run_cli("cache", "rm", CACHE, "--yes")
    assert done.exit_code == 0
    gone = before - files(with_runs)
    assert {name.split("/")[0] for name in gone} == {"cache", "scores", "bootstrap", "figures", "runs"}
    assert all("digits-test" in name for name in gone)
    assert not [name for name in files(with_runs) if "digits-test" in name and not name.startswith("report/")]
    assert run_cli("verify").exit_code == 0


def test_a_classifiers_name_stands_for_all_its_caches_and_for_no_others(
    with_runs: Workspace, run_cli: RunCli, extract_digits: Callable[..., Result]
) -> None:
    extract_digits("--as", "other", "--data", "digits-test")
    done = run_cli("cache", "rm", "digits-net", CACHE, "--yes", "--json")
    assert json.loads(done.stdout)["removed"] == [CACHE, "digits-net/digits-train"]
    assert [index.name for index in with_runs.caches()] == ["other/digits-test"]


def test_what_depends_on_a_training_cache_is_said_and_stays(with_runs: Workspace, run_cli: RunCli) -> None:
    runs = {run.name for run in read_runs(with_runs)}
    done = run_cli("cache", "rm", "digits-net/digits-train", "--yes")
    assert tells(done.stderr, "digits-train", "2 runs", *sorted(runs))
    assert {run.name for run in read_runs(with_runs)} == runs
    assert run_cli("evaluate").exit_code == 0


def test_a_data_set_within_the_name_of_another_stays(
    workspace: Workspace, extract_digits: Callable[..., Result], run_cli: RunCli, image_folder: Callable[..., Path],
    manifest_file: Callable[..., Path],
) -> None:  # fmt: skip
    photos = image_folder({f"{digit}": 1 for digit in range(10)})
    inner = manifest_file("inner", photos)
    inner.write_text(inner.read_text().replace('"inner"', '"digits-test/fog"'))
    extract_digits("--data", inner)
    run_cli("evaluate")
    assert run_cli("cache", "rm", CACHE, "--yes").exit_code == 0
    listed = run_cli("cache", "list").stdout
    assert "digits-net/digits-test/fog\t" in listed
    assert f"{CACHE}\t" not in listed
    assert run_cli("verify").exit_code == 0


def test_nothing_goes_where_a_part_cannot_be_moved(
    with_runs: Workspace, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, rename = files(with_runs), os.rename

    def fail_at_the_cache(source: Path, target: Path) -> None:
        if Path(source).resolve() == with_runs.cache_folder("digits-net", "digits-test"):
            raise PermissionError(1, "Operation not permitted", str(source))
        rename(source, target)

    monkeypatch.setattr(removal.os, "rename", fail_at_the_cache)
    done = run_cli("cache", "rm", CACHE, "--yes")
    assert (done.exit_code, files(with_runs)) == (1, before)
    assert not [*with_runs.root.rglob(".removed-*")]


def test_what_a_killed_removal_left_is_no_cache_and_goes_with_the_next(with_runs: Workspace, run_cli: RunCli) -> None:
    folder = with_runs.cache_folder("digits-net", "digits-test")
    left = folder.with_name(".removed-1") / "000000"
    left.parent.mkdir()
    folder.rename(left)
    assert CACHE not in run_cli("cache", "list").stdout
    run_cli("cache", "rm", "digits-net/digits-train", "--yes")
    assert not left.parent.exists()


def test_a_link_goes_and_what_it_leads_to_stays(with_runs: Workspace, run_cli: RunCli, tmp_path: Path) -> None:
    folder, elsewhere = with_runs.cache_folder("digits-net", "digits-test"), tmp_path / "disk"
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    done = run_cli("cache", "rm", CACHE, "--yes")
    assert (done.exit_code, folder.exists(), (elsewhere / "index.json").exists()) == (0, False, True)
    assert tells(done.stderr, "link", str(elsewhere))


def test_a_run_goes_by_the_beginning_of_its_name_and_its_sweep_is_named(with_runs: Workspace, run_cli: RunCli) -> None:
    run_cli("train", "--frozen", "--loss", "ss", "--alpha-pos", 1, "--alpha-neg", "2,3", "--sweep", "--epochs", 5)
    (one, other) = (run for run in read_runs(with_runs) if run.config.loss.name == "ss")
    ambiguous = run_cli("runs", "rm", "digits-net-ss", "--yes")
    assert (ambiguous.exit_code, one.folder.exists()) == (2, True)
    assert tells(ambiguous.stderr, *sorted([one.name, other.name]))
    done = run_cli("runs", "rm", one.name[:-4], "--yes")
    assert (done.exit_code, one.folder.exists(), other.folder.exists()) == (0, False, True)
    assert tells(done.stderr, "sweep", "1 of its 2 runs")


def test_nobody_is_asked_in_a_script(with_runs: Workspace, run_cli: RunCli) -> None:
    done = run_cli("cache", "rm", CACHE)
    assert done.exit_code == 2
    assert tells(done.stderr, CACHE, "--yes")
    assert with_runs.cache_named(CACHE)


@pytest.mark.parametrize("words", [("cache", "rm", "no/such"), ("runs", "rm", "none"), ("runs", "show", "none")])
def test_what_is_not_there_is_named(with_runs: Workspace, run_cli: RunCli, words: tuple[str, ...]) -> None:
    done = run_cli(*words, *(["--yes"] if "rm" in words else []))
    assert (done.exit_code, words[-1] in done.stderr) == (2, True)
