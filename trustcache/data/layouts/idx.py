"""MNIST's idx files, gzipped or not."""

from __future__ import annotations

import math
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np

from trustcache.data.archives import LARGEST_FILE, read_file
from trustcache.data.layouts.numbers import checked_labels, class_names
from trustcache.data.samples import ArraySamples
from trustcache.errors import UsageError


def idx_exists(data_root: Path, images: str, labels: str) -> bool:
    """Return True if the file of images is there."""
    return _idx_path(data_root, images) is not None


def read_idx(data_root: Path, classes: tuple[str, ...] | None, images: str, labels: str) -> ArraySamples:
    """Read grey images (N, H, W) from one file and their labels from another."""
    images_path, labels_path = _idx_path(data_root, images), _idx_path(data_root, labels)
    if images_path is None or labels_path is None:
        missing = labels if images_path else images
        raise UsageError(f"{data_root / missing}[.gz]: missing; fetch it too")
    names = class_names(classes)
    pixels, numbers = _load_idx(images_path, 2051), _load_idx(labels_path, 2049)
    if len(pixels) != len(numbers):
        raise UsageError(
            f"{labels_path}: {len(numbers)} labels for the {len(pixels)} images in {images_path}; "
            "fetch the two that belong together"
        )
    ids = [f"{images}/{row:05d}" for row in range(len(numbers))]
    return ArraySamples(pixels, ids, checked_labels(numbers, names, labels_path), names)


def _idx_path(data_root: Path, name: str) -> Path | None:
    """Return the path of an idx file, gzipped or not, None where there is neither."""
    plain = data_root / name
    return next((p for p in (plain, plain.with_name(plain.name + ".gz")) if p.is_file()), None)


def _load_idx(path: Path, magic: int) -> np.ndarray:
    """Read an idx file of bytes: a big-endian magic number, the sizes of its 1 or 3 axes, then the bytes."""
    try:
        raw = read_file(str(path))
        if raw.startswith(b"\x1f\x8b"):  # by content: browsers unpack .gz files and keep the name
            import gzip

            raw = gzip.GzipFile(fileobj=BytesIO(raw)).read(LARGEST_FILE)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path}: cannot be unpacked ({error}); fetch it again") from None
    axes = magic & 0xFF
    if len(raw) < 4 + 4 * axes or struct.unpack(">I", raw[:4])[0] != magic:
        raise UsageError(f"{path}: not an idx file with magic number {magic}; fetch it again")
    shape = struct.unpack(f">{axes}I", raw[4 : 4 + 4 * axes])
    body = np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * axes)
    if body.size != math.prod(shape):
        raise UsageError(f"{path}: holds {body.size} bytes, but its header says {math.prod(shape)}; fetch it again")
    return body.reshape(shape)
