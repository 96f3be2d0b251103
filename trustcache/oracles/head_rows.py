"""The rows that heads learn from: their columns whole on a device, or where these do not fit read in shuffled blocks.

A shuffle of blocks, and of the rows within as many blocks as fit, ranks as a shuffle of all rows does, and reads a file
front to back in pieces instead of row by row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from trustcache.cache import CacheView
from trustcache.data.machine import free_memory, memory_bytes
from trustcache.oracles.head_inputs import PLAIN, Outputs, computed, head_inputs

BLOCK_ROWS = 8192
# Fewer blocks in memory at once would shuffle too little.
LEAST_BLOCKS = 8


class LearntRows(Protocol):
    """Rows by their numbers from 0, with the model's outputs for them on a device."""

    rows: int
    device: torch.device
    spare: int
    """Bytes that what is made of the rows may take there."""

    def epoch(self, order: torch.Generator, batch_size: int) -> Iterator[Tensor]:
        """Yield the numbers of all rows once, int64 (n,) on the device, a minibatch at a time in random order."""

    def at(self, rows: Tensor) -> Outputs:
        """Return the outputs for the rows of a minibatch that `epoch` yielded last."""

    def passed(self, rows: Tensor | None = None) -> Iterator[Outputs]:
        """Yield the outputs for all rows, or for some, ascending, in order and a block at a time."""


class WholeColumns:
    """Rows whose columns, tensors (N, D) of any float dtype, are all on the device.

    spare: as in `LearntRows`, by default a quarter of what is free.
    """

    def __init__(self, outputs: Outputs, spare: int | None = None) -> None:
        self._outputs = outputs
        first = next(iter(outputs.values()))
        self.rows, self.device = len(first), first.device
        self.spare = _free(self.device) // 4 if spare is None else spare

    def epoch(self, order: torch.Generator, batch_size: int) -> Iterator[Tensor]:
        return iter(torch.randperm(self.rows, generator=order).to(self.device).split(batch_size))

    def at(self, rows: Tensor) -> Outputs:
        return {name: column.index_select(0, rows) for name, column in self._outputs.items()}

    def passed(self, rows: Tensor | None = None) -> Iterator[Outputs]:
        if rows is not None:
            yield from map(self.at, rows.to(self.device).split(BLOCK_ROWS))
            return
        for first in range(0, self.rows, BLOCK_ROWS):
            yield {name: column[first : first + BLOCK_ROWS] for name, column in self._outputs.items()}


