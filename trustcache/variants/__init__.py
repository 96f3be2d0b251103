"""Variants: transformations of images, made on the fly where no files of them exist."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from trustcache.manifest import Variant
from trustcache.variants.corruptions import corrupt, sample_rng

Vary = Callable[[Image.Image, int], Image.Image]


def make_variant(variant: Variant) -> Vary:
    """The function that turns an RGB image and its sample index into the variant's image.

    The noise depends on the variant and the index alone, so any order and number of processes gives the same image.
    """

    def corrupted(image: Image.Image, index: int) -> Image.Image:
        rng = sample_rng(variant.seed, variant.name, variant.severity, index)
        return Image.fromarray(corrupt(np.asarray(image), variant.name, variant.severity, rng))

    return corrupted
