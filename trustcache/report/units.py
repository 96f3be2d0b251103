"""One classifier on the page: its answer, its data sets, and its methods in families."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from trustcache.data.manifest import Manifest
from trustcache.report.answer import Answer
from trustcache.report.comparison import Average, Comparison
from trustcache.report.explorer import Explored, Steps, family
from trustcache.report.intervals import Compared, Estimate
from trustcache.report.names import BASELINE, STRONG, entry_name
from trustcache.report.records import Record, Scored, manifests_of
from trustcache.report.stated_on import place_in
from trustcache.report.table import Cell

_Key = tuple[object, ...]
MOST_PICKED = 12
"""Curves that are drawn at first; more could not be told apart, and would be slow."""
POST_HOC_FAMILY = "scores that need no training"


@dataclass(frozen=True)
class Data:
    """An evaluation data set. row, column: its place in the heat map, such as "fog" and "3"."""

    name: str
    title: str
    n: int
    clean: bool
    row: str
    column: str


@dataclass(frozen=True, eq=False)
class Method:
    """A row of the table of methods, the mean over its seeds.

    key: names it in a link. explored: of one seed. clean, changed: the AUC over the clean and over the changed data
    sets, nan for none; differences: to mcp, where it is scored. calibration: metrics on the answer's data set. wins: on
    how many of `against` changed sets its AUC is higher. picked: its curve is drawn at first.
    """

    key: str
    name: str
    family: str
    explored: Explored
    clean: Estimate
    difference: Estimate
    aurc: float
    calibration: Mapping[str, Cell]
    changed: float
    changed_difference: float
    wins: int
    against: int
    picked: bool = False

    @property
    def baseline(self) -> bool:
        return self.explored.record.method == BASELINE

    @property
    def verdict(self) -> str:
        """The sign of the difference on clean data: better, worse or undecided; "" where there is none."""
        return self.difference.verdict(True) or ""


@dataclass(frozen=True)
class Failure:
    """The effect of a threshold on a data set, as fractions; risk is nan where nothing is trusted."""

    name: str
    n: int
    accuracy: float
    coverage: float
    risk: float
    auc: float


@dataclass(frozen=True)
class Unit:
    """One classifier under one protocol. learnt: the number of images that runs learnt from, by their data set.

    averaged: the data sets that the figures of methods are means over.
    """

    answer: Answer
    data: Sequence[Data]
    methods: Sequence[Method]
    learnt: Mapping[str, int]
    averaged: tuple[str, ...]

    @property
    def classifier(self) -> str:
        return self.answer.classifier

    @cached_property
    def chosen(self) -> int:
        """The place of the answer's method."""
        key = self.answer.record.run or self.answer.record.method
        return next(i for i, method in enumerate(self.methods) if method.key == key)

    @cached_property
    def step(self) -> int:
        """The place of the answer's threshold among those of its method."""
        return int(np.argmin(np.abs(self.methods[self.chosen].explored.thresholds - self.answer.threshold)))

    @property
    def no_severity(self) -> str:
        """The heading in the heat map of the data sets that have no severity."""
        return "unchanged" if all(one.clean for one in self.data if not one.column) else "no severity"

    @property
    def reach(self) -> float:
        """The farthest end of any interval of a difference to mcp, at least a point."""
        ends = (abs(end) for one in self.methods for end in (one.difference.low, one.difference.high))
        return max([0.01, *filter(math.isfinite, ends)])

    def failures(self) -> list[Failure]:
        """Return the effect of the answer's threshold on each data set that its oracle is scored on."""
        one = self.methods[self.chosen].explored
        return [_failure(data.name, one.steps[data.name], self.step) for data in self.data if data.name in one.steps]

    @property
    def families(self) -> dict[str, list[Method]]:
        """The methods by family, the best of each first."""
        found: dict[str, list[Method]] = {}
        for method in self.methods:
            found.setdefault(method.family, []).append(method)
        return found


def make_unit(
    answer: Answer,
    explored: Sequence[Explored],
    scored: Sequence[Scored],
    comparisons: Iterable[Comparison],
    compared: Iterable[Compared],
    order: Sequence[str] = (),
) -> Unit:
    """Return what the page shows of the answer's classifier. order: data sets that come first."""
    same = (answer.classifier, answer.record.protocol)
    here = [one for one in comparisons if (one.classifier, one.protocol) == same]
    manifests = manifests_of(one for one in scored if one.record.classifier == answer.classifier)
    data = sorted(
        (_data(one, manifests[one.dataset]) for one in here),
        key=lambda d: (d.name in answer.spare, place_in(order, d.name), not d.clean, d.row, d.column),
    )
    data = _shortened(data)
    counting = [d for d in data if d.name not in answer.spare]
    clean = {d.name for d in counting if d.clean} or {answer.dataset}
    averages = {(family(row.record), one.dataset): row for one in here for row in one.rows}
    estimates = {
        (family(one.row.record), one.table.dataset): one
        for one in compared
        if (one.table.classifier, one.table.protocol) == same
    }
    methods = _in_families([_method(one, counting, clean, answer.dataset, averages, estimates) for one in explored])
    first = {method.family: method for method in reversed(methods)}
    chosen = answer.record.run or answer.record.method
    bests = [one for one in methods if one is first[one.family]][:MOST_PICKED]
    picked = [replace(one, picked=one in bests or one.key == chosen) for one in methods]
    judging = [one for one in scored if one.run and one.record.classifier == answer.classifier]
    averaged = tuple(d.name for d in data if d.name in clean)
    return Unit(answer, data, picked, {one.config.data: one.learnt_from for one in judging}, averaged)


