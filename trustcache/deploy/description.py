"""The description beside an exported graph: all that another program needs to use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trustcache.deploy.threshold import Threshold


@dataclass(frozen=True)
class GraphInput:
    """The graph's input. shape: "N", 3, height, width."""

    shape: tuple[int | str, ...]
    name: str = "images"
    dtype: str = "uint8"
    colours: str = "RGB, 0 to 255; mean and deviation are in the graph"


@dataclass(frozen=True)
class Resize:
    """Resizing of an image to the input size: the rule in words, and the preprocessing's entries."""

    rule: str
    crop_pct: float
    crop_mode: str
    interpolation: str


@dataclass(frozen=True)
class SecondInput:
    """The same image at another size, for a second network, and how it is resized to that."""

    input: GraphInput
    resize: Resize


@dataclass(frozen=True)
class Checked:
    """The images that the graph was checked on, and its largest difference to the original."""

    images: str
    largest_difference: float


@dataclass(frozen=True)
class Description:
    """`<graph>.json`: all that another program needs beside the graph. outputs: their shapes by name.

    graph_sha256: of the graph's file. trusted: the rule for people. second: the further input of a graph whose score
    reads a second network that sees images at another size or crop.
    """

    SCHEMA: ClassVar[int] = 4

    run: str
    classifier: str
    format: str
    input: GraphInput
    resize: Resize
    outputs: dict[str, tuple[int | str, ...]]
    threshold: float
    calibration: Threshold | None
    classes: tuple[str, ...]
    checked: Checked
    made_with: dict[str, str]
    graph_sha256: str
    trusted: str
    second: SecondInput | None = None
