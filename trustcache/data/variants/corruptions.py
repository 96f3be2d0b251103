"""The 19 corruptions of ImageNet-C and CIFAR-10-C: the registry with their settings, and the function to apply one.

Paper: Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", ICLR 2019. The settings are those of the authors' `make_imagenet_c.py` and `make_cifar_c.py`
(github.com/hendrycks/robustness); the code is our own. As in those, results are truncated to bytes, not rounded.
Unlike in those, they are not written as JPEG afterwards.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trustcache.data.variants import corruption_blur as blur
from trustcache.data.variants import corruption_digital as digital
from trustcache.data.variants import corruption_noise as noise
from trustcache.data.variants import corruption_weather as weather

SMALL_SIDE = 64
"""Images with a shorter side of at most this many pixels get CIFAR-10-C's settings, larger ones ImageNet-C's.

Settings in pixels are not scaled to the image; those of elastic_transform alone are shares of its side.
"""

Setting = float | tuple[float, ...]


@dataclass(frozen=True)
class Corruption:
    """One corruption: `apply(image, rng, *setting)` on float64 (H, W, 3) in [0, 1], and one setting for each severity.

    textured: True if `apply` also takes `textures`, images uint8 (h, w, 3) in place of its own procedural ones.
    """

    apply: Callable[..., noise.Pixels]
    imagenet: Sequence[Setting]
    cifar: Sequence[Setting]
    textured: bool = False


# ImageNet-C's elastic_transform takes 244 px for the side of its 224 px images; so do we.
_SIDE = 244 / 224

_COMMON = {
    "gaussian_noise": Corruption(noise.gaussian_noise, (0.08, 0.12, 0.18, 0.26, 0.38), (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot_noise": Corruption(noise.shot_noise, (60, 25, 12, 5, 3), (500, 250, 100, 75, 50)),
    "impulse_noise": Corruption(noise.impulse_noise, (0.03, 0.06, 0.09, 0.17, 0.27), (0.01, 0.02, 0.03, 0.05, 0.07)),
    "defocus_blur": Corruption(
        blur.defocus_blur,
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    ),
    "glass_blur": Corruption(
        blur.glass_blur,
        ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    ),
    "motion_blur": Corruption(
        blur.motion_blur,
        ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    ),
    "zoom_blur": Corruption(
        blur.zoom_blur,
        ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    ),
    "snow": Corruption(
        weather.snow,
        (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
    ),
    "frost": Corruption(
        weather.frost,
        ((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
        ((1, 0.2, 5), (1, 0.3, 5), (0.9, 0.4, 5), (0.85, 0.4, 5), (0.75, 0.45, 5)),
        textured=True,
    ),
    "fog": Corruption(
        weather.fog,
        ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    ),
    "brightness": Corruption(digital.brightness, (0.1, 0.2, 0.3, 0.4, 0.5), (0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": Corruption(digital.contrast, (0.4, 0.3, 0.2, 0.1, 0.05), (0.75, 0.5, 0.4, 0.3, 0.15)),
    "elastic_transform": Corruption(
        digital.elastic_transform,
        (
            (2 * _SIDE, 0.7 * _SIDE, 0.1 * _SIDE),
            (2 * _SIDE, 0.08 * _SIDE, 0.2 * _SIDE),
            (0.05 * _SIDE, 0.01 * _SIDE, 0.02 * _SIDE),
            (0.07 * _SIDE, 0.01 * _SIDE, 0.02 * _SIDE),
            (0.12 * _SIDE, 0.01 * _SIDE, 0.02 * _SIDE),
        ),
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    ),
    "pixelate": Corruption(digital.pixelate, (0.6, 0.5, 0.4, 0.3, 0.25), (0.95, 0.9, 0.85, 0.75, 0.65)),
    "jpeg_compression": Corruption(digital.jpeg_compression, (25, 18, 15, 10, 7), (80, 65, 58, 50, 40)),
}
_EXTRA = {
    "speckle_noise": Corruption(noise.speckle_noise, (0.15, 0.2, 0.35, 0.45, 0.6), (0.06, 0.1, 0.12, 0.16, 0.2)),
    "gaussian_blur": Corruption(blur.gaussian_blur, (1, 2, 3, 4, 6), (0.4, 0.6, 0.7, 0.8, 1)),
    "spatter": Corruption(
        weather.spatter,
        (
            (0.65, 0.3, 4, 0.69, 0.6, False),
            (0.65, 0.3, 3, 0.68, 0.6, False),
            (0.65, 0.3, 2, 0.68, 0.5, False),
            (0.65, 0.3, 1, 0.65, 1.5, True),
            (0.67, 0.4, 1, 0.65, 1.5, True),
        ),
        (
            (0.62, 0.1, 0.7, 0.7, 0.5, False),
            (0.65, 0.1, 0.8, 0.7, 0.5, False),
            (0.65, 0.3, 1, 0.69, 0.5, False),
            (0.65, 0.1, 0.7, 0.69, 0.6, True),
            (0.65, 0.1, 0.5, 0.68, 0.6, True),
        ),
    ),
    "saturate": Corruption(
        digital.saturate,
        ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    ),
}

CORRUPTIONS: dict[str, Corruption] = _COMMON | _EXTRA
"""Every corruption by name. A new one is a function in one of the `corruption_*` modules and a line here."""

COMMON = tuple(_COMMON)
"""The 15 that ImageNet-C's error is averaged over; the authors keep the other four for tuning."""

SEVERITIES = (1, 2, 3, 4, 5)


def corrupt(
    image: NDArray[np.uint8],
    name: str,
    severity: int,
    rng: np.random.Generator,
    *,
    textures: Sequence[NDArray[np.uint8]] | None = None,
) -> NDArray[np.uint8]:
    """Return `image` under one corruption of Hendrycks & Dietterich (2019).

    name: a key of `CORRUPTIONS`; severity: one of `SEVERITIES`.
    image, as the result: uint8 (H, W, 3), RGB, of any size, which decides the settings (`SMALL_SIDE`). rng: source of
    all randomness: a generator in the same state gives the same bytes. textures: for a textured corruption, images
    uint8 (h, w, 3), at least one, in place of the procedural ones.
    """
    corruption = CORRUPTIONS[name]
    settings = corruption.cifar if min(image.shape[:2]) <= SMALL_SIDE else corruption.imagenet
    setting = settings[severity - 1]
    values = setting if isinstance(setting, tuple) else (setting,)
    extra = {} if textures is None else {"textures": textures}
    corrupted = corruption.apply(image / 255, rng, *values, **extra)
    return (np.clip(corrupted, 0, 1) * 255).astype(np.uint8)


def sample_rng(seed: int, name: str, severity: int, sample_index: int) -> np.random.Generator:
    """Return the random generator of one sample under one corruption: a function of these four values alone.

    The corrupted image therefore does not depend on the process that makes it, nor on the order. The last three values
    are the spawn key of a `numpy.random.SeedSequence` on `seed`, the name as its CRC-32; all numbers are 0 or more.
    """
    key = (zlib.crc32(name.encode()), severity, sample_index)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
