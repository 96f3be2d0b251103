"""Several processes extract one cache together: each shard once, the same bytes, whoever dies."""

from __future__ import annotations

import collections
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from tests.command_process import CommandProcess
from trustcache.data.ranks import Ranks, ranks
from trustcache.errors import TrustcacheError
from trustcache.evaluate.removal import cache_removal

ROOT = Path(__file__).parents[2]
COUNTED = """
import os
import pathlib
import time

import {model}


def build(classes=10):
    pathlib.Path(f"ready-{{os.getpid()}}").touch()
    while len(list(pathlib.Path().glob("ready-*"))) < int(os.environ.get("WORLD_SIZE", 1)):
        time.sleep(0.01)  # none has done all before another has started
    model = {model}.build(classes)
    forward = model.forward

    def counted(pixels):
        with open("forwards", "a") as file:
            print(os.getpid(), len(pixels), file=file)
        return forward(pixels)

    model.forward = counted
    return model
"""
Words = tuple[object, ...]


@pytest.fixture
def words(own_model: Callable[..., str], in_tmp_path: Path) -> Words:
    """An extraction of 13 shards that notes each of its forward passes."""
    (in_tmp_path / "counted.py").write_text(COUNTED.format(model=own_model().partition(":")[0]), encoding="utf-8")
    sizes = ("--shard-rows", 50, "--batch-size", 50, "--workers", 0)
    return ("extract", "--classifier", "counted:build", "--data", "digits-test", "--as", "m", *sizes)


def contents(workspace: Path) -> dict[str, bytes]:
    folder = workspace / "cache" / "m" / "digits-test"
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def forwards() -> list[str]:
    """The process of each forward pass over a shard; others look at two images of noise."""
    lines = Path("forwards").read_text().splitlines()
    return [process for process, size in map(str.split, lines) if int(size) > 2]


def test_each_shard_is_made_once_and_all_are_those_of_one_process(
    words: Words, start_cli: Callable[..., CommandProcess], run_cli: Callable[..., Result]
) -> None:
    together = [
        start_cli(*words, RANK=str(rank), WORLD_SIZE="2", SECONDS_A_BATCH="0.1", TRUSTCACHE_WORKSPACE="many")
        for rank in range(2)
    ]
    said = [process.communicate(timeout=100) for process in together]
    assert [process.returncode for process in together] == [0, 0], said
    assert ["digits-test" in out for out, _ in said] == [True, False]  # the first tells of it
    made = collections.Counter(forwards())
    assert sum(made.values()) == 13
    assert len(made) == 2
    assert run_cli(*words, "--workspace", "one").exit_code == 0
    assert contents(Path("many")) == contents(Path("one"))
    assert not list(Path("many").rglob(".*.0*.lock"))


def test_what_a_killed_process_had_begun_others_make(
    words: Words, start_cli: Callable[..., CommandProcess], run_cli: Callable[..., Result]
) -> None:
    together = [start_cli(*words, RANK=str(n), WORLD_SIZE="3", SECONDS_A_BATCH="0.2") for n in range(3)]
    while len(list(Path().glob("trustcache-workspace/cache/m/digits-test/*.h5"))) < 4:
        assert all(process.poll() is None for process in together), [p.communicate() for p in together]
        time.sleep(0.01)
    killed = together.pop(1)
    killed.kill()
    killed.wait()
    for process in together:
        assert process.wait(100) == 0, process.communicate()
    assert run_cli(*words, "--workspace", "one").exit_code == 0
    assert contents(Path("trustcache-workspace")) == contents(Path("one"))


def test_a_cache_that_several_processes_fill_is_not_removed_and_not_filled_by_one_that_works_alone(
    words: Words, start_cli: Callable[..., CommandProcess], run_cli: Callable[..., Result]
) -> None:
    from trustcache.cache.workspace import Workspace

    Path("ready-other").touch()
    process = start_cli(*words, RANK="0", WORLD_SIZE="2", SECONDS_A_BATCH="0.5")
    while not Path("trustcache-workspace/cache/m/digits-test/00000.json").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    alone = run_cli(*words)
    assert alone.exit_code == 1
    assert "digits-test: another trustcache extract" in alone.stderr
    with pytest.raises(TrustcacheError, match="another trustcache extract"):
        cache_removal(Workspace(Path("trustcache-workspace")), ["m/digits-test"]).carry_out()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Ranks()),
        ({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, Ranks(3, 8, 1, 2)),
        ({"SLURM_PROCID": "5", "SLURM_NTASKS": "6", "SLURM_LOCALID": "1"}, Ranks(5, 6, 1, 1)),
        ({"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "10", "SLURM_NTASKS": "1"}, Ranks(7, 10)),
        ({"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "10", "SLURM_ARRAY_TASK_MIN": "1"}, Ranks(0, 10)),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "MASTER_ADDR": "node1"}, Ranks(1, 2, meet=True)),
        ({"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "2", "MASTER_ADDR": "node1"}, Ranks(1, 2)),
        ({"RANK": "0", "WORLD_SIZE": "1", "SLURM_NTASKS": ""}, Ranks()),
    ],
)
def test_the_launcher_tells_each_process_its_place(
    environment: dict[str, str], expected: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(("RANK", "WORLD", "LOCAL_", "SLURM_", "MASTER_"))]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ranks() == expected
