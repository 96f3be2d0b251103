"""The page's numbers: what each method trusts above thresholds that are the same on every data set."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trustcache.metrics.calibration import Bin, reliability
from trustcache.metrics.selective import EVERYTHING
from trustcache.metrics.tie_groups import Ranking, rank
from trustcache.report.answer import Answer
from trustcache.report.names import BASELINE
from trustcache.report.records import Record, Scored
from trustcache.report.samples import Samples, ScoreReader
from trustcache.report.thresholds import Thresholds

BINS = 40
_COVERAGES = 100  # steps of coverage on the reference data
_SPREAD = 40  # thresholds between, where the scores of changed images lie
_SAMPLED = 500  # scores of a data set that decide where


@dataclass(frozen=True, eq=False)
class Steps:
    """Counts on one data set at the thresholds of a method, int64 (K,), most trusted first; the last counts everything.

    Of the answer's data set they count the rows that it is stated on.
    trusted, wrong: images scored above the threshold, and the wrong answers among them. mcp_trusted, mcp_wrong: the
    same of mcp at the smallest coverage that is no smaller, on the same images; None where mcp is not scored.
    right_bins, wrong_bins: counts in equal bins between the method's `edges`, what lies outside in the outer ones.
    reliability: bins of trust confidences, empty for a score that is none.
    """

    record: Record
    trusted: np.ndarray
    wrong: np.ndarray
    mcp_trusted: np.ndarray | None
    mcp_wrong: np.ndarray | None
    right_bins: np.ndarray
    wrong_bins: np.ndarray
    reliability: Sequence[Bin]


@dataclass(frozen=True, eq=False)
class Explored:
    """One method of a classifier: a post-hoc score, or of a family of runs one seed.

    thresholds: float64 (K,), strictly falling; the last lies below every score. calibrated: the one that `calibrate`
    found, None for none. zero: above 0 means trusted. edges: the lowest and highest score of the histograms.
    seeds: number of runs of the family. steps: by data set.
    """

    record: Record
    thresholds: np.ndarray
    calibrated: float | None
    zero: bool
    edges: tuple[float, float]
    seeds: int
    steps: dict[str, Steps]


def explore(scored: Sequence[Scored], answer: Answer, calibrated: Thresholds, reader: ScoreReader) -> list[Explored]:
    """Return every method of the answer's classifier and protocol with its counts on every data set.

    Raises what reading scores raises.
    """
    chosen = answer.record
    here = [
        one for one in scored if (one.record.classifier, one.record.protocol) == (chosen.classifier, chosen.protocol)
    ]
    known = {
        name: one.point.threshold for (classifier, name), one in calibrated.items() if classifier == chosen.classifier
    }
    families: dict[tuple[object, ...], list[Scored]] = {}
    for one in here:
        families.setdefault(family(one.record), []).append(one)
    own = (one.record for one in here if one.record.method == BASELINE and "rows" not in one.record.settings)
    baselines = {record.dataset: _Baseline(reader.read(record)) for record in own}
    found = []
    for members in families.values():
        runs = list(dict.fromkeys(one.record.run for one in sorted(members, key=lambda one: one.record.seed or 0)))
        run = chosen.run if chosen.run in runs else next(filter(known.__contains__, runs), runs[0])
        mine = [one for one in members if one.record.run == run]
        threshold = known.get(run or mine[0].record.method)
        found.append(_explored(mine, len(runs), answer, threshold, reader, baselines))
    return found


def family(record: Record) -> tuple[object, ...]:
    """Return what the records of one method share on all data sets: of runs everything but the seed."""
    if record.run is None:
        return record.method, record.settings.get("rows")
    return record.method, record.training, record.oracle, tuple(sorted(record.settings.items()))


def _explored(
    mine: Sequence[Scored],
    seeds: int,
    answer: Answer,
    calibrated: float | None,
    reader: ScoreReader,
    baselines: Mapping[str, _Baseline],
) -> Explored:
    read = {one.record.dataset: _stated(reader.read(one.record), one.record, answer) for one in mine}
    reference = read.get(answer.dataset) or next(iter(read.values()))
    sampled = [part for samples in read.values() if len(part := _sampled(samples.z))]
    spread = np.concatenate(sampled) if sampled else np.zeros(1)
    zero = mine[0].histogram is not None
    fixed = [*([calibrated] if calibrated is not None else []), *([0.0] if zero else [])]
    record = mine[0].record
    if record.run == answer.record.run and record.method == answer.record.method:
        fixed.append(answer.threshold)
    thresholds = _thresholds(rank(reference.z, reference.correct), spread, fixed, answer.max_risk)
    low, high = np.quantile(spread, [0.005, 0.995])
    edges = float(low), float(high if high > low else low + 1)
    steps = {}
    for one in mine:
        data = one.record.dataset
        steps[data] = _steps(one.record, read[data], thresholds, edges, baselines.get(data))
    return Explored(record, thresholds, calibrated, zero, edges, seeds, steps)


def _stated(samples: Samples, record: Record, answer: Answer) -> Samples:
    """Return the samples that the answer is stated on, so that all figures at a threshold are of the same images."""
    # A run may have learnt from all of them.
    return samples.among_or_all(answer.rows) if record.dataset == answer.dataset else samples


def _sampled(z: np.ndarray) -> np.ndarray:
    """Return some of the finite scores, evenly over the rows, as many of a small data set as of a large one."""
    part = z[:: max(1, len(z) // _SAMPLED)]
    return part[np.isfinite(part)]


def _thresholds(ranking: Ranking, spread: np.ndarray, fixed: Iterable[float], max_risk: float) -> np.ndarray:
    """Return thresholds, falling: at each percent of coverage, at the presets, and where changed images score.

    A threshold between two scores is the shortest number there, so that the page can show it whole.
    """
    kept = 1 + np.searchsorted(ranking.coverage, np.arange(1, _COVERAGES + 1) / _COVERAGES)
    right = ranking.correct / max(int(ranking.correct[-1]), 1)
    precise = np.flatnonzero(ranking.risk <= max_risk)
    groups = np.unique([0, *kept, 1 + int(np.argmax(right >= 0.95)), *(1 + precise[-1:])])
    groups = groups[groups < len(ranking.scores)]
    above = np.append(np.inf, ranking.scores)[groups]
    placed = _shortest(ranking.scores[groups], above)
    between = np.quantile(spread, np.arange(1, _SPREAD) / _SPREAD)
    between = np.array([float(f"{value:.4g}") for value in between])
    every = np.unique(np.concatenate([placed, between, np.fromiter(fixed, float)]))
    return np.append(every[np.isfinite(every)][::-1], EVERYTHING)


def _shortest(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return for each pair the number of fewest decimals in [low, high)."""
    found, open_ = low.copy(), np.isfinite(low)
    for digits in range(2, 12):
        rounded = np.ceil(np.where(open_, low, 0) * 10.0**digits) / 10.0**digits
        fits = open_ & (rounded >= low) & (rounded < high)
        found[fits], open_ = rounded[fits], open_ & ~fits
    return found


