"""The digital corruptions: brightness, contrast, saturate, elastic transform, pixelate and JPEG compression."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import scipy

from trustcache.data.variants.corruption_noise import Pixels, Rng

if TYPE_CHECKING:
    from PIL import Image


def brightness(image: Pixels, rng: Rng, amount: float) -> Pixels:
    """Add `amount` to the value (of hue, saturation, value) of each pixel."""
    value = image.max(axis=2, keepdims=True)
    brighter = np.minimum(value + amount, 1)
    # At fixed hue and saturation the channels are proportional to the value; black has neither and becomes grey.
    return np.where(value > 0, image / np.where(value > 0, value, 1), 1) * brighter


def contrast(image: Pixels, rng: Rng, factor: float) -> Pixels:
    """Draw every value towards its channel's mean, keeping a share `factor` of the difference."""
    mean = image.mean(axis=(0, 1), keepdims=True)
    return (image - mean) * factor + mean


def saturate(image: Pixels, rng: Rng, factor: float, amount: float) -> Pixels:
    """Turn the saturation S (of hue, saturation, value) of each pixel into factor * S + amount."""
    value = image.max(axis=2, keepdims=True)
    spread = value - image.min(axis=2, keepdims=True)
    saturation = spread / np.where(value > 0, value, 1)
    wanted = np.clip(saturation * factor + amount, 0, 1)
    # How far each channel lies below the value, from 0 to 1, is what the hue fixes. Grey has no hue; it counts as
    # red, as in the usual conversion, so that a positive amount tints it.
    red = np.array([0.0, 1.0, 1.0])
    depth = np.where(spread > 0, (value - image) / np.where(spread > 0, spread, 1), red)
    return value * (1 - wanted * depth)


def elastic_transform(image: Pixels, rng: Rng, strength: float, smoothness: float, shear: float) -> Pixels:
    """Move three anchors by up to `shear`, warp the image affinely with them, then displace every pixel smoothly.

    The displacement is uniform noise in [-1, 1], smoothed by a Gaussian of `smoothness`, times `strength`. All three
    are shares of the shorter side.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    image = _random_affine(image, rng, shear * side)
    rows, columns = np.indices((height, width), dtype=np.float64)
    rows += strength * side * smooth_noise((height, width), rng, smoothness * side)
    columns += strength * side * smooth_noise((height, width), rng, smoothness * side)
    warped = [
        scipy.ndimage.map_coordinates(image[..., channel], (rows, columns), order=1, mode="reflect")
        for channel in range(3)
    ]
    return np.stack(warped, axis=2)


def pixelate(image: Pixels, rng: Rng, share: float) -> Pixels:
    """Shrink both sides to `share` of their length by averaging, and enlarge again by repetition."""
    from PIL import Image

    picture = _to_pillow(image)
    width, height = picture.size
    small = picture.resize((max(int(width * share), 1), max(int(height * share), 1)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BOX)) / 255


def jpeg_compression(image: Pixels, rng: Rng, quality: int) -> Pixels:
    """Write as JPEG of `quality` (Pillow's scale, chroma subsampled) and read again."""
    from PIL import Image

    file = BytesIO()
    _to_pillow(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file, formats=["JPEG"])) / 255


def _to_pillow(image: Pixels) -> Image.Image:
    from PIL import Image

    return Image.fromarray(np.rint(image * 255).astype(np.uint8))


def _random_affine(image: Pixels, rng: Rng, reach: float) -> Pixels:
    """Warp the image so that three corners of its central square each move by up to `reach` pixels a direction."""
    centre = np.array(image.shape[:2]) // 2
    arm = max(min(image.shape[:2]) // 3, 1)
    anchors = centre + arm * np.array([[1, 1], [-1, 1], [-1, -1]])
    moved = anchors + rng.uniform(-reach, reach, size=anchors.shape)
    # An output pixel looks up where it came from: the affine map that takes `moved` back to `anchors`.
    back = np.linalg.solve(np.column_stack([moved, np.ones(3)]), anchors.astype(np.float64))
    warped = [
        scipy.ndimage.affine_transform(image[..., channel], back[:2].T, back[2], order=1, mode="mirror")
        for channel in range(3)
    ]
    return np.stack(warped, axis=2)


def smooth_noise(shape: tuple[int, int], rng: Rng, sigma: float) -> Pixels:
    """Return uniform noise in [-1, 1] under a Gaussian filter cut at 3 sigma, its borders reflected.

    Reflection makes the filter diagonal in the cosine basis. `sigma` reaches three quarters of the image's side, where
    that is a hundred times faster than summing.
    """
    noise = scipy.fft.dctn(rng.uniform(-1, 1, size=shape))
    for axis, side in enumerate(shape):
        taps = np.arange(1, int(3 * sigma + 0.5) + 1)
        weights = np.exp(-(taps**2) / (2 * sigma**2)) if sigma > 0 else np.zeros(0)
        waves = np.cos(np.pi / side * np.outer(np.arange(side), taps))
        response = (1 + 2 * (waves * weights).sum(axis=1)) / (1 + 2 * weights.sum())
        noise *= response.reshape((-1, 1) if axis == 0 else (1, -1))
    return scipy.fft.idctn(noise)
