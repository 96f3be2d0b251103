"""Choose a classifier's score by rows that training held out, beside the classifier's own confidence on the same rows.

Evaluation data take no part. Candidates that held out rows of different data are comparable by how far they are from
mcp on their own rows.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trustcache.cache import open_cache
from trustcache.cache.index import Index
from trustcache.cache.workspace import Workspace
from trustcache.errors import TrustcacheError
from trustcache.evaluate.sweep import CRITERION, reference, standing
from trustcache.metrics.ranking import METRICS
from trustcache.oracles.runs import Run, RunConfig
from trustcache.registry.permission import is_import_path
from trustcache.report.comparison import Average
from trustcache.report.kept import Kept, key_of
from trustcache.report.names import BASELINE, entry_name
from trustcache.scores import post_hoc_score
from trustcache.scores.stored import ScoreStore

_SHAPE = (1,)
_LABEL = METRICS[CRITERION].label


@dataclass(frozen=True)
class Candidate:
    """A trained oracle, its seeds together, or a fitted score, with its AURC and mcp's on rows that it held out.

    Either is infinite where it is not known. error: the standard error of their difference; an oracle's over its seeds,
    each of which holds out rows of its own, 0 for a single one. fault: why mcp's cannot be read, or "".
    """

    row: Average
    aurc: float
    mcp: float
    error: float = 0.0
    fault: str = ""

    @property
    def lead(self) -> float:
        """Difference of its AURC to mcp's on the same rows, negative where it is better."""
        return self.aurc - self.mcp if math.isfinite(self.mcp) else math.inf

    @property
    def leads(self) -> bool:
        """True if it is better than mcp by more than chance: the best of many scores that are tried looks good."""
        return self.lead < -2 * self.error


@dataclass(frozen=True)
class Choice:
    """The row that was chosen, None for mcp, and a phrase that says by what."""

    row: Average | None
    by: str


def candidates(
    rows: Sequence[Average],
    runs: Mapping[str, Run],
    workspace: Workspace,
    index: Index,
    among: Collection[str] | None = None,
) -> list[Candidate]:
    """Return the trained oracles and the fitted scores among the rows of a comparison on the cache `index`.

    among: names of the runs and scores to keep to, None for all.
    """
    references, store = _References(workspace), ScoreStore(workspace)
    found = []
    for row in rows:
        if among is not None and not any((record.run or record.method) in among for record in row.records):
            continue
        seeds = [runs[record.run] for record in row.records if record.run]
        if seeds:
            both = np.array([(standing(run.held_out), references.of(run.config)) for run in seeds])
            own, mcp = both.mean(axis=0)
            several = len(seeds) > 1 and np.isfinite(both).all()
            error = np.std(both[:, 0] - both[:, 1], ddof=1) / math.sqrt(len(seeds)) if several else 0.0
            fault = next(iter(references.faults), "") if math.isinf(mcp) else ""
            found.append(Candidate(row, own, mcp, error, fault))
        elif stood := None if is_import_path(row.record.method) else store.held_out(index, row.record.method):
            found.append(Candidate(row, *stood))  # those of a user's own code would import it
    references.save()
    return found


def choose(found: Sequence[Candidate], calibrated: Sequence[Average] = (), given: bool = False) -> Choice:
    """Choose the candidate that is furthest below mcp on the rows held out, or mcp where none is below it.

    It must be below it by more than two standard errors.

    Of rows with a threshold that the user has calibrated, mcp's among them, it is one of these: the user has chosen
    already. The phrase tells what validation prefers, and of what could not be read, as another choice might follow
    from it. given: the candidates are the methods that a caller gave, beside which others stand in the table.
    """
    choice = _best(found, "given that held rows out to choose by" if given else "that learn")
    if calibrated and not any(choice.row is row or (not choice.row and _is_mcp(row)) for row in calibrated):
        leads = {id(one.row): one.lead for one in found} | {id(row): 0.0 for row in calibrated if _is_mcp(row)}
        preferred = entry_name(choice.row.record, with_oracle=False) if choice.row else BASELINE
        mine = min(calibrated, key=lambda row: leads.get(id(row), math.inf))
        choice = Choice(mine, f"its calibrated threshold. Without it the choice would be {preferred}, by {choice.by}")
    fault = next((one.fault for one in found if one.fault), "")
    return replace(choice, by=f"{choice.by}; not all could be compared: {fault}") if fault else choice


