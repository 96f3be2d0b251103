"""The answer that a report begins with: the score to trust of each classifier, its threshold, and what both are worth.

The oracle is chosen by the rows that training held out, never by evaluation data, which only say what the choice is
worth.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from trustcache.cache.workspace import Workspace
from trustcache.deploy.goals import COVERAGE
from trustcache.deploy.threshold import Threshold
from trustcache.errors import percent
from trustcache.metrics.selective import EVERYTHING, at_target, working_point
from trustcache.report.choice import candidates, choose
from trustcache.report.comparison import Average
from trustcache.report.intervals import Compared, Estimate
from trustcache.report.names import BASELINE, entry_name
from trustcache.report.next_commands import calibration_options, next_commands
from trustcache.report.records import Record, Scored, assumed
from trustcache.report.samples import Samples, ScoreReader
from trustcache.report.stated_on import dataset_of, others_than
from trustcache.report.thresholds import Thresholds, for_thresholds
from trustcache.report.trade import Trade, at_coverage, at_risk, at_threshold
from trustcache.scores.registry import probability_of

_NAMED = 3
"""Methods that rank worse than mcp and are named: of one more the number would be no shorter."""
_RISKS = (0.05, 0.02, 0.01, 0.005, 0.002, 0.001)


@dataclass(frozen=True)
class Weakest:
    """The evaluation data set on which most of what the threshold accepts is wrong, or None if there is only one."""

    dataset: str
    accuracy: float
    coverage: float
    risk: float


@dataclass(frozen=True)
class Answer:
    """The answer for one classifier, on one evaluation data set.

    record: of the chosen oracle (one seed, that which `commands` name) or post-hoc score; name: its name for people.
    seeds: number of runs of its family. chosen_by: a phrase that says how. threshold: z above it is accepted;
    threshold_of: where it comes from; guarantee: a sentence, "" for none. other_half: True if the threshold was
    calibrated on one half of the data set: error rate, coverages and risks on it are of the other half then.
    rows: bool (N,), the rows of the data set's cache that these are of.
    error_rate: accepting everything. at_threshold, at_coverage: with the same coverage for mcp. at_risk: the largest
    coverage whose risk is at most max_risk, each score's own; None where no threshold reaches it. gain: AUC less that
    of mcp on the same rows, all of them, with its 95 % interval, the mean over seeds. worse: methods that rank worse
    than mcp by AUC, the whole interval below it, of `compared` ones. commands: the lines of calibrate,
    predict and export, without the first where a threshold is calibrated. spare: the data sets whose images are there
    for a threshold, which no mean is over. others: clean data sets that a command could state it on. assumed: a
    sentence on preprocessing that nobody told, "" where it is known.
    """

    classifier: str
    dataset: str
    record: Record
    name: str
    seeds: int
    chosen_by: str
    threshold: float
    threshold_of: str
    guarantee: str
    other_half: bool
    rows: np.ndarray = field(repr=False, compare=False)
    error_rate: float
    at_threshold: Trade
    at_coverage: Trade
    max_risk: float
    at_risk: Trade | None
    gain: Estimate | None
    weakest: Weakest | None
    worse: Sequence[str]
    compared: int
    commands: Sequence[str]
    spare: Sequence[str] = ()
    others: Sequence[str] = ()
    assumed: str = ""

    def images(self, dataset: str) -> str:
        """Return which images of a data set the answer is stated on."""
        return f"the other half of {dataset}" if self.other_half and dataset == self.dataset else dataset

    @property
    def probability(self) -> float | None:
        """The probability that the threshold stands for, None where scores are no log-odds or all are accepted."""
        log_odds = self.record.run is None and self.threshold > -1e300
        return probability_of(self.record.method, self.threshold) if log_odds else None

    @property
    def notes(self) -> list[str]:
        """Sentences that follow the five lines, where there is something to say."""
        more = f"--data states it on another: {', '.join(self.others)}" if self.others else ""
        return [f"{one}." for one in (f"Stated on {self.dataset}; {more}" if more else "", self.assumed) if one]

    @property
    def accepts_all(self) -> bool:
        """True if the threshold lies below every score."""
        return self.threshold == EVERYTHING

    @property
    def worse_named(self) -> Sequence[str]:
        """The first of the methods that rank worse, so many as a sentence can name; tables have all."""
        return self.worse if len(self.worse) <= _NAMED + 1 else self.worse[:_NAMED]

    @property
    def worse_unnamed(self) -> int:
        """The number of the others."""
        return len(self.worse) - len(self.worse_named)

    @property
    def regret(self) -> str:
        """A sentence, with a space before it, where the choice turns out to be worse than mcp; else ""."""
        if self.gain is None or self.gain.verdict(True) != "worse":
            return ""
        said = ", for all that validation said" if self.chosen_by.startswith("validation") else ""
        return f" {self.name} is too{said}: {BASELINE} ranks better on these images."

    def lines(self) -> list[str]:
        """Return the answer in five lines."""
        return [*_sentences(self)]


def answers(
    scored: Sequence[Scored],
    compared: Sequence[Compared],
    calibrated: Thresholds,
    workspace: Workspace,
    reader: ScoreReader,
    place: Sequence[str] | None = (),
    among: Collection[str] | None = None,
    order: Sequence[str] = (),
) -> list[Answer]:
    """Return the answer of each classifier that mcp is scored on. compared: the rows of the data sets with intervals.
    among: the runs and scores that may be the answer beside mcp and what is calibrated, None for all. order: as of
    `dataset_of`.

    place: the options that make a command work in the workspace, None where no command does. Raises what reading
    scores raises.
    """
    found = []
    for classifier in dict.fromkeys(one.record.classifier for one in scored):
        here = [one for one in scored if one.record.classifier == classifier]
        dataset = dataset_of(here, calibrated, order)
        protocols = {one.record.protocol for one in here if one.record.training}
        protocol = "equations" if "equations" in protocols or not protocols else min(protocols)
        rows = [
            one
            for one in compared
            if (one.table.classifier, one.table.dataset, one.table.protocol) == (classifier, dataset, protocol)
        ]
        if any(one.row.record.method == BASELINE for one in rows):
            of_protocol = [one for one in here if one.record.protocol == protocol]
            found.append(_answer(of_protocol, rows, calibrated, workspace, reader, place, among))
    return found


def _answer(
    scored: Sequence[Scored],
    rows: Sequence[Compared],
    thresholds: Thresholds,
    workspace: Workspace,
    reader: ScoreReader,
    place: Sequence[str] | None,
    among: Collection[str] | None,
) -> Answer:
    runs = {one.run.name: one.run for one in scored if one.run}
    baseline = next(one.row for one in rows if one.row.record.method == BASELINE)
    found = candidates([one.row for one in rows], runs, workspace, reader.index(baseline.record), among)
    shown = [one.row for one in rows if one.row is baseline or one.row.record.method != BASELINE]
    mine = [row for row in shown if _calibrated(row, thresholds)[1]]
    row = (chosen := choose(found, mine, given=among is not None)).row or baseline
    record, calibrated = _calibrated(row, thresholds)
    everything = reader.read(record)
    samples = _left_out(everything, record, calibrated) if calibrated else everything
    mcp = reader.confidence(samples)
    if calibrated:
        threshold, told, guarantee = calibrated.point.threshold, _told(calibrated), _promised(calibrated)
    else:
        point = at_target(samples.z, samples.correct, "coverage", COVERAGE)
        assert point is not None  # every coverage up to 1 is reached
        threshold, told, guarantee = point.threshold, f"{100 * COVERAGE:g} % coverage of {record.dataset}", ""
    error = 1 - float(samples.correct.mean())
    max_risk = next((risk for risk in _RISKS if risk < error), _RISKS[-1])
    others = [one for one in rows if one.row.record.method != BASELINE]
    own = record.run, record.method, record.settings
    same = [it for one in scored if ((it := one.record).run, it.method, it.settings) == own]
    names = {one.record.dataset for one in scored} - {record.dataset}
    spare = for_thresholds(thresholds, record.classifier, names)
    return Answer(
        classifier=record.classifier,
        dataset=record.dataset,
        record=record,
        name=_name(row.record),
        seeds=row.seeds,
        chosen_by=chosen.by,
        threshold=threshold,
        threshold_of=told,
        guarantee=guarantee,
        other_half=samples is not everything,
        rows=samples.rows,
        error_rate=error,
        at_threshold=at_threshold(samples, mcp, threshold),
        at_coverage=at_coverage(samples, mcp, COVERAGE),
        max_risk=max_risk,
        at_risk=at_risk(samples, mcp, max_risk),
        gain=next((one.differences.get("auc") for one in rows if one.row is row), None),
        weakest=_weakest(record, samples, threshold, [one for one in same if one.dataset not in spare], reader),
        worse=[_name(one.row.record) for one in others if one.verdict("auc") == "worse"],
        compared=sum(one.verdict("auc") is not None for one in others),
        commands=next_commands(
            record, [] if calibrated else calibration_options(record, everything, same, max_risk), everything, place
        ),
        spare=sorted(spare),
        others=[] if place is None else others_than(record.dataset, scored, thresholds),
        assumed=assumed(scored),
    )


def _name(record: Record) -> str:
    """Name an oracle as tables do, and a post-hoc score without the settings that it chose."""
    return entry_name(record, with_oracle=False) if record.training else record.method


def _calibrated(row: Average, thresholds: Thresholds) -> tuple[Record, Threshold | None]:
    """Return the first record of a row with a calibrated threshold, else that of the first seed."""
    for record in sorted(row.records, key=lambda record: record.seed or 0):
        if found := thresholds.get((record.classifier, record.run or record.method)):
            return record, found
    return row.record, None


def _left_out(samples: Samples, record: Record, threshold: Threshold) -> Samples:
    """Return the samples that a threshold was not calibrated on; all of them where it was on all, or on other data."""
    if threshold.data not in (record.dataset, f"{record.dataset}, its {record.settings.get('rows')}"):
        return samples
    scored = np.flatnonzero(samples.rows) if record.run else np.arange(len(samples.rows))
    half = threshold.left_out(len(scored))
    if half is None:
        return samples
    rows = np.zeros_like(samples.rows)
    rows[scored[half]] = True
    return samples.among_or_all(rows)


def _told(threshold: Threshold) -> str:
    aim = f"{threshold.goal.replace('-', ' ')} {100 * threshold.target:g} %"
    sure = f", delta {threshold.delta:g}" if threshold.delta is not None else ""
    groups = f"; one for all, while predict has {len(threshold.groups)} by {threshold.by}" if threshold.by else ""
    return f"calibrated on {threshold.samples}: {aim}{sure}{groups}"


def _promised(threshold: Threshold) -> str:
    return threshold.guarantee if threshold.delta is not None else ""


def _weakest(
    record: Record, own: Samples, threshold: float, same: Sequence[Record], reader: ScoreReader
) -> Weakest | None:
    """Return the data set with the largest risk at a threshold; of equal ones the first.

    own: the samples of the record. same: the records of its method, its own among them.
    """
    if len(same) < 2:
        return None
    found = []
    for other in same:
        samples = own if other.dataset == record.dataset else reader.read(other)
        point = working_point(samples.z, samples.correct, threshold)
        found.append(Weakest(other.dataset, float(samples.correct.mean()), point.coverage, point.risk or 0.0))
    return max(found, key=lambda one: one.risk)


def _sentences(answer: Answer) -> Iterator[str]:
    a, trade = answer, answer.at_threshold
    mine = a.record.method == BASELINE
    seed = f" (seed {a.record.seed} of {a.seeds})" if a.seeds > 1 else ""
    yield f"Trust {a.name}{seed} of {a.classifier} {_above(a)} ({a.threshold_of}); chosen by {a.chosen_by}."
    beside = "" if mine else f" (maximum class probability: {_percent(trade.mcp_risk)})"
    yield (
        f"Accept {_percent(trade.coverage)} of the images of {a.images(a.dataset)}: errors fall from "
        f"{_percent(a.error_rate)} to {_percent(trade.risk)}{beside}."
    )
    if a.at_risk:
        beside = "" if mine else f" ({BASELINE}: {_percent(a.at_risk.mcp_coverage)})"
        which = f"under {100 * a.max_risk:g} % on these images, without a guarantee"
        yield f"To stay {which}: accept {_percent(a.at_risk.coverage)}{beside}."
    else:
        yield f"No threshold stays under {100 * a.max_risk:g} %."
    if a.weakest:
        yield (
            f"Weakest on {a.images(a.weakest.dataset)}: of the {_percent(a.weakest.coverage)} accepted there "
            f"{_percent(a.weakest.risk)} are wrong."
        )
    else:
        beside = " beside images for a threshold" if a.spare else ""
        yield f"Only {a.dataset} is scored{beside}; changed images, on which it may be weaker, are not."
    if not a.compared:
        yield f"Nothing is compared with {BASELINE}, the classifier's own confidence."
    elif a.worse:
        more = f" and {a.worse_unnamed} others" if a.worse_unnamed else ""
        counted = f"{len(a.worse)} of {a.compared} methods"
        yield f"Worse than doing nothing ({BASELINE}): {counted}: {'; '.join(a.worse_named)}{more}.{a.regret}"
    else:
        yield f"None of {a.compared} methods ranks worse than doing nothing ({BASELINE})."


def _above(answer: Answer) -> str:
    if answer.accepts_all:
        return "whatever its score"
    above = f"{answer.threshold:.4g}"
    if answer.probability is None:
        return f"above {above}"
    return f"above z = {above}, a probability of {percent(answer.probability)}"


def _percent(share: float) -> str:
    return percent(share, 1)
