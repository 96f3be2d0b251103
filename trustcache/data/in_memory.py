"""The images of a data set for training over many epochs: decoded once if they fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from trustcache.data.dataset import Dataset
from trustcache.data.loader import Viewer, readable, viewed_batches
from trustcache.data.progress import Progress
from trustcache.data.variants.variation import Batch
from trustcache.models.to_device import to_device

# Data sets up to this size are kept.
IN_MEMORY_BYTES = 2 * 2**30
DECODED_AT_ONCE = 256


class Images:
    """The images of a data set at a model's input size, decoded once if they take at most `IN_MEMORY_BYTES`."""

    def __init__(self, dataset: Dataset, viewer: Viewer, progress: Progress) -> None:
        self.dataset, self.viewer = dataset, viewer
        self.labels = torch.from_numpy(dataset.labels)
        height, width = viewer.preprocessing.input_size
        shape = (len(dataset), 3, height, width)
        # A variant that works on batches gives fractional values, which bytes would round.
        fits = np.prod(shape) <= IN_MEMORY_BYTES and not (dataset.variation and dataset.variation.in_batches)
        self.decoded = self._decode(shape, progress) if fits else None

    def batches(self, parts: Sequence[np.ndarray]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield pixels 0 to 255 (B, 3, H, W) and labels (B,) of each batch of sample numbers, on the model's device."""
        device = self.viewer.device
        if self.decoded is None:
            for rows, batch in zip(parts, self._stream(self.viewer, parts), strict=True):
                yield batch.pixels, to_device(self.labels[rows], device)
        else:
            for rows in parts:
                yield to_device(self.decoded[rows], device), to_device(self.labels[rows], device)

    def _decode(self, shape: tuple[int, ...], progress: Progress) -> torch.Tensor:
        pixels = torch.empty(shape, dtype=torch.uint8)
        here = replace(self.viewer, device=torch.device("cpu"))
        parts = np.split(np.arange(shape[0]), range(DECODED_AT_ONCE, shape[0], DECODED_AT_ONCE))
        with progress(f"decoding {self.dataset.manifest.name}", shape[0]) as advance:
            for rows, batch in zip(parts, self._stream(here, parts), strict=True):
                pixels[rows] = batch.pixels
                advance(len(rows))
        return pixels

    def _stream(self, viewer: Viewer, parts: Sequence[np.ndarray]) -> Iterator[Batch]:
        return readable(viewed_batches(self.dataset, viewer, parts))
