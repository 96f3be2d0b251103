"""Gather the records of a report: each run and post-hoc score on each evaluation cache; and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from trustcache.cache import CacheView, open_cache
from trustcache.cache.index import Index
from trustcache.cache.workspace import Workspace
from trustcache.errors import TrustcacheError, UsageError
from trustcache.oracles.backbones import lacking, scorable
from trustcache.oracles.runs import Run, finished_runs
from trustcache.progress import Progress, silent
from trustcache.report.measured import confidence_on_halves, scored_post_hoc, scored_run
from trustcache.report.records import Scored
from trustcache.report.run_labels import Settings, run_labels
from trustcache.scores import POST_HOC
from trustcache.scores.fits import score_file
from trustcache.scores.stored import ScoreStore, StoredScore

_DATA = "\0"  # where a data set's name goes, as no name can read
_MOST_NAMED = 3


@dataclass
class _Found:
    """The records so far, and the notes on what is missing.

    notes: sentences that name what is missing and what fills it. gaps: by sentence with `_DATA` in it, its data sets.
    """

    scored: list[Scored] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    gaps: dict[str, list[str]] = field(default_factory=dict)

    def gap(self, sentence: str, data: str) -> None:
        self.gaps.setdefault(sentence, []).append(data)

    def sentences(self) -> list[str]:
        """Return the notes, then each gap once with its data sets."""
        return self.notes + [gap.replace(_DATA, _named(data)) for gap, data in self.gaps.items()]


def collect(workspace: Workspace, progress: Progress = silent) -> tuple[list[Scored], list[str]]:
    """Return everything scored in a workspace, and sentences that name what is missing and what fills it.

    Scores that need nothing but logits are made here where they are missing, the others by `evaluate`.

    Raises UsageError where there is nothing to report on.
    """
    caches = workspace.caches()
    indices = [index for index in caches if index.role == "test"]
    if not indices:
        raise UsageError(
            f"nothing to report: {workspace.root / 'cache'} holds no evaluation data; "
            "begin with trustcache extract --classifier vit, or trustcache demo"
        )
    runs, store, found = finished_runs(workspace), ScoreStore(workspace), _Found()
    labels, rows = run_labels(runs), _rows_by_fingerprint(caches, found)
    found.notes += _parts(indices)
    for index in indices:
        try:
            cache = open_cache(index.folder)
        except TrustcacheError as error:
            found.notes.append(f"{index.data} is left out: {error}")
            continue
        judging = _judging(found, index, runs)
        post_hoc = _gather_post_hoc(found, workspace, store, cache, judging, progress)
        scored = _gather_runs(found, cache, caches, judging, labels, rows)
        if "mcp" in post_hoc:
            found.scored += confidence_on_halves(post_hoc["mcp"], cache, scored)
    notes = found.sentences()
    if not runs:
        notes.append("No oracle has been trained: run `trustcache train --loss all --frozen`")
    if not found.scored:
        raise UsageError(f"nothing to report: {notes[0]}")
    return found.scored, notes


def _judging(found: _Found, index: Index, runs: list[Run]) -> list[Run]:
    """Return the runs that judge a cache's classifier; runs of another one by that name are a gap."""
    here = [run for run in runs if run.config.classifier == index.classifier]
    judging = [run for run in here if run.judges(index)]
    if strangers := len(here) - len(judging):
        sentence = f"{strangers} runs judge another {index.classifier} than the one {_DATA} was extracted with; "
        found.gap(f"{sentence}train them again", index.data)
    return judging


