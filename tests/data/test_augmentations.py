"""Augmentations: what becomes of an image is a shift and perhaps a mirror image of it, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trustcache.data.augmentations import AUGMENTATIONS, flip_crop

IMAGES = torch.arange(200 * 3 * 16 * 24).reshape(200, 3, 16, 24)


def test_flip_crop_gives_shifts_and_mirror_images_with_reflected_borders() -> None:
    varied = flip_crop(IMAGES, np.random.default_rng(0))
    seen = set()
    for before, after in zip(IMAGES.numpy(), varied.numpy(), strict=True):
        padded = np.pad(before, ((0, 0), (2, 2), (3, 3)), mode="reflect")
        crops = {(y, x): padded[:, y : y + 16, x : x + 24] for y in range(5) for x in range(7)}
        found = [(y, x, f) for (y, x), c in crops.items() for f in (1, -1) if np.array_equal(c[:, :, ::f], after)]
        assert len(found) == 1
        seen.add(found[0])
    assert {f for _, _, f in seen} == {1, -1}
    assert {y for y, _, _ in seen} == set(range(5))
    assert {x for _, x, _ in seen} == set(range(7))


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_every_augmentation_keeps_shape_and_dtype_and_follows_its_generator(name: str, dtype: torch.dtype) -> None:
    images = (IMAGES % 251).to(dtype)
    varied = [AUGMENTATIONS[name](images, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert varied[0].shape == images.shape
    assert varied[0].dtype == dtype
    assert torch.equal(varied[0], varied[1])
    assert torch.equal(varied[0], varied[2]) == (name == "none")


def test_images_too_small_to_shift_are_only_mirrored() -> None:
    images = torch.arange(20 * 3 * 2 * 2).reshape(20, 3, 2, 2)
    varied = flip_crop(images, np.random.default_rng(0))
    assert all(torch.equal(a, b) or torch.equal(a, b.flip(-1)) for a, b in zip(varied, images, strict=True))
