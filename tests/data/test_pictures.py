"""Images as Python code gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trustcache.data.pictures import Picture, Prepared, images_of, parts_of, picture_of, pictures_of

PIXELS = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)


def test_every_form_of_an_image_has_the_same_pixels(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    tensor = torch.from_numpy(PIXELS).permute(2, 0, 1)
    forms = [tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(PIXELS), PIXELS, tensor]
    for picture in pictures_of(forms):
        assert isinstance(picture, Picture)
        np.testing.assert_array_equal(np.asarray(picture.decode()), PIXELS)
    see_through = np.dstack([PIXELS, PIXELS[:, :, 0]])
    for picture in map(picture_of, (see_through, torch.from_numpy(see_through).permute(2, 0, 1))):
        assert isinstance(picture, Picture)
        np.testing.assert_array_equal(np.asarray(picture.decode()), PIXELS)
    grey = PIXELS[:, :, :1]
    for image in (grey, grey[:, :, 0], torch.from_numpy(grey[:, :, 0]), torch.from_numpy(grey).permute(2, 0, 1)):
        picture = picture_of(image)
        assert isinstance(picture, Picture)
        np.testing.assert_array_equal(np.asarray(picture.decode()), np.repeat(grey, 3, axis=2))


def test_tensors_of_floats_are_taken_as_they_are() -> None:
    x = torch.randn(3, 4, 4)
    picture = picture_of(x)
    assert isinstance(picture, Prepared)
    assert picture.pixels(lambda image: image) is x  # type: ignore[arg-type, return-value]


def test_a_loader_gives_the_images_of_its_batches() -> None:
    images, labels = torch.randn(7, 3, 4, 4), torch.arange(7)
    data = torch.utils.data.TensorDataset(images, labels)
    found = list(pictures_of(torch.utils.data.DataLoader(data, batch_size=3)))
    assert len(found) == 7
    assert all(isinstance(one, Prepared) and one.tensor.equal(image) for one, image in zip(found, images, strict=True))


@pytest.mark.parametrize(
    "batch", [([1], [2]), [[1], [2]], {"image": [1], "label": [2]}, {"pixel_values": [1], "y": [2]}]
)
def test_images_and_labels_of_a_batch_are_found(batch: Any) -> None:
    assert parts_of(batch) == ([1], [2])
    assert images_of(batch) == [1]


@pytest.mark.parametrize(
    ("action", "fact"),
    [
        (lambda: pictures_of("a.png"), "in a list"),
        (lambda: pictures_of(PIXELS), "in a list"),
        (lambda: pictures_of(PIXELS[:, :, :1]), "in a list"),
        (lambda: pictures_of(torch.zeros(3, 4, 4)), "in a list"),
        (lambda: picture_of(PIXELS.astype(np.float32)), "float32"),
        (lambda: picture_of(torch.zeros(2, 3, 4, 4)), "(3, H, W)"),
        (lambda: picture_of(7), "int"),
        (lambda: parts_of(7), "labels"),
        (lambda: images_of({"picture": 1}), "picture"),
    ],
)
def test_what_is_no_image_is_refused(action: Any, fact: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the fact is asserted)
        action()
    assert fact in str(caught.value)
