"""Images of a model's own size are taken as they are, and normalising leaves the caller's pixels alone."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image

from trustcache.models.preprocessing import Preprocessing

GREY, COLOUR = ((0.5,), (0.25,)), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("interpolation", ["nearest", "bicubic", "lanczos"])
@pytest.mark.parametrize("mean_and_std", [GREY, COLOUR])
def test_an_image_of_the_models_size_is_neither_resized_nor_cropped(
    mode: str, interpolation: str, mean_and_std: tuple[tuple[float, ...], tuple[float, ...]]
) -> None:
    transform = Preprocessing((24, 32), 1.0, mode, interpolation, *mean_and_std).transform()
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    found = transform(image)
    torch.testing.assert_close(found, transform.whole(image), rtol=0, atol=0)
    np.testing.assert_array_equal(found.permute(1, 2, 0), pixels)
    with patch.object(Image.Image, "resize", side_effect=AssertionError("resized")):
        transform(image)
    found[:] = 0
    np.testing.assert_array_equal(np.asarray(image), pixels)  # a copy


def test_an_image_of_the_models_size_is_cropped_where_the_crop_is_smaller() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    found = Preprocessing((32, 32), 0.875, "center", "bicubic", *COLOUR).transform()(image)
    assert not np.array_equal(found.permute(1, 2, 0), np.asarray(image))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("mean_and_std", [GREY, COLOUR])
def test_normalising_gives_channels_last_and_changes_no_pixel_of_the_callers(
    dtype: torch.dtype, layout: torch.memory_format, mean_and_std: tuple[tuple[float, ...], tuple[float, ...]]
) -> None:
    given = torch.randint(0, 256, (5, 3, 6, 8)).to(dtype).contiguous(memory_format=layout)
    before, preprocessing = given.clone(), Preprocessing((6, 8), 1.0, "center", "bicubic", *mean_and_std)
    found = preprocessing.normalise(given)
    assert torch.equal(given, before)
    assert found.is_contiguous(memory_format=torch.channels_last)
    channels = given.float()
    if len(preprocessing.mean) == 1:
        channels = (channels * torch.tensor((0.299, 0.587, 0.114)).view(1, 3, 1, 1)).sum(1, keepdim=True)
    mean, std = (torch.tensor(numbers).view(1, -1, 1, 1) for numbers in mean_and_std)
    assert torch.equal(found, (channels / 255 - mean) / std)
