"""What verify promises: each damaged or missing file of a workspace is named with what mends it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from cli import app
from tests.damage import damaged
from tests.refusals import tells
from tests.sealed import edit_record
from trustcache.cache.workspace import Workspace
from trustcache.evaluate.sweep import choose, save
from trustcache.oracles.runs import finished_runs
from trustcache.oracles.training_loop import TrainingLoop
from trustcache.paper.recipes import Step
from trustcache.paper.step_log import StepLog
from trustcache.report.verify import KINDS, verify

RunCli = Callable[..., Result]
IN_CACHES = {"indexes of caches", "shards", "records of shards"}


@pytest.fixture(scope="module")
def every_kind(runs_workspace: Workspace, classifier_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with files of every kind; tests put back what they change."""
    root = tmp_path_factory.mktemp("every-kind") / "workspace"
    shutil.copytree(runs_workspace.root, root)
    (root / "demo").mkdir()
    shutil.copy(classifier_file, root / "demo" / "net.safetensors")
    workspace = Workspace(root)
    runs = finished_runs(workspace)
    save(workspace, choose(workspace.find_cache("train"), runs[1:]))
    graph = ["export", runs[0].name, "--format", "torch"]
    sets = ["sets", "--data", "digits-test"]
    for words in (
        ["evaluate"],
        ["calibrate", "mcp", "--data", "digits-test", "--coverage", "0.5"],
        sets,
        ["report"],
        graph,
    ):
        done = CliRunner().invoke(app, [*words, "--workspace", str(root)])
        assert done.exit_code == 0, done.output
    StepLog(workspace).note(Step(("trustcache", "evaluate")))
    model = torch.nn.Linear(2, 1)
    optimiser = torch.optim.SGD(model.parameters())
    loop = TrainingLoop("net", model, optimiser, None, 1, runs[0].folder / "checkpoint.pt", 0)
    loop.run([torch.ones(1, 2)], lambda x: model(x).sum(), lambda: None)
    return workspace


def files(workspace: Workspace) -> list[Path]:
    """All files but those of the report and locks."""
    found = (path for path in sorted(workspace.root.rglob("*")) if path.is_file() and path.name[0] != ".")
    return [path for path in found if workspace.report not in path.parents]


def test_a_sound_workspace_has_no_faults_and_files_of_every_kind(every_kind: Workspace) -> None:
    found = verify(every_kind)
    assert (found.faults, found.unknown) == ([], [])
    assert found.checked.keys() == {kind.name for kind in KINDS} | IN_CACHES
    assert sum(found.checked.values()) == len(files(every_kind))


def test_every_flipped_bit_and_every_cut_of_every_file_is_named(every_kind: Workspace) -> None:
    tried = 0
    for path in files(every_kind):
        sound = path.read_bytes()
        for data in damaged(sound, 2, 1, tried):
            path.write_bytes(data)
            faults = verify(every_kind).faults
            assert faults, path
            assert all(fault.startswith(str(path)) and "; " in fault for fault in faults), faults
            tried += 1
        path.write_bytes(sound)
    assert tried > 90


def lose(path: Path) -> None:
    path.unlink()


def swap_with_another_run(path: Path) -> None:
    (other,) = [folder for folder in path.parent.parent.glob("*-frozen-*") if folder != path.parent]
    shutil.copy(other / path.name, path)


def a_newer_trustcache_writes(path: Path) -> None:
    edit_record(path, {"schema": 99})


@pytest.mark.parametrize(
    ("place", "change", "facts"),
    [
        ("runs/*-fine-tuned-*/config.json", lose, ("config.json: missing", "train it again")),
        ("runs/*-fine-tuned-*/log.jsonl", lose, ("log.jsonl: missing", "train it again")),
        ("runs/*-fine-tuned-*/weights.safetensors", lose, ("has no weights yet", "trustcache train")),
        ("runs/*-fine-tuned-*/config.json", swap_with_another_run, ("not the config of this run", "train it again")),
        (
            "runs/*-fine-tuned-*/weights.safetensors",
            swap_with_another_run,
            ("weights of another run", "train it again"),
        ),
        ("cache/*/digits-test/index.json", lose, ("digits-test: holds no cache", "trustcache extract")),
        ("cache/*/digits-test/00001.h5", lose, ("00001.h5: missing", "trustcache extract")),
        ("cache/*/digits-test/00001.json", lose, ("1 of 4 shards are not extracted yet", "trustcache extract")),
        ("cache/*/digits-test/index.json", a_newer_trustcache_writes, ("made by a newer trustcache", "install that")),
        ("sweeps/*.json", a_newer_trustcache_writes, ("made by a newer trustcache", "install that")),
        (
            "runs/digits-net@mcp/threshold.json",
            a_newer_trustcache_writes,
            ("made by a newer trustcache", "install that"),
        ),
    ],
)
def test_what_is_lost_or_in_the_wrong_place_is_named(
    every_kind: Workspace, place: str, change: Callable[[Path], None], facts: tuple[str, str]
) -> None:
    (path,) = every_kind.root.glob(place)
    sound = path.read_bytes()
    change(path)
    faults = verify(every_kind).faults
    path.write_bytes(sound)
    (fault,) = faults
    assert tells(fault, str(every_kind.root), *facts)


def test_the_command_names_each_fault_in_a_line_and_fails(with_runs: Workspace, run_cli: RunCli) -> None:
    sound = run_cli("verify")
    assert sound.exit_code == 0
    assert tells(sound.stdout, "files checked", "8 shards", "2 weights of runs")
    (with_runs.root / "notes.txt").write_text("mine")
    record, config = next(with_runs.root.rglob("00001.json")), next(with_runs.runs.glob("*/config.json"))
    for path in (record, config):
        path.write_bytes(path.read_bytes()[:-9])
    failed = run_cli("verify")
    assert failed.exit_code == 1
    *faults, summary = failed.stdout.splitlines()
    assert [fault.partition(": ")[0] for fault in faults] == [
        str(record.relative_to(Path.cwd())),
        str(config.relative_to(Path.cwd())),
    ]
    assert "files checked" in summary
    assert tells(failed.stderr, "1 files", "notes.txt", "2 faults")
    assert run_cli("verify", "--workspace", "nowhere").exit_code == 2
