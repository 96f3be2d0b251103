"""JPEGs decoded, resized and cropped on a GPU: faster than a machine's cores, and with pixels of its own."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.functional import pil_to_tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from trustcache.data.samples import BadImage, decode_rgb
from trustcache.data.variants.variation import Batch
from trustcache.errors import UsageError
from trustcache.models.preprocessing import Preprocessing

# torchvision announces that another package will take this over.
warnings.filterwarnings("ignore", message="The image decoding and encoding capabilities")

_INTERPOLATIONS = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}
_END = b"\xff\xd9"
_BASELINE, _OTHER_FRAMES = (0xC0, 0xC1), (0xC2, 0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))


def require_gpu_decoding(device: torch.device, preprocessing: Preprocessing) -> None:
    """Raise UsageError where images cannot be decoded and prepared on a device."""
    if device.type != "cuda":
        raise UsageError(f"--decode gpu: {device} cannot decode JPEGs, only a CUDA GPU can; use --decode pil or draft")
    height, width = preprocessing.input_size
    plain = preprocessing.crop_mode == "squash" or (preprocessing.crop_mode == "center" and height == width)
    if not plain or preprocessing.interpolation not in _INTERPOLATIONS:
        raise UsageError(
            f"--decode gpu: cannot prepare images of {height} x {width} pixels with crop_mode "
            f"{preprocessing.crop_mode} and interpolation {preprocessing.interpolation}; use --decode pil"
        )


def packed(raw: bytes, name: str) -> tuple[torch.Tensor, tuple[int, int]]:
    """Return the bytes of a whole baseline JPEG (L,), and (0, 0); of another image its pixels (3 H W,), and (H, W).

    Raises BadImage.
    """
    if is_baseline(raw):
        return torch.frombuffer(bytearray(raw), dtype=torch.uint8), (0, 0)
    pixels = pil_to_tensor(decode_rgb(raw, name))
    return pixels.flatten(), (pixels.shape[1], pixels.shape[2])


def is_baseline(raw: bytes) -> bool:
    """Return True for a whole baseline JPEG in grey or YCbCr.

    Of one without its end, nvJPEG makes up the rest, where Pillow raises an error.
    """
    if not raw.endswith(_END):
        return False
    place, adobe_rgb = 2, False
    while raw[:2] == b"\xff\xd8" and place + 9 < len(raw) and raw[place] == 0xFF:
        marker, length = raw[place + 1], int.from_bytes(raw[place + 2 : place + 4], "big")
        if marker in _BASELINE:
            return raw[place + 4] == 8 and raw[place + 9] in (1, 3) and not adobe_rgb
        if marker in _OTHER_FRAMES:
            return False
        if marker == 0xEE and raw[place + 4 : place + 9] == b"Adobe":
            adobe_rgb = raw[place + 15 : place + 16] == b"\0"
        place += 2 + length
    return False


def unpacked(batch: Batch, names: Sequence[str], preprocessing: Preprocessing, device: torch.device) -> Batch:
    """Return a batch of `packed` images with pixels uint8 (N, 3, H, W) as a model takes them, on the device.

    names: of all samples of the data set. What cannot be read after all is among its bad ones.
    """
    assert batch.packed is not None
    lengths, heights, widths = batch.packed.T.tolist()
    parts = list(batch.pixels.cpu().split(lengths))
    images = dict(zip(range(len(parts)), parts, strict=True))
    encoded = [i for i in images if not heights[i]]
    bad = dict(batch.bad)
    for i in images.keys() - encoded:
        images[i] = images[i].view(3, heights[i], widths[i]).to(device)
    called = [names[batch.indices[i]] for i in encoded]
    for i, pixels in zip(encoded, _decoded([parts[i] for i in encoded], called, device), strict=True):
        if isinstance(pixels, BadImage):
            bad[int(batch.indices[i])] = str(pixels)
            del images[i]
        else:
            images[i] = pixels
    kept = sorted(images)
    some = np.array(kept, dtype=np.int64)
    ready = _all_prepared([images[i] for i in kept], preprocessing)
    pixels = torch.stack(ready) if ready else torch.empty(0, 3, 1, 1, dtype=torch.uint8, device=device)
    return Batch(batch.indices[some], batch.labels[some], pixels, None, bad, batch.content[some])


def _decoded(
    encoded: Sequence[torch.Tensor], names: Sequence[str], device: torch.device
) -> Sequence[torch.Tensor | BadImage]:
    if not encoded:
        return []
    try:
        found: list[torch.Tensor] = decode_jpeg(list(encoded), ImageReadMode.RGB, device=device)
    except torch.OutOfMemoryError:  # Pillow, tried for a damaged one, would give other pixels
        raise
    except RuntimeError:  # one that is damaged fails them all
        return [_alone(each, name, device) for each, name in zip(encoded, names, strict=True)]
    return found


def _alone(encoded: torch.Tensor, name: str, device: torch.device) -> torch.Tensor | BadImage:
    try:
        (pixels,) = decode_jpeg([encoded], ImageReadMode.RGB, device=device)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        try:
            return pil_to_tensor(decode_rgb(encoded.numpy().tobytes(), name)).to(device)
        except BadImage as error:
            return error
    return pixels


def _all_prepared(images: Sequence[torch.Tensor], preprocessing: Preprocessing) -> list[torch.Tensor]:
    """Return images as a model takes them. Those of one size are made together: starting each operation takes time."""
    alike: dict[torch.Size, list[int]] = defaultdict(list)
    for i, image in enumerate(images):
        alike[image.shape].append(i)
    ready: dict[int, torch.Tensor] = {}
    for group in alike.values():
        ready |= zip(group, prepared(torch.stack([images[i] for i in group]), preprocessing), strict=True)
    return [ready[i] for i in range(len(images))]


def prepared(images: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Resize and crop images uint8 (N, 3, H, W) as timm's evaluation transform does a PIL image."""
    height, width = (math.floor(side / preprocessing.crop_pct) for side in preprocessing.input_size)
    size = [height, width]
    if preprocessing.crop_mode == "center" and height == width:
        size = [height]  # the shorter side
    resized = transforms.resize(images, size, _INTERPOLATIONS[preprocessing.interpolation], antialias=True)
    return transforms.center_crop(resized, list(preprocessing.input_size))
