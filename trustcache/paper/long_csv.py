"""The paper's tables as one CSV: a line a cell, ours and the published ones, gaps included."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from trustcache.paper.shown import Shown

_HEAD = ("artefact", "subject", "row", "column", "kind", "state", "mean", "std", "seeds", "unit")


def tables_csv(shown: Sequence[Shown]) -> str:
    """One line a cell: mean and std in the unit given, empty where the state is "not run" or "undefined"."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_HEAD)
    for one in shown:
        for grid in one.grids:
            for line in grid.lines:
                row = " / ".join(label.strip() for label in line.labels if label)
                for head, cell in zip(grid.heads, line.cells, strict=True):
                    undefined = cell.mean is not None and math.isnan(cell.mean)
                    state = "not run" if cell.missing else "undefined" if undefined else "measured"
                    mean = "" if cell.mean is None or undefined else repr(float(cell.scale * cell.mean))
                    if cell.text:
                        mean = "" if cell.mean is None else repr(float(cell.mean))
                    std = "" if cell.std is None else repr(float(cell.scale * cell.std))
                    unit = "percent" if cell.scale == 100 and not cell.text and not cell.missing else ""
                    seeds = line.seeds or ""
                    writer.writerow([one.key, grid.subject, row, head, line.kind, state, mean, std, seeds, unit])
    return file.getvalue()
