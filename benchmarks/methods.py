"""Every method on every data set of a workspace: AUC, AUPR-Error, FPR@95, AURC and ECE, with intervals.

    python benchmarks/methods.py trustcache-workspace --clean cifar10-test

Extract, train and `trustcache evaluate` first. Prints Markdown, for each classifier two tables: one of the clean data
set, and one of the means over its variants, with the AUC on each. Intervals are of 1,000 resamples of the samples, for
ECE of 200; marks say where the whole interval of the difference to mcp lies on one side. The method marked as chosen is
the one that `trustcache report` answers with: by rows that training held out, never by these data.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trustcache.cache.workspace import Workspace
from trustcache.metrics.bootstrap import interval
from trustcache.metrics.calibration import calibration_metrics
from trustcache.oracles.runs import finished_runs
from trustcache.report.choice import candidates, choose
from trustcache.report.collect import collect
from trustcache.report.comparison import Average, Comparison, compare_methods
from trustcache.report.intervals import MARKS, Estimate
from trustcache.report.names import BASELINE, entry_name
from trustcache.report.resampled import Resampler
from trustcache.report.samples import ScoreReader

COLUMNS = {
    "auc": ("AUC ↑", True),
    "aupr_error": ("AUPR-Error ↑", True),
    "fpr_at_95_tpr": ("FPR@95 ↓", False),
    "aurc": ("AURC ↓", False),
}
ECE, ECE_RESAMPLES, SEED = "ece", 200, 0
Draws = dict[str, np.ndarray]


class Resampled:
    """The metrics of a table's rows on resamples, means over seeds: by data set and name, float64 (R,) each."""

    def __init__(self, workspace: Workspace) -> None:
        self._reader = ScoreReader(workspace)
        self._resampler = Resampler(workspace, self._reader)

    def of(self, table: Comparison) -> dict[str, Draws]:
        records = [record for row in table.rows for record in row.records]
        made = dict(zip(records, self._resampler.metrics(records), strict=True))
        return {
            name_of(row): {key: np.mean([made[record][key] for record in row.records], axis=0) for key in COLUMNS}
            for row in table.rows
        }

    def ece(self, row: Average) -> Estimate:
        """Return the calibration error of trust confidences, nan for a score that only orders samples."""
        if not math.isfinite(row.value(ECE)):
            return Estimate(math.nan, math.nan, math.nan)
        read = [self._reader.read(record) for record in row.records]
        rng, n = np.random.default_rng(SEED), len(read[0].z)
        draws = [rng.integers(n, size=n) for _ in range(ECE_RESAMPLES)]
        values = [np.mean([calibration_metrics(s.z[i], s.correct[i])[ECE] for s in read]) for i in draws]
        return Estimate(row.value(ECE), *interval(np.array(values)))


def name_of(row: Average) -> str:
    return entry_name(row.record, with_oracle=False)


def figure(value: float, draws: np.ndarray, mcp: np.ndarray | None, higher: bool) -> str:
    """Return a percentage with its interval, and a mark for the difference to mcp's."""
    if not math.isfinite(value):
        return "–"
    difference = None if mcp is None else Estimate(0.0, *interval(draws - mcp)).verdict(higher)
    mark = f" {MARKS[difference]}" if difference in ("better", "worse") else ""
    return f"{span(Estimate(value, *interval(draws)))}{mark}"


def span(found: Estimate) -> str:
    if not math.isfinite(found.value):
        return "–"
    ends = "" if math.isnan(found.low) else f" ({100 * found.low:.1f}–{100 * found.high:.1f})"
    return f"{100 * found.value:.1f}{ends}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def clean_table(one: Comparison, draws: dict[str, Draws], resampled: Resampled, chosen: str) -> str:
    rows = []
    for row in one.rows:
        name = name_of(row)
        mcp = None if name == BASELINE else draws[BASELINE]
        cells = [
            figure(row.value(key), draws[name][key], None if mcp is None else mcp[key], higher)
            for key, (_, higher) in COLUMNS.items()
        ]
        label = f"**{name}** (chosen)" if name == chosen else name
        rows.append([label, str(row.seeds) if row.record.run else "", *cells, span(resampled.ece(row))])
    return table(["method", "seeds", *(label for label, _ in COLUMNS.values()), "ECE ↓"], rows)


def variants_table(tables: Sequence[Comparison], draws: Sequence[dict[str, Draws]], chosen: str) -> str:
    """Lay out the means over the variants, and the AUC on each; rows are the methods that are on all of them."""
    by_name = [{name_of(row): row for row in one.rows} for one in tables]
    names = [name for name in by_name[0] if all(name in other for other in by_name)]
    rows = []
    for name in names:
        found = [rows_of[name] for rows_of in by_name]
        means = []
        for key, (_, higher) in COLUMNS.items():
            own, mcp = (np.mean([one[which][key] for one in draws], axis=0) for which in (name, BASELINE))
            value = float(np.mean([row.value(key) for row in found]))
            means.append(figure(value, own, None if name == BASELINE else mcp, higher))
        ece = float(np.mean([row.value(ECE) for row in found]))
        each = [f"{100 * row.value('auc'):.1f}" for row in found]
        label = f"**{name}** (chosen)" if name == chosen else name
        rows.append([label, *means, span(Estimate(ece, math.nan, math.nan)), *each])
    shown = [one.dataset.removeprefix("cifar10-").removeprefix("c-made/") for one in tables]
    return table(
        ["mean of all", *(label for label, _ in COLUMNS.values()), "ECE ↓", *(f"AUC: {n}" for n in shown)], rows
    )


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
        print(clean_table(clean, resampled.of(clean), resampled, chosen))
        others = [one for one in tables if one.classifier == clean.classifier and one.dataset != clean.dataset]
        if others:
            right = ", ".join(f"{one.dataset} {one.accuracy} %" for one in others)
            print(f"\n{len(others)} changed sets of {others[0].n:,} images; right: {right}.\n")
            print(variants_table(others, [resampled.of(one) for one in others], chosen))
        print()


if __name__ == "__main__":
    main()
