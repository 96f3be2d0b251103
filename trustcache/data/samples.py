"""Numbered images, whatever layout they came from, and how the bytes of one are decoded."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from io import BytesIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from trustcache.data.archives import FileTree
from trustcache.errors import TrustcacheError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".webp", ".tif", ".tiff", ".gif"})


UNREADABLE = (OSError, SyntaxError, ValueError, RuntimeError, Image.DecompressionBombError)
"""What Pillow and its plugins raise for the bytes of a broken image."""


class BadImage(TrustcacheError):
    """One image that cannot be read; the text names it and says why and what to do, `reason` only why."""

    def __init__(self, name: str, reason: object) -> None:
        self.reason = f"cannot be read as an image ({reason})"
        super().__init__(f"{name}: {self.reason}; replace it or use --on-bad-image skip")


class Samples(ABC):
    """Numbered images of one layout: `ids` (N,) texts, `labels` (N,) int64, `classes` names in label order."""

    ids: list[str]
    labels: np.ndarray
    classes: tuple[str, ...]

    @abstractmethod
    def read(self, index: int) -> Image.Image:
        """Decode one image to RGB. Raises BadImage."""

    @abstractmethod
    def take(self, numbers: np.ndarray) -> Samples:
        """The samples of these numbers (M,), in this order."""

    @abstractmethod
    def contents(self) -> bytes:
        """What, beside ids and labels, tells these images from others: file sizes, or the bytes themselves."""


class FileSamples(Samples):
    """Image files of a tree; their names in it are the ids."""

    def __init__(self, tree: FileTree, files: list[str], labels: list[int], classes: tuple[str, ...]) -> None:
        self.tree, self.ids, self.classes = tree, files, classes
        self.labels = np.asarray(labels, dtype=np.int64)

    def read(self, index: int) -> Image.Image:
        name = self.ids[index]
        try:
            data = self.tree.read(name)
        except OSError as error:
            raise BadImage(f"{self.tree.root}/{name}", error.strerror or error) from None
        return decode_rgb(data, f"{self.tree.root}/{name}")

    def take(self, numbers: np.ndarray) -> FileSamples:
        return FileSamples(self.tree, [self.ids[i] for i in numbers], self.labels[numbers].tolist(), self.classes)

    def contents(self) -> bytes:
        # Sizes rather than hashes: one look at a file's entry, not a read of 140 GB.
        return np.fromiter(map(self.tree.size, self.ids), "<i8", len(self.ids)).tobytes()


class ArraySamples(Samples):
    """Images that came whole out of a few files: uint8 (N, H, W) or (N, H, W, 3)."""

    def __init__(self, pixels: np.ndarray, ids: list[str], labels: np.ndarray, classes: tuple[str, ...]) -> None:
        self.pixels, self.ids, self.classes = pixels, ids, classes
        self.labels = np.asarray(labels, dtype=np.int64)

    def read(self, index: int) -> Image.Image:
        return Image.fromarray(np.asarray(self.pixels[index])).convert("RGB")

    def take(self, numbers: np.ndarray) -> ArraySamples:
        return ArraySamples(self.pixels[numbers], [self.ids[i] for i in numbers], self.labels[numbers], self.classes)

    def contents(self) -> bytes:
        return hashlib.sha256(self.pixels.tobytes()).digest()


def spread_evenly(labels: np.ndarray, count: int) -> np.ndarray:
    """The numbers, ascending, of `count` of the samples with labels (N,): every class in its share, to within one.

    Sorted by class, as folders lie, the samples are taken in strides of N / count; the same ones every time.
    """
    by_class = np.argsort(labels, kind="stable")
    middles = (2 * np.arange(count) + 1) * len(labels) // (2 * count)
    return np.sort(by_class[middles])


def decode_rgb(data: bytes, name: str) -> Image.Image:
    """Decode the bytes of an image file of any mode to RGB, as the field does: EXIF orientation is left alone.

    16-bit images are scaled to 8 bits (a plain conversion would clip them), unless no value needs more than 8.
    Raises BadImage, also for floating-point images, whose range nobody knows.
    """
    try:
        with Image.open(BytesIO(data)) as image:
            return to_rgb(image)
    except UnidentifiedImageError:  # its own text names an object in memory
        raise BadImage(name, "it is in no known image format") from None
    except UNREADABLE as error:
        raise BadImage(name, error) from None


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode in RGB, as `decode_rgb` says. Raises ValueError for floating-point values."""
    if image.mode == "F":
        raise ValueError("its floating-point values have no set range; save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image.convert("RGB")
    deep = np.clip(np.asarray(image), 0, 65535)  # Pillow holds 16 bits in 32 for some formats
    return Image.fromarray((deep >> 8 if deep.max() > 255 else deep).astype(np.uint8)).convert("RGB")
