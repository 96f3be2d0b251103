"""Sweeps: the figures of each candidate on the validation part and on test data, side by side."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import scipy

from trustcache.command_lines import command_line
from trustcache.evaluate.sweep import REFERENCE, Metrics, Sweep, mean_metrics, standing
from trustcache.oracles.runs import Run
from trustcache.report.comparison import column
from trustcache.report.footnotes import few_samples
from trustcache.report.names import method_label, run_names
from trustcache.report.records import Record
from trustcache.report.table import Cell, Column, Row, Table

SHOWN = ("aurc", "auc", "aupr_error", "fpr_at_95_tpr")
BESIDE = ("aurc", "auc")
TRAINED = ("auc", "tpr", "tnr")
"""The metrics of a sweep's own ranking, those shown beside the test figures, and those of a training."""


@dataclass(frozen=True)
class Outcome:
    """A sweep on one evaluation data set: the mean metrics of each candidate there, in the sweep's order, and mcp's."""

    sweep: Sweep
    dataset: str
    test: tuple[Metrics, ...]
    reference: Metrics

    @property
    def both(self) -> tuple[list[float], list[float]]:
        """Each candidate's criterion on the validation part and on the test data."""
        return [standing(one.validation) for one in self.sweep.candidates], [standing(metrics) for metrics in self.test]

    def test_ranks(self) -> list[int]:
        """Return each candidate's place on the test data by the criterion; equal ones share the better place."""
        _, test = self.both
        return [1 + sum(other < value for other in test) for value in test]

    def rank_correlation(self) -> float:
        """Return Spearman's correlation of validation and test figures; nan where all of one side are equal."""
        if min(len(set(side)) for side in self.both) < 2:
            return math.nan
        return float(scipy.stats.spearmanr(*self.both).statistic)


def outcomes(sweeps: Sequence[Sweep], records: Sequence[Record]) -> tuple[list[Outcome], list[str]]:
    """Return each sweep on each data set that all its runs are scored on, and notes on those that lack runs."""
    found: list[Outcome] = []
    notes: list[str] = []
    for sweep in sweeps:
        wanted = {name for candidate in sweep.candidates for name in candidate.runs}
        for dataset in dict.fromkeys(record.dataset for record in records if record.run in wanted):
            here = [r for r in records if (r.dataset, r.classifier) == (dataset, sweep.classifier)]
            by_run = {record.run: _metrics(record) for record in here if record.run and record.run in wanted}
            if by_run.keys() == wanted:
                test = tuple(mean_metrics([by_run[run] for run in one.runs]) for one in sweep.candidates)
                mcp = (_metrics(r) for r in here if (r.method, r.protocol) == (REFERENCE, sweep.protocol))
                found.append(Outcome(sweep, dataset, test, next(mcp, {})))
            else:
                notes.append(
                    f"sweep {sweep.name}: {len(wanted) - len(by_run)} of its {len(wanted)} runs are gone or not scored "
                    f"on {dataset}: run the same `trustcache train --sweep` again"
                )
    return found, notes


def _metrics(record: Record) -> Metrics:
    return {key: value if math.isfinite(value) else None for key, value in record.metrics.items()}


def validation_table(
    runs: Sequence[Run], reference: Metrics, place: Sequence[str] = (), held_out: tuple[int, int] | None = None
) -> Table:
    """Return the loss and the metrics on the validation part with which each run's training ended.

    Of runs that set nothing aside it has the loss alone. reference: mcp's metrics on the same part, the mean over the
    seeds; empty where nothing was set aside. place: the options that make a command work in their workspace. held_out:
    as of `fewest_held_out`.
    """
    names = run_names(runs)
    rows, logs = [], [run.log()[-1] for run in runs]
    validated = bool(reference) or any(log.validation for log in logs)
    keys = TRAINED if validated else ()
    for run, log in zip(runs, logs, strict=True):
        cells = Cell(log.loss, scale=1, digits=4), *_cells(keys, log.validation)
        rows.append(Row((names[run.name], str(run.config.seed)), cells))
    if reference:
        rows.append(Row((REFERENCE, ""), (Cell(math.nan, text=""), *_cells(TRAINED, reference)), "reference"))
    columns = Column("Loss"), *(column(key, runs[0].config.protocol) for key in keys)
    notes = [f"The names of the runs, for calibrate and predict, by {command_line('runs', 'list', *place)}"]
    if reference:
        several = len({run.config.seed for run in runs}) > 1
        mean = "; the mean over the seeds, each of which holds out other rows" if several else ""
        notes.insert(0, f"{REFERENCE}: the classifier's own confidence, which needs no training{mean}.")
    notes += few_samples(*held_out) if held_out else ()
    title = "On the validation part" if validated else "At the end of training; nothing was set aside for validation"
    return Table(title, "", ("Oracle", "Seed"), columns, tuple(rows), tuple(notes))


