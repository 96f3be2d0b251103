"""What is shown of the paper: grids and charts of any subject. Every format renders these."""

from __future__ import annotations

import math
from dataclasses import dataclass

GAP = "□"
UNDEFINED = "–"
LEGEND = f"{GAP} is not run yet; {UNDEFINED} is a value that at least one seed leaves undefined"

TO_DRAW = "Not everything is drawn yet; what is missing takes"


@dataclass(frozen=True)
class Value:
    """One cell: a mean over seeds and its sample standard deviation (None where there is one seed).

    `mean` is None where nothing was run, nan where the value is undefined. `scale` and `digits` say how it is written;
    `text` replaces that.
    """

    mean: float | None
    std: float | None = None
    scale: float = 100.0
    digits: int = 2
    text: str = ""

    @property
    def missing(self) -> bool:
        return self.mean is None

    def __str__(self) -> str:
        if self.mean is None:
            return GAP
        if math.isnan(self.mean):
            return UNDEFINED
        if self.text:
            return self.text
        mean = f"{self.scale * self.mean:.{self.digits}f}"
        return mean if self.std is None else f"{mean} ± {self.scale * self.std:.{self.digits}f}"


MISSING = Value(None)


@dataclass(frozen=True)
class Line:
    """A row of a grid: what it is of, and its cells.

    kind: "ours"; "published", the paper's own figures for the line above; "reference", not in the paper's table;
    "mean", over other lines. seeds: over how many the cells go.
    """

    labels: tuple[str, ...]
    cells: tuple[Value, ...]
    kind: str = "ours"
    seeds: int = 0

    @property
    def missing(self) -> bool:
        return all(cell.missing for cell in self.cells)


@dataclass(frozen=True)
class PaperGrid:
    """One table: `subject` is what it is of, notes are sentences to stand under it, commands fill its gaps."""

    subject: str
    label_heads: tuple[str, ...]
    heads: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

    def shown_labels(self) -> list[tuple[str, ...]]:
        """Each line's labels, blank where the line above says the same."""
        shown: list[tuple[str, ...]] = []
        above: tuple[str, ...] = ()
        for line in self.lines:
            same = 0
            # The last label names the line itself.
            while same < min(len(above), len(line.labels)) - 1 and above[same] == line.labels[same]:
                same += 1
            shown.append(("",) * same + line.labels[same:])
            above = line.labels
        return shown


@dataclass(frozen=True)
class Chart:
    """One drawing: SVG text, with what it is of and what to see."""

    subject: str
    svg: str
    caption: str = ""


@dataclass(frozen=True)
class Shown:
    """One of the paper's tables or figures as far as it goes; without grids and charts `needs` says what it takes.

    to_draw: the commands for drawings and curves that are missing. recipe: the command that makes the whole of it on
    the workspace's data, "" where no recipe is for those.
    """

    key: str
    title: str
    needs: str
    grids: tuple[PaperGrid, ...] = ()
    charts: tuple[Chart, ...] = ()
    to_draw: tuple[str, ...] = ()
    recipe: str = ""

    @property
    def begun(self) -> bool:
        return bool(self.grids or self.charts)

    @property
    def commands(self) -> list[str]:
        """What fills its gaps."""
        of_grids = (command for grid in self.grids for command in grid.commands)
        return list(dict.fromkeys([*of_grids, *self.to_draw]))

    def state(self) -> str:
        """How much of it is there, in a few words."""
        lines = [line for grid in self.grids for line in grid.lines if line.kind == "ours"]
        there = sum(not line.missing for line in lines)
        words = []
        if lines:
            of = "" if there == len(lines) else f" of {len(lines)}"
            words.append(f"{there}{of} row" + ("s" if len(lines) > 1 else ""))
        if self.charts:
            words.append(f"{len(self.charts)} drawing" + ("s" if len(self.charts) > 1 else ""))
        return ", ".join(words)
