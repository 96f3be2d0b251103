"""The model card of each run, `README.md` in its folder: what it learnt from, what it is worth, and how to load it.

Cards are made of the rest of the workspace, as the report is; a run's name does not depend on its card.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trustcache.cache.records import read_record
from trustcache.cache.seal import UNSEALED, publish_sealed, read_sealed
from trustcache.cache.workspace import Workspace
from trustcache.command_lines import command_line
from trustcache.deploy.threshold import THRESHOLD, Threshold
from trustcache.errors import TrustcacheError, percent
from trustcache.metrics.bootstrap import interval
from trustcache.metrics.calibration import wilson
from trustcache.oracles.runs import CARD, Run
from trustcache.report.comparison import column
from trustcache.report.names import entry_name
from trustcache.report.records import Record, Scored, assumed
from trustcache.report.render.markdown import escaped, grid
from trustcache.report.render.templates import render
from trustcache.report.resampled import Resampler
from trustcache.report.table import Cell, Column, Row, Table

REMADE = "remove it; the next trustcache report makes it anew"
_SECTION = "## Which threshold?"
_SHOWN = ("auc", "aurc", "fpr_at_95_tpr")


@dataclass(frozen=True)
class Card:
    """Facts that a card shows. name: the oracle's for people. learnt_from: a number of samples, 0 if not known.

    elsewhere: effects of the threshold on other data sets, without rows where there are none. assumed: as of `Answer`.
    """

    run: Run
    name: str
    learnt_from: int
    worth: Table
    threshold: Threshold | None
    elsewhere: Table
    commands: Sequence[str]
    assumed: str


def write_cards(workspace: Workspace, scored: Sequence[Scored], resampler: Resampler) -> None:
    """Write the card of each run that is scored, where it has changed.

    resampler: has the intervals of the records that have any. Raises OSError where a card cannot be written.
    """
    by_run: dict[str, list[Scored]] = {}
    for one in scored:
        if one.run:
            by_run.setdefault(one.run.name, []).append(one)
    for ones in by_run.values():
        card = _card(ones, resampler)
        _publish(card.run.folder / CARD, _rendered("card.md", card=card, workspace=workspace.root.name))


def renew_threshold(folder: Path) -> None:
    """Write what the card in a run's folder says of its threshold anew; without a card that can be read, nothing.

    Raises OSError where it cannot be written.
    """
    path, threshold = folder / CARD, _threshold(folder)
    before, head, rest = (_body(path) or "").partition(_SECTION)
    _, after, limits = rest.partition("\n## ")
    if head and after:
        section = _rendered("card-threshold.md", threshold=threshold, elsewhere=_elsewhere(threshold))
        _publish(path, before + section.rstrip("\n") + "\n" + after + limits)


def _rendered(template: str, **context: Any) -> str:
    return render(template, {"escaped": escaped, "grid": grid}, percent=percent, **context)


def _publish(path: Path, body: str) -> None:
    if _body(path) != body:
        publish_sealed(path, f"<!-- {UNSEALED} -->\n{body}".encode())


def _body(path: Path) -> str | None:
    """Return a card's text after the line of its checksum, None where there is none that is as it was written."""
    try:
        return read_sealed(path, REMADE).decode().partition("\n")[2]
    except (FileNotFoundError, TrustcacheError):
        return None


def _card(ones: Sequence[Scored], resampler: Resampler) -> Card:
    first = ones[0]
    assert first.run
    rows = [Row((one.record.dataset, f"{one.record.n:,}"), _cells(one.record, resampler)) for one in ones]
    columns = Column("Accuracy"), *(column(key, first.record.protocol) for key in _SHOWN)
    threshold = _threshold(first.run.folder)
    return Card(
        first.run,
        entry_name(first.record, with_oracle=True),
        first.learnt_from,
        Table("", "", ("Data set", "n"), columns, tuple(rows)),
        threshold,
        _elsewhere(threshold),
        [command_line("predict", first.run.name, "PATH")],
        assumed(ones),
    )


def _cells(record: Record, resampler: Resampler) -> tuple[Cell, ...]:
    accuracy = record.metrics["accuracy"]
    low, high = map(float, wilson(round(accuracy * record.n), record.n))
    cells = [Cell(accuracy, interval=(low, high))]
    drawn = resampler.made.get(record, {})
    for key in _SHOWN:
        cells.append(Cell(record.metrics[key], interval=interval(drawn[key]) if key in drawn else None))
    return tuple(cells)


def _elsewhere(threshold: Threshold | None) -> Table:
    checks = (*threshold.worst_of, *threshold.checks) if threshold else ()
    rows = [
        Row(
            (one.data, f"{one.point.samples:,}"),
            (
                Cell(one.accuracy),
                Cell(one.point.coverage, interval=one.coverage),
                Cell(math.nan if one.point.risk is None else one.point.risk, interval=one.risk),
                *map(Cell, one.estimates.values()),
            ),
        )
        for one in checks
    ]
    estimates = [Column(f"Estimate {name}") for name in checks[0].estimates] if checks else []
    columns = Column("Accuracy"), Column("Coverage"), Column("Risk"), *estimates
    return Table("", "", ("Data set", "n"), columns, tuple(rows))


def _threshold(folder: Path) -> Threshold | None:
    """Return a run's threshold, None where there is none that can be read; calibrate and verify say so."""
    try:
        return read_record(folder / THRESHOLD, Threshold, "")
    except (FileNotFoundError, TrustcacheError):
        return None
