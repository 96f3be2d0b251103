"""Figure 4b-c: loss, TPR and TNR over alpha-, from runs that differ in nothing else but their seeds."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace

import numpy as np

from trustcache.command_lines import merged
from trustcache.losses import LOSSES
from trustcache.oracles.runs import RunConfig
from trustcache.paper.comparisons import Quantity, metric
from trustcache.paper.curves import Panel, panels
from trustcache.paper.gaps import training
from trustcache.paper.paper_index import SEEDS, Found, Method, PaperIndex, Setup, pair_name
from trustcache.report.names import method_label
from trustcache.report.records import Scored
from trustcache.report.table import Figure, Row, Table, grouped_table

LEAST_VALUES = 3
"""Runs with fewer values of alpha- are no sweep."""


def _training_loss(one: Scored) -> float:
    log = one.run.log() if one.run else []
    return log[-1].loss if log else math.nan


COLUMNS = (Quantity("training loss", _training_loss, 1.0), metric("tpr"), metric("tnr"))


@dataclass(frozen=True)
class AlphaSweep:
    """Runs of ss on a clean data set, by their alpha-; they share everything else but the seed."""

    setup: Setup
    pair: tuple[str, str]
    alpha_pos: float
    by_alpha: dict[float, list[Scored]]

    @property
    def title(self) -> str:
        """The setup, with whatever of the runs' settings is not usual."""
        one = next(iter(self.by_alpha.values()))[0]
        swept = ("alpha_pos", "alpha_neg", "signed_distance")
        rest = {key: value for key, value in one.record.settings.items() if key not in swept}
        unusual = [method_label(replace(one.record, settings=rest)).partition(" ")[2]]
        unusual += ["not over ‖w‖"] if _form(one) is False else []
        return " · ".join([str(self.setup), pair_name(self.pair), f"α⁺ {self.alpha_pos:g}", *filter(None, unusual)])


def alpha_sweeps(paper: PaperIndex) -> list[AlphaSweep]:
    """Return every sweep of alpha- in a workspace."""
    groups: dict[str, list[Scored]] = {}
    for one in paper.trained():
        config = _config(one)
        if config.loss.name == "ss" and not config.start and not paper.manifests[one.record.dataset].condition:
            others = {key: value for key, value in config.loss.settings.items() if key != "alpha_neg"}
            alike = {key: value for key, value in vars(config).items() if key not in ("loss", "seed")}
            key = json.dumps([one.record.dataset, others, alike], sort_keys=True, default=str)
            groups.setdefault(key, []).append(one)
    found = []
    for group in groups.values():
        by_alpha: dict[float, list[Scored]] = {}
        for one in group:
            by_alpha.setdefault(float(_config(one).loss.settings["alpha_neg"]), []).append(one)
        if len(by_alpha) >= LEAST_VALUES:
            record, alpha_pos = group[0].record, float(_config(group[0]).loss.settings["alpha_pos"])
            setup = Setup(record.dataset, record.protocol, str(record.training))
            pair = (str(record.oracle), record.classifier)
            found.append(AlphaSweep(setup, pair, alpha_pos, dict(sorted(by_alpha.items()))))
    return found


def _config(one: Scored) -> RunConfig:
    assert one.config is not None
    return one.config


def _form(one: Scored) -> bool | None:
    """Return the head's form, None where it is the loss's own."""
    signed = _config(one).signed_distance
    return None if signed == LOSSES["ss"].signed_distance else signed


def sweep_tables(paper: PaperIndex) -> tuple[Table, ...]:
    """Return each sweep as a table."""
    return tuple(_table(paper, sweep) for sweep in alpha_sweeps(paper))


def _table(paper: PaperIndex, sweep: AlphaSweep) -> Table:
    rows = [
        Row(
            (f"{alpha:g}",), tuple(column.cell([column.of(one) for one in ones]) for column in COLUMNS), seeds=len(ones)
        )
        for alpha, ones in sweep.by_alpha.items()
    ]
    fewest = min(len(ones) for ones in sweep.by_alpha.values())
    commands = []
    if fewest < SEEDS:
        runs = [one for ones in sweep.by_alpha.values() for one in ones]
        trained = [{one.record.seed for one in ones} for ones in sweep.by_alpha.values()]
        seeds = tuple(seed for seed in range(SEEDS) if any(seed not in there for there in trained))
        swept = {"alpha_pos": [sweep.alpha_pos], "alpha_neg": [*sweep.by_alpha]}
        method = Method("ss", loss="ss", signed_distance=_form(runs[0]))
        commands.append(training(paper, sweep.setup, sweep.pair, method, seeds, Found(tuple(runs)), swept))
    note = f"{len(rows)} values of α⁻, at least {fewest} seed{'s' if fewest > 1 else ''} each."
    heads = (column.label for column in COLUMNS)
    return grouped_table(sweep.title, ("α⁻",), heads, rows, (note,), merged(commands, paper.place))


def sweep_figures(paper: PaperIndex) -> tuple[Figure, ...]:
    """Return each sweep as panels of loss, TPR and TNR."""
    return tuple(_figure(sweep) for sweep in alpha_sweeps(paper))


def _figure(sweep: AlphaSweep) -> Figure:
    x = np.array([*sweep.by_alpha])
    drawn = []
    for column in COLUMNS:
        cells = [column.cell([column.of(one) for one in ones]) for ones in sweep.by_alpha.values()]
        mean = np.array([column.scale * (cell.mean if cell.mean is not None else math.nan) for cell in cells])
        std = np.array([column.scale * (cell.std or 0.0) for cell in cells])
        percent = column.scale == 100
        limit = 100.0 if percent else float(np.nanmax(mean + std))
        drawn.append(Panel(column.label + (" (%)" if percent else ""), x, mean, std, limit))
    return Figure(sweep.title, panels(f"Over α⁻, {sweep.title}", drawn), _caption(sweep))


def _caption(sweep: AlphaSweep) -> str:
    seeds = sorted({len(ones) for ones in sweep.by_alpha.values()})
    over = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
    return (
        f"Means over {over} seeds with one standard deviation either way. The loss is the last epoch's mean on the "
        f"training part; its range grows with α⁻. TPR and TNR are of {sweep.setup.data}."
    )
