"""Numbered images of any layout, and the decoding of one image's bytes."""

from __future__ import annotations

import functools
import hashlib
import os
import posixpath
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from trustcache.data.archives import STATUS, FileTree, FolderTree
from trustcache.data.kept_looks import seen_once
from trustcache.data.progress import FEW, Progress, silent
from trustcache.errors import TrustcacheError, first_line

if TYPE_CHECKING:
    from PIL import Image

IMAGE_FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "BMP": (".bmp",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
}
"""Formats of images by Pillow's names, with the suffixes of their files. Pillow reads dozens more, and starts
Ghostscript for one of them, whatever a file's name says.
"""
IMAGE_SUFFIXES = frozenset(suffix for suffixes in IMAGE_FORMATS.values() for suffix in suffixes)

# What Pillow has to say about an odd image is no use on the terminal: it is read, or named with the reason.
warnings.filterwarnings("ignore", module=r"PIL\b")


@functools.cache
def _silence_log() -> None:
    import logging  # not by a command that decodes nothing

    logging.getLogger("PIL").addHandler(logging.NullHandler())


class BadImage(TrustcacheError):
    """An image that cannot be read; the message names it with reason and remedy, `reason` holds the reason alone."""

    def __init__(self, name: str, reason: object) -> None:
        self.reason = f"cannot be read as an image ({reason})"
        super().__init__(f"{name}: {self.reason}; replace it, or extract --on-bad-image skip leaves it out")


class Samples(ABC):
    """Numbered images of one layout: `ids` (N,) texts, `labels` (N,) int64, `classes` names in label order.

    passed_over: the number of files among them that are none of these images, by the reason. encoded: True if the bytes
    of an image are those of a file, which may be decoded in faster ways.
    """

    ids: list[str]
    labels: np.ndarray
    classes: tuple[str, ...]
    passed_over: Mapping[str, int] = MappingProxyType({})
    encoded = False

    @abstractmethod
    def raw(self, index: int) -> bytes:
        """Return the bytes that one image is decoded from. Raises BadImage."""

    @abstractmethod
    def decode(self, index: int, raw: bytes, least: tuple[int, int] | None = None) -> Image.Image:
        """Decode one image's bytes to RGB; `least` as `decode_rgb` takes it. Raises BadImage."""

    def read(self, index: int) -> Image.Image:
        """Return one image as RGB. Raises BadImage."""
        return self.decode(index, self.raw(index))

    @abstractmethod
    def take(self, numbers: np.ndarray) -> Samples:
        """Return the samples with these numbers (M,), in this order."""

    def surveyed(self, progress: Progress, assume_unchanged: bool = False) -> Samples:
        """Return the same samples, with their files as they are now: `contents` and `stamps` look at none again.

        assume_unchanged: take files for unchanged since a call with it looked at them, if their folders' times are.
        """
        return self

    @abstractmethod
    def contents(self) -> bytes:
        """Return what identifies these images beside ids and labels: file sizes, or a hash of the bytes."""

    @abstractmethod
    def stamps(self) -> bytes:
        """Return what changes whenever the bytes of one of these images do, without reading files."""


class FileSamples(Samples):
    """Image files of a tree; their names in it are the ids."""

    encoded = True

    def __init__(
        self,
        tree: FileTree,
        files: list[str],
        labels: Sequence[int] | np.ndarray,
        classes: tuple[str, ...],
        passed_over: Mapping[str, int] = MappingProxyType({}),
        status: np.ndarray | None = None,
    ) -> None:
        self._status = status
        self.tree, self.ids, self.classes, self.passed_over = tree, files, classes, dict(passed_over)
        self.labels = np.asarray(labels, dtype=np.int64)

    def raw(self, index: int) -> bytes:
        name = self.ids[index]
        try:
            return self.tree.read(name)
        except OSError as error:
            raise BadImage(f"{self.tree.root}/{name}", error.strerror or error) from None

    def decode(self, index: int, raw: bytes, least: tuple[int, int] | None = None) -> Image.Image:
        return decode_rgb(raw, f"{self.tree.root}/{self.ids[index]}", least)

    def take(self, numbers: np.ndarray) -> FileSamples:
        status = None if self._status is None else self._status[numbers]
        return FileSamples(self.tree, [self.ids[i] for i in numbers], self.labels[numbers], self.classes, status=status)

    def surveyed(self, progress: Progress, assume_unchanged: bool = False) -> FileSamples:
        def look() -> np.ndarray | None:
            shown = progress if len(self.ids) > FEW else silent
            with shown(f"looking at the files of {self.tree.root}", len(self.ids)) as advance:
                return self.tree.statuses(self.ids, advance)

        # A look at a file in a tar file is free.
        assumed = assume_unchanged and isinstance(self.tree, FolderTree)
        status = _status_before(self.tree, self.ids, look) if assumed else look()
        return FileSamples(self.tree, self.ids, self.labels, self.classes, self.passed_over, status)

    def contents(self) -> bytes:
        # Sizes rather than hashes: a look-up of file entries, not a read of 140 GB.
        if self._status is not None:
            return self._status["size"].tobytes()
        return np.fromiter(map(self.tree.size, self.ids), "<i8", len(self.ids)).tobytes()

    def stamps(self) -> bytes:
        if self._status is not None:
            return repr([stamp if stamp[0] >= 0 else () for stamp in self._status.tolist()]).encode()
        return repr([self.tree.stamp(name) for name in self.ids]).encode()


