"""Gather the records of a report: each run and post-hoc score on each evaluation cache; and what is missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from trustcache.cache import CacheView, open_cache
from trustcache.cache.content import training_images
from trustcache.cache.index import Index
from trustcache.cache.trained_on import trained_on
from trustcache.cache.workspace import Workspace
from trustcache.command_lines import command_line
from trustcache.data.progress import Progress, silent
from trustcache.data.splits import other_half
from trustcache.errors import TrustcacheError, UsageError
from trustcache.oracles.backbones import why_not
from trustcache.oracles.runs import Run, finished_runs, without_cache
from trustcache.report.kept import Kept
from trustcache.report.measured import Measurer
from trustcache.report.names import BASELINE, run_labels
from trustcache.report.records import Scored
from trustcache.scores import POST_HOC
from trustcache.scores.fits import SCORES, score_file
from trustcache.scores.stored import ScoreStore, StoredScore

_DATA = "\0"  # where a data set's name goes, as no name can read
_MOST_NAMED = 3
_SCALED = "temperature"  # mcp after temperature scaling


def collect(
    workspace: Workspace, progress: Progress = silent, place: Sequence[str] | None = ()
) -> tuple[list[Scored], list[str]]:
    """Return everything scored in a workspace, and sentences that name what is missing and what fills it.

    Scores that need nothing but logits are made here where they are missing, the others by `evaluate`. place: the
    options that make a command work in the workspace, None where none does, as in a report that Python code asks for.

    Raises UsageError where there is nothing to report on.
    """
    found = _Collector(workspace, progress, place)
    indices = workspace.reportable(found.caches)
    found.notes += _parts(indices)
    for index in indices:
        try:
            cache = open_cache(index.folder)
        except TrustcacheError as error:
            found.notes.append(f"{index.data} is left out: {error}")
        else:
            found.gather(cache)
    found.notes += found.trained_on()
    notes = found.notes + [gap.replace(_DATA, _named(data)) for gap, data in found.gaps.items()]
    if not found.runs and place is not None:
        notes.append("No oracle has been trained: run `trustcache train --loss all --frozen`")
    if not found.scored:
        raise UsageError(f"nothing to report: {notes[0]}")
    return found.scored, notes


class _Collector:
    """The records so far, and the notes on what is missing.

    notes: sentences that name what is missing and what fills it. gaps: by sentence with `_DATA` in it, its data sets.
    """

    def __init__(self, workspace: Workspace, progress: Progress, place: Sequence[str] | None) -> None:
        self.workspace, self.progress, self.place = workspace, progress, place
        self.caches, self.runs, self.store = workspace.caches(), finished_runs(workspace), ScoreStore(workspace)
        names = [(index.classifier, index.data) for index in self.caches]
        if twice := [index for index in self.caches if names.count((index.classifier, index.data)) > 1]:
            where = " and ".join(str(index.folder) for index in twice[:2])
            raise TrustcacheError(f"{where}: both are the cache of {twice[0].name}; remove one")
        self.stale = without_cache(self.runs, self.caches)
        self.labels = run_labels(self.runs)
        self.temperatures = {run.name: run.held_out.get("temperature") for run in self.runs}
        self.scored: list[Scored] = []
        self.notes: list[str] = []
        self.gaps: dict[str, list[str]] = {}
        self.rows = self._rows_by_fingerprint()
        self.training: dict[str, dict[str, np.ndarray]] = {}
        self.duplicates = np.empty(0, dtype=bool)

    def gather(self, cache: CacheView) -> None:
        """Add the post-hoc scores and the runs of a cache."""
        self.duplicates = np.zeros(len(cache), dtype=bool)
        sharing = []
        for name, images in self._training_images(cache.index.classifier).items():
            # Searched, as np.isin would sort the million of training images for each of a hundred data sets.
            again = np.append(images, np.uint64(0))[np.searchsorted(images, cache.content)] == cache.content
            self.duplicates |= again
            sharing += [name] if again.any() else []
        if sharing:
            count = f"{self.duplicates.sum():,} of {len(cache):,} images of {_DATA}"
            self._gap(f"{count} are byte for byte images of {', '.join(sharing)}", cache.index)
        judging = self._judging(cache.index)
        kept = Kept(self.workspace.figures_file(cache.index.classifier, cache.index.data))
        self.measurer = Measurer(cache, kept)
        post_hoc = self._gather_post_hoc(cache, judging)
        unseen = self._gather_runs(cache, judging)
        if BASELINE in post_hoc:
            # Runs that learnt from one half are compared with mcp on the other.
            parts = {(run.config.protocol, run.config.part): rows for run, rows in unseen.items() if not rows.all()}
            for (protocol, part), rows in parts.items():
                self._add(self._post_hoc(BASELINE, post_hoc, protocol, other_half(part), rows), rows)
        kept.save()

    def _add(self, one: Scored, rows: np.ndarray | slice = slice(None)) -> None:
        """Add what is scored on rows of a cache, bool (N,), or on all of them."""
        record = replace(one.record, duplicates=int(self.duplicates[rows].sum()))
        self.scored.append(replace(one, record=record))

    def _gap(self, sentence: str, index: Index) -> None:
        self.gaps.setdefault(sentence, []).append(index.data)

    def _judging(self, index: Index) -> list[Run]:
        """Return the runs that judge a cache's classifier; runs of another one by that name are a gap."""
        here = [run for run in self.runs if run.config.classifier == index.classifier]
        judging = [run for run in here if run.judges(index)]
        stale = [run for run in self.stale if run.config.classifier == index.classifier]
        others = {"train them again": len(here) - len(judging) - len(stale)}
        remove = command_line("runs", "rm", *(run.name for run in stale), *(self.place or ()))
        others[f"they have no cache any more; `{remove}` removes them"] = len(stale)
        for remedy, count in others.items():
            if count:
                what = f"{count} runs judge another {index.classifier} than the one {_DATA} was extracted with"
                self._gap(f"{what}; {remedy}", index)
        return judging

    def _gather_post_hoc(self, cache: CacheView, judging: list[Run]) -> dict[str, StoredScore]:
        """Add the post-hoc scores of a cache, under each protocol of its runs, and return them by name."""
        index, store = cache.index, self.store
        try:
            store.fill([index], unfitted_only=True, progress=self.progress)
        except TrustcacheError as error:
            self.notes.append(str(error))
        own = store.own
        stored = {name: score for name in [*POST_HOC, *own] if (score := store.read(index, name)) is not None}
        reasons = {
            f"not made on {_DATA} yet: run `trustcache evaluate --score {n}`": [n] for n in own if n not in stored
        }
        for name in store.applicable(index):
            if name not in stored:
                reasons.setdefault(self._why_left_out(index, name), []).append(name)
        for reason, names in reasons.items():
            self._gap(f"{', '.join(names)} left out: {reason}", index)
        for name in [name for name, score in stored.items() if np.isnan(score.z).any()]:
            del stored[name]
            file = score_file(self.workspace.scores_folder(index.classifier, index.data), name, SCORES)
            self.notes.append(_without_numbers(name, index.data, f"{file} and run `trustcache evaluate`"))
        protocols = sorted({run.config.protocol for run in judging}) or ["equations"]
        for protocol in protocols:
            for name in stored:
                self._add(self._post_hoc(name, stored, protocol))
        return stored

    def _why_left_out(self, index: Index, name: str) -> str:
        """Say why a score of a cache is not there, and what mends that: a command, or an argument of Python's."""
        reason = self.store.why_not(index, name)
        if self.place is not None:
            return reason or f"not made on {_DATA} yet: run `trustcache evaluate`"
        entry, training = POST_HOC[name], self.store.training(index)
        if entry.fitted and not training:
            return "there is nothing to learn from; give `training=`, or an oracle that is fitted in this process"
        for one in [index, *([training] if entry.fitted and training else [])]:
            if absent := [column for column in entry.columns if not one.holds(column)]:
                return f"{one.data} has no {', '.join(absent)}; give them where the cache is made"
        return reason or f"it cannot be made on {_DATA}"

    def _post_hoc(self, name: str, stored: Mapping[str, StoredScore], protocol: str, *half: Any) -> Scored:
        """Return the record of one of a cache's scores; `half` are its name and its rows."""
        scaled = stored[_SCALED].z if name == BASELINE and _SCALED in stored else None
        return self.measurer.post_hoc(name, stored[name], protocol, scaled, *half)

    def _gather_runs(self, cache: CacheView, judging: list[Run]) -> dict[Run, np.ndarray]:
        """Add the runs that have scored a cache; return for each the rows that its scores count on, bool (N,)."""
        index, unseen = cache.index, {}
        unscored = []
        for run in judging:
            z = None if run.config.mixed_up(index, self.caches) else run.scores(index)
            if z is None:
                unscored.append(run)
                continue
            unseen[run] = run.unseen(cache, self.caches)
            if np.isnan(z[unseen[run]]).any():
                self.notes.append(_without_numbers(run.name, index.data, f"{run.folder} and train it again"))
            else:
                learnt_from = self.rows.get(run.config.cache, 0)
                label, temperature = self.labels[run.name], self.temperatures[run.name]
                self._add(self.measurer.run(run, label, z, unseen[run], learnt_from, temperature), unseen[run])
        reasons = [why_not(run.config, index, self.caches) for run in unscored]
        self.notes += dict.fromkeys(filter(None, reasons))
        if able := reasons.count(None):
            self._gap(f"{able} runs are not scored on {_DATA}: run `trustcache evaluate`", index)
        return unseen

    def trained_on(self) -> list[str]:
        """Return a sentence on each training cache whose images a reported classifier has probably learnt from."""
        told = []
        for index in self.caches:
            if any(one.record.classifier == index.classifier for one in self.scored):
                with contextlib.suppress(TrustcacheError):  # a cache that cannot be read is told of where it is needed
                    told.append(trained_on(index, self.caches))
        return [*filter(None, told)]

    def _training_images(self, classifier: str) -> dict[str, np.ndarray]:
        """Return the contents of a classifier's training images, uint64 (N,), by the names of their data."""
        if classifier not in self.training:
            self.training[classifier] = {}
            try:
                self.training[classifier] = training_images(i for i in self.caches if i.classifier == classifier)
            except TrustcacheError as error:
                self.notes.append(f"how many images are training images too is not known: {error}")
        return self.training[classifier]

    def _rows_by_fingerprint(self) -> dict[str, int]:
        """Return the number of rows of each training cache; one that cannot be read is a note."""
        rows = {}
        for index in self.caches:
            if index.role == "train":
                try:
                    rows[index.fingerprint()] = index.rows
                except TrustcacheError as error:
                    self.notes.append(f"how many samples of {index.data} runs learnt from is not known: {error}")
        return rows


def _without_numbers(name: str, data: str, what: str) -> str:
    return f"{name} is left out on {data}: its stored scores are not numbers; remove {what}"


def _named(data: list[str]) -> str:
    """Name data sets in a sentence, of many only the first."""
    names = list(dict.fromkeys(data))
    return ", ".join(names) if len(names) <= _MOST_NAMED else f"{names[0]} and {len(names) - 1} more data sets"


def _parts(indices: list[Index]) -> Iterator[str]:
    """Name the data sets of which only a part was extracted, a sentence for each size."""
    sizes: dict[str, list[Index]] = {}
    for index in indices:
        if index.meaning.data.subset:
            sizes.setdefault(index.size, []).append(index)
    for size, those in sizes.items():
        data, classifiers = sorted({i.manifest.family for i in those}), sorted({i.classifier for i in those})
        yield f"only a part of {', '.join(data)} was extracted for {', '.join(classifiers)}: {size} images"
