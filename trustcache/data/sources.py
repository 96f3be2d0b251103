"""Images as a model takes them, of a data set or of files, in pieces that any process decodes."""

from __future__ import annotations

import math
import mmap
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import xxhash
from PIL import Image

from trustcache.data.content import content_of
from trustcache.data.dataset import Dataset
from trustcache.data.pictures import picture_of
from trustcache.data.samples import BadImage
from trustcache.data.variants.variation import Batch
from trustcache.models.preprocessing import Preprocessing

# A process decodes a piece of a batch of about so many bytes: a batch waits for all of them, not for one.
_PIECE_BYTES = 2 << 20
_FEWEST = 8
# Images that a process reads at once for a GPU to decode, and about the most bytes of one.
_ENCODED = 32
_ENCODED_BYTES = 128 << 10


@dataclass(frozen=True)
class Source(ABC):
    """Images by number as a model takes them."""

    preprocessing: Preprocessing

    @property
    @abstractmethod
    def name(self) -> str:
        """What messages call the images."""

    @abstractmethod
    def labels(self, numbers: np.ndarray) -> np.ndarray:
        """Return the labels (N,) int64 of some images."""

    @abstractmethod
    def why_bad(self, error: BadImage) -> str:
        """Return what a batch says of an image that cannot be read."""

    @abstractmethod
    def made(self, number: int, kept: Kept | None) -> tuple[int, torch.Tensor, Any]:
        """Return an image's content, its pixels uint8 (3, H, W), and those of its companion, if any. Raises BadImage.

        Where it `packs`, its content, its bytes, and its height and width as `gpu_decoding.packed` does.
        """

    @property
    def packs(self) -> bool:
        """True if images are packed for a GPU to decode."""
        return False

    def pieces(self, batch: np.ndarray) -> list[np.ndarray]:
        """Cut the numbers (B,) of a batch into those that are decoded by one process."""
        step = self.piece_bytes // self._image_bytes
        return [batch[first : first + step] for first in range(0, max(len(batch), 1), step)]

    @property
    def piece_bytes(self) -> int:
        """The most bytes of a piece's pixels; what most pieces take that are packed for a GPU."""
        return max(_PIECE_BYTES, (_ENCODED if self.packs else _FEWEST) * self._image_bytes)

    @property
    def _image_bytes(self) -> int:
        """The bytes of an image as the model takes it, or as it is packed."""
        return _ENCODED_BYTES if self.packs else 3 * math.prod(self.preprocessing.input_size)

    def batch(self, numbers: Sequence[int], kept: Kept | None = None, buffer: torch.Tensor | None = None) -> Batch:
        """Return some images, decoded or packed.

        buffer: uint8 (M,), what `pixels` are written to if there is room for them.
        """
        good, bad = [], {}
        for number in numbers:
            try:
                good.append((number, *self.made(number, kept)))
            except BadImage as error:
                bad[number] = self.why_bad(error)
        indices = np.array([sample[0] for sample in good], dtype=np.int64)
        content = np.array([sample[1] for sample in good], dtype=np.uint64)
        about = indices, self.labels(indices)
        images: list[torch.Tensor] = [sample[2] for sample in good]
        others = [sample[3] for sample in good if sample[3] is not None]
        if not good:
            return Batch(*about, torch.empty(0, 3, 1, 1, dtype=torch.uint8), None, bad, content)
        count = sum(image.numel() for image in images)
        room = buffer[:count] if buffer is not None and count <= len(buffer) else torch.empty(count, dtype=torch.uint8)
        if self.packs:
            sizes = [(len(image), *size) for image, size in zip(images, others, strict=True)]
            return Batch(*about, torch.cat(images, out=room), None, bad, content, np.array(sizes, dtype=np.int64))
        pixels = torch.stack(images, out=room.view(-1, *images[0].shape))
        return Batch(*about, pixels, torch.stack(others) if others else None, bad, content)


