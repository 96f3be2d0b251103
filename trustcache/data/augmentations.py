"""Augmentations of training images, in batches on their device."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from trustcache.models.to_device import to_device

if TYPE_CHECKING:
    import torch

# Up to a padding of 4 pixels for CIFAR's 32 (He et al. 2016, section 4.2).
_SHIFT = 1 / 8


def flip_crop(pixels: torch.Tensor, rng: np.random.Generator, first: int = 0, batch: int | None = None) -> torch.Tensor:
    """Mirror each image (N, C, H, W) with probability 1/2 and shift it by up to an eighth of its sides.

    The uncovered border is filled by reflection. The dtype stays.
    first, batch: of images that are part of a batch, the place of the first in it and its size; each becomes what it
    becomes in the whole batch.
    """
    import torch

    n, _, height, width = pixels.shape
    own, drawn = slice(first, first + n), n if batch is None else batch
    rows = _shifted(height, rng.integers(-int(height * _SHIFT), int(height * _SHIFT) + 1, drawn)[own])
    columns = _shifted(width, rng.integers(-int(width * _SHIFT), int(width * _SHIFT) + 1, drawn)[own])
    mirrored = rng.random(drawn)[own] < 0.5
    columns[mirrored] = columns[mirrored, ::-1]
    at_rows = to_device(torch.from_numpy(rows), pixels.device)[:, :, None]
    at_columns = to_device(torch.from_numpy(columns), pixels.device)[:, None, :]
    samples = torch.arange(n, device=pixels.device)[:, None, None]
    return pixels.permute(0, 2, 3, 1)[samples, at_rows, at_columns].permute(0, 3, 1, 2)


def _shifted(side: int, by: np.ndarray) -> np.ndarray:
    """Return the source (N, side) of each position after shifts `by` (N,), reflected at the borders."""
    places = np.abs(by[:, None] + np.arange(side))
    return (side - 1) - np.abs((side - 1) - places)


def unchanged(pixels: torch.Tensor, rng: np.random.Generator, first: int = 0, batch: int | None = None) -> torch.Tensor:
    """Return the images unchanged."""
    return pixels


AUGMENTATIONS: dict[str, Callable[..., torch.Tensor]] = {
    "none": unchanged,
    "flip-crop": flip_crop,
}