class CachedRows:
    """Rows of caches, one after the other, that are read where they are asked for.

    parts: views, each with the numbers of its rows that are taken, ascending, None for all. names: of columns.
    """

    def __init__(self, parts: Sequence[tuple[CacheView, np.ndarray | None]], names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._parts = [(view, numbers, len(view) if numbers is None else len(numbers)) for view, numbers in parts]
        self.rows = sum(count for _, _, count in self._parts)
        none = [view[:0].columns(self.names) for view, _ in parts]
        joined = {name: np.concatenate([each[name] for each in none]) for name in self.names}
        self._like = {name: torch.from_numpy(column) for name, column in joined.items()}

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return sum(column.element_size() * math.prod(column.shape[1:]) for column in self._like.values())

    def read(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Return the columns of the rows from `start` to `stop`."""
        found, first = [], 0
        for view, numbers, count in self._parts:
            low, high = max(start, first), min(stop, first + count)
            if low < high:
                found.append(_taken(view, numbers, low - first, high - first, self.names))
            first += count
        return found[0] if len(found) == 1 else {name: np.concatenate([f[name] for f in found]) for name in self.names}

    def empty(self, rows: int, device: torch.device) -> dict[str, Tensor]:
        """Return uninitialised columns of `rows` rows on a device."""
        return {
            name: torch.empty((rows, *column.shape[1:]), dtype=column.dtype, device=device)
            for name, column in self._like.items()
        }

    def whole(self, device: torch.device, spare: int | None = None) -> WholeColumns:
        """Return the rows with all their columns on a device. No more than a block is in memory twice.

        spare: as in `WholeColumns`.
        """
        view, numbers, _ = self._parts[0]
        if len(self._parts) == 1 and numbers is None and device.type == "cpu":
            columns = view.columns(self.names)
            return WholeColumns({name: torch.from_numpy(column) for name, column in columns.items()}, spare)
        held = self.empty(self.rows, device)
        for start in range(0, self.rows, BLOCK_ROWS):
            _fill(held, start, self.read(start, min(start + BLOCK_ROWS, self.rows)))
        return WholeColumns(held, spare)


class BlockedRows:
    """Cached rows that do not fit into memory bytes on a device: a few blocks of them are held at a time."""

    spare = 0

    def __init__(self, cached: CachedRows, device: torch.device, memory: int) -> None:
        self._cached = cached
        self.rows, self.device = cached.rows, device
        self._most = max(memory // cached.row_bytes, LEAST_BLOCKS)
        self._held = cached.empty(0, device)
        self._place = torch.zeros(cached.rows, dtype=torch.int32, device=device)

    def epoch(self, order: torch.Generator, batch_size: int) -> Iterator[Tensor]:
        # Whole minibatches to a block: none but an epoch's last ones are smaller.
        size = max(min(self._most // LEAST_BLOCKS, BLOCK_ROWS) // batch_size, 1) * batch_size
        at_once = max(self._most // size, 1)
        if not len(next(iter(self._held.values()))):  # made once: CUDA graphs keep its address
            self._held = self._cached.empty(at_once * size, self.device)
        for blocks in torch.randperm(math.ceil(self.rows / size), generator=order).split(at_once):
            numbers = self._load(blocks.tolist(), size)
            mixed = numbers[torch.randperm(len(numbers), generator=order)].to(self.device)
            yield from mixed.split(batch_size)

    def _load(self, blocks: Sequence[int], size: int) -> Tensor:
        """Read some blocks into the memory for them; return the numbers of their rows."""
        found, place = [], 0
        for block in sorted(blocks):
            start, stop = block * size, min((block + 1) * size, self.rows)
            _fill(self._held, place, self._cached.read(start, stop))
            self._place[start:stop] = torch.arange(place, place + stop - start, dtype=torch.int32)
            found.append(torch.arange(start, stop))
            place += stop - start
        return torch.cat(found)

    def at(self, rows: Tensor) -> Outputs:
        places = self._place.index_select(0, rows)
        return {name: column.index_select(0, places) for name, column in self._held.items()}

    def passed(self, rows: Tensor | None = None) -> Iterator[Outputs]:
        numbers = None if rows is None else rows.cpu().numpy()
        size = min(self._most, BLOCK_ROWS)
        for start in range(0, self.rows, size):
            block = self._cached.read(start, min(start + size, self.rows))
            if numbers is not None:
                low, high = np.searchsorted(numbers, (start, start + size))
                if low == high:
                    continue
                block = {name: column[numbers[low:high] - start] for name, column in block.items()}
            yield {name: torch.from_numpy(column).to(self.device) for name, column in block.items()}


def learnt_rows(cached: CachedRows, device: torch.device, asked: str | None, note: Callable[[str], None]) -> LearntRows:
    """Return rows whole on a device, or in blocks where they take more memory than asked, by default half of the free.

    note: told where it is in blocks. Raises UsageError where `asked` is no size.
    """
    memory, needed = memory_bytes(asked) if asked else _free(device) // 2, cached.rows * cached.row_bytes
    if needed <= memory:
        return cached.whole(device, memory - needed)
    note(
        f"the columns that heads learn from take {needed / 2**30:.1f} GiB, of {memory / 2**30:.1f} GiB that --memory "
        f"{'allows' if asked else 'takes by default'}: they are read in shuffled blocks in every epoch"
    )
    return BlockedRows(cached, device, memory)


def made_once(names: Sequence[str], learnt: LearntRows) -> tuple[Sequence[str], LearntRows]:
    """Return rows that hold inputs as a column, and its name, where inputs are computed and memory has room for them.

    To sort logits in each step takes longer than the step. Else the same names and rows: inputs that are columns have
    half the bytes there, and so are read in random order in less time.
    """
    if not computed(names):
        return names, learnt
    blocks = (head_inputs(names, outputs) for outputs in learnt.passed())
    first = next(blocks)
    if learnt.rows * first[0].nbytes > learnt.spare:
        return names, learnt
    made, done = torch.empty(learnt.rows, first.shape[1], device=learnt.device), 0
    for block in (first, *blocks):
        made[done : done + len(block)] = block
        done += len(block)
    return PLAIN, WholeColumns({PLAIN[0]: made}, spare=0)


def _free(device: torch.device) -> int:
    own = getattr(torch.get_device_module(device), "mem_get_info", None)  # Apple's GPUs share the machine's
    return int(own(device)[0]) if own else free_memory()


def _fill(held: dict[str, Tensor], place: int, columns: dict[str, np.ndarray]) -> None:
    for name, column in columns.items():
        held[name][place : place + len(column)] = torch.from_numpy(column)


def _taken(
    view: CacheView, numbers: np.ndarray | None, low: int, high: int, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return the columns of the rows that are taken from `low` to `high`."""
    if numbers is None:
        return view[low:high].columns(names)
    some = numbers[low:high]
    first = int(some[0])
    return {name: column[some - first] for name, column in view[first : some[-1] + 1].columns(names).items()}
