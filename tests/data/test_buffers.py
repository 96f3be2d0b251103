"""Buffers that processes share: what is shown is never written to, and what no one sees is lent again."""

from __future__ import annotations

import mmap
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from trustcache.data.buffers import Buffers
from trustcache.data.dataset import open_dataset
from trustcache.data.decoders import Decoders
from trustcache.data.known_data import folder_manifest
from trustcache.data.sources import DatasetSource, Source
from trustcache.data.variants.variation import joined
from trustcache.models.preprocessing import Preprocessing

CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="Linux has such memory")


@pytest.fixture
def source(image_folder: Callable[..., Path]) -> Source:
    photos = image_folder({"a": 20, "b": 20})
    view = Preprocessing((24, 24), 1.0, "center", "bilinear", (0.5,) * 3, (0.5,) * 3)
    return DatasetSource(view, open_dataset(folder_manifest(photos), photos.parent))


def fill(buffers: Buffers, number: int) -> None:
    buffers.buffer(number)[:6] = torch.arange(6, dtype=torch.uint8)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_process_started_in_any_way_fills_a_buffer(method: str) -> None:
    buffers = Buffers(2, 8)
    number = buffers.lend()
    assert number is not None
    process = multiprocessing.get_context(method).Process(target=fill, args=(buffers, number))
    process.start()
    process.join()
    assert buffers.filled(number, (2, 3)).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_buffer_is_lent_again_only_when_no_tensor_shows_it() -> None:
    buffers = Buffers(2, 8)
    first, second = buffers.lend(), buffers.lend()
    assert first is not None
    assert second is not None
    shown = buffers.filled(first, (8,))
    part = shown.view(2, 4)[1:]
    del shown
    assert buffers.lend() is None
    del part
    assert buffers.lend() == first
    buffers.back(second)
    assert buffers.lend() == second
    buffers.all_back()
    assert {buffers.lend(), buffers.lend()} == {first, second}


@pytest.mark.parametrize("ahead", [1, 6])
def test_batches_that_are_kept_stay_as_they_were(source: Source, ahead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trustcache.data.decoders._AHEAD", ahead)
    monkeypatch.setattr("trustcache.data.sources._PIECE_BYTES", 4 * 3 * 24 * 24)
    monkeypatch.setattr("trustcache.data.sources._FEWEST", 1)
    batches = [np.arange(first, first + 5) % 40 for first in range(0, 200, 5)]
    with Decoders(2, CPU) as decoders:
        kept = list(decoders.decoded(source, batches))  # more than there are buffers
    alone = Decoders(0, CPU).decoded(source, batches)
    for ours, theirs in zip(kept, alone, strict=True):
        assert torch.equal(joined(ours).pixels, joined(theirs).pixels)


class Registry:
    """Stands for CUDA's runtime: it takes whole pages, none of them twice, and no more buffers than `most`."""

    def __init__(self, most: int) -> None:
        self.most, self.pinned = most, dict[int, int]()

    def register(self, start: int, size: int, flags: int) -> int:
        assert start % mmap.PAGESIZE == size % mmap.PAGESIZE == 0
        assert all(start + size <= other or other + length <= start for other, length in self.pinned.items())
        if len(self.pinned) == self.most:
            return 1
        self.pinned[start] = size
        return 0

    def unregister(self, start: int) -> int:
        del self.pinned[start]
        return 0


@pytest.mark.parametrize("most", [2, 1])
def test_buffers_are_pinned_once_when_they_are_filled_as_far_as_the_system_lets_them(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(most)
    runtime = SimpleNamespace(cudaHostRegister=registry.register, cudaHostUnregister=registry.unregister)
    monkeypatch.setattr("torch.cuda.cudart", lambda: runtime)
    monkeypatch.setattr("torch.cuda.synchronize", lambda: None)
    monkeypatch.setattr("torch.zeros", lambda *size, device: None)  # which takes the refusal's error
    buffers = Buffers(3, 5000, pins=True)
    assert not registry.pinned
    filled = []
    for _ in range(2):
        numbers = [buffers.lend(), buffers.lend()]
        for number in numbers:
            assert number is not None
            buffers.buffer(number)[:] = number
            filled.append(buffers.filled(number, (5000,)))
        assert [int(pixels.float().mean()) for pixels in filled] == numbers
        assert len(registry.pinned) == most
        filled.clear()
    buffers.unpin()
    assert not registry.pinned


def test_images_that_no_buffer_has_room_for_come_too(source: Source) -> None:
    large = replace(source, preprocessing=replace(source.preprocessing, input_size=(700, 700)))
    with Decoders(1, CPU, sets=2) as decoders:
        for one in (source, large, source):
            (pieces,) = decoders.decoded(one, [np.arange(12)])
            (alone,) = Decoders(0, CPU).decoded(one, [np.arange(12)])
            assert torch.equal(joined(pieces).pixels, joined(alone).pixels)


def test_pixels_come_in_buffers_whatever_was_left_or_bad_before(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers: list[int] = []
    filled = Buffers.filled
    monkeypatch.setattr(Buffers, "filled", lambda self, *what: numbers.append(what[0]) or filled(self, *what))
    batches = [np.arange(first, first + 2) for first in range(0, 40, 2)]
    with Decoders(1, CPU, sets=2) as decoders:
        begun = decoders.decoded(source, batches)
        next(begun)
        begun.close()  # type: ignore[attr-defined]
        for name in source.dataset.ids[:20]:
            (tmp_path / "photos" / name).write_bytes(b"broken")
        numbers.clear()
        for _ in decoders.decoded(source, batches):
            pass
    assert len(numbers) == 10