@dataclass(frozen=True)
class DatasetSource(Source):
    """The images of a data set, decoded in one of the ways in `DECODERS`."""

    dataset: Dataset
    decode: str = "pil"

    @property
    def name(self) -> str:
        return self.dataset.manifest.name

    def labels(self, numbers: np.ndarray) -> np.ndarray:
        return self.dataset.labels[numbers]

    def why_bad(self, error: BadImage) -> str:
        return str(error)

    def made(self, number: int, kept: Kept | None) -> tuple[int, torch.Tensor, Any]:
        return self._packed(number) if self.packs else self._decoded(number, kept)

    @property
    def packs(self) -> bool:
        return self.decode == "gpu"

    @cached_property
    def _transform(self) -> Callable[[Any], torch.Tensor]:
        """PIL image to a uint8 tensor (3, H, W)."""
        transform: Callable[[Any], torch.Tensor] = self.preprocessing.transform()
        return transform

    def _packed(self, number: int) -> tuple[int, torch.Tensor, Any]:
        from trustcache.data.gpu_decoding import packed

        raw = self.dataset.samples.raw(number)
        return content_of(raw), *packed(raw, self.dataset.ids[number])

    def _decoded(self, number: int, kept: Kept | None) -> tuple[int, torch.Tensor, Any]:
        dataset = self.dataset
        raw = dataset.samples.raw(number)
        content, side = content_of(raw), dataset.manifest.variant and dataset.manifest.variant.crop
        if kept and side:
            image = kept.image(number, content, side, lambda: dataset.prepared(number, raw))
        else:
            image = dataset.prepared(number, raw, self._least)
        pixels = self._transform(dataset.varied(number, image))
        companion = dataset.variation.companion(number) if dataset.variation else None
        return content, pixels, self._transform(companion) if companion else None

    @property
    def _least(self) -> tuple[int, int] | None:
        """Height and width before the crop, which a draft must have."""
        if self.decode != "draft":
            return None
        height, width = (math.ceil(side / self.preprocessing.crop_pct) for side in self.preprocessing.input_size)
        return height, width


@dataclass(frozen=True)
class PictureSource(Source):
    """Images without labels, each anything that `picture_of` takes; why one cannot be read is told in few words.

    second: of another network, whose view of an image is its companion.
    """

    images: Sequence[Any]
    second: Preprocessing | None = None

    @property
    def name(self) -> str:
        return f"{len(self.images):,} images"

    def labels(self, numbers: np.ndarray) -> np.ndarray:
        return np.zeros(len(numbers), dtype=np.int64)

    def why_bad(self, error: BadImage) -> str:
        return error.reason

    def made(self, number: int, kept: Kept | None) -> tuple[int, torch.Tensor, Any]:
        pixels, *others = picture_of(self.images[number]).pixels_of(self._transforms)
        return 0, pixels, others[0] if others else None

    @cached_property
    def _transforms(self) -> list[Callable[[Any], torch.Tensor]]:
        return [each.transform() for each in (self.preprocessing, self.second) if each]


class Kept:
    """Square images by number, in memory that all decoding processes share; what does not fit is not kept."""

    _HASH_BYTES = 8

    def __init__(self, size: int) -> None:
        # Anonymous: takes no page before it is written to, and fills no disk.
        self._memory = mmap.mmap(-1, size)

    def image(self, number: int, content: int, side: int, decode: Callable[[], Image.Image]) -> Image.Image:
        """Return the image of a content and side that is kept as `number`; else the one that `decode` returns, kept."""
        size = 3 * side * side
        start = number * (self._HASH_BYTES + size)
        first, end = start + self._HASH_BYTES, start + self._HASH_BYTES + size
        if end > len(self._memory):
            return decode()
        there = self._memory[first:end]
        # Hashed with its pixels: images of another size may lie across them.
        if self._memory[start:first] == _hash(content, side, there):
            return Image.frombytes("RGB", (side, side), there)
        image = decode()
        pixels = image.tobytes()
        self._memory[first:end] = pixels
        self._memory[start:first] = _hash(content, side, pixels)
        return image


def _hash(content: int, side: int, pixels: bytes) -> bytes:
    return xxhash.xxh3_64_digest(pixels + f"{content} {side}".encode())
