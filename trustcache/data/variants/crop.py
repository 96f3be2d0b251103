"""The crop that ImageNet's corrupted and stylized variants are made from."""

from __future__ import annotations

from PIL import Image

# Resized to 256 for a crop of 224 pixels, as ImageNet-C and Stylized-ImageNet were.
_MARGIN = 256 / 224


def centre_crop(image: Image.Image, side: int) -> Image.Image:
    """Resize an RGB image's shorter side to 256/224 of `side` and return the central `side` x `side` pixels.

    Bilinear, and rounded as torchvision's Resize and CenterCrop do it.
    """
    short = round(side * _MARGIN)
    width, height = image.size
    if width <= height:
        width, height = short, int(short * height / width)
    else:
        width, height = int(short * width / height), short
    left, top = round((width - side) / 2), round((height - side) / 2)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + side, top + side))
