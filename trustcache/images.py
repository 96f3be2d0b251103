"""Data sets as numbered samples: each layout's reader gives ids, labels and decoded RGB images."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import pickle
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trustcache.errors import TrustcacheError, UsageError
from trustcache.manifest import Files, Manifest
from trustcache.variants import make_variant
from trustcache.variants.corruptions import CORRUPTIONS

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
        return np.fromiter((_size(f"{self.root}/{file}") for file in self.ids), "<i8", len(self.ids)).tobytes()


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

    16-bit images are scaled to 8 bits (a plain conversion would clip them), unless no value needs more than 8.
    Raises BadImage, also for floating-point images, whose range nobody knows.
    """
    try:
        with Image.open(file) as image:
            if image.mode == "F":
                raise ValueError("its floating-point values have no set range; save it with 8 or 16 bits")
            if not image.mode.startswith("I"):
                return image.convert("RGB")
            deep = np.clip(np.asarray(image), 0, 65535)  # Pillow holds 16 bits in 32 for some formats
            return Image.fromarray((deep >> 8 if deep.max() > 255 else deep).astype(np.uint8)).convert("RGB")
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
    if manifest.variant and manifest.variant.name not in CORRUPTIONS:
        raise UsageError(
            f"{manifest.name}: there is no corruption '{manifest.variant.name}', as its manifest's variant is called; "
            f"known are {', '.join(CORRUPTIONS)}"
        )
    samples = _READERS[files.layout][1](files, data_root, manifest)
    if not samples.ids:
        raise UsageError(f"{manifest.name}: no images in {files.describe(data_root)}; fetch its files again")
    if manifest.rows:
        if manifest.rows[1] > len(samples.ids):
            raise UsageError(
                f"{manifest.name}: its manifest's 'rows' end at {manifest.rows[1]}, but there are only "
                f"{len(samples.ids)} images in {files.describe(data_root)}; correct 'rows' or complete the files"
            )
        samples = samples.keep(*manifest.rows)
    return Dataset(manifest, samples)


# --- class folders ---------------------------------------------------------------------------------------------


def _read_folders(files: Files, data_root: Path, manifest: Manifest) -> FolderSamples:
    root = data_root / files.path
    try:
        return _list_folders(root, manifest)
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be listed ({error.strerror}); check its permissions") from None


def _list_folders(root: Path, manifest: Manifest) -> FolderSamples:
    with os.scandir(root) as entries:
        folders = [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]
    if not folders:
        raise UsageError(f"{root}: holds no class folders; images belong in {root}/<class>/")
    classes = manifest.classes or tuple(sorted(folders, key=_folder_order))
    number = {name: label for label, name in enumerate(classes)}
    if strangers := sorted(folder for folder in folders if folder not in number):
        raise UsageError(
            f"{root}: folder '{strangers[0]}' is none of the {len(classes)} classes of '{manifest.name}' "
            f"(they begin with '{classes[0]}'); name the classes in label order in a manifest, or move it away"
        )
    ids: list[str] = []
    labels: list[int] = []
    for folder in sorted(folders, key=number.__getitem__):
        inside = sorted(_images_below(f"{root}/{folder}", f"{folder}/"))
        if not inside:
            raise UsageError(f"{root / folder}: class folder without images; add some or remove the folder")
        ids += inside
        labels += [number[folder]] * len(inside)
    return FolderSamples(root, ids, labels, classes)


def _folder_order(name: str) -> tuple[int, str]:
    # ImageNetV2 and others name folders by number: 10 comes after 9, not after 1.
    return (int(name), name) if name.isdecimal() else (-1, name)


def _images_below(folder: str, prefix: str) -> list[str]:
    """The image files in a folder and its folders, each after `prefix`; hidden ones do not count.

    Plain strings and directory entries: ImageNet's 1.28 million paths would take pathlib ten times as long.
    """
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith("."):
                continue
            if entry.is_dir():
                found += _images_below(entry.path, f"{prefix}{name}/")
            elif os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                found.append(prefix + name)
    return found


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:  # a dangling link: listed, and named as a bad image when it is read
        return -1


# --- CIFAR's own batches ---------------------------------------------------------------------------------------


