"""The colour map of ReColorAdv on a CPU: trilinear interpolation, and its gradient by the nodes, compiled.

They compute what torch's `grid_sample` does, in its order, so to the same bits; but it also takes the gradient by the
colours, which nobody needs.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _placed(position: Any, nodes: Any, one: Any) -> Any:  # pragma: no cover
    """Return the lower node beside a position from 0 to 1, and the weights of that and of the upper one."""
    number = one.dtype.type
    at = (((position * number(2) - number(1)) + number(1)) / number(2)) * number(nodes - 1)
    at = min(number(nodes - 1), max(at, number(0)))
    low = int(np.floor(at))
    return low, number(low + 1) - at, at - number(low)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def interpolate(nodes: Any, colours: Any, shifts: Any, one: Any) -> None:  # pragma: no cover
    """Fill the shifts (3, P) of colours (3, P), whose channels are the axes of nodes (L, U, V, 3).

    one: [1], whose dtype all are computed in.
    """
    size_l, size_u, size_v = nodes.shape[0], nodes.shape[1], nodes.shape[2]
    for p in range(colours.shape[1]):
        at_l, l_low, l_high = _placed(colours[0, p], size_l, one)
        at_u, u_low, u_high = _placed(colours[1, p], size_u, one)
        at_v, v_low, v_high = _placed(colours[2, p], size_v, one)
        red = green = blue = one[0] - one[0]
        for corner in range(8):
            i, j, k = at_l + (corner >> 2), at_u + ((corner >> 1) & 1), at_v + (corner & 1)
            if i < size_l and j < size_u and k < size_v:
                weight = (v_high if corner & 1 else v_low) * (u_high if corner & 2 else u_low)
                weight *= l_high if corner & 4 else l_low
                red += nodes[i, j, k, 0] * weight
                green += nodes[i, j, k, 1] * weight
                blue += nodes[i, j, k, 2] * weight
        shifts[0, p], shifts[1, p], shifts[2, p] = red, green, blue


@numba.njit(cache=True, nogil=True, error_model="numpy")
def gather(pull: Any, colours: Any, nodes: Any, one: Any) -> None:  # pragma: no cover
    """Add the gradient by the shifts (3, P) of colours (3, P) to that by the nodes (L, U, V, 3)."""
    size_l, size_u, size_v = nodes.shape[0], nodes.shape[1], nodes.shape[2]
    for p in range(colours.shape[1]):
        at_l, l_low, l_high = _placed(colours[0, p], size_l, one)
        at_u, u_low, u_high = _placed(colours[1, p], size_u, one)
        at_v, v_low, v_high = _placed(colours[2, p], size_v, one)
        for corner in range(8):
            i, j, k = at_l + (corner >> 2), at_u + ((corner >> 1) & 1), at_v + (corner & 1)
            if i < size_l and j < size_u and k < size_v:
                weight = (v_high if corner & 1 else v_low) * (u_high if corner & 2 else u_low)
                weight *= l_high if corner & 4 else l_low
                for channel in range(3):
                    nodes[i, j, k, channel] += weight * pull[channel, p]
