"""SVG elements as text, and a plot area from data to pixels: the parts of every figure.

Lines and text are `currentColor` and fills are mid-tones of the Okabe-Ito palette, which colour-blind readers
can tell apart, so one figure serves a light and a dark page.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

PALETTE = ("#2487C8", "#009E73", "#CC79A7", "#D55E00", "#E69F00", "#56B4E9", "#8C6BB1", "#A6761D")


@dataclass(frozen=True)
class Box:
    """A plot area in pixels; data from (0, 0) to (1, y_limit) fill it."""

    left: float
    top: float
    width: float
    height: float
    y_limit: float = 1.0

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height

    def x(self, value: Numbers) -> Numbers:
        return self.left + self.width * value

    def y(self, value: Numbers) -> Numbers:
        return self.bottom - self.height * value / self.y_limit

    def clipped(self, parts: Sequence[str]) -> str:
        """Return drawn parts without what lies outside: a nested svg needs no id that is unique in the page."""
        window = f"{self.left} {self.top} {self.width} {self.height + 2}"
        size: dict[str, float] = {"x": self.left, "y": self.top, "width": self.width, "height": self.height + 2}
        return tag("svg", "".join(parts), **size, viewBox=window)


def even_ticks(limit: float) -> list[float]:
    """Return ticks from 0 in steps of 1, 2, 2.5 or 5 times a power of ten to at least `limit`, at most six steps."""
    limit = max(limit, 0.001)
    power = 10.0 ** math.floor(math.log10(limit / 6))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m * 6 >= limit)
    return [step * i for i in range(math.ceil(limit / step - 1e-9) + 1)]


def shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def round_below(most: int) -> int:
    """Return the largest 1, 2 or 5 times a power of ten that is at most `most`."""
    power = 10 ** (len(str(most)) - 1)
    return next(m * power for m in (5, 2, 1) if m * power <= most)


def joined_points(x: Numbers, y: Numbers) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def grid_line(x1: float, y1: float, x2: float, y2: float) -> str:
    return tag("path", d=f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}", stroke="currentColor", stroke_opacity=0.25)


def y_grid(box: Box, ticks: Sequence[float], scale: float = 1) -> Iterator[str]:
    """Yield horizontal lines at the ticks inside a box, each with its value times `scale`."""
    for value in ticks:
        y = box.bottom - box.height * value / box.y_limit
        if y >= box.top - 1:
            yield grid_line(box.left, y, box.right, y)
            yield svg_text(box.left - 6, y + 4, f"{scale * value:g}", "end")


def svg_text(x: float, y: float, text: str, anchor: str = "start", /, **attributes: str | float) -> str:
    return tag("text", escape(text), x=x, y=y, text_anchor=anchor, **attributes)


def tag(element: str, content: str = "", /, **attributes: str | float) -> str:
    """Return one element with finished `content`; attribute values are escaped here, names are hyphenated."""
    written = [element]
    for name, value in attributes.items():
        shown = f"{value:.2f}" if isinstance(value, float) else escape(str(value))
        written.append(f'{name.replace("_", "-")}="{shown}"')
    return f"<{' '.join(written)}>{content}</{element}>"


def svg_document(width: int, height: int, title: str, description: str, parts: Sequence[str]) -> str:
    content = f"<title>{escape(title)}</title><desc>{escape(description)}</desc>{''.join(parts)}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" fill="currentColor" '
        f'font-family="system-ui, sans-serif" font-size="12">{content}</svg>'
    )