class _ArrayUnpickler(pickle.Unpickler):
    """Reads pickled arrays and lists, and refuses everything else: a data file must not run code."""

    _ALLOWED = frozenset(
        {
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "scalar"),
            ("numpy._core.numeric", "_frombuffer"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core.", "numpy._core.")  # NumPy's home before 2.0, as in the original files
        if (module, name) in self._ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _read_cifar(
    files: Files, data_root: Path, manifest: Manifest, load: Callable[[Path], tuple[np.ndarray, np.ndarray]]
) -> ArraySamples:
    classes = _classes(manifest)
    pixels, labels, ids = [], [], []
    for member in files.members:
        path = data_root / files.path / member
        if not path.is_file():
            raise UsageError(f"{path}: missing beside its sister files; unpack the archive again")
        batch, label = load(path)
        if batch.ndim != 2 or batch.shape[1] != 3072 or label.shape != (len(batch),):
            raise UsageError(f"{path}: expected rows of 3072 bytes with a label each; unpack the archive again")
        pixels.append(batch.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels.append(_checked_labels(label, classes, path))
        ids += [f"{member}/{row:05d}" for row in range(len(label))]
    return ArraySamples(np.concatenate(pixels), ids, np.concatenate(labels), classes)


def _load_python_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with path.open("rb") as file:
            batch = _ArrayUnpickler(file, encoding="bytes").load()
        return np.asarray(batch[b"data"], dtype=np.uint8), np.asarray(batch[b"labels"], dtype=np.int64)
    except Exception as error:  # there is hardly one that a broken pickle cannot draw
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(f"{path}: not a CIFAR-10 python batch ({reason}); unpack the archive again") from error


def _load_binary_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    flat = np.fromfile(path, dtype=np.uint8)
    if flat.size == 0 or flat.size % 3073:
        raise UsageError(
            f"{path}: its {flat.size} bytes are no whole number of 3073-byte records; unpack the archive again"
        )
    rows = flat.reshape(-1, 3073)
    return rows[:, 1:], rows[:, 0].astype(np.int64)


# --- MNIST's idx files -----------------------------------------------------------------------------------------


def _idx_path(data_root: Path, name: str) -> Path | None:
    plain = data_root / name
    return next((p for p in (plain, plain.with_name(plain.name + ".gz")) if p.is_file()), None)


def _read_idx(files: Files, data_root: Path, manifest: Manifest) -> ArraySamples:
    images_path, labels_path = _idx_path(data_root, files.images), _idx_path(data_root, files.labels)
    if images_path is None or labels_path is None:
        missing = files.labels if images_path else files.images
        raise UsageError(f"{data_root / missing}[.gz]: missing beside its sister file; fetch it too")
    classes = _classes(manifest)
    pixels, labels = _load_idx(images_path, 2051), _load_idx(labels_path, 2049)
    if len(pixels) != len(labels):
        raise UsageError(
            f"{labels_path}: {len(labels)} labels for the {len(pixels)} images in {images_path}; "
            "fetch the two that belong together"
        )
    ids = [f"{files.images}/{row:05d}" for row in range(len(labels))]
    return ArraySamples(pixels, ids, _checked_labels(labels, classes, labels_path), classes)


def _load_idx(path: Path, magic: int) -> np.ndarray:
    """Read an idx file of bytes: a big-endian magic number, the sizes of its 1 or 3 axes, then the bytes."""
    try:
        raw = path.read_bytes()
        if raw.startswith(b"\x1f\x8b"):  # by content: browsers unpack .gz files and keep the name
            raw = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path}: cannot be unpacked ({error}); fetch it again") from None
    axes = magic & 0xFF
    if len(raw) < 4 + 4 * axes or struct.unpack(">I", raw[:4])[0] != magic:
        raise UsageError(f"{path}: not an idx file with magic number {magic}; fetch it again")
    shape = struct.unpack(f">{axes}I", raw[4 : 4 + 4 * axes])
    body = np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * axes)
    if body.size != math.prod(shape):
        raise UsageError(
            f"{path}: holds {body.size} bytes where its header promises {math.prod(shape)}; fetch it again"
        )
    return body.reshape(shape)


# --- scikit-learn's digits -------------------------------------------------------------------------------------


def _read_digits(files: Files, data_root: Path, manifest: Manifest) -> ArraySamples:
    from sklearn.datasets import load_digits

    digits = load_digits()
    # Grey values run from 0 to 16.
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    ids = [f"{row:04d}" for row in range(len(pixels))]
    return ArraySamples(pixels, ids, digits.target, _classes(manifest))


def _classes(manifest: Manifest) -> tuple[str, ...]:
    """The class names of a layout that has none of its own."""
    return manifest.classes or tuple(str(digit) for digit in range(10))


def _checked_labels(labels: np.ndarray, classes: tuple[str, ...], path: Path) -> np.ndarray:
    if labels.size and not 0 <= labels.min() <= labels.max() < len(classes):
        raise UsageError(
            f"{path}: has labels from {labels.min()} to {labels.max()} where there are {len(classes)} classes; "
            "it is another data set's, or its manifest must name all its 'classes'"
        )
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
