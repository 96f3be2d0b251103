"""Every method on every data set of a workspace: AUC, AUPR-Error, FPR@95, AURC and ECE, with intervals.

    python benchmarks/methods.py trustcache-workspace --clean cifar10-test

Extract, train and `trustcache evaluate` first. Prints Markdown, for each classifier two tables: one of the clean data
set, and one of the means over its variants, with the AUC on each. Intervals are of 1,000 resamples of the samples, for
ECE of 200; variants of one size are resampled together, as they show the same samples. Marks say where the whole
interval of the difference to mcp lies on one side. The method marked as chosen is the one that `trustcache report`
answers with: by rows that training held out, never by these data.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trustcache.cache.workspace import Workspace
from trustcache.metrics.bootstrap import SEED, interval
from trustcache.metrics.calibration import calibration_error, reliability
from trustcache.oracles.runs import finished_runs
from trustcache.report.choice import candidates, choose
from trustcache.report.collect import collect
from trustcache.report.comparison import Average, Comparison, compare_methods
from trustcache.report.intervals import MARKS, Estimate
from trustcache.report.names import BASELINE, entry_name
from trustcache.report.resampled import Resampler
from trustcache.report.samples import Samples, ScoreReader

ECE, ECE_RESAMPLES = "ece", 200
COLUMNS = {
    "auc": ("AUC ↑", True),
    "aupr_error": ("AUPR-Error ↑", True),
    "fpr_at_95_tpr": ("FPR@95 ↓", False),
    "aurc": ("AURC ↓", False),
    ECE: ("ECE ↓", False),
}
Draws = dict[str, np.ndarray]


class Resampled:
    """The metrics of a table's rows on resamples, means over seeds: by data set and name, float64 (R,) each."""

    def __init__(self, workspace: Workspace) -> None:
        self._reader = ScoreReader(workspace)
        self._resampler = Resampler(workspace, self._reader)

    def of(self, table: Comparison) -> dict[str, Draws]:
        records = [record for row in table.rows for record in row.records]
        made = dict(zip(records, self._resampler.metrics(records), strict=True))
        found = {}
        for row in table.rows:
            own = {key: [made[record][key] for record in row.records] for key in COLUMNS if key != ECE}
            if math.isfinite(row.value(ECE)):  # else a score that only orders samples
                own[ECE] = [ece_draws(self._reader.read(record)) for record in row.records]
            found[name_of(row)] = {key: np.mean(draws, axis=0) for key, draws in own.items()}
        return found


def ece_draws(samples: Samples) -> np.ndarray:
    """Return the calibration error on resamples (R,), less what resampling itself adds to its square.

    A bin's accuracy strays from the truth by chance once in the samples, which the debiased error takes off, and once
    more in each resample of them, which it does not: on small data sets the resamples' errors would all be too high.
    """
    z, correct = samples.z, samples.correct
    draws = np.random.default_rng(SEED).integers(len(z), size=(ECE_RESAMPLES, len(z)))
    squares = np.array([calibration_error(reliability(z[rows], correct[rows])) for rows in draws]) ** 2
    added = squares.mean() - calibration_error(reliability(z, correct)) ** 2
    return np.sqrt(np.maximum(squares - added, 0))


def name_of(row: Average) -> str:
    return entry_name(row.record, with_oracle=False)


def figure(value: float, own: Draws, mcp: Draws | None, key: str) -> str:
    """Return a percentage with its interval, and a mark for the difference to mcp's; a dash where there is none."""
    if not math.isfinite(value):
        return "–"
    low, high = interval(own[key])
    difference = None if mcp is None else Estimate(0.0, *interval(own[key] - mcp[key])).verdict(COLUMNS[key][1])
    mark = f" {MARKS[difference]}" if difference in ("better", "worse") else ""
    return f"{100 * value:.1f} ({100 * low:.1f}–{100 * high:.1f}){mark}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def clean_table(one: Comparison, draws: dict[str, Draws], chosen: str) -> str:
    rows = []
    for row in one.rows:
        name = name_of(row)
        mcp = None if name == BASELINE else draws[BASELINE]
        cells = [figure(row.value(key), draws[name], mcp, key) for key in COLUMNS]
        label = f"**{name}** (chosen)" if name == chosen else name
        rows.append([label, str(row.seeds) if row.record.run else "", *cells])
    return table(["method", "seeds", *(label for label, _ in COLUMNS.values())], rows)


def variants_table(tables: Sequence[Comparison], draws: Sequence[dict[str, Draws]], chosen: str) -> str:
    """Lay out the means over the variants, and the AUC on each; rows are the methods that are on all of them."""
    by_name = [{name_of(row): row for row in one.rows} for one in tables]
    names = [name for name in by_name[0] if all(name in other for other in by_name)]
    means = {name: mean_of([one[name] for one in draws]) for name in {*names, BASELINE}}
    rows = []
    for name in names:
        found = [rows_of[name] for rows_of in by_name]
        mcp = None if name == BASELINE else means[BASELINE]
        values = {key: float(np.mean([row.value(key) for row in found])) for key in COLUMNS}
        cells = [figure(value, means[name], mcp, key) for key, value in values.items()]
        each = [f"{100 * row.value('auc'):.1f}" for row in found]
        rows.append([f"**{name}** (chosen)" if name == chosen else name, *cells, *each])
    shown = [one.dataset.removeprefix("cifar10-").removeprefix("c-made/") for one in tables]
    return table(["mean of all", *(label for label, _ in COLUMNS.values()), *(f"AUC: {n}" for n in shown)], rows)


def mean_of(draws: Sequence[Draws]) -> Draws:
    return {key: np.mean([one[key] for one in draws], axis=0) for key in draws[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--clean", default="cifar10-test", help="the data set that the others are variants of")
    options = parser.parse_args()
    workspace = Workspace(options.workspace)
    scored, _ = collect(workspace)
    resampled, runs = Resampled(workspace), {run.name: run for run in finished_runs(workspace)}
    tables = [one for one in compare_methods(one.record for one in scored) if one.protocol == "equations"]
    for clean in (one for one in tables if one.dataset == options.clean):
        index = workspace.find_cache("test", clean.classifier, options.clean)
        best = choose(candidates(clean.rows, runs, workspace, index))
        chosen = name_of(best.row) if best.row else BASELINE
        print(f"### {clean.classifier}, {clean.accuracy} % right on {clean.n:,} images of {clean.dataset}\n")
        print(f"Chosen: {chosen}, by {best.by}.\n")
        print(clean_table(clean, resampled.of(clean), chosen))
        others = [one for one in tables if one.classifier == clean.classifier and one.dataset != clean.dataset]
        if others:
            right = ", ".join(f"{one.dataset} {one.accuracy} %" for one in others)
            print(f"\n{len(others)} changed sets of {others[0].n:,} images; right: {right}.\n")
            print(variants_table(others, [resampled.of(one) for one in others], chosen))
        print()


if __name__ == "__main__":
    main()
