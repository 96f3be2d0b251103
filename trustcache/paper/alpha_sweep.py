"""Figure 4b-c: the loss, TPR and TNR over alpha-, from runs that differ in nothing else but their seeds."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace

import numpy as np

from trustcache.cache.records import fingerprint
from trustcache.losses import LOSSES
from trustcache.paper.commands import commands
from trustcache.paper.comparisons import Column, value
from trustcache.paper.drawings import Swept, sweep_chart
from trustcache.paper.evidence import SEEDS, Evidence, Found, Method, Stage, pair_name
from trustcache.paper.needs import training
from trustcache.paper.shown import Chart, Line, PaperGrid
from trustcache.report.records import Scored
from trustcache.report.tables import method_label

LEAST_VALUES = 3
"""Runs with fewer values of alpha- are no sweep."""


def _training_loss(one: Scored) -> float:
    log = one.origin.run.log() if one.origin.run else []
    return log[-1].loss if log else math.nan


COLUMNS = {
    "loss": Column("training loss", _training_loss, 1.0),
    "tpr": Column("TPR", lambda one: one.record.metrics.get("tpr", math.nan)),
    "tnr": Column("TNR", lambda one: one.record.metrics.get("tnr", math.nan)),
}


@dataclass(frozen=True)
class Sweep:
    """Runs of ss on a clean data set, by their alpha-; `rest` is what they share."""

    stage: Stage
    pair: tuple[str, str]
    alpha_pos: float
    by_alpha: dict[float, list[Scored]]

    @property
    def subject(self) -> str:
        """What it is of, with whatever of the runs' settings is not usual."""
        one = next(iter(self.by_alpha.values()))[0]
        swept = ("alpha_pos", "alpha_neg", "signed_distance")
        rest = {key: value for key, value in one.record.settings.items() if key not in swept}
        unusual = [method_label(replace(one.record, settings=rest)).partition(" ")[2]]
        unusual += ["not over ‖w‖"] if _form(one) is False else []
        return " · ".join([str(self.stage), pair_name(self.pair), f"α⁺ {self.alpha_pos:g}", *filter(None, unusual)])


def sweeps(evidence: Evidence) -> list[Sweep]:
    """Every sweep of alpha- in a workspace."""
    groups: dict[str, list[Scored]] = {}
    for one in evidence.trained():
        config = one.config
        assert config is not None
        clean = not evidence.manifests[one.record.dataset].condition
        if clean and config.loss.name == "ss" and not config.start:
            others = {key: value for key, value in config.loss.settings.items() if key != "alpha_neg"}
            apart = [value for key, value in sorted(vars(config).items()) if key not in ("loss", "seed", "backbone")]
            key = json.dumps([one.record.dataset, others, str(apart), fingerprint(config.backbone)], sort_keys=True)
            groups.setdefault(key, []).append(one)
    found = []
    for group in groups.values():
        by_alpha: dict[float, list[Scored]] = {}
        for one in group:
            assert one.config is not None
            by_alpha.setdefault(float(one.config.loss.settings["alpha_neg"]), []).append(one)
        if len(by_alpha) >= LEAST_VALUES:
            record, config = group[0].record, group[0].config
            assert config is not None
            stage = Stage(record.dataset, record.protocol, str(record.training))
            pair = (str(record.oracle), record.classifier)
            found.append(Sweep(stage, pair, float(config.loss.settings["alpha_pos"]), dict(sorted(by_alpha.items()))))
    return found


def _form(one: Scored) -> bool | None:
    """The head's form, None where it is the loss's own."""
    assert one.config is not None
    return None if one.config.signed_distance == LOSSES["ss"].signed_distance else one.config.signed_distance


def sweep_grids(evidence: Evidence) -> tuple[PaperGrid, ...]:
    """Each sweep as a table."""
    return tuple(_grid(evidence, sweep) for sweep in sweeps(evidence))


def _grid(evidence: Evidence, sweep: Sweep) -> PaperGrid:
    lines = [
        Line((f"{alpha:g}",), tuple(value([c.of(one) for one in ones], c) for c in COLUMNS.values()), seeds=len(ones))
        for alpha, ones in sweep.by_alpha.items()
    ]
    fewest = min(len(ones) for ones in sweep.by_alpha.values())
    needs = []
    if fewest < SEEDS:
        runs = [one for ones in sweep.by_alpha.values() for one in ones]
        trained = [{one.record.seed for one in ones} for ones in sweep.by_alpha.values()]
        seeds = tuple(seed for seed in range(SEEDS) if any(seed not in there for there in trained))
        swept = {"alpha_pos": [sweep.alpha_pos], "alpha_neg": [*sweep.by_alpha]}
        method = Method("ss", loss="ss", signed_distance=_form(runs[0]))
        needs.append(training(evidence, sweep.stage, sweep.pair, method, seeds, Found(tuple(runs)), swept))
    note = f"{len(lines)} values of α⁻, at least {fewest} seed{'s' if fewest > 1 else ''} each."
    columns = tuple(column.label for column in COLUMNS.values())
    return PaperGrid(sweep.subject, ("α⁻",), columns, tuple(lines), (note,), commands(needs, evidence.place))


def sweep_charts(evidence: Evidence) -> tuple[Chart, ...]:
    """Each sweep as panels of loss, TPR and TNR."""
    return tuple(_chart(sweep) for sweep in sweeps(evidence))


def _chart(sweep: Sweep) -> Chart:
    x = np.array([*sweep.by_alpha])
    panels = []
    for column in COLUMNS.values():
        cells = [value([column.of(one) for one in ones], column) for ones in sweep.by_alpha.values()]
        mean = np.array([column.scale * (cell.mean if cell.mean is not None else math.nan) for cell in cells])
        std = np.array([column.scale * (cell.std or 0.0) for cell in cells])
        limit = 100.0 if column.scale == 100 else float(np.nanmax(mean + std))
        unit = " (%)" if column.scale == 100 else ""
        panels.append(Swept(column.label + unit, x, mean, std, limit))
    return Chart(sweep.subject, sweep_chart(f"Over α⁻, {sweep.subject}", panels), _caption(sweep))


def _caption(sweep: Sweep) -> str:
    seeds = sorted({len(ones) for ones in sweep.by_alpha.values()})
    over = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
    return (
        f"Means over {over} seeds with one standard deviation either way. The loss is the last epoch's mean on the "
        f"training part; its range grows with α⁻. TPR and TNR are of {sweep.stage.data}."
    )