def _is_mcp(row: Average) -> bool:
    return row.record.method == BASELINE


def _best(found: Sequence[Candidate], which: str) -> Choice:
    known = [one for one in found if math.isfinite(one.aurc)]
    trained = [one for one in found if one.row.record.run]
    if not known:
        if len(trained) == 1:
            return Choice(trained[0].row, "being the only oracle: it held nothing out to choose by")
        return Choice(None, "default, as no oracle held anything out to choose by")
    compared = [one for one in known if math.isfinite(one.mcp)]
    leading = [one for one in compared if one.leads]
    best = min(leading or compared or known, key=lambda one: one.lead if compared else one.aurc)
    singular = which.replace("that learn", "that learns")
    among = f"the best of {len(known)} methods {which}" if len(known) > 1 else f"the only method {singular}"
    value, mcp = f"{_LABEL} {100 * best.aurc:.2f} %", f"{BASELINE} on the same rows {100 * best.mcp:.2f} %"
    if not compared:
        return Choice(best.row, f"validation {value}, {among}")
    if best.leads:
        one_seed = best.row.record.run and best.row.seeds == 1
        chance = "; it is of one seed, so its lead may be chance" if one_seed else ""
        return Choice(best.row, f"validation {value}, {among}; {mcp}{chance}")
    name = entry_name(best.row.record, with_oracle=False)
    none = f"none of {len(known)} methods {which} is" if len(known) > 1 else f"the only method {singular} is not"
    chance = f", a lead within chance (± {200 * best.error:.2f})" if best.lead < 0 else ""
    found_best = f"{name} has {_LABEL} {100 * best.aurc:.2f} %, {mcp}{chance}"
    return Choice(None, f"validation: {none} better; {found_best}")


class _References:
    """The AURC of mcp on the rows that runs held out, kept for the next report."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace, self._caches = workspace, workspace.caches()
        self._kept: dict[Path, Kept] = {}
        self._scores: dict[Path, np.ndarray] = {}
        self._found: dict[str, float] = {}
        self.faults: list[str] = []

    def of(self, config: RunConfig) -> float:
        """Return mcp's AURC on what a run held out, infinity where its training cache is gone or cannot be read."""
        key = key_of([config.cache, config.part, config.samples, config.val_fraction, config.seed, config.protocol])
        if key not in self._found:
            try:
                self._found[key] = self._read(config, key)
            except TrustcacheError as error:
                self.faults.append(str(error))
                self._found[key] = math.inf
        return self._found[key]

    def _read(self, config: RunConfig, key: str) -> float:
        here = (i for i in self._caches if (i.classifier, i.data) == (config.classifier, config.data))
        index = next((index for index in here if index.fingerprint() == config.cache), None)
        if index is None or not config.val_fraction:
            return math.inf
        place = self._workspace.figures_file(index.classifier, index.data)
        kept = self._kept.setdefault(place, Kept(place))
        value = kept.get(key, _SHAPE.__eq__)
        if value is None:
            value = np.array([standing(reference(open_cache(index.folder), self._z(index), config))])
            kept.put(key, value)
        return float(value[0])

    def _z(self, index: Index) -> np.ndarray:
        if index.folder not in self._scores:
            self._scores[index.folder] = post_hoc_score(BASELINE, open_cache(index.folder))
        return self._scores[index.folder]

    def save(self) -> None:
        """Write what is new."""
        for kept in self._kept.values():
            kept.save()
