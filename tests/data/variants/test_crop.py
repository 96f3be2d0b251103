"""Promises of the crop: the same pixels as the transforms that ImageNet-C was made with."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Resize

from trustcache.data.variants.crop import centre_crop


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (224, 224), (256, 256), (101, 333), (333, 257), (64, 1000)])
def test_it_is_torchvision_s_resize_to_256_and_centre_crop_to_224(size: tuple[int, int]) -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize(size)
    expected = Compose([Resize(256), CenterCrop(224)])(image)
    np.testing.assert_array_equal(np.asarray(centre_crop(image, 224)), np.asarray(expected))


@pytest.mark.parametrize("side", [8, 32, 99])
def test_other_sides_keep_the_same_margin(side: int) -> None:
    assert centre_crop(Image.new("RGB", (70, 50)), side).size == (side, side)
