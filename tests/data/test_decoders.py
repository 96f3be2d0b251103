"""Decoding processes serve one data set after the other, and decode an image once for all that start from it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import get_worker_info

from tests.running import inherited
from trustcache.data.dataset import Dataset, open_dataset
from trustcache.data.decoders import Decoders
from trustcache.data.known_data import folder_manifest
from trustcache.data.samples import BadImage, FileSamples
from trustcache.data.sources import DatasetSource, Source
from trustcache.data.variants.variation import Batch, Variant, joined
from trustcache.models.preprocessing import Preprocessing

Folder = Callable[..., Path]
CPU = torch.device("cpu")
BATCHES = [np.arange(9), np.arange(9, 12)]


@pytest.fixture
def photos(image_folder: Folder) -> Path:
    return image_folder({"a": 6, "b": 6})


def source(photos: Path, name: str = "fog", crop: int | None = 20, severity: int = 3) -> Source:
    variant = Variant("corruption", name, severity, crop=crop)
    dataset = open_dataset(replace(folder_manifest(photos), variant=variant), photos.parent)
    return DatasetSource(preprocessing(crop or 24), dataset)


def preprocessing(side: int, crop_pct: float = 1.0, crop_mode: str = "center") -> Preprocessing:
    return Preprocessing((side, side), crop_pct, crop_mode, "bilinear", (0.5,) * 3, (0.5,) * 3)


def pixels(batches: Iterator[list[Batch]]) -> torch.Tensor:
    return torch.cat([joined(pieces).pixels for pieces in batches])


def test_the_images_do_not_depend_on_the_processes_nor_on_what_they_decoded_before(photos: Path) -> None:
    found = []
    for workers in (0, 2):
        with Decoders(workers, CPU, sets=4) as decoders:
            each = [source(photos), source(photos, "contrast"), source(photos, crop=22), source(photos)]
            found.append([pixels(decoders.decoded(one, BATCHES)) for one in each])
    alone = [pixels(Decoders(0, CPU).decoded(source(photos), BATCHES)) for _ in range(1)]
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(found[0][0], alone[0])
    assert torch.equal(found[0][0], found[0][3])


@inherited
def test_processes_live_from_one_data_set_to_the_next(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: FileSamples, index: int) -> bytes:
        raise BadImage("image", os.getpid())

    monkeypatch.setattr(FileSamples, "raw", refused)
    with Decoders(2, CPU, sets=2) as decoders:
        wholes = [list(map(joined, decoders.decoded(source(photos, name), BATCHES))) for name in ("fog", "contrast")]
    first, second = ({reason for batch in whole for reason in batch.bad.values()} for whole in wholes)
    assert len(first) == 2
    assert first == second


def decodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the images that are decoded from here on."""
    decoded: list[int] = []
    prepared = Dataset.prepared

    def counted(self: Dataset, index: int, raw: bytes) -> Image.Image:
        decoded.append(index)
        return prepared(self, index, raw)

    monkeypatch.setattr(Dataset, "prepared", counted)
    return decoded


@inherited
def test_an_image_is_decoded_once_for_all_variants_that_start_from_its_crop(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = decodings(monkeypatch)
    with Decoders(0, CPU, sets=3) as decoders:
        for name in ("fog", "contrast", "pixelate"):
            pixels(decoders.decoded(source(photos, name), BATCHES))
    assert decoded == list(range(12))


@inherited
def test_an_image_that_changes_meanwhile_is_decoded_again(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = decodings(monkeypatch)
    with Decoders(0, CPU, sets=2) as decoders:
        before = pixels(decoders.decoded(source(photos), BATCHES))
        first = source(photos).dataset.ids[0]
        Image.new("RGB", (40, 40), (200, 10, 10)).save(photos / first)
        after = pixels(decoders.decoded(source(photos), BATCHES))
    assert decoded == [*range(12), 0]
    assert torch.equal(before[1:], after[1:])
    assert not torch.equal(before[0], after[0])


@inherited
def test_what_memory_does_not_hold_is_decoded_again(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trustcache.data.decoders._memory_bytes", lambda: 8 * 5 * (3 * 20 * 20 + 8))
    decoded = decodings(monkeypatch)
    with Decoders(0, CPU, sets=2) as decoders:
        twice = [pixels(decoders.decoded(source(photos), BATCHES)) for _ in range(2)]
    assert decoded == [*range(12), *range(5, 12)]
    assert torch.equal(*twice)


def test_an_abandoned_data_set_leaves_nothing_to_the_next(photos: Path) -> None:
    with Decoders(2, CPU, sets=2) as decoders:
        begun = decoders.decoded(source(photos), BATCHES)
        next(begun)
        begun.close()  # type: ignore[attr-defined]
        seen = pixels(decoders.decoded(source(photos, "contrast"), BATCHES))
    assert torch.equal(seen, pixels(Decoders(0, CPU).decoded(source(photos, "contrast"), BATCHES)))


@inherited
def test_after_a_process_died_the_next_data_set_begins_with_others(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = FileSamples.raw

    def killed(self: FileSamples, index: int) -> bytes:
        if get_worker_info():
            os.kill(os.getpid(), signal.SIGKILL)
        return raw(self, index)

    with Decoders(1, CPU, sets=2) as decoders:
        with monkeypatch.context() as patched:
            patched.setattr(FileSamples, "raw", killed)
            with pytest.raises(RuntimeError, match="DataLoader worker"):
                pixels(decoders.decoded(source(photos), BATCHES))
        assert len(pixels(decoders.decoded(source(photos), BATCHES))) == 12


def test_large_images_are_shared_out_in_small_pieces(photos: Path) -> None:
    plain = source(photos)
    assert [len(piece) for piece in plain.pieces(np.arange(300))] == [300]
    assert [len(piece) for piece in replace(plain, preprocessing=preprocessing(384)).pieces(np.arange(20))] == [8, 8, 4]
    assert [len(piece) for piece in plain.pieces(np.arange(0))] == [0]


def test_a_batch_is_joined_of_its_pieces_with_the_bad_ones_named(photos: Path) -> None:
    (photos / source(photos).dataset.ids[7]).write_bytes(b"broken")
    small = replace(source(photos), preprocessing=preprocessing(600))
    with Decoders(0, CPU) as decoders:
        (pieces,) = decoders.decoded(small, [np.arange(12)])
    whole = joined(pieces)
    assert len(pieces) == 2
    assert whole.indices.tolist() == [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11]
    assert list(whole.bad) == [7]
    assert len(whole.pixels) == len(whole.labels) == len(whole.content) == 11
