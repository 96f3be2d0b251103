"""Views: changed copies of an image that a classifier is asked about too, each by one more forward pass.

Each is a plain tensor operation on the images of any classifier, so that extraction, predictions and exported graphs
share it. A cache's index, a score's columns and an oracle's inputs know it by its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trustcache.errors import UsageError, did_you_mean
from trustcache.models.to_device import to_device

if TYPE_CHECKING:  # torch takes seconds to import, and the command line reads the names
    from torch import Tensor


@dataclass(frozen=True)
class View:
    """One view: its meaning, and its function of images (N, C, H, W) as the classifier takes them.

    The function resamples each channel alike, so that normalising before or after it makes no difference, and in
    shares of the image's sides, so that it does the same at any size.
    """

    meaning: str
    make: Callable[[Tensor], Tensor]


def _mirrored(x: Tensor) -> Tensor:
    return x.flip(-1)


def placed(x: Tensor, scale: float, degrees: float = 0.0, shift: float = 0.0) -> Tensor:
    """Scale images about their centre, turn them, and move them up and left by a share of half their sides.

    What was outside repeats their borders.
    """
    import torch
    from torch.nn import functional as F

    cos, sin = (f(math.radians(degrees)) / scale for f in (math.cos, math.sin))
    matrix = torch.tensor([[[cos, -sin, shift], [sin, cos, shift]]], dtype=x.dtype)
    grid = F.affine_grid(to_device(matrix, x.device), [1, 1, *x.shape[2:]], align_corners=False).expand(
        x.shape[0], -1, -1, -1
    )
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _shrunk(x: Tensor) -> Tensor:
    return placed(x, 0.85, shift=0.125)


def _tilted(x: Tensor) -> Tensor:
    return _mirrored(placed(x, 0.88, degrees=-8))


VIEWS: dict[str, View] = {
    "mirrored": View("mirrored, left and right exchanged", _mirrored),
    "shrunk": View("shrunk to 85 % and moved up and left by a sixteenth", _shrunk),
    "tilted": View("mirrored, shrunk to 88 % and turned by 8 degrees", _tilted),
}
"""All views by name."""
ALL = "all"


def view_column(view: str) -> str:
    """Return the name of a cache's column of the logits of a view."""
    return f"{view}_logits"


def parse_views(names: Iterable[str]) -> tuple[str, ...]:
    """Return the views asked for, in the order of `VIEWS`; `all` stands for all of them. Raises UsageError."""
    asked = {name for word in names for name in (VIEWS if word == ALL else (word,))}
    if unknown := sorted(asked - VIEWS.keys()):
        near = did_you_mean(unknown[0], [ALL, *VIEWS])
        raise UsageError(f"--views {unknown[0]}: unknown; {ALL}, or a list of {', '.join(VIEWS)}{near}")
    return tuple(name for name in VIEWS if name in asked)


def views_in(columns: Iterable[str]) -> tuple[str, ...]:
    """Return the views whose logits are among some columns of a cache."""
    there = {*columns}
    return tuple(view for view in VIEWS if view_column(view) in there)