def _status_before(tree: FileTree, names: Sequence[str], look: Callable[[], np.ndarray | None]) -> np.ndarray:
    """Return what `look` returned for these files to an earlier call, if their folders' times are what they were.

    These tell of files that were added, renamed or removed, not of those written over.
    """

    def looked() -> bytes:
        found = look()
        assert found is not None  # of a folder
        return found.tobytes()

    times = [tree.stamp(folder) for folder in sorted({posixpath.dirname(name) for name in names})]
    return np.frombuffer(seen_once(f"files {os.path.realpath(tree.root)} {names}", str(times), looked), STATUS)


class ArraySamples(Samples):
    """Images read whole from a few files: uint8 (N, H, W) or (N, H, W, 3)."""

    def __init__(self, pixels: np.ndarray, ids: list[str], labels: np.ndarray, classes: tuple[str, ...]) -> None:
        self.pixels, self.ids, self.classes = pixels, ids, classes
        self.labels = np.asarray(labels, dtype=np.int64)

    def raw(self, index: int) -> bytes:
        return self.pixels[index].tobytes()

    def decode(self, index: int, raw: bytes, least: tuple[int, int] | None = None) -> Image.Image:
        from PIL import Image

        return Image.fromarray(np.frombuffer(raw, np.uint8).reshape(self.pixels.shape[1:])).convert("RGB")

    def take(self, numbers: np.ndarray) -> ArraySamples:
        return ArraySamples(self.pixels[numbers], [self.ids[i] for i in numbers], self.labels[numbers], self.classes)

    def contents(self) -> bytes:
        return hashlib.sha256(f"{self.pixels.shape[1:]}".encode() + self.pixels.tobytes()).digest()

    def stamps(self) -> bytes:
        return self.contents()


def spread_evenly(labels: np.ndarray, count: int) -> np.ndarray:
    """Return ascending numbers of `count` of the samples with labels (N,), each class in proportion to within one.

    The samples are sorted by class and taken in strides of N / count; the result is deterministic.
    """
    by_class = np.argsort(labels, kind="stable")
    middles = (2 * np.arange(count) + 1) * len(labels) // (2 * count)
    return np.sort(by_class[middles])


def decode_rgb(data: bytes, name: str, least: tuple[int, int] | None = None) -> Image.Image:
    """Decode the bytes of an image file of any mode to RGB, as the field does: EXIF orientation is left alone.

    Of 16-bit images the upper 8 bits count, whatever values occur, as OpenCV has it; a plain conversion would clip
    them. least: height and width that a JPEG may be halved down to by libjpeg, which decodes a large one several times
    as fast.
    Raises BadImage, also for floating-point images, whose range is unknown.
    """
    from PIL import Image, UnidentifiedImageError

    _silence_log()
    try:
        with Image.open(BytesIO(data), formats=list(IMAGE_FORMATS)) as image:
            if least:
                image.draft(None, least[::-1])
            return to_rgb(image)
    except UnidentifiedImageError:  # its own text names an object in memory
        raise BadImage(name, f"it is none of {', '.join(IMAGE_FORMATS)}") from None
    except Exception as error:  # Pillow's plugins may raise anything
        raise BadImage(name, first_line(error)) from None


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB, as `decode_rgb` does. Raises ValueError for floating-point values."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("its floating-point values have no fixed range; save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image.convert("RGB")
    deep = np.clip(np.asarray(image), 0, 65535)  # Pillow holds 16 bits in 32 for some formats
    return Image.fromarray((deep >> 8).astype(np.uint8)).convert("RGB")
