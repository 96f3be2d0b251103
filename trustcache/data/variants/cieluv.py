"""CIELUV, the colour space in which ReColorAdv changes and compares colours: conversion from and to sRGB.

CIE 1976 L*u*v* under D65, from sRGB as IEC 61966-2-1 defines it. `normalised` means scaled as in ReColorAdv (Laidlaw
& Feizi 2019): (L / 100, (u + 100) / 200, (v + 100) / 200), where the most saturated reds, greens and blues lie a
little outside [0, 1].
"""

from __future__ import annotations

import torch

from trustcache.models.to_device import to_device

# Linear sRGB to XYZ.
_TO_XYZ = torch.tensor(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]],
    dtype=torch.float64,
)
_FROM_XYZ = torch.linalg.inv(_TO_XYZ)

# Below these, the curves of sRGB's gamma and of L are straight lines.
_SRGB_KNEE, _LINEAR_KNEE = 0.04045, 0.0031308
_Y_KNEE, _L_KNEE = (6 / 29) ** 3, 8.0
_L_OVER_Y = (29 / 3) ** 3
# Far below the darkest byte's X + 15Y + 3Z and 13 L, far above the smallest float32.
_TINY = 1e-10


def _chromaticity(x: float, y: float, z: float) -> tuple[float, float]:
    """Return (u', v') of a colour in XYZ."""
    whole = x + 15 * y + 3 * z
    return 4 * x / whole, 9 * y / whole


# The white point is exactly where R = G = B leads, so greys have u = v = 0 to the last digit.
_WHITE = _chromaticity(*_TO_XYZ.sum(dim=1).tolist())
# (u', v') of red, green and blue: all that the display can show lies in their triangle.
_PRIMARIES = [_chromaticity(*column.tolist()) for column in _TO_XYZ.T]
_LOWEST, _HIGHEST = (tuple(edge(axis) for axis in zip(*_PRIMARIES, strict=True)) for edge in (min, max))


def rgb_to_luv(rgb: torch.Tensor) -> torch.Tensor:
    """Convert sRGB in [0, 1], float (N, 3, ...), to normalised CIELUV of the same shape and dtype.

    Differentiable, with finite gradients everywhere; black counts as grey.
    """
    linear = torch.where(rgb <= _SRGB_KNEE, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x, y, z = _mix(_TO_XYZ, linear).unbind(1)
    # In the untaken branch of a `where`, an infinite slope would still turn the gradient into nan; hence the clamp.
    lightness = torch.where(y <= _Y_KNEE, _L_OVER_Y * y, 116 * y.clamp(min=_Y_KNEE) ** (1 / 3) - 16)
    whole = x + 15 * y + 3 * z + _TINY
    u = 13 * lightness * ((4 * x + _TINY * _WHITE[0]) / whole - _WHITE[0])
    v = 13 * lightness * ((9 * y + _TINY * _WHITE[1]) / whole - _WHITE[1])
    return torch.stack([lightness / 100, (u + 100) / 200, (v + 100) / 200], dim=1)


def luv_to_rgb(luv: torch.Tensor) -> torch.Tensor:
    """Convert normalised CIELUV, float (N, 3, ...), to sRGB in [0, 1] of the same shape and dtype.

    Differentiable, with finite gradients everywhere. Colours that no display shows are cut to the gamut: L to 0 or
    more, the chromaticity (u', v') to what sRGB's primaries span, then R, G and B to [0, 1]; what is cut has no
    gradient.
    """
    lightness = luv[:, 0].clamp(min=0) * 100
    u, v = luv[:, 1] * 200 - 100, luv[:, 2] * 200 - 100
    # Near black, u and v are no more than noise over almost nothing: uncut, slopes there would have no limit.
    u_prime = (u / (13 * lightness + _TINY) + _WHITE[0]).clamp(_LOWEST[0], _HIGHEST[0])
    v_prime = (v / (13 * lightness + _TINY) + _WHITE[1]).clamp(_LOWEST[1], _HIGHEST[1])
    y = torch.where(lightness <= _L_KNEE, lightness / _L_OVER_Y, ((lightness + 16) / 116) ** 3)
    x = y * 9 * u_prime / (4 * v_prime)
    z = y * (12 - 3 * u_prime - 20 * v_prime) / (4 * v_prime)
    linear = _mix(_FROM_XYZ, torch.stack([x, y, z], dim=1))
    curved = 1.055 * linear.clamp(min=_LINEAR_KNEE) ** (1 / 2.4) - 0.055
    return torch.where(linear <= _LINEAR_KNEE, linear * 12.92, curved).clamp(0, 1)


def _mix(matrix: torch.Tensor, channels: torch.Tensor) -> torch.Tensor:
    return torch.einsum("ij,nj...->ni...", to_device(matrix.to(channels.dtype), channels.device), channels)
