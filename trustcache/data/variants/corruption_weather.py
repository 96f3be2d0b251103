"""The weather corruptions: snow, frost, fog and spatter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy
from numpy.typing import NDArray

from trustcache.data.variants.corruption_blur import smear, zoom_centre
from trustcache.data.variants.corruption_noise import Pixels, Rng
from trustcache.data.variants.frost_textures import procedural_frost

# OpenCV's weights of red, green and blue in grey (ITU-R BT.601).
_GREY = np.array([0.299, 0.587, 0.114])
# The reference's spatter: water is pale turquoise, mud brown.
_WATER = np.array([175, 238, 238]) / 255
_MUD = np.array([63, 42, 20]) / 255


def snow(
    image: Pixels,
    rng: Rng,
    mean: float,
    std: float,
    zoom: float,
    threshold: float,
    radius: float,
    sigma: float,
    keep: float,
) -> Pixels:
    """Whiten the image to a share 1 - `keep` and let flakes fall: smeared, enlarged, thresholded normal noise."""
    flakes = zoom_centre(rng.normal(mean, std, size=image.shape[:2]), zoom)
    flakes[flakes < threshold] = 0
    flakes = np.floor(np.clip(flakes, 0, 1) * 255) / 255
    flakes = smear(flakes, radius, sigma, rng.uniform(-135, -45))[..., np.newaxis]
    grey = (image * _GREY).sum(axis=2, keepdims=True)
    whitened = keep * image + (1 - keep) * np.maximum(image, grey * 1.5 + 0.5)
    return whitened + flakes + flakes[::-1, ::-1]


def frost(
    image: Pixels,
    rng: Rng,
    image_weight: float,
    frost_weight: float,
    stride: int,
    textures: Sequence[NDArray[np.uint8]] | None = None,
) -> Pixels:
    """Add a random crop of one texture, subsampled by `stride`, to the image, with these weights.

    Each texture is uint8 (h, w, 3); one smaller than the image is extended by reflection.
    """
    textures = procedural_frost() if textures is None else textures
    texture = textures[int(rng.integers(len(textures)))][::stride, ::stride]
    lacking = [max(wanted - has, 0) for wanted, has in zip(image.shape[:2], texture.shape[:2], strict=True)]
    texture = np.pad(texture, ((0, lacking[0]), (0, lacking[1]), (0, 0)), mode="symmetric")
    height, width = image.shape[:2]
    top = rng.integers(texture.shape[0] - height + 1)
    left = rng.integers(texture.shape[1] - width + 1)
    return image_weight * image + frost_weight * (texture[top : top + height, left : left + width] / 255)


def fog(image: Pixels, rng: Rng, amount: float, decay: float) -> Pixels:
    """Add `amount` times a plasma fractal that is smoother for a larger `decay`; darken to the old maximum."""
    height, width = image.shape[:2]
    brightest = image.max()
    # The smallest power of two that covers the image: 256 at 224 px and 32 at 32 px, as in the reference.
    side = 2 ** max(int(np.ceil(np.log2(max(height, width)))), 1)
    fogged = image + amount * _plasma(side, rng, decay)[:height, :width, np.newaxis]
    return fogged * brightest / (brightest + amount)


def spatter(
    image: Pixels, rng: Rng, mean: float, std: float, sigma: float, threshold: float, strength: float, mud: bool
) -> Pixels:
    """Splash drops of water over the image, or of mud: where blurred normal noise exceeds `threshold`.

    `strength` is how much light the water adds at its brightest, or the Gaussian (pixels) that softens the mud.
    """
    liquid = scipy.ndimage.gaussian_filter(rng.normal(mean, std, size=image.shape[:2]), sigma, mode="nearest")
    if mud:
        cover = scipy.ndimage.gaussian_filter((liquid > threshold).astype(np.float64), strength, mode="nearest")
        cover = np.where(cover < 0.8, 0, cover)[..., np.newaxis]
        return image * (1 - cover) + _MUD * cover
    # In bytes from here on, as the reference's OpenCV works.
    drops = np.floor(np.clip(np.where(liquid < threshold, 0, liquid), 0, 1) * 255)
    light = drops * _drop_relief(drops)
    brightest = light.max()
    if brightest > 0:
        image = image + (strength / brightest) * light[..., np.newaxis] * _WATER
    return image


def _plasma(side: int, rng: Rng, decay: float) -> Pixels:
    """Return a (side, side) height map in [0, 1] by the diamond-square method on a torus; `side` is a power of two."""
    heights = np.zeros((side, side))
    step, wobble = side, 100.0
    while step >= 2:
        half, cells = step // 2, side // step
        # The reference squares the wobble, so roughness falls by decay squared an octave.
        bumps = wobble**2 * rng.uniform(-1, 1, size=(3, cells, cells))
        corner = heights[::step, ::step]
        across = corner + np.roll(corner, -1, axis=1)
        down = corner + np.roll(corner, -1, axis=0)
        centre = (across + np.roll(across, -1, axis=0)) / 4 + bumps[0]
        heights[half::step, half::step] = centre
        heights[::step, half::step] = (across + centre + np.roll(centre, 1, axis=0)) / 4 + bumps[1]
        heights[half::step, ::step] = (down + centre + np.roll(centre, 1, axis=1)) / 4 + bumps[2]
        step, wobble = half, wobble / decay
    heights -= heights.min()
    return heights / heights.max()


def _drop_relief(drops: Pixels) -> Pixels:
    """Return the brightness of each pixel of the water drops: its distance to an outline, equalised and embossed.

    `drops` (H, W) holds whole numbers from 0 to 255, and so does the result.
    """
    edges = outlines(drops)
    # 20 px: the reference's cut. It is also the distance where there is no outline at all.
    distance = np.full(drops.shape, 20.0)
    if edges.any():
        distance = np.minimum(scipy.ndimage.distance_transform_edt(~edges), 20)
    # The sliver keeps an average of nine equal whole numbers from falling just below it.
    average = np.floor(scipy.ndimage.uniform_filter(distance, 3, mode="mirror") + 1e-6)
    relief = _equalised(average.astype(np.uint8))
    emboss = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    relief = np.clip(scipy.ndimage.correlate(relief, emboss, mode="mirror"), 0, 255)
    return np.rint(scipy.ndimage.uniform_filter(relief, 3, mode="mirror"))


def outlines(drops: Pixels) -> NDArray[np.bool_]:
    """Detect edges (Canny 1986), thresholds 50 and 150 on |dx| + |dy| of the 3 x 3 Sobel gradient, as in OpenCV."""
    dy, dx = (scipy.ndimage.sobel(drops, axis=axis, mode="nearest") for axis in (0, 1))
    size = np.abs(dx) + np.abs(dy)
    # Each pixel must exceed its two neighbours along the gradient, rounded to a multiple of 45 degrees.
    around = np.pad(size, 1)
    flat, steep = np.tan(np.deg2rad([22.5, 67.5]))
    rightward = np.abs(dy) < flat * np.abs(dx)
    downward = np.abs(dy) > steep * np.abs(dx)
    falling = dx * dy >= 0
    height, width = size.shape

    def neighbour(down: int, right: int) -> Pixels:
        return around[1 + down : 1 + down + height, 1 + right : 1 + right + width]

    sectors = [rightward, downward, falling]
    before = np.select(sectors, [neighbour(0, -1), neighbour(-1, 0), neighbour(-1, -1)], default=neighbour(-1, 1))
    after = np.select(sectors, [neighbour(0, 1), neighbour(1, 0), neighbour(1, 1)], default=neighbour(1, -1))
    straight = rightward | downward
    crest = (size > 50) & (size > before) & np.where(straight, size >= after, size > after)
    return scipy.ndimage.binary_propagation(crest & (size > 150), structure=np.ones((3, 3)), mask=crest)


def _equalised(grey: NDArray[np.uint8]) -> Pixels:
    """Equalise the histogram of a uint8 image; one of a single level stays unchanged."""
    counts = np.bincount(grey.ravel(), minlength=256)
    lowest = int(grey.min())
    rest = grey.size - counts[lowest]
    if rest == 0:
        return grey.astype(np.float64)
    counts[lowest] = 0
    return np.rint(np.cumsum(counts) * 255 / rest)[grey]
