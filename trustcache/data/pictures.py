"""Images as Python code gives them: paths, PIL images, arrays, tensors, and the batches of a DataLoader."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from trustcache.data.archives import read_file
from trustcache.data.samples import BadImage, decode_rgb, to_rgb
from trustcache.errors import first_line


@dataclass(frozen=True)
class Picture:
    """An image to be decoded when its turn comes. path: its file, if any. decode: returns RGB or raises BadImage."""

    path: str | None
    decode: Callable[[], Image.Image]

    def pixels(self, transform: Callable[[Image.Image], torch.Tensor]) -> torch.Tensor:
        """Return uint8 (3, H, W) as a preprocessing's transform makes it. Raises BadImage."""
        return self.pixels_of([transform])[0]

    def pixels_of(self, transforms: Sequence[Callable[[Image.Image], torch.Tensor]]) -> tuple[torch.Tensor, ...]:
        """Return the same by each of some transforms, of the image decoded once. Raises BadImage."""
        image = self.decode()
        return tuple(transform(image) for transform in transforms)


@dataclass(frozen=True)
class Prepared:
    """An image as the model takes it, float32 (3, H, W): resized and normalised by the user's own code."""

    tensor: torch.Tensor
    path: None = None

    def pixels(self, transform: Callable[[Image.Image], torch.Tensor]) -> torch.Tensor:
        """Return the image as it is."""
        return self.tensor

    def pixels_of(self, transforms: Sequence[Callable[[Image.Image], torch.Tensor]]) -> tuple[torch.Tensor, ...]:
        """Return the image as it is."""
        return (self.tensor,)


def file_picture(path: str, read: Callable[[], bytes]) -> Picture:
    """Return the picture of an image file. read: returns its bytes or raises OSError."""
    return Picture(path, functools.partial(_decoded, path, read))


def _decoded(path: str, read: Callable[[], bytes]) -> Image.Image:
    try:
        data = read()
    except OSError as error:
        raise BadImage(path, error.strerror or error) from None
    return decode_rgb(data, path)


def pictures_of(images: Any) -> Iterator[Picture | Prepared]:
    """Yield several images, of a DataLoader each of every batch. Raises ValueError for a single one, and for none."""
    require_several(images)
    stream = (image for batch in images for image in images_of(batch)) if isinstance(images, DataLoader) else images
    return map(picture_of, stream)


def require_several(images: Any) -> None:
    """Raise ValueError for a single image."""
    alone = isinstance(images, np.ndarray | torch.Tensor) and (images.ndim < 3 or _is_one(images))
    if alone or isinstance(images, str | Path | Image.Image | Picture | Prepared):
        raise ValueError("takes several images: put a single one in a list, as in trusted([image])")


# Channels behind rows and columns: grey, colours, colours with transparency.
_DEPTHS = ((1,), (3,), (4,))


def _is_one(image: np.ndarray | torch.Tensor) -> bool:
    return image.ndim == 3 and (image.shape[2:] in _DEPTHS if isinstance(image, np.ndarray) else image.shape[0] == 3)


_IMAGES = ("image", "images", "pixel_values", "x", "data")
LABELS = ("label", "labels", "target", "y")


def images_of(batch: Any) -> Iterable[Any]:
    """Return the images of a batch: the batch itself, the first of a pair, or the entry of a usual name."""
    return _entry(batch, _IMAGES) if isinstance(batch, Mapping) else batch[0] if _is_pair(batch) else batch


def parts_of(batch: Any) -> tuple[Any, Any]:
    """Return images and labels of a batch, or image and label of a row: a pair, or the entries of usual names.

    Raises ValueError where there are no labels.
    """
    if isinstance(batch, Mapping):
        return _entry(batch, _IMAGES), _entry(batch, LABELS)
    if not _is_pair(batch):
        raise ValueError(f"images need their labels: give pairs (image, label), not {type(batch).__name__}")
    return batch[0], batch[1]


def _is_pair(batch: Any) -> bool:
    return isinstance(batch, tuple | list) and len(batch) > 1


def _entry(batch: Mapping[Any, Any], names: tuple[str, ...]) -> Any:
    found = next((name for name in names if name in batch), None)
    if found is None:
        raise ValueError(f"a batch is a mapping of {', '.join(map(str, batch))}; call one of them '{names[0]}'")
    return batch[found]


def picture_of(image: Any) -> Picture | Prepared:
    """Return one image to be decoded. Raises ValueError for what is none.

    A tensor of bytes is an image, (H, W) or (C, H, W), as an array is (H, W) or (H, W, C); of four channels the last,
    transparency, is dropped as in files. One of floats is what the model takes, prepared already.
    """
    if isinstance(image, Picture | Prepared):
        return image
    if isinstance(image, str | Path):
        return file_picture(str(image), functools.partial(read_file, str(image)))
    if isinstance(image, torch.Tensor):
        if image.is_floating_point() and image.ndim == 3:
            return Prepared(image.float())  # Apple's GPUs have no float64
        image = image.cpu().numpy()
        image = image.transpose(1, 2, 0) if image.ndim == 3 else image
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.shape[2:] not in ((), *_DEPTHS) or image.ndim < 2:
            raise ValueError(
                f"an array must hold an image as uint8 of shape (H, W) or (H, W, C), C = 1, 3 or 4, not {image.dtype} "
                f"of {image.shape}; a tensor (C, H, W) as uint8, or (3, H, W) as the model takes it"
            )
        if image.ndim == 3:
            image = image[:, :, 0] if image.shape[2] == 1 else np.ascontiguousarray(image[:, :, :3])
        return _held(Image.fromarray(image))
    if isinstance(image, Image.Image):
        return _held(image)
    raise ValueError(f"an image must be a path, a PIL image, an array or a tensor, not {type(image).__name__}")


def _held(image: Image.Image) -> Picture:
    """Return the picture of a PIL image, in memory or opened and to be decoded."""
    path = getattr(image, "filename", None) or None

    def decode() -> Image.Image:
        try:
            if not all(image.size):
                raise ValueError("has no pixels")
            return to_rgb(image)
        except Exception as error:  # Pillow's plugins may raise anything
            raise BadImage(str(path or "an image"), first_line(error)) from None

    return Picture(None if path is None else str(path), decode)
