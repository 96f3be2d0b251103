"""Figure 4b-c: loss, TPR and TNR over alpha-, from runs that differ in nothing else but their seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from trustcache.command_lines import merged
from trustcache.losses import LOSSES
from trustcache.paper.comparisons import Quantity, metric
from trustcache.paper.curves import Panel
from trustcache.paper.gaps import training
from trustcache.paper.paper_index import LEAST_VALUES, SEEDS, Found, Method, PaperIndex, Setup, pair_name, sweep_key
from trustcache.report.names import method_label
from trustcache.report.records import Scored
from trustcache.report.table import Cell, Figure, Row, Table, grouped_table


def _training_loss(one: Scored) -> float:
    log = one.run.log() if one.run else ()
    return log[-1].loss if log else math.nan


COLUMNS = (Quantity("training loss", _training_loss, 1.0), metric("tpr"), metric("tnr"))


@dataclass(frozen=True)
class AlphaSweep:
    """Runs of ss on a clean data set, by their alpha-; they share everything else but the seed."""

    setup: Setup
    pair: tuple[str, str]
    by_alpha: dict[float, list[Scored]]

    @property
    def first(self) -> Scored:
        return next(iter(self.by_alpha.values()))[0]

    @property
    def signed_distance(self) -> bool | None:
        """The head's form, None where it is the loss's own."""
        signed = self.first.config.signed_distance
        return None if signed == LOSSES["ss"].signed_distance else signed

    @property
    def alpha_pos(self) -> float:
        return float(self.first.config.loss.settings["alpha_pos"])

    @property
    def title(self) -> str:
        """The setup, with whatever of the runs' settings is not usual."""
        swept, record = ("alpha_pos", "alpha_neg", "signed_distance"), self.first.record
        rest = {key: value for key, value in record.settings.items() if key not in swept}
        unusual = [method_label(replace(record, settings=rest)).partition(" ")[2]]
        unusual += ["not over ‖w‖"] if self.signed_distance is False else []
        return " · ".join([str(self.setup), pair_name(self.pair), f"α⁺ {self.alpha_pos:g}", *filter(None, unusual)])

    def cells(self, column: Quantity) -> list[Cell]:
        """Return a quantity's mean for each alpha-."""
        return [column.cell([column.of(one) for one in ones]) for ones in self.by_alpha.values()]


def alpha_sweeps(paper: PaperIndex) -> list[AlphaSweep]:
    """Return every sweep of alpha- in a workspace."""
    groups: dict[str, dict[float, list[Scored]]] = {}
    for one in paper.trained:
        key = sweep_key(one)
        if key and not paper.manifests[one.record.dataset].condition:
            groups.setdefault(key, {}).setdefault(float(one.config.loss.settings["alpha_neg"]), []).append(one)
    sweeps = []
    for by_alpha in groups.values():
        if len(by_alpha) >= LEAST_VALUES:
            record = next(iter(by_alpha.values()))[0].record
            setup = Setup(record.dataset, record.protocol, str(record.training))
            sweeps.append(AlphaSweep(setup, (str(record.oracle), record.classifier), dict(sorted(by_alpha.items()))))
    return sweeps


def sweep_tables(paper: PaperIndex) -> tuple[Table, ...]:
    """Return each sweep as a table."""
    return tuple(_table(paper, sweep) for sweep in alpha_sweeps(paper))


def _table(paper: PaperIndex, sweep: AlphaSweep) -> Table:
    columns = zip(*map(sweep.cells, COLUMNS), strict=True)
    rows = [
        Row((f"{alpha:g}",), cells, seeds=len(ones))
        for (alpha, ones), cells in zip(sweep.by_alpha.items(), columns, strict=True)
    ]
    trained = [{one.record.seed for one in ones} for ones in sweep.by_alpha.values()]
    fewest, commands = min(row.seeds for row in rows), []
    if fewest < SEEDS:
        runs = [one for ones in sweep.by_alpha.values() for one in ones]
        seeds = tuple(seed for seed in range(SEEDS) if any(seed not in there for there in trained))
        swept = {"alpha_pos": [sweep.alpha_pos], "alpha_neg": [*sweep.by_alpha]}
        method = Method("ss", loss="ss", signed_distance=sweep.signed_distance)
        commands.append(training(paper, sweep.setup, sweep.pair, method, seeds, Found(tuple(runs)), swept))
    note = f"{len(rows)} values of α⁻, at least {fewest} seed{'s' if fewest > 1 else ''} each."
    heads = (column.label for column in COLUMNS)
    return grouped_table(sweep.title, ("α⁻",), heads, rows, (note,), merged(commands, paper.place))


def sweep_figures(paper: PaperIndex) -> tuple[Figure, ...]:
    """Return each sweep as figures of loss, TPR and TNR."""
    return tuple(figure for sweep in alpha_sweeps(paper) for figure in _figures(sweep))


def _figures(sweep: AlphaSweep) -> Iterator[Figure]:
    seeds = [len(ones) for ones in sweep.by_alpha.values()]
    over = f"{min(seeds)}" if min(seeds) == max(seeds) else f"{min(seeds)} to {max(seeds)}"
    caption = (
        f"Means over {over} seeds with one standard deviation either way. The loss is the last epoch's mean on the "
        f"training part; its range grows with α⁻. TPR and TNR are of {sweep.setup.data}."
    )
    for column in COLUMNS:
        cells = sweep.cells(column)
        mean = np.array([column.scale * (cell.mean if cell.mean is not None else math.nan) for cell in cells])
        std = np.array([column.scale * (cell.std or 0.0) for cell in cells])
        label = f"{column.label} (%)" if column.scale == 100 else column.label
        yield Figure(sweep.title, Panel(label, np.array([*sweep.by_alpha]), mean, std).chart(), caption)