class _Baseline:
    """mcp on one data set, ranked on the rows of another score."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self._ranked: dict[bytes, Ranking] = {}

    def at(self, samples: Samples, trusted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how many mcp trusts at the smallest coverage that is no smaller, and how many of these are wrong."""
        key = samples.rows.tobytes()
        if key not in self._ranked:
            z = self._samples.z[samples.rows[self._samples.rows]]
            self._ranked[key] = rank(z, samples.correct)
        ranking = self._ranked[key]
        group = np.searchsorted(ranking.accepted, trusted)
        some = trusted > 0
        return np.where(some, ranking.accepted[group], 0), np.where(some, ranking.wrong[group], 0)


def _steps(
    record: Record, samples: Samples, thresholds: np.ndarray, edges: tuple[float, float], baseline: _Baseline | None
) -> Steps:
    wrong = ~samples.correct
    trusted, trusted_wrong = (
        trusted_counts(z, np.zeros(len(z), np.int64), 1, thresholds)[0] for z in (samples.z, samples.z[wrong])
    )
    low, high = edges
    with np.errstate(invalid="ignore"):
        place = np.clip(np.floor((samples.z - low) / (high - low) * BINS), 0, BINS - 1).astype(np.int64)
    right_bins, wrong_bins = (np.bincount(place[rows], minlength=BINS) for rows in (samples.correct, wrong))
    mcp_trusted, mcp_wrong = baseline.at(samples, trusted) if baseline else (None, None)
    confident = math.isfinite(record.metrics.get("ece", math.nan))
    diagram = reliability(samples.z, samples.correct) if confident else []
    return Steps(record, trusted, trusted_wrong, mcp_trusted, mcp_wrong, right_bins, wrong_bins, diagram)


def trusted_counts(z: np.ndarray, groups: np.ndarray, number: int, thresholds: np.ndarray) -> np.ndarray:
    """Return how many scores of each of `number` groups lie above each falling threshold, int64 (number, K).

    groups: int64 (n,), the group of each score. The last threshold counts every score, -inf among them.

    >>> trusted_counts(np.array([3.0, 1.0, 2.0]), np.array([0, 0, 1]), 2, np.array([2.5, 1.5, EVERYTHING]))
    array([[1, 1, 2],
           [0, 1, 1]])
    """
    steps = len(thresholds)
    # A score is above as many of the rising thresholds as lie below it.
    above = np.maximum(np.searchsorted(thresholds[::-1], z, side="left"), 1)
    found = np.bincount(groups * steps + (steps - above), minlength=number * steps)
    return np.cumsum(found.reshape(number, steps), axis=1)
