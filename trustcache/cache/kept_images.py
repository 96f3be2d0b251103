"""Adversarial images kept beside the shards, so that all models see the same ones, wherever and whenever they look.

A file holds what an attack made of one batch. It counts once the record of its shard has its SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trustcache.cache.publish import file_sha256, publish
from trustcache.errors import DamagedError, naming

IMAGES = r"^images-\d{8,}\.safetensors$"
"""Pattern of the files' names."""
REBUILT = "the same trustcache extract as before rebuilds the shard"
"""Remedy for a shard, and for what is kept beside it."""


class KeptImages(NamedTuple):
    """Images of a batch: samples' numbers int64 (N,), originals' hashes uint64 (N,), pixels uint8 (N, 3, H, W)."""

    indices: np.ndarray
    content: np.ndarray
    pixels: np.ndarray


def images_name(first: int) -> str:
    """Return the name of the file with the images of a batch, by the number of its first sample.

    >>> images_name(128)
    'images-00000128.safetensors'
    """
    return f"images-{first:08d}.safetensors"


def write_images(path: Path, images: KeptImages) -> str:
    """Publish the images of a batch, and return the SHA-256 of the file.

    >>> images = KeptImages(np.arange(2), np.zeros(2, np.uint64), np.zeros((2, 3, 8, 8), np.uint8))
    >>> sha256 = write_images(tmp / "images", images)
    >>> read_images(tmp / "images", sha256).pixels.shape
    (2, 3, 8, 8)
    """
    from safetensors.numpy import save

    data = save(images._asdict())
    publish(path, data)
    return hashlib.sha256(data).hexdigest()


def read_images(path: Path, sha256: str) -> KeptImages:
    """Return the images of a file. Raises DamagedError where it is gone, or not the one of that SHA-256.

    >>> read_images(tmp / "gone", "")
    Traceback (most recent call last):
    trustcache.errors.DamagedError: .../gone: missing; the same trustcache extract as before rebuilds the shard
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not path.is_file():
        raise DamagedError(f"{path}: missing; {REBUILT}")
    with naming(path):
        data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DamagedError(f"{path}: its bytes are not the ones that were written; {REBUILT}")
    try:
        found = KeptImages(**load(data))
        if (found.pixels.dtype, found.pixels.ndim) != (np.uint8, 4) or len({*map(len, found)}) > 1:
            raise ValueError("it does not hold the images of a batch")
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{path}: damaged ({error}); {REBUILT}") from None
    return found


def kept_image_fault(folder: Path, files: Mapping[str, str]) -> str | None:
    """Say which of a shard's files of images, SHA-256 by name, is missing or damaged; None if none is.

    >>> kept_image_fault(tmp, {"images-00000000.safetensors": ""})
    '.../images-00000000.safetensors: missing; the same trustcache extract as before rebuilds the shard'
    """
    for name, sha256 in files.items():
        if not (folder / name).is_file():
            return f"{folder / name}: missing; {REBUILT}"
        if file_sha256(folder / name) != sha256:
            return f"{folder / name}: its bytes are not the ones that were written; {REBUILT}"
    return None
