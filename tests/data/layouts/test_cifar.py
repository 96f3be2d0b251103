"""Promises of CIFAR-10's batches: the same samples in each layout, and what becomes of damaged files."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.pictures import picture, refusal
from trustcache.data.dataset import Dataset, available, open_dataset
from trustcache.data.manifest import Files, Manifest

CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Cifar:
    """Ten images a batch, the same in every layout."""

    def __init__(self, root: Path, batches: int = 2) -> None:
        self.root = root
        self.pixels = np.stack([picture(i, 32, 32) for i in range(10 * batches)])
        self.labels = np.random.default_rng(1).permutation(np.arange(10 * batches) % 10)
        self.members = [f"data_batch_{b}" for b in range(batches)]

    def manifest(self, layout: str) -> Manifest:
        members = tuple(self.members) if layout == "cifar-python" else tuple(f"{m}.bin" for m in self.members)
        files = Files(layout, {"path": layout} | ({} if layout == "folders" else {"members": members}))
        return Manifest("cifar", "train", (files,), classes=CIFAR_CLASSES)

    def flat(self) -> np.ndarray:
        return self.pixels.transpose(0, 3, 1, 2).reshape(len(self.pixels), 3072)

    def as_folders(self) -> None:
        for row, (pixels, label) in enumerate(zip(self.pixels, self.labels, strict=True)):
            folder = self.root / "folders" / CIFAR_CLASSES[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{row:04d}.png")

    def as_python(self, protocol: int = 2, home: bytes = b"numpy.core") -> None:
        (self.root / "cifar-python").mkdir(exist_ok=True)
        for b, member in enumerate(self.members):
            rows = slice(10 * b, 10 * b + 10)
            batch = {
                b"batch_label": b"training batch",
                b"labels": self.labels[rows].tolist(),
                b"data": np.ascontiguousarray(self.flat()[rows]),
                b"filenames": [b"x.png"] * 10,
            }
            raw = pickle.dumps(batch, protocol)
            if protocol == 2:  # the original files name NumPy's modules as they were in 2009
                raw = raw.replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", home)
            (self.root / "cifar-python" / member).write_bytes(raw)

    def as_binary(self) -> None:
        (self.root / "cifar-binary").mkdir()
        rows = np.concatenate([self.labels[:, None].astype(np.uint8), self.flat()], axis=1)
        for b, member in enumerate(self.members):
            (self.root / "cifar-binary" / f"{member}.bin").write_bytes(rows[10 * b : 10 * b + 10].tobytes())


@pytest.fixture
def cifar(tmp_path: Path) -> Cifar:
    return Cifar(tmp_path)


def samples(data: Dataset) -> list[tuple[bytes, int]]:
    return [(data.read(i).tobytes(), int(data.labels[i])) for i in range(len(data))]


def test_the_same_cifar_images_come_out_of_folders_python_and_binary_batches(cifar: Cifar) -> None:
    cifar.as_folders()
    cifar.as_python()
    cifar.as_binary()
    python, binary, folders = (
        open_dataset(cifar.manifest(layout), cifar.root) for layout in ("cifar-python", "cifar-binary", "folders")
    )
    written = [(p.tobytes(), int(y)) for p, y in zip(cifar.pixels, cifar.labels, strict=True)]
    assert samples(python) == samples(binary) == written
    assert sorted(samples(folders)) == sorted(written)
    assert python.classes == binary.classes == folders.classes == CIFAR_CLASSES
    assert python.ids[:2] == ["data_batch_0/00000", "data_batch_0/00001"]
    assert binary.ids[10] == "data_batch_1.bin/00000"
    assert python.labels.dtype == binary.labels.dtype == np.int64


@pytest.mark.parametrize(("protocol", "home"), [(2, b"numpy.core"), (2, b"numpy._core"), (4, b""), (5, b"")])
def test_batches_pickled_by_any_numpy_in_any_protocol_are_read(cifar: Cifar, protocol: int, home: bytes) -> None:
    cifar.as_python(protocol, home)
    data = open_dataset(cifar.manifest("cifar-python"), cifar.root)
    np.testing.assert_array_equal(np.asarray(data.read(13)), cifar.pixels[13])


def test_the_first_place_that_is_there_is_used(cifar: Cifar) -> None:
    places = tuple(cifar.manifest(layout).files[0] for layout in ("folders", "cifar-python", "cifar-binary"))
    manifest = replace(cifar.manifest("folders"), files=places)
    cifar.as_binary()
    assert available(manifest, cifar.root) == places[2]
    assert len(open_dataset(manifest, cifar.root)) == 20
    cifar.as_python()
    assert available(manifest, cifar.root) == places[1]
    cifar.as_folders()
    assert available(manifest, cifar.root) == places[0]


class Bomb:
    """Unpickling it leaves a file behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.trace),)


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(cifar: Cifar) -> None:
    cifar.as_python()
    trace = cifar.root / "it ran"
    bomb = pickle.dumps({b"data": Bomb(trace), b"labels": []}, 2)
    victim = cifar.root / "cifar-python" / "data_batch_1"
    victim.write_bytes(bomb)
    message = refusal(cifar.manifest("cifar-python"), cifar.root)
    assert message.startswith(f"{victim}: not a CIFAR python batch")
    assert "mkdir" in message
    assert not trace.exists()
    pickle.loads(bomb)
    assert trace.exists(), "the bomb is one"


