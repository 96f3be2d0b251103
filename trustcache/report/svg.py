"""What the SVG figures share: a plot area from data to pixels, its ticks, and the templates that are filled.

Lines and text are `currentColor` and fills are mid-tones of the Okabe-Ito palette, which colour-blind readers
can tell apart, so one figure serves a light and a dark page.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trustcache.report.render.templates import render

Numbers = npt.NDArray[np.float64]

PALETTE = ("#2487C8", "#009E73", "#CC79A7", "#D55E00", "#E69F00", "#56B4E9", "#8C6BB1", "#A6761D")


@dataclass(frozen=True)
class Box:
    """A plot area in pixels; data from (x_range[0], 0) to (x_range[1], y_limit) fill it."""

    left: float
    top: float
    width: float
    height: float
    y_limit: float = 1.0
    x_range: tuple[float, float] = (0.0, 1.0)

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height

    def x(self, value: Any) -> Any:
        low, high = self.x_range
        return self.left + self.width * (value - low) / (high - low)

    def y(self, value: Any) -> Any:
        return self.bottom - self.height * value / self.y_limit

    def points(self, x: Numbers, y: Numbers) -> str:
        """Return a curve's points as SVG has them."""
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(self.x(x), self.y(y), strict=True))


def even_ticks(limit: float) -> list[float]:
    """Return ticks from 0 in steps of 1, 2, 2.5 or 5 times a power of ten to at least `limit`, at most six steps."""
    limit = max(limit, 0.001)
    power = 10.0 ** math.floor(math.log10(limit / 6))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m * 6 >= limit)
    return [step * i for i in range(math.ceil(limit / step - 1e-9) + 1)]


def round_below(most: int) -> int:
    """Return the largest 1, 2 or 5 times a power of ten that is at most `most`."""
    power = 10 ** (len(str(most)) - 1)
    return next(m * power for m in (5, 2, 1) if m * power <= most)


def shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def drawing(template: str, size: tuple[int, int], title: str, description: str, **parts: Any) -> str:
    """Return a figure of `size` pixels as an SVG document: a template filled with its parts."""
    words = {"size": size, "title": title, "description": description}
    return render(template, {"shortened": shortened}, **words, **parts).strip()
