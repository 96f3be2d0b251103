"""Decoding JPEGs faster: what a GPU does, tried on the CPU, and drafts of libjpeg's."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trustcache.data import gpu_decoding
from trustcache.data.dataset import open_dataset
from trustcache.data.decoders import Decoders
from trustcache.data.gpu_decoding import is_baseline, require_gpu_decoding, unpacked
from trustcache.data.known_data import folder_manifest
from trustcache.data.loader import Viewer, viewed_batches
from trustcache.data.sources import DatasetSource
from trustcache.data.variants.variation import joined
from trustcache.errors import UsageError
from trustcache.models.preprocessing import Preprocessing

CPU = torch.device("cpu")


def smooth(height: int, width: int, seed: int = 0) -> Image.Image:
    """A photograph without fine detail, on which decoders agree."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos" / "a"
    folder.mkdir(parents=True)
    smooth(300, 400).save(folder / "0.jpg")
    smooth(500, 320, 1).save(folder / "1.jpg", progressive=True)
    smooth(301, 403, 2).convert("L").save(folder / "2.jpg")
    smooth(260, 310, 3).save(folder / "3.png")
    (folder / "4.jpg").write_bytes(encoded(smooth(300, 300))[:900])
    smooth(3000, 2500, 5).save(folder / "5.jpg")
    smooth(300, 400, 6).save(folder / "6.jpg")  # of the first one's size
    return tmp_path / "photos"


def preprocessing(crop_mode: str, crop_pct: float = 0.9, interpolation: str = "bicubic") -> Preprocessing:
    return Preprocessing((96, 96), crop_pct, crop_mode, interpolation, (0.5,) * 3, (0.5,) * 3)


def test_baseline_jpegs_are_told_from_others() -> None:
    image = smooth(40, 50)
    assert is_baseline(encoded(image))
    assert is_baseline(encoded(image.convert("L")))
    assert not is_baseline(encoded(image, progressive=True))
    assert not is_baseline(encoded(image.convert("CMYK")))
    assert not is_baseline(b"\x89PNG and more bytes than a header")
    assert not is_baseline(encoded(image)[:30])
    assert not is_baseline(encoded(image)[:-9])


@pytest.mark.parametrize("crop_mode", ["center", "squash"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_gpus_images_are_pillows_but_for_rounding(photos: Path, crop_mode: str, interpolation: str) -> None:
    view = preprocessing(crop_mode, interpolation=interpolation)
    dataset = open_dataset(folder_manifest(photos), photos.parent)
    (pillow,) = Decoders(0, CPU).decoded(DatasetSource(view, dataset), [np.arange(7)])
    (pieces,) = Decoders(0, CPU).decoded(DatasetSource(view, dataset, "gpu"), [np.arange(7)])
    expected, batch = joined(pillow), unpacked(joined(pieces), dataset.ids, view, CPU)
    assert batch.indices.tolist() == expected.indices.tolist() == [0, 1, 2, 3, 5, 6]
    assert batch.content.tolist() == expected.content.tolist()
    assert batch.bad.keys() == expected.bad.keys() == {4}
    assert batch.pixels.dtype == torch.uint8
    apart = (batch.pixels.int() - expected.pixels.int()).abs().float()
    assert apart.mean() < 1
    assert apart.max() < 12


@pytest.mark.parametrize("alone", [False, True])
def test_a_gpu_whose_memory_is_full_leaves_no_image_to_another_decoder(
    photos: Path, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    def decode(images: list[torch.Tensor], *options: object, **named: object) -> list[torch.Tensor]:
        if alone and len(images) > 1:
            raise RuntimeError("one of them is damaged")
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(gpu_decoding, "decode_jpeg", decode)
    view, dataset = preprocessing("center"), open_dataset(folder_manifest(photos), photos.parent)
    (pieces,) = Decoders(0, CPU).decoded(DatasetSource(view, dataset, "gpu"), [np.arange(6)])
    with pytest.raises(torch.OutOfMemoryError):
        unpacked(joined(pieces), dataset.ids, view, CPU)


def test_a_batch_without_a_readable_image_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "photos" / "a").mkdir(parents=True)
    (tmp_path / "photos" / "a" / "0.png").write_bytes(b"broken")
    dataset = open_dataset(folder_manifest(tmp_path / "photos"), tmp_path)
    viewer = Viewer(preprocessing("center"), CPU, 0, decode="gpu")
    (batch,) = viewed_batches(dataset, viewer, [np.arange(1)])
    assert batch.bad.keys() == {0}
    assert len(batch.pixels) == len(batch.indices) == 0


def test_a_draft_is_of_large_jpegs_alone_and_close(photos: Path) -> None:
    view, dataset = preprocessing("center"), open_dataset(folder_manifest(photos), photos.parent)
    (plain,) = Decoders(0, CPU).decoded(DatasetSource(view, dataset), [np.arange(6)])
    (draft,) = Decoders(0, CPU).decoded(DatasetSource(view, dataset, "draft"), [np.arange(6)])
    apart = (joined(plain).pixels.int() - joined(draft).pixels.int()).abs().float().mean((1, 2, 3))
    assert apart[3] == 0  # no JPEG
    assert 0 < apart[4] < 2
    with Image.open(photos / dataset.ids[5]) as image:
        image.draft(None, (107, 107))
        assert image.size == (313, 375)


def test_a_gpu_is_needed_and_plain_preprocessing() -> None:
    with pytest.raises(UsageError, match=r"--decode gpu.*cpu"):
        require_gpu_decoding(CPU, preprocessing("center"))
    with pytest.raises(UsageError, match=r"--decode gpu.*border"):
        require_gpu_decoding(torch.device("cuda"), preprocessing("border"))
