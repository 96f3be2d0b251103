"""Keep the adversarial images of an extraction, and take those that are kept already instead of making them again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from trustcache.cache.index import Index
from trustcache.cache.kept_images import KeptImages, images_name, read_images, write_images
from trustcache.data.pipeline import Waits
from trustcache.errors import DamagedError

if TYPE_CHECKING:  # torch takes seconds to import, and the command line reads the settings
    import torch

    from trustcache.data.variants.variation import Batch


class ImageKeeper:
    """The images of one cache's shards, as `Viewer.transformed` takes it.

    index: of the cache. others: caches that may hold images of the same classifier and data set, to be taken over.
    """

    def __init__(self, index: Index, others: Iterable[Index], waits: Waits) -> None:
        self.index, self.waits = index, waits
        sources = [index, *(other for other in others if _same_images(index, other))]
        self._there = [(path, sha256) for source in sources for path, sha256 in source.kept_images.items()]
        self._made: dict[int, dict[str, str]] = {}

    def __call__(self, batch: Batch, transform: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Return the pixels of a batch, whole numbers from 0 to 255 in float32, once they are kept."""
        import torch

        first = int(batch.indices[0])
        path = self.index.folder / images_name(first)
        made = self._made.setdefault(first // self.index.meaning.shard_rows, {})
        with self.waits("disk"):
            images = self._found(batch)
        if images is None:
            pixels = transform().round().byte().cpu().numpy()
            images = KeptImages(batch.indices, batch.content, pixels)
        with self.waits("disk"):
            made[path.name] = write_images(path, images)
        return torch.from_numpy(images.pixels).to(batch.pixels.device).float()

    def of_shard(self, number: int) -> dict[str, str]:
        """Return the SHA-256 of each file of a shard, by name."""
        return self._made.get(number, {})

    def _found(self, batch: Batch) -> KeptImages | None:
        """Return the images of a batch that are kept already, None where there are none, or only damaged ones."""
        name = images_name(int(batch.indices[0]))
        for path, sha256 in self._there:
            with contextlib.suppress(DamagedError):
                images = read_images(path, sha256) if path.name == name else None
                if images and all(map(np.array_equal, images[:2], (batch.indices, batch.content))):
                    return images
        return None


def _same_images(index: Index, other: Index) -> bool:
    """Return True if a cache is of the same data set, attacked for the same classifier, whatever else it holds."""
    return other.folder != index.folder and (other.identity, other.meaning.data) == (index.identity, index.meaning.data)
