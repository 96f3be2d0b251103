"""Promises of idx files: gzipped or not, the same samples, and what becomes of damaged ones."""

from __future__ import annotations

import gzip
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.pictures import refusal
from trustcache.data.dataset import Dataset, open_dataset
from trustcache.data.manifest import Files, Manifest
from trustcache.errors import UsageError


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">{1 + values.ndim}i", 2048 + values.ndim, *values.shape) + values.tobytes()


class Mnist:
    """Twelve images and labels, their idx files as given or whole."""

    images = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
    labels = (np.arange(12) % 10).astype(np.uint8)
    manifest = Manifest("mnist", "test", (Files("idx", {"images": "images", "labels": "labels"}),))

    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self, images: bytes | None = None, labels: bytes | None = None, suffix: str = "") -> Dataset:
        (self.root / f"images{suffix}").write_bytes(idx(self.images) if images is None else images)
        (self.root / f"labels{suffix}").write_bytes(idx(self.labels) if labels is None else labels)
        return open_dataset(self.manifest, self.root)

    def refusal(self, images: bytes | None = None, labels: bytes | None = None, suffix: str = "") -> str:
        with pytest.raises(UsageError) as caught:
            self.open(images, labels, suffix)
        return str(caught.value)


@pytest.fixture
def mnist(tmp_path: Path) -> Mnist:
    return Mnist(tmp_path)


def test_idx_files_are_read_gzipped_or_not(mnist: Mnist, tmp_path: Path) -> None:
    plain = mnist.open()
    (tmp_path / "z").mkdir()
    zipped = Mnist(tmp_path / "z").open(gzip.compress(idx(mnist.images)), gzip.compress(idx(mnist.labels)), ".gz")
    (tmp_path / "u").mkdir()
    unzipped = Mnist(tmp_path / "u").open(suffix=".gz")
    for data in (plain, zipped, unzipped):
        assert data.labels.tolist() == mnist.labels.tolist()
        assert data.classes == tuple("0123456789")
        image = data.read(5)
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), np.repeat(mnist.images[5][..., None], 3, axis=2))
    assert plain.ids == zipped.ids == unzipped.ids
    assert plain.ids[3] == "images/00003"
    assert plain.fingerprint() == zipped.fingerprint()


def test_an_idx_file_that_is_not_one_is_named(mnist: Mnist) -> None:
    whole = idx(mnist.images)
    images, labels = mnist.root / "images", mnist.root / "labels"
    assert mnist.refusal(idx(mnist.labels)).startswith(f"{images}: not an idx file")
    assert mnist.refusal(labels=whole).startswith(f"{labels}: not an idx file")
    assert mnist.refusal(b"").startswith(f"{images}: not an idx file")
    assert mnist.refusal(whole[:7]).startswith(f"{images}: not an idx file")
    assert all(word in mnist.refusal(whole[:-1]) for word in (f"{images}: ", "9407", "9408"))
    assert mnist.refusal(whole + b"x").startswith(f"{images}: holds 9409 bytes")
    negative = struct.pack(">4i", 2051, -12, -28, 28) + mnist.images.tobytes()
    assert mnist.refusal(negative).startswith(f"{images}: holds 9408 bytes")


def test_labels_of_another_number_or_range_are_named(mnist: Mnist) -> None:
    message = mnist.refusal(labels=idx(mnist.labels[:-1]))
    assert message.startswith(f"{mnist.root / 'labels'}: 11 labels for the 12 images in {mnist.root / 'images'}")
    message = mnist.refusal(labels=idx(mnist.labels + np.uint8(1)))
    assert message.startswith(f"{mnist.root / 'labels'}: has labels from 1 to 10")
    assert "10 classes" in message
    assert "'classes'" in message


def test_a_manifest_s_classes_allow_more_labels_than_ten(mnist: Mnist) -> None:
    mnist.manifest = replace(mnist.manifest, classes=tuple("abcdefghijkl"))
    data = mnist.open(labels=idx(np.arange(12, dtype=np.uint8)))
    assert data.classes[data.labels[11]] == "l"


def test_a_missing_sister_is_named(mnist: Mnist) -> None:
    (mnist.root / "images").write_bytes(idx(mnist.images))
    assert refusal(mnist.manifest, mnist.root).startswith(f"{mnist.root / 'labels'}[.gz]: missing")


def test_damaged_gzip_is_named(mnist: Mnist) -> None:
    zipped = gzip.compress(idx(mnist.images))
    path = mnist.root / "images.gz"
    labels = gzip.compress(idx(mnist.labels))
    assert mnist.refusal(zipped[:-100], labels, ".gz").startswith(f"{path}: cannot be unpacked")
    for place in (2, 12, len(zipped) // 2, len(zipped) - 6):
        damaged = bytearray(zipped)
        damaged[place] ^= 0xFF
        assert mnist.refusal(bytes(damaged), labels, ".gz").startswith(f"{path}: ")


def test_a_fingerprint_of_arrays_sees_every_pixel_and_label(mnist: Mnist) -> None:
    before = mnist.open().fingerprint()
    assert mnist.open().fingerprint() == before
    images = mnist.images.copy()
    images[7, 3, 3] ^= 1
    assert mnist.open(idx(images)).fingerprint() != before
    assert mnist.open(labels=idx(mnist.labels[::-1].copy())).fingerprint() != before