def sweep_table(sweep: Sweep, held_out: tuple[int, int] | None = None) -> Table:
    """Return the ranking by validation alone, as it stands when a sweep ends. held_out: as of `fewest_held_out`."""
    rows = [
        Row((str(place), method_label(candidate)), _cells(SHOWN, candidate.validation), _kind(place))
        for place, candidate in enumerate(sweep.candidates, 1)
    ]
    rows.append(Row(("", REFERENCE), _cells(SHOWN, sweep.reference), "reference"))
    notes = [f"Chosen: {method_label(sweep.winner)}, with the least AURC. Go on with its run {sweep.winner.runs[0]}."]
    if sweep.reference_leads():
        notes.append(
            f"But {REFERENCE}, the classifier's own confidence, which needs no training, has a lower AURC on the same "
            "rows: it would be the better choice."
        )
    notes += few_samples(*held_out) if held_out else ()
    title = "Sweep: candidates by their AURC on the validation part"
    columns = tuple(column(key, sweep.protocol) for key in SHOWN)
    return Table(title, _facts(sweep), ("Place", "Candidate"), columns, tuple(rows), tuple(notes))


def outcome_table(outcome: Outcome) -> Table:
    """Return validation and test figures of every candidate side by side, and in words what the choice was worth."""
    sweep, places = outcome.sweep, outcome.test_ranks()
    rows = []
    compared = zip(sweep.candidates, outcome.test, places, strict=True)
    for place, (candidate, test, place_on_test) in enumerate(compared, 1):
        remarks = [word for word, so in (("chosen", place == 1), ("best on test", place_on_test == 1)) if so]
        labels = str(place), method_label(candidate), ", ".join(remarks)
        cells = Cell(place_on_test, scale=1, digits=0), *_cells(BESIDE, candidate.validation, test)
        rows.append(Row(labels, cells, _kind(place)))
    cells = Cell(math.nan, text=""), *_cells(BESIDE, sweep.reference, outcome.reference)
    rows.append(Row(("", REFERENCE, "not a candidate"), cells, "reference"))
    sides = [column(key, sweep.protocol, suffix=f" {side}") for key in BESIDE for side in ("validation", "test")]
    labels, columns = ("Place", "Candidate", ""), (Column("Place on test", good="low"), *sides)
    title, notes = f"{outcome.dataset}: what a sweep chose by validation", tuple(_findings(outcome))
    return Table(title, _facts(sweep), labels, columns, tuple(rows), notes, data=outcome.dataset)


def _kind(place: int) -> str:
    return "marked" if place == 1 else "ours"


def _cells(keys: Sequence[str], *sides: Metrics) -> tuple[Cell, ...]:
    """Return the metrics as cells, for each metric those of all sides."""
    values = (side.get(key) for key in keys for side in sides)
    return tuple(Cell(math.nan if value is None else value) for value in values)


def _facts(sweep: Sweep) -> str:
    seeds = f"{len(sweep.seeds)} seeds" if len(sweep.seeds) > 1 else "1 seed"
    return (
        f"{len(sweep.candidates)} candidates, {sweep.training}, oracle {sweep.oracle} on {sweep.classifier}, "
        f"{seeds} · learnt from {sweep.data} · protocol {sweep.protocol}"
    )


def _findings(outcome: Outcome) -> Iterator[str]:
    """Say what the choice did on test data, and how much of its validation figure was luck."""
    sweep, (validation, test) = outcome.sweep, outcome.both
    if not all(map(math.isfinite, test)):
        return
    chosen, place = method_label(sweep.winner), outcome.test_ranks()[0]
    yield (
        f"By validation {chosen} was chosen, with an AURC of {100 * validation[0]:.2f} there and {100 * test[0]:.2f} "
        f"on test data: place {place} of {len(test)} there."
    )
    best = test.index(min(test))
    yield (
        "The test data would have chosen the same."
        if place == 1
        else f"The test data would have chosen {method_label(sweep.candidates[best])} with {100 * test[best]:.2f}: the "
        f"choice costs {100 * (test[0] - test[best]):.2f} points."
    )
    moved = [there - here for here, there in zip(validation, test, strict=True) if math.isfinite(here)]
    own, usual = 100 * moved[0], 100 * statistics.median(moved)
    luck = f"{own - usual:.2f} points of what validation promised were luck" if own > usual else "no luck in the choice"
    yield (
        f"From validation to test the AURC moved by {own:+.2f} points for the chosen one and by {usual:+.2f} for the "
        f"median candidate: {luck}."
    )
    if math.isfinite(correlation := outcome.rank_correlation()):
        yield f"Rank correlation between validation and test over the candidates: {correlation:.2f}."
    here, there = standing(sweep.reference), standing(outcome.reference)
    if math.isfinite(here) and math.isfinite(there):
        yield (
            f"{REFERENCE}, the classifier's own confidence, has {100 * here:.2f} and {100 * there:.2f}: the chosen one "
            f"is {_beside(validation[0], here)} on validation and {_beside(test[0], there)} on test data."
        )


def _beside(ours: float, theirs: float) -> str:
    return "better" if ours < theirs else "worse" if ours > theirs else "equal"
