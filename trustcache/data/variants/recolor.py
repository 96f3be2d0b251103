"""ReColorAdv: one map of colours per image, in CIELUV, that makes a classifier err (Laidlaw & Feizi, NeurIPS 2019).

Settings and loss are those of the authors' package `recoloradv`; the code is our own. It differs in three ways, all so
that no pixel's colour moves further than the bound. The package also projects the grid's nodes into sRGB's gamut, so
that its map starts some way off the identity (and most of its time goes there); it moves colours outside [0, 1] in
normalised CIELUV, such as pure red, onto the grid's edge; and where sRGB's gamut cuts a colour, it accepts where that
ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from trustcache.data.variants.cieluv import luv_to_rgb, rgb_to_luv
from trustcache.data.variants.pgd import Logits

GRID = (16, 32, 32)
"""Number of nodes of the map along L, u and v, evenly from 0 to 1 in normalised CIELUV."""

_HALVINGS = 12
# Numbers in the factors of one matrix product, at most: 1 GB.
_ELEMENTS = 1 << 28
# Keeps the distance between two equal nodes differentiable.
_FLAT = 1e-10


def recolor(
    logits: Logits,
    images: torch.Tensor,
    labels: torch.Tensor,
    generators: Sequence[torch.Generator],
    *,
    bound: float,
    iterations: int,
    learning_rate: float,
    smoothness: float,
) -> torch.Tensor:
    """Apply to each image (N, 3, H, W) the map of colours that Adam finds for it; nothing is random.

    Adam minimises, for each image, the margin of its label's logit over the largest other one (Carlini & Wagner's
    f6 with kappa = infinity: it keeps falling when the image is already misclassified) plus `smoothness` times the
    map's roughness; each step ends with a projection into the bound. The last map is the result, as in the package.
    """
    luv = rgb_to_luv(images)
    shifts = images.new_zeros(len(images), 3, *GRID, requires_grad=True)
    adam = torch.optim.Adam([shifts], lr=learning_rate, fused=True)
    for _ in range(iterations):
        with torch.enable_grad():
            margins = _margin(logits(luv_to_rgb(moved(luv, shifts))), labels)
            (gradient,) = torch.autograd.grad(margins.sum(), shifts)
        with torch.no_grad():
            shifts.grad = gradient.add_(roughness_gradient(shifts), alpha=smoothness)
            adam.step()
            shifts.clamp_(-bound, bound)
    with torch.no_grad():
        return within_bound(images, luv_to_rgb(moved(luv, shifts)), bound)


def moved(luv: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """Move each colour by the trilinear interpolation of the nodes around it: luv (N, 3, H, W), shifts (N, 3, *GRID).

    A colour outside the grid moves as the nearest one on its surface.
    """
    return luv + _Interpolated.apply(shifts, luv)


def interpolated(shifts: torch.Tensor, luv: torch.Tensor) -> torch.Tensor:
    """Return the shift (N, 3, H, W) of each colour."""
    # grid_sample wants the last axis first, and positions in [-1, 1].
    positions = (2 * luv - 1).flip(1).permute(0, 2, 3, 1).unsqueeze(1)
    return F.grid_sample(shifts, positions, padding_mode="border", align_corners=True).squeeze(2)


class _Interpolated(torch.autograd.Function):
    """`interpolated`: compiled on a CPU; on a GPU its gradient by the shifts repeats, as grid_sample's does not."""

    @staticmethod
    def forward(ctx: Any, shifts: torch.Tensor, luv: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(luv)
        ctx.grid = shifts.shape[2:]
        return _compiled(shifts, luv) if luv.device.type == "cpu" else interpolated(shifts, luv)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (luv,) = ctx.saved_tensors
        gradient = _compiled_gradient if luv.device.type == "cpu" else gathered
        return gradient(gradients[0], luv, ctx.grid), None


def _compiled(shifts: torch.Tensor, luv: torch.Tensor) -> torch.Tensor:
    """Return `interpolated` to the bit, on a CPU."""
    from trustcache.data.variants.colour_map import interpolate

    found = torch.empty_like(luv, memory_format=torch.contiguous_format)
    _each_image(interpolate, shifts.permute(0, 2, 3, 4, 1), luv.flatten(2), found.flatten(2))
    return found


def _compiled_gradient(gradient: torch.Tensor, luv: torch.Tensor, grid: Sequence[int]) -> torch.Tensor:
    """Return what grid_sample's gradient by the nodes is to the bit, as `gathered` has it, on a CPU."""
    from trustcache.data.variants.colour_map import gather

    total = luv.new_zeros(len(luv), *grid, 3)
    _each_image(gather, gradient.flatten(2), luv.flatten(2), total)
    return total.permute(0, 4, 1, 2, 3).contiguous()


def _each_image(work: Callable[..., None], *tensors: torch.Tensor) -> None:
    """Call compiled code on the arrays of each image, in threads."""
    arrays = [tensor.detach().contiguous().numpy() for tensor in tensors]
    one = np.ones(1, arrays[0].dtype)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(lambda number: work(*(array[number] for array in arrays), one), range(len(arrays[0]))))


