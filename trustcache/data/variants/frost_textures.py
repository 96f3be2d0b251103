"""Frost on a window pane, drawn by program: the textures that the frost corruption lays over an image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import ImageDraw

_HEIGHT, _WIDTH = 400, 640
# Crystals are drawn this many times larger and averaged down, because Pillow's lines have hard edges.
_OVERSAMPLING = 2
# Ice grows its side branches at 60 degrees.
_BRANCH = np.exp(1j * np.pi / 3)


@dataclass(frozen=True)
class Frost:
    """Parameters of one texture: its crystals (lengths in pixels) and its colours (in bytes)."""

    crystals: int
    length: float
    slimness: float
    branches: float
    cloudiness: float
    mean: tuple[int, int, int]
    deviation: float


# Means and deviations are those of the photographs that the reference draws from (frost1 to frost5, the second and
# third being one picture): they decide how strong the corruption is. The shapes are ours.
_FROSTS = (
    Frost(500, length=60, slimness=7, branches=0.0, cloudiness=0.8, mean=(78, 149, 166), deviation=22),
    Frost(900, length=55, slimness=9, branches=0.0, cloudiness=0.5, mean=(201, 205, 214), deviation=22),
    Frost(700, length=80, slimness=12, branches=0.0, cloudiness=0.6, mean=(201, 205, 214), deviation=22),
    Frost(1500, length=24, slimness=5, branches=0.0, cloudiness=0.5, mean=(138, 153, 165), deviation=29),
    Frost(500, length=50, slimness=8, branches=0.8, cloudiness=0.6, mean=(112, 123, 135), deviation=43),
)


@lru_cache(maxsize=1)
def procedural_frost() -> tuple[NDArray[np.uint8], ...]:
    """Return five frost textures, uint8 (400, 640, 3), always the same, read-only. The first call takes 0.5 s."""
    return tuple(_texture(frost, np.random.default_rng(seed)) for seed, frost in enumerate(_FROSTS))


def _texture(frost: Frost, rng: np.random.Generator) -> NDArray[np.uint8]:
    cloud = np.sum([_cloud(size, rng) for size in (12, 40, 100)], axis=0)
    ice = _standardised(_crystals(frost, rng))
    shade = _standardised(np.sqrt(frost.cloudiness) * _standardised(cloud) + np.sqrt(1 - frost.cloudiness) * ice)
    colours = np.array(frost.mean) + frost.deviation * shade[..., np.newaxis]
    texture = np.clip(colours, 0, 255).astype(np.uint8)
    # All callers share it.
    texture.setflags(write=False)
    return texture


def _cloud(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return smooth noise (400, 640) with about one blot every `size` pixels."""
    from PIL import Image

    blots = rng.normal(size=(_HEIGHT // size + 1, _WIDTH // size + 1)).astype(np.float32)
    return np.asarray(Image.fromarray(blots).resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC))


def _crystals(frost: Frost, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw fans of pointed leaves of ice, later ones over earlier ones, as grey of any scale (400, 640)."""
    from PIL import Image, ImageDraw

    canvas = Image.new("L", (_WIDTH * _OVERSAMPLING, _HEIGHT * _OVERSAMPLING), 100)
    draw = ImageDraw.Draw(canvas)
    for _ in range(frost.crystals):
        root = complex(*rng.uniform((0, 0), canvas.size))
        heading = rng.uniform(0, 2 * np.pi)
        light = rng.integers(80, 200)
        for turn in rng.normal(scale=0.45, size=3):
            stem = frost.length * _OVERSAMPLING * rng.uniform(0.3, 1) * np.exp(1j * (heading + turn))
            _leaf(draw, root, stem, frost, int(light))
    return np.asarray(canvas.reduce(_OVERSAMPLING), dtype=np.float64)


def _leaf(draw: ImageDraw.ImageDraw, root: complex, stem: complex, frost: Frost, light: int) -> None:
    """Draw a leaf from `root` along `stem` (points as complex numbers): a lit and a shaded half, ribs and branches."""
    tip, middle = root + stem, root + 0.4 * stem
    for side, shade in ((1j, light + 40), (-1j, light - 60)):
        draw.polygon(_points(root, middle + side * stem / frost.slimness, tip), fill=shade)
    draw.line(_points(root, tip), fill=255, width=_OVERSAMPLING)
    for share in np.linspace(0.1, 0.9, 12 if frost.branches else 0):
        reach = frost.branches * (1 - share) * stem / 2
        for direction in (_BRANCH, _BRANCH.conjugate()):
            foot = root + share * stem
            draw.line(_points(foot, foot + reach * direction), fill=light + 55)


def _points(*places: complex) -> list[tuple[float, float]]:
    return [(place.real, place.imag) for place in places]


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return (values - values.mean()) / values.std()
