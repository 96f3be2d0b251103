"""Data sets as numbered samples: each layout's reader gives ids, labels and decoded RGB images."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trustcache.errors import TrustcacheError, UsageError
from trustcache.manifest import Files, Manifest
from trustcache.variants import make_variant

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".webp", ".tif", ".tiff", ".gif"})


class BadImage(TrustcacheError):
    """One image that cannot be read; the text names it and says why."""


class Samples(ABC):
    """Numbered images of one layout: `ids` (N,) texts, `labels` (N,) int64, `classes` names in label order."""

    ids: list[str]
    labels: np.ndarray
    classes: tuple[str, ...]

    @abstractmethod
    def read(self, index: int) -> Image.Image:
        """Decode one image to RGB. Raises BadImage."""

    @abstractmethod
    def keep(self, start: int, stop: int) -> Samples:
        """The samples from `start` up to `stop`."""

    @abstractmethod
    def contents(self) -> bytes:
        """What, beside ids and labels, tells these images from others: file sizes, or the bytes themselves."""


class FolderSamples(Samples):
    """Image files in class folders."""

    def __init__(self, root: Path, files: list[str], labels: list[int], classes: tuple[str, ...]) -> None:
        self.root, self.ids, self.classes = root, files, classes
        self.labels = np.asarray(labels, dtype=np.int64)

    def read(self, index: int) -> Image.Image:
        return read_rgb(self.root / self.ids[index])

    def keep(self, start: int, stop: int) -> FolderSamples:
        return FolderSamples(self.root, self.ids[start:stop], self.labels[start:stop].tolist(), self.classes)

    def contents(self) -> bytes:
        # Sizes rather than hashes: one look at a file's entry, not a read of 140 GB.
        return np.array([os.stat(self.root / file).st_size for file in self.ids], dtype="<i8").tobytes()


class ArraySamples(Samples):
    """Images that came whole out of a few files: uint8 (N, H, W) or (N, H, W, 3)."""

    def __init__(self, pixels: np.ndarray, ids: list[str], labels: np.ndarray, classes: tuple[str, ...]) -> None:
        self.pixels, self.ids, self.classes = pixels, ids, classes
        self.labels = np.asarray(labels, dtype=np.int64)

    def read(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index]).convert("RGB")

    def keep(self, start: int, stop: int) -> ArraySamples:
        part = slice(start, stop)
        return ArraySamples(self.pixels[part], self.ids[part], self.labels[part], self.classes)

    def contents(self) -> bytes:
        return hashlib.sha256(self.pixels.tobytes()).digest()


class Dataset:
    """A data set ready to read: the samples its manifest describes, with its variant applied."""

    def __init__(self, manifest: Manifest, samples: Samples) -> None:
        self.manifest, self.samples = manifest, samples
        self.ids, self.labels, self.classes = samples.ids, samples.labels, samples.classes
        self._vary = make_variant(manifest.variant) if manifest.variant else None

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int) -> Image.Image:
        """Sample `index` as an RGB image. Raises BadImage."""
        image = self.samples.read(index)
        return self._vary(image, index) if self._vary else image

    def fingerprint(self) -> str:
        """SHA-256 over ids, labels, class names and the files' sizes (or pixels): what the numbers were made from."""
        digest = hashlib.sha256(self.samples.contents())
        digest.update(self.labels.astype("<i8").tobytes())
        digest.update("\0".join([*self.ids, *self.classes]).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def read_rgb(file: Path) -> Image.Image:
    """Decode an image file of any mode to RGB, as the field does: EXIF orientation is left alone.

    16-bit images are scaled to 8 bits (a plain conversion would clip them). Raises BadImage.
    """
    try:
        with Image.open(file) as image:
            if not image.mode.startswith("I"):
                return image.convert("RGB")
            deep = np.asarray(image).astype(np.int64)
            return Image.fromarray((deep >> 8 if deep.max(initial=0) > 255 else deep).astype(np.uint8)).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadImage(f"{file}: cannot be read as an image ({error}); replace it or use --on-bad-image skip") from None


def available(manifest: Manifest, data_root: Path) -> Files | None:
    """The first of the manifest's places that exists, or None."""
    return next((f for f in manifest.files if _READERS[f.layout][0](f, data_root)), None)


def open_dataset(manifest: Manifest, data_root: Path) -> Dataset:
    """List a data set's samples. Raises UsageError where its files are missing or not what the manifest says."""
    files = available(manifest, data_root)
    if files is None:
        places = " or ".join(f.describe(data_root) for f in manifest.files)
        remedy = f"; {manifest.source}" if manifest.source else ""
        raise UsageError(f"{manifest.name}: no images found; looked for {places}{remedy} (or set --data-root)")
    samples = _READERS[files.layout][1](files, data_root, manifest)
    if manifest.rows:
        samples = samples.keep(*manifest.rows)
    if not samples.ids:
        raise UsageError(f"{manifest.name}: no images in {files.describe(data_root)}")
    return Dataset(manifest, samples)


# --- class folders ---------------------------------------------------------------------------------------------


def _read_folders(files: Files, data_root: Path, manifest: Manifest) -> FolderSamples:
    root = data_root / files.path
    folders = sorted((e.name for e in os.scandir(root) if e.is_dir() and not e.name.startswith(".")), key=_folder_order)
    if not folders:
        raise UsageError(f"{root}: holds no class folders; images belong in {root}/<class>/")
    classes = manifest.classes or tuple(folders)
    if strangers := [f for f in folders if f not in set(classes)]:
        raise UsageError(
            f"{root}: folder '{strangers[0]}' is none of the {len(classes)} classes of '{manifest.name}' "
            f"(they begin with '{classes[0]}'); name the classes in label order in a manifest, or move it away"
        )
    number = {name: label for label, name in enumerate(classes)}
    ids: list[str] = []
    labels: list[int] = []
    for folder in sorted(folders, key=number.__getitem__):
        inside = sorted(_images_below(root / folder))
        if not inside:
            raise UsageError(f"{root / folder}: class folder without images; add some or remove the folder")
        ids += [f"{folder}/{name}" for name in inside]
        labels += [number[folder]] * len(inside)
    return FolderSamples(root, ids, labels, classes)


def _folder_order(name: str) -> tuple[int, str]:
    # ImageNetV2 and others name folders by number: 10 comes after 9, not after 1.
    return (int(name), name) if name.isdecimal() else (-1, name)


def _images_below(folder: Path) -> list[str]:
    return [
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, _, names in os.walk(folder)
        for name in names
        if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")
    ]


# --- CIFAR's own batches ---------------------------------------------------------------------------------------


class _ArrayUnpickler(pickle.Unpickler):
    """Reads pickled arrays and lists, and refuses everything else: a data file must not run code."""

    _ALLOWED = frozenset({"_reconstruct", "ndarray", "dtype", "encode", "scalar"})

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] in ("numpy", "_codecs") and name in self._ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _read_cifar(
    files: Files, data_root: Path, manifest: Manifest, load: Callable[[Path], tuple[np.ndarray, np.ndarray]]
) -> ArraySamples:
    pixels, labels, ids = [], [], []
    for member in files.members:
        path = data_root / files.path / member
        if not path.is_file():
            raise UsageError(f"{path}: missing beside its sister files; unpack the archive again")
        batch, label = load(path)
        if batch.ndim != 2 or batch.shape[1] != 3072 or len(label) != len(batch):
            raise UsageError(f"{path}: expected rows of 3072 bytes with a label each; unpack the archive again")
        pixels.append(batch.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels.append(label)
        ids += [f"{member}/{row:05d}" for row in range(len(label))]
    return ArraySamples(
        np.concatenate(pixels),
        ids,
        _checked_labels(np.concatenate(labels), manifest, files),
        _classes(manifest, 10),
    )


def _load_python_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with path.open("rb") as file:
            batch = _ArrayUnpickler(file, encoding="bytes").load()
        return np.asarray(batch[b"data"], dtype=np.uint8), np.asarray(batch[b"labels"], dtype=np.int64)
    except (pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: not a CIFAR-10 python batch ({error}); unpack the archive again") from None


def _load_binary_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    flat = np.fromfile(path, dtype=np.uint8)
    if flat.size == 0 or flat.size % 3073:
        raise UsageError(f"{path}: {flat.size} bytes are no whole number of 3073-byte records; unpack it again")
    rows = flat.reshape(-1, 3073)
    return rows[:, 1:], rows[:, 0].astype(np.int64)


# --- MNIST's idx files -----------------------------------------------------------------------------------------


def _idx_path(data_root: Path, name: str) -> Path | None:
    plain = data_root / name
    return next((p for p in (plain, plain.with_name(plain.name + ".gz")) if p.is_file()), None)


def _read_idx(files: Files, data_root: Path, manifest: Manifest) -> ArraySamples:
    images_path, labels_path = _idx_path(data_root, files.images), _idx_path(data_root, files.labels)
    if images_path is None or labels_path is None:
        raise UsageError(f"{manifest.name}: {files.images} and {files.labels} belong together; one is missing")
    pixels, labels = _load_idx(images_path, 2051), _load_idx(labels_path, 2049)
    if len(pixels) != len(labels):
        raise UsageError(f"{labels_path}: {len(labels)} labels for {len(pixels)} images in {images_path.name}")
    ids = [f"{files.images}/{row:05d}" for row in range(len(labels))]
    return ArraySamples(pixels, ids, _checked_labels(labels, manifest, files), _classes(manifest, 10))


def _load_idx(path: Path, magic: int) -> np.ndarray:
    """Read an idx file of bytes: a big-endian magic number, the sizes of its 1 or 3 axes, then the bytes."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise UsageError(f"{path}: cannot be unpacked ({error}); fetch it again") from None
    axes = magic & 0xFF
    if len(raw) < 4 + 4 * axes or struct.unpack(">i", raw[:4])[0] != magic:
        raise UsageError(f"{path}: not an idx file with magic number {magic}; fetch it again")
    shape = struct.unpack(f">{axes}i", raw[4 : 4 + 4 * axes])
    body = np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * axes)
    if body.size != np.prod(shape):
        raise UsageError(f"{path}: holds {body.size} bytes where its header promises {np.prod(shape)}; fetch it again")
    return body.reshape(shape)


# --- scikit-learn's digits -------------------------------------------------------------------------------------


def _read_digits(files: Files, data_root: Path, manifest: Manifest) -> ArraySamples:
    from sklearn.datasets import load_digits

    digits = load_digits()
    # Grey values run from 0 to 16.
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    ids = [f"{row:04d}" for row in range(len(pixels))]
    return ArraySamples(pixels, ids, digits.target, _classes(manifest, 10))


def _classes(manifest: Manifest, number: int) -> tuple[str, ...]:
    return manifest.classes or tuple(str(c) for c in range(number))


def _checked_labels(labels: np.ndarray, manifest: Manifest, files: Files) -> np.ndarray:
    number = len(_classes(manifest, 10))
    if labels.size and not 0 <= labels.min() <= labels.max() < number:
        raise UsageError(f"{files.path or files.labels}: labels outside 0 to {number - 1}; it is another data set's")
    return labels


_Exists = Callable[[Files, Path], bool]
_Read = Callable[[Files, Path, Manifest], Samples]
_READERS: dict[str, tuple[_Exists, _Read]] = {
    "folders": (lambda f, root: (root / f.path).is_dir(), _read_folders),
    "cifar-python": (
        lambda f, root: (root / f.path / f.members[0]).is_file(),
        lambda f, root, m: _read_cifar(f, root, m, _load_python_batch),
    ),
    "cifar-binary": (
        lambda f, root: (root / f.path / f.members[0]).is_file(),
        lambda f, root, m: _read_cifar(f, root, m, _load_binary_batch),
    ),
    "idx": (lambda f, root: _idx_path(root, f.images) is not None, _read_idx),
    "digits": (lambda f, root: True, _read_digits),
}