def gathered(gradient: torch.Tensor, luv: torch.Tensor, grid: Sequence[int]) -> torch.Tensor:
    """Return the gradient by the nodes (N, 3, *grid) for that by the shifts of the colours (N, 3, H, W).

    A node's weight for a colour is a product of three, one along each axis. So the sum over the colours is a matrix
    product of weighted gradients (3 x u, pixels) and weights (pixels, L x v), which repeats.
    """
    total = gradient.new_zeros(len(luv), 3 * grid[1], grid[0] * grid[2])
    width = max(_ELEMENTS // (len(luv) * (total.shape[1] + total.shape[2])), 1)
    for pull, colours in zip(gradient.flatten(2).split(width, 2), luv.flatten(2).split(width, 2), strict=True):
        along_l, along_u, along_v = (_weights(colours[:, axis], nodes) for axis, nodes in enumerate(grid))
        weighted = (pull.unsqueeze(2) * along_u.unsqueeze(1)).flatten(1, 2)
        weights = (along_l.unsqueeze(2) * along_v.unsqueeze(1)).flatten(1, 2)
        total.baddbmm_(weighted, weights.transpose(1, 2))
    return total.unflatten(2, (grid[0], grid[2])).unflatten(1, (3, grid[1])).transpose(2, 3).contiguous()


def _weights(positions: torch.Tensor, nodes: int) -> torch.Tensor:
    """Return the weights (N, nodes, P) of evenly spaced nodes in the linear interpolation at positions (N, P)."""
    at = positions.clamp(0, 1).mul(nodes - 1).unsqueeze(1)
    return (1 - (at - torch.arange(nodes, device=at.device, dtype=at.dtype).view(1, -1, 1)).abs()).clamp_(min=0)


def within_bound(images: torch.Tensor, changed: torch.Tensor, bound: float) -> torch.Tensor:
    """Return `changed` with every pixel beyond the bound moved back towards its colour in `images`.

    Both are RGB (N, 3, H, W) in [0, 1]. What comes back differs from `images` by at most `bound` in each channel of
    normalised CIELUV. The way back is straight in RGB, since that never leaves the gamut.
    """
    outside = _distance(images, changed) > bound
    whole, before = (x.movedim(1, -1)[outside] for x in (changed, images))
    share = before.new_zeros(len(before), 1)
    for step in range(1, _HALVINGS + 1):
        further = share + 0.5**step
        fits = _distance(before, torch.lerp(before, whole, further)) <= bound
        share = torch.where(fits.unsqueeze(1), further, share)
    kept = changed.movedim(1, -1).clone()
    kept[outside] = torch.lerp(before, whole, share)
    return kept.movedim(-1, 1).contiguous()


def roughness_gradient(shifts: torch.Tensor) -> torch.Tensor:
    """Return the gradient of the paper's smoothness norm for shifts (N, 3, *GRID), in a tenth of autograd's time.

    The norm sums the Euclidean distances of all nodes to their (up to six) neighbours, so each pair counts twice.
    """
    gradient = torch.zeros_like(shifts)
    for axis in (2, 3, 4):
        pull = shifts.diff(dim=axis)
        along_l, along_u, along_v = pull.unbind(1)
        # Channel by channel, since a sum over an axis of three costs four times as much.
        square = (along_l * along_l).addcmul_(along_u, along_u).addcmul_(along_v, along_v)
        pull *= square.add_(_FLAT).rsqrt_().mul_(2).unsqueeze(1)
        gradient.narrow(axis, 1, pull.shape[axis]).add_(pull)
        gradient.narrow(axis, 0, pull.shape[axis]).sub_(pull)
    return gradient


def _margin(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    own = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, labels.unsqueeze(1), True)
    return logits.masked_fill(~own, 0).sum(1) - logits.masked_fill(own, -torch.inf).amax(1)


def _distance(rgb: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the largest difference over the channels of normalised CIELUV: (N, 3, ...) twice to (N, ...)."""
    return (rgb_to_luv(rgb) - rgb_to_luv(other)).abs().amax(1)
