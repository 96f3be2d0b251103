"""Rows that heads learn from, read in shuffled blocks where a machine's memory does not hold their columns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result

from tests.caches_in_memory import cache_of
from trustcache.cache import open_cache
from trustcache.cache.workspace import Workspace
from trustcache.errors import TrustcacheError, UsageError
from trustcache.losses import LOSSES, LossChoice
from trustcache.oracles import head_rows, head_training
from trustcache.oracles.backbones import cached_oracle
from trustcache.oracles.head_rows import BlockedRows, CachedRows, learnt_rows
from trustcache.oracles.head_training import HeadTask, Trained, train_heads
from trustcache.oracles.heads import LinearHead
from trustcache.oracles.optim import Machine
from trustcache.oracles.plan import TrainSettings, plan
from trustcache.protocols import Optimiser

CPU = torch.device("cpu")


@pytest.fixture
def cached(prepared_workspace: Workspace) -> CachedRows:
    """Every second row of digits-test, in four shards, and after them rows of an other dtype."""
    first = open_cache(prepared_workspace.cache_folder("digits-net", "digits-test"))
    return CachedRows([(first, np.arange(1, len(first), 2)), (first[5:205], None)], ("features", "logits"))


@pytest.mark.parametrize("memory", [0, 2000, 10_000, 10**9])
def test_blocks_hold_the_same_rows_as_whole_columns(cached: CachedRows, memory: int) -> None:
    whole, blocked = cached.whole(CPU), BlockedRows(cached, CPU, memory)
    numbers = []
    for rows in blocked.epoch(torch.Generator().manual_seed(0), 16):
        numbers.append(rows)
        for name, column in whole.at(rows).items():
            assert torch.equal(blocked.at(rows)[name], column)
    assert torch.equal(torch.cat(numbers).sort().values, torch.arange(cached.rows))
    assert {len(rows) for rows in numbers[:-1]} <= {16, cached.rows % 16}
    some = torch.arange(3, cached.rows, 7)
    for rows in (None, some):
        for name, column in _joined(whole.passed(rows)).items():
            assert torch.equal(_joined(blocked.passed(rows))[name], column)


def test_two_epochs_of_blocks_come_in_two_orders(cached: CachedRows) -> None:
    blocked, order = BlockedRows(cached, CPU, 4000), torch.Generator().manual_seed(0)
    first, second = (torch.cat(list(blocked.epoch(order, 16))) for _ in range(2))
    assert not torch.equal(first, second)
    assert not torch.equal(first.sort().values, first)


def test_a_gpus_free_memory_is_its_own_but_for_apples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.xpu, "mem_get_info", lambda device: (123, 456))
    monkeypatch.setattr(head_rows, "free_memory", lambda: 789)
    assert [head_rows._free(torch.device(kind)) for kind in ("xpu", "mps", "cpu")] == [123, 789, 789]


@pytest.mark.usefixtures("three_threads")
def test_heads_learn_the_same_from_blocks_whose_minibatches_are_made_beside_the_steps(
    cached: CachedRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    correct = torch.rand(cached.rows, generator=torch.Generator().manual_seed(0)) < 0.7
    task = HeadTask(LossChoice("ss", dict(LOSSES["ss"].defaults)), True, 0)
    heads = []
    for least in (0, 10**9):
        monkeypatch.setattr(head_training, "WORTH_BESIDE", least)
        blocked = BlockedRows(cached, CPU, 4000)
        (trained,) = train_heads(blocked, correct, correct.float(), [task], Optimiser("adam", 3, 16, 1e-2), 0.1)
        assert isinstance(trained, Trained)
        assert isinstance(trained.head, LinearHead)
        heads.append(trained.head)
    beside, between = heads
    np.testing.assert_array_equal(beside.weight, between.weight)


def test_columns_that_fit_stay_whole(cached: CachedRows) -> None:
    notes: list[str] = []
    needed = cached.rows * cached.row_bytes
    whole = learnt_rows(cached, CPU, f"{needed}", notes.append)
    assert not isinstance(whole, BlockedRows)
    assert whole.spare == 0
    assert learnt_rows(cached, CPU, f"{needed + 100}", notes.append).spare == 100
    assert not notes
    blocked = learnt_rows(cached, CPU, f"{needed - 1}", notes.append)
    assert isinstance(blocked, BlockedRows)
    assert blocked.spare == 0
    assert "--memory" in notes[0]
    assert not isinstance(learnt_rows(cached, CPU, None, notes.append), BlockedRows)


def test_columns_of_an_array_are_not_copied() -> None:
    cache = cache_of(20, 0)
    (column,) = CachedRows([(cache, None)], ("features",)).whole(CPU).at(torch.arange(20)).values()
    assert torch.equal(column, torch.from_numpy(cache.features))


@pytest.mark.parametrize("asked", ["much", "4XB", "0", "-1GiB", "4 GiB more"])
def test_a_size_that_is_none_is_refused(cached: CachedRows, asked: str) -> None:
    with pytest.raises(UsageError, match=f"--memory {asked}"):
        learnt_rows(cached, CPU, asked, lambda text: None)


def test_a_full_gpu_is_one_sentence_with_the_option(
    prepared_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*columns: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried much")

    index = prepared_workspace.find_cache("train")
    settings = TrainSettings(True, Optimiser("adam", 1, 64, 1e-3))
    training = plan(index, cached_oracle(prepared_workspace, index, None), [LossChoice("ce", {})], settings)
    monkeypatch.setattr("trustcache.oracles.plan.train_heads", full)
    with pytest.raises(TrustcacheError, match=r"memory is full.*--memory"):
        training.run(Workspace(tmp_path), Path(), Machine("cpu"))


def test_heads_that_learn_from_blocks_rank_as_those_that_learn_from_a_full_shuffle(
    prepared_workspace: Workspace, tmp_path: Path
) -> None:
    index = prepared_workspace.find_cache("train")
    settings = TrainSettings(True, Optimiser("adam", 30, 64, 1e-3), seeds=(0, 1), val_fraction=0.3)
    training = plan(index, cached_oracle(prepared_workspace, index, None), [LossChoice("ce", {})], settings)
    aucs, notes = {}, list[str]()
    for memory in ("1GiB", "40KiB"):
        machine = Machine("cpu", memory=memory)
        runs = training.run(Workspace(tmp_path / memory), Path(), machine, note=notes.append)
        aucs[memory] = np.array([run.held_out["auc"] for run in runs])
    assert len(notes) == 1
    assert "blocks" in notes[0]
    assert not np.array_equal(aucs["1GiB"], aucs["40KiB"])
    assert np.abs(aucs["1GiB"] - aucs["40KiB"]).mean() < 0.002


def test_memory_is_refused_where_a_network_is_tuned(run_cli: Callable[..., Result], workspace: Workspace) -> None:
    done = run_cli("train", "--loss", "ce", "--memory", "1GiB")
    assert done.exit_code == 2
    assert "--memory" in done.stderr
    assert "--frozen" in done.stderr


def _joined(parts: object) -> dict[str, torch.Tensor]:
    parts = list(parts)  # type: ignore[call-overload]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