def _gather_post_hoc(
    found: _Found, workspace: Workspace, store: ScoreStore, cache: CacheView, judging: list[Run], progress: Progress
) -> dict[str, StoredScore]:
    """Add the post-hoc scores of a cache, under each protocol of its runs, and return them by name."""
    index = cache.index
    try:
        store.fill([index], unfitted_only=True, progress=progress)
    except TrustcacheError as error:
        found.notes.append(str(error))
    own = store.own
    stored = {name: score for name in [*POST_HOC, *own] if (score := store.read(index, name)) is not None}
    reasons = {f"not made on {_DATA} yet: run `trustcache evaluate --score {n}`": [n] for n in own if n not in stored}
    for name in store.applicable(index):
        if name not in stored:
            reason = store.why_not(index, name) or f"not made on {_DATA} yet: run `trustcache evaluate`"
            reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        found.gap(f"{', '.join(names)} left out: {reason}", index.data)
    for name in [name for name, score in stored.items() if np.isnan(score.z).any()]:
        del stored[name]
        file = score_file(workspace.scores_folder(index.classifier, index.data), name, ".h5")
        found.notes.append(_without_numbers(name, index.data, f"{file} and run `trustcache evaluate`"))
    protocols = sorted({"equations", *(run.config.protocol for run in judging)})
    found.scored += [scored_post_hoc(name, s, cache, protocol) for protocol in protocols for name, s in stored.items()]
    return stored


def _gather_runs(
    found: _Found,
    cache: CacheView,
    caches: Sequence[Index],
    judging: list[Run],
    labels: dict[str, Settings],
    rows: dict[str, int],
) -> dict[Run, np.ndarray]:
    """Add the runs that have scored a cache; return for each the rows that its scores count on, bool (N,).

    labels: by run's name, the settings it is named by. rows: by a training cache's fingerprint, its number of rows.
    """
    index = cache.index
    apart = [run for run in judging if not run.config.mixed_up(index, caches)]
    scored = {run: z for run in apart if (z := run.scores(index)) is not None}
    unseen = {run: run.unseen(cache, caches) for run in scored}
    for run, z in scored.items():
        if np.isnan(z[unseen[run]]).any():
            found.notes.append(_without_numbers(run.name, index.data, f"{run.folder} and train it again"))
        else:
            learnt_from = rows.get(run.config.cache, 0)
            found.scored.append(scored_run(run, labels[run.name], z, cache, unseen[run], learnt_from))
    unscored = [run for run in judging if run not in scored]
    able = [run for run in unscored if scorable(run.config, index, caches)]
    found.notes += dict.fromkeys(lacking(run.config, index, caches) for run in unscored if run not in able)
    if able:
        found.gap(f"{len(able)} runs are not scored on {_DATA}: run `trustcache evaluate`", index.data)
    return unseen


def _without_numbers(name: str, data: str, what: str) -> str:
    return f"{name} is left out on {data}: its stored scores are not numbers; remove {what}"


def _named(data: list[str]) -> str:
    """Name data sets in a sentence, of many only the first."""
    names = list(dict.fromkeys(data))
    return ", ".join(names) if len(names) <= _MOST_NAMED else f"{names[0]} and {len(names) - 1} more data sets"


def _parts(indices: list[Index]) -> list[str]:
    """Name the data sets of which only a part was extracted, a sentence for each size."""
    sizes: dict[str, list[Index]] = {}
    for index in indices:
        if index.meaning.data.subset:
            sizes.setdefault(index.meaning.data.subset, []).append(index)
    notes = []
    for part, those in sizes.items():
        data, classifiers = ({i.manifest.family for i in those}, {i.classifier for i in those})
        notes.append(
            f"only {part} images were extracted of {', '.join(sorted(data))} for {', '.join(sorted(classifiers))}"
        )
    return notes


def _rows_by_fingerprint(caches: list[Index], found: _Found) -> dict[str, int]:
    """Return the number of rows of each training cache; one that cannot be read is a note."""
    rows = {}
    for index in caches:
        if index.role == "train":
            try:
                rows[index.fingerprint()] = sum(record.rows for record in index.records())
            except TrustcacheError as error:
                found.notes.append(f"how many samples of {index.data} runs learnt from is not known: {error}")
    return rows
