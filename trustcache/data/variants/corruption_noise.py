"""The noise corruptions: gaussian, shot, impulse and speckle.

Every function of the four `corruption_*` modules takes an image as float64 (H, W, 3) in [0, 1], the generator that
all its randomness comes from, and one severity's settings; it returns the same shape, which the caller clips to [0, 1].
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float64]
Rng: TypeAlias = "np.random.Generator"  # as text: numpy.random is slow to import


def gaussian_noise(image: Pixels, rng: Rng, scale: float) -> Pixels:
    """Add independent normal noise of standard deviation `scale` to every channel of every pixel."""
    return image + rng.normal(scale=scale, size=image.shape)


def shot_noise(image: Pixels, rng: Rng, photons: float) -> Pixels:
    """Replace each value by a Poisson count, `photons` being the expected count of a value of 1."""
    return rng.poisson(image * photons) / photons


def impulse_noise(image: Pixels, rng: Rng, amount: float) -> Pixels:
    """Set a share `amount` of all values to 0 or 1, each half of the time (salt and pepper)."""
    draw = rng.random(image.shape)
    return np.where(draw < amount, draw < amount / 2, image)


def speckle_noise(image: Pixels, rng: Rng, scale: float) -> Pixels:
    """Add normal noise whose standard deviation is `scale` times the value itself."""
    return image * (1 + rng.normal(scale=scale, size=image.shape))