def _data(one: Comparison, manifest: Manifest) -> Data:
    clean = not manifest.variant_of and not manifest.condition
    row, _, column = (
        one.dataset.rpartition("/") if manifest.corruption and "/" in one.dataset else (one.dataset, "", "")
    )
    return Data(one.dataset, manifest.title, one.n, clean, row, column)


def _shortened(data: Sequence[Data]) -> list[Data]:
    """Return the data sets, their rows in the heat map without the beginning if all with severities share it."""
    rows = [one.row for one in data if one.column]
    shared = {row.rpartition("/")[0] for row in rows}
    if len(shared) > 1:
        return [*data]
    return [replace(one, row=one.row.rpartition("/")[2]) if one.column else one for one in data]


def _method(
    one: Explored,
    data: Sequence[Data],
    clean: set[str],
    dataset: str,
    averages: Mapping[tuple[_Key, str], Average],
    estimates: Mapping[tuple[_Key, str], Compared],
) -> Method:
    record, key = one.record, family(one.record)
    half = record.settings.get("rows")
    rows = {d.name: averages[key, d.name] for d in data if (key, d.name) in averages}
    compared = [estimates[key, name] for name in rows if name in clean and (key, name) in estimates]
    differences = [found for each in compared if (found := each.differences.get("auc"))]
    changed, beside = [row for name, row in rows.items() if name not in clean], []
    for name, row in rows.items():
        mcp = averages.get(((BASELINE, half), name)) or averages.get(((BASELINE, None), name))
        if name not in clean and mcp and record.method != BASELINE:
            beside.append(row.value("auc") - mcp.value("auc"))
    beside = [value for value in beside if math.isfinite(value)]
    return Method(
        key=record.run or "-".join(filter(None, [record.method, str(half or "")])),
        name=entry_name(record, with_oracle=False),
        family=_family_name(record),
        explored=one,
        clean=_mean([found for each in compared if (found := each.figures.get("auc"))]),
        difference=_mean(differences),
        calibration=rows[dataset].cells if dataset in rows else {},
        aurc=_finite_mean([row.value("aurc") for name, row in rows.items() if name in clean]),
        changed=_finite_mean([row.value("auc") for row in changed]),
        changed_difference=_finite_mean(beside),
        wins=sum(value > 0 for value in beside),
        against=len(beside),
    )


def _failure(name: str, steps: Steps, k: int) -> Failure:
    n, trusted = int(steps.trusted[-1]), int(steps.trusted[k])
    risk = steps.wrong[k] / trusted if trusted else math.nan
    return Failure(name, n, 1 - steps.wrong[-1] / n, trusted / n, risk, steps.record.metrics["auc"])


def _family_name(record: Record) -> str:
    if record.method == BASELINE:
        return "the classifier's own confidence"
    if record.run is None:
        return POST_HOC_FAMILY
    head = str(record.settings.get("head", ""))
    if head.startswith(STRONG):
        return STRONG if record.method == "ce" else f"{STRONG} {record.method}"
    return ", ".join(filter(None, [record.method, record.training, head if head != "linear" else ""]))


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of independent estimates, with the half widths of their intervals added as variances are."""
    if not estimates:
        return Estimate(math.nan, math.nan, math.nan)
    value = statistics.fmean(one.value for one in estimates)
    below = math.hypot(*(one.value - one.low for one in estimates)) / len(estimates)
    above = math.hypot(*(one.high - one.value for one in estimates)) / len(estimates)
    return Estimate(value, value - below, value + above)


def _finite_mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return statistics.fmean(finite) if finite else math.nan


def _in_families(methods: Sequence[Method]) -> list[Method]:
    """Return mcp, then the families with the best one first, each with its best one first."""

    def standing(method: Method) -> float:
        return -method.clean.value if math.isfinite(method.clean.value) else math.inf

    best: dict[str, float] = {}
    for method in methods:
        best[method.family] = min(best.get(method.family, math.inf), standing(method))
    return sorted(methods, key=lambda m: (not m.baseline, best[m.family], m.family, standing(m)))