class Pointers:
    """Pickled as an array whose bytes NumPy, by a dtype with false flags, would follow as pointers to objects."""

    def __reduce__(self) -> tuple[Any, ...]:
        return np.empty(0).__reduce__()[0], (np.ndarray, (0,), b"b"), (1, (4,), FalseFlags(), False, b"A" * 32)


class FalseFlags:
    def __reduce__(self) -> tuple[Any, ...]:
        fields = {"a": (np.dtype("O"), 0)}
        return np.dtype, ("V8", False, True), (3, "|", None, ("a",), fields, 8, 1, 0)


def test_a_pickle_whose_bytes_would_be_pointers_is_refused(cifar: Cifar) -> None:
    cifar.as_python()
    victim = cifar.root / "cifar-python" / "data_batch_1"
    victim.write_bytes(pickle.dumps({b"data": Pointers(), b"labels": [0]}))
    assert refusal(cifar.manifest("cifar-python"), cifar.root).startswith(f"{victim}: not a CIFAR python batch")


@pytest.mark.parametrize(
    "batch",
    [
        b"",
        b"no pickle at all",
        pickle.dumps([1, 2]),
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8)}),
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 2, 3]}),
        pickle.dumps({b"data": np.zeros((2, 100), np.uint8), b"labels": [1, 2]}),
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [[1], [2]]}),
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 2]}, 2)[:-3000],
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 10]}),
    ],
    ids=[
        "empty",
        "text",
        "list",
        "no labels",
        "label too many",
        "narrow",
        "labels in columns",
        "truncated",
        "label 10",
    ],
)
def test_a_file_that_is_no_python_batch_is_named(cifar: Cifar, batch: bytes) -> None:
    cifar.as_python()
    victim = cifar.root / "cifar-python" / "data_batch_1"
    victim.write_bytes(batch)
    assert refusal(cifar.manifest("cifar-python"), cifar.root).startswith(f"{victim}: ")


@pytest.mark.parametrize(("word", "typo"), [(b"latin1", b"lat1n1"), (b"multiarray", b"multiarrey"), (b"u1", b"q9")])
def test_a_python_batch_with_a_damaged_word_is_named(cifar: Cifar, word: bytes, typo: bytes) -> None:
    cifar.as_python()
    victim = cifar.root / "cifar-python" / "data_batch_1"
    assert word in victim.read_bytes()
    victim.write_bytes(victim.read_bytes().replace(word, typo))
    assert refusal(cifar.manifest("cifar-python"), cifar.root).startswith(f"{victim}: not a CIFAR python batch")


@pytest.mark.parametrize("kept", [0, 3072, 3073 * 10 - 1])
def test_a_truncated_binary_batch_is_named(cifar: Cifar, kept: int) -> None:
    cifar.as_binary()
    victim = cifar.root / "cifar-binary" / "data_batch_1.bin"
    victim.write_bytes(victim.read_bytes()[:kept])
    message = refusal(cifar.manifest("cifar-binary"), cifar.root)
    assert message.startswith(f"{victim}: ")
    assert f"{kept} bytes" in message
    assert "3073" in message


def test_a_missing_batch_is_named(cifar: Cifar) -> None:
    cifar.as_python()
    (cifar.root / "cifar-python" / "data_batch_1").unlink()
    message = refusal(cifar.manifest("cifar-python"), cifar.root)
    assert message.startswith(f"{cifar.root / 'cifar-python' / 'data_batch_1'}: missing")
