"""The blur corruptions: defocus, glass, motion, zoom and gaussian; snow borrows two operations."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from trustcache.data.variants.corruption_noise import Pixels, Rng


def gaussian_blur(image: Pixels, rng: Rng, sigma: float) -> Pixels:
    """Blur with a Gaussian of standard deviation `sigma` pixels."""
    return scipy.ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="nearest")


def defocus_blur(image: Pixels, rng: Rng, radius: float, softness: float) -> Pixels:
    """Blur with a disc of `radius` pixels, whose rim a Gaussian of `softness` pixels smooths."""
    kernel = _disc(radius, softness)
    reach = kernel.shape[0] // 2
    padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    shape = padded.shape[:2]
    # A product of spectra: at radius 10, direct convolution costs some ten times as much.
    spectrum = scipy.fft.rfft2(padded, axes=(0, 1)) * scipy.fft.rfft2(kernel, shape)[..., np.newaxis]
    blurred = scipy.fft.irfft2(spectrum, shape, axes=(0, 1))
    return blurred[2 * reach :, 2 * reach :]


def glass_blur(image: Pixels, rng: Rng, sigma: float, reach: int, rounds: int) -> Pixels:
    """Blur by `sigma`, let every pixel take the colour of one at most `reach` away, `rounds` times, blur again."""
    # Truncated to bytes in between, as in the reference: at 32 px that is a good part of the lowest severities.
    jostled = (gaussian_blur(image, rng, sigma) * 255).astype(np.uint8)
    size = [max(side - 2 * reach, 0) for side in image.shape[:2]]
    for _ in range(rounds):
        jostled = jostle(jostled, rng.integers(-reach, reach, size=(*size, 2)), reach)
    return gaussian_blur(jostled / 255, rng, sigma)


def motion_blur(image: Pixels, rng: Rng, radius: float, sigma: float) -> Pixels:
    """Smear along a direction drawn within 45 degrees of the horizontal."""
    return smear(image, radius, sigma, rng.uniform(-45, 45))


def zoom_blur(image: Pixels, rng: Rng, stop: float, step: float) -> Pixels:
    """Average the image with its enlargements by 1, 1 + step, ... up to (about) `stop`."""
    # np.arange's rounding decides whether `stop` is among the factors; the reference's does, so this one must.
    factors = np.arange(1, stop, step)
    total = single = image.astype(np.float32)
    for factor in factors:
        total = total + zoom_centre(single, factor)
    return total.astype(np.float64) / (len(factors) + 1)


def zoom_centre(image: NDArray[np.floating], factor: float) -> NDArray[np.floating]:
    """Enlarge the middle of `image` (H, W, ...) by `factor` >= 1, linearly, to the size of the whole."""
    for axis in (0, 1):
        image = _zoom_axis(image, factor, axis)
    return image


def smear(image: Pixels, radius: float, sigma: float, angle: float) -> Pixels:
    """Average `image` (H, W, ...) in [0, 1] along `angle` (degrees) with one-sided Gaussian weights, in whole bytes.

    This is ImageMagick's motion blur, which the reference calls: 2 * radius + 1 taps at whole-pixel offsets that start
    at the pixel itself, edge pixels repeated, the result truncated to bytes.
    """
    taps = np.arange(2 * int(np.ceil(radius)) + 1)
    weights = np.exp(-(taps**2) / (2 * sigma**2))
    weights /= weights.sum()
    direction = np.deg2rad(angle)
    down = np.ceil(taps * np.sin(direction) - 0.5).astype(int)
    right = np.ceil(taps * np.cos(direction) - 0.5).astype(int)

    height, width = image.shape[:2]
    margin = len(taps)
    padded = np.pad(image, ((margin, margin), (margin, margin)) + ((0, 0),) * (image.ndim - 2), mode="edge")
    smeared = np.zeros_like(image)
    for weight, dy, dx in zip(weights, down + margin, right + margin, strict=True):
        smeared += weight * padded[dy : dy + height, dx : dx + width]
    return np.floor(smeared * 255) / 255


def jostle(image: NDArray[np.uint8], offsets: NDArray[np.integer], reach: int) -> NDArray[np.uint8]:
    """Let each inner pixel, last row and column first, take the colour that its neighbour has by then.

    `offsets` is (rows, columns, 2): for each pixel from (reach + 1, reach + 1) on, how far down and right its
    neighbour lies. The reference means to swap the two, but its swap goes through views, so only one of them changes.
    A neighbour further on in the image has changed already: its own neighbour is looked up instead, and so on.
    """
    height, width = image.shape[:2]
    pixel = np.arange(height * width).reshape(height, width)
    rows, columns = offsets.shape[:2]
    inner = pixel[reach + 1 : reach + 1 + rows, reach + 1 : reach + 1 + columns].ravel()
    first = pixel.ravel().copy()
    first[inner] += offsets[..., 0].ravel() * width + offsets[..., 1].ravel()
    # Only an inner pixel can have a neighbour other than itself, so `first > pixel` says that it has changed before.
    onward = np.zeros(height * width, dtype=bool)
    onward[inner] = True
    follows = (first > pixel.ravel()) & onward[first]

    source = first.copy()
    pending = np.flatnonzero(follows)
    while pending.size:
        through = source[pending]
        source[pending] = first[through]
        pending = pending[follows[through]]
    return image.reshape(height * width, -1)[source].reshape(image.shape)


def _disc(radius: float, softness: float) -> Pixels:
    """Return a disc of weight 1, smoothed over 3 x 3 pixels, or 5 x 5 for a radius above 8."""
    half, rim = (8, 1) if radius <= 8 else (int(radius), 2)
    line = np.arange(-half, half + 1)
    disc = (line**2 + line[:, np.newaxis] ** 2 <= radius**2).astype(np.float64)
    disc /= disc.sum()
    weights = np.exp(-(np.arange(-rim, rim + 1) ** 2) / (2 * softness**2))
    for axis in (0, 1):
        disc = scipy.ndimage.correlate1d(disc, weights / weights.sum(), axis=axis, mode="mirror")
    return disc


def _zoom_axis(image: NDArray[np.floating], factor: float, axis: int) -> NDArray[np.floating]:
    side = image.shape[axis]
    kept = int(np.ceil(side / factor))
    enlarged = max(round(kept * factor), side)
    # First and last kept pixel land on first and last enlarged pixel, as in scipy.ndimage.zoom.
    spacing = (kept - 1) / max(enlarged - 1, 1)
    position = (np.arange(side) + (enlarged - side) // 2) * spacing
    below = np.minimum(position.astype(int), kept - 1)
    above = np.minimum(below + 1, kept - 1)
    share = (position - below).astype(image.dtype).reshape((-1,) + (1,) * (image.ndim - axis - 1))
    first = (side - kept) // 2
    low = image.take(first + below, axis)
    return low + (image.take(first + above, axis) - low) * share
