"""Post-hoc scores on disk, made once: `scores/<classifier>/<data set>/<score>.safetensors` of evaluation caches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from trustcache.cache import open_cache
from trustcache.cache.arrays import MADE_ANEW, read_arrays, scores_in, write_arrays
from trustcache.cache.columns import options_of
from trustcache.cache.index import Index, judged_fingerprint
from trustcache.cache.workspace import Workspace
from trustcache.data.progress import Progress, silent
from trustcache.errors import DamagedError, TrustcacheError, UsageError
from trustcache.scores.fits import FIT, SCORES, HeldOut, KeptFits, recipe_fingerprint, score_file
from trustcache.scores.fitting import TooFew, outputs_of
from trustcache.scores.registry import POST_HOC, Learnt

_REMADE = "remove it, and make it anew with trustcache evaluate --score"


@dataclass(frozen=True)
class ScoreRecord:
    """The record of a stored score.

    key: pins the caches it comes from. settings: what it chose. fitted, meaning, natural_zero, source: those
    of its `PostHoc` entry.
    """

    SCHEMA: ClassVar[int] = 1

    name: str
    key: str
    settings: dict[str, float | str]
    fitted: bool
    meaning: str
    natural_zero: bool
    source: str


@dataclass(frozen=True)
class StoredScore:
    """A score of every row of a cache, float64 (N,), with the record of what it was when it was made."""

    z: np.ndarray
    about: ScoreRecord


class ScoreStore:
    """The post-hoc scores of a workspace: all that are known by name, and some users' own functions.

    own: names `package.module:function` of scores to make beside the others. damage: the sentences on files that were
    found not to be as they were written, and are made anew. Raises UsageError where one of `own` is no score.
    """

    def __init__(self, workspace: Workspace, own: Sequence[str] = ()) -> None:
        for name in own:
            POST_HOC.find(name)
        self._workspace, self._own = workspace, own
        self._caches = workspace.caches()
        self.damage: dict[str, None] = {}
        self._fits: dict[Path, KeptFits] = {}

    def read(self, index: Index, name: str) -> StoredScore | None:
        """Return a score of a cache, or None where it has not been made from the caches that are there now.

        Imports nothing: a user's own score is described by its file. Raises DamagedError where that is not as it was
        written.
        """
        path = score_file(self._folder(index), name, SCORES)
        try:
            about, arrays = read_arrays(path, ScoreRecord, MADE_ANEW)
        except FileNotFoundError:
            return None
        if about.key != self._key(index, name, about.fitted):
            return None
        return StoredScore(scores_in(path, arrays, index.rows), about)

    @cached_property
    def own(self) -> list[str]:
        """The names of users' own scores that are kept for any cache. Raises DamagedError as `read`."""
        known = {score_file(Path(), name, SCORES).name for name in POST_HOC}
        kept = {path for index in self._caches for path in self._folder(index).glob(f"*{SCORES}")}
        files = sorted(path for path in kept if path.name not in known and not path.name.endswith(FIT))
        return sorted({read_arrays(path, ScoreRecord, _REMADE)[0].name for path in files})

    def applicable(self, index: Index) -> list[str]:
        """Return the scores but those that read a column which a cache would have only if asked for, and has not."""
        names = dict.fromkeys([*POST_HOC, *self._own])
        return [name for name in names if set(self._absent(index, name)) <= {"features"}]

    def why_not(self, index: Index, name: str) -> str | None:
        """Say why a score cannot be made of a cache, and what mends that; None if nothing is known to be in the way."""
        if absent := self._absent(index, name):
            return _without(index, absent)
        return self._why_unlearnt(index, name)

    def _absent(self, index: Index, name: str) -> list[str]:
        return [column for column in POST_HOC[name].columns if not index.holds(column)]

    def _why_unlearnt(self, index: Index, name: str) -> str | None:
        """Say why a score has nothing, or too little, to learn from; None where nothing is known to be in the way."""
        if not POST_HOC[name].fitted:
            return None
        training = self.training(index)
        if training is None:
            from trustcache.command_lines import extract_line  # only where something is amiss

            role = ["--role", "train"] if index.imported else []
            command = extract_line(index, "TRAINING-DATA", *role)
            return f"there is no training cache of {index.classifier} to learn from: run `{command}`"
        if absent := self._absent(training, name):
            return _without(training, absent)
        lacks = self._learnt(index).lacks(name)
        return f"{training.data} is no use to learn from: {lacks}" if lacks else None

    def scorer(self, index: Index, name: str) -> Learnt:
        """Return the state that scores any rows of the cache's classifier, once `name` is fitted.

        Raises UsageError where there is nothing, or too little, to learn from.
        """
        reason = self._why_unlearnt(index, name)
        learnt = self._learnt(index)
        if reason is None and POST_HOC[name].fitted:
            try:
                learnt[name]
            except TooFew as few:
                reason = str(few)
        if reason:
            raise UsageError(f"{name}: {reason}")
        return learnt

    def learnt_from(self, index: Index, name: str) -> str:
        """Return what pins a score of a cache beside it: its training cache, and a user's own code; "" for neither."""
        training = self.training(index) if POST_HOC[name].fitted else None
        return (training.fingerprint() if training else "") + POST_HOC[name].source

    def held_out(self, index: Index, name: str) -> HeldOut | None:
        """Return how a fitted score stood beside mcp on training rows that its fit held out, None if not known."""
        known = name in POST_HOC and POST_HOC[name].fitted
        return self._learnt(index).held_out(name) if known else None

    def missing(self, index: Index, unfitted_only: bool = False) -> list[str]:
        """Return the scores that could be made of a cache and are not there, or those of them that need no fitting."""
        names = [name for name in self.applicable(index) if not (unfitted_only and POST_HOC[name].fitted)]
        return [name for name in names if self.why_not(index, name) is None and not self._current(index, name)]

    def _current(self, index: Index, name: str) -> bool:
        try:
            stored = self.read(index, name)
        except DamagedError as damage:
            self._note(damage)
            return False
        entry = POST_HOC[name]
        if stored is None or stored.about.source != entry.source:
            return False
        return not entry.fitted or self._learnt(index).holds(name)

    def fill(self, indices: Sequence[Index], unfitted_only: bool = False, progress: Progress = silent) -> int:
        """Make and keep what is missing on some finished caches; return how many scores that were.

        Raises TrustcacheError, after all others are kept, where scores are not finite or a user's own one fails.
        """
        made, not_finite, broken = 0, list[str](), dict[str, None]()
        for index in indices:
            missing = self.missing(index, unfitted_only)
            own = [[name] for name in missing if POST_HOC[name].source]  # each by itself, as it may fail
            for names in ([name for name in missing if not POST_HOC[name].source], *own):
                try:
                    names = self._learn(index, names, progress)
                    not_finite += self._score(index, names, progress)
                    made += len(names)
                except UsageError as error:
                    broken[str(error)] = None
        failures = [*broken]
        if not_finite:
            failures.append(
                f"{', '.join(not_finite)}: some of the scores are not finite, and are not kept; run trustcache cache "
                "verify, and extract again with --precision float32, or mend a score of your own"
            )
        if failures:
            raise (UsageError if broken else TrustcacheError)("; ".join(failures))
        return made

    def _learn(self, index: Index, names: list[str], progress: Progress) -> list[str]:
        """Learn what the scores need, and leave out those for which there is too little to learn from."""
        fitted = [name for name in names if POST_HOC[name].fitted]
        training = self.training(index)
        if not fitted or training is None:
            return names
        with progress(f"post-hoc scores that learn from {training.name}", len(fitted)) as advance:
            for name in fitted:
                try:
                    self._learnt(index)[name]
                except TooFew:
                    names = [other for other in names if other != name]
                advance(1)
        return names

    def _score(self, index: Index, names: list[str], progress: Progress) -> list[str]:
        """Make scores of a cache, and keep those that are finite; return "<score> of <cache>" for the others."""
        if not names:
            return []
        where, cache, learnt = index.name, open_cache(index.folder), self._learnt(index)
        scores = {name: np.empty(len(cache)) for name in names}
        done = 0
        with progress(f"post-hoc scores of the images of {where}", len(cache)) as advance:
            for part in cache.chunks():
                for name, z in learnt.scores(names, outputs_of(part)).items():
                    scores[name][done : done + len(part)] = z
                done += len(part)
                advance(len(part))
        finite = [name for name in names if np.isfinite(scores[name]).all()]
        for name in finite:
            path = score_file(self._folder(index), name, SCORES)
            write_arrays(path, {"z": scores[name]}, self._record(index, name))
        return [f"{name} of {where}" for name in names if name not in finite]

    def keep(self, index: Index, about: ScoreRecord, z: np.ndarray) -> None:
        """Write the scores of a cache's rows, float64 (N,), by a method that only Python code has."""
        path = score_file(self._folder(index), about.name, SCORES)
        write_arrays(path, {"z": z}, replace(about, key=self._key(index, about.name, about.fitted)))

    def _record(self, index: Index, name: str) -> ScoreRecord:
        entry, settings = POST_HOC[name], self._learnt(index).chosen(name)
        key = self._key(index, name, entry.fitted)
        return ScoreRecord(name, key, settings, entry.fitted, entry.meaning, entry.natural_zero, entry.source)

    def training(self, index: Index) -> Index | None:
        """Return the training cache that scores of a cache learn from: the largest of the same classifier."""
        return self._trainings.get(judged_fingerprint(index))

    @cached_property
    def _trainings(self) -> dict[str, Index]:
        finished = [index for index in reversed(self._caches) if index.role == "train" and index.finished()]
        return {judged_fingerprint(index): index for index in sorted(finished, key=lambda index: index.samples)}

    def _learnt(self, index: Index) -> KeptFits:
        """Return the fits that scores of a cache take; without a training cache they need none."""
        training = self.training(index) or index
        return self._fits.setdefault(training.folder, KeptFits(self._folder(training), training, self._note))

    def _note(self, damage: DamagedError) -> None:
        self.damage[str(damage)] = None

    def _key(self, index: Index, name: str, fitted: bool) -> str:
        training = self.training(index) if fitted else None
        return recipe_fingerprint(name, index, *([training] if training else []))

    def _folder(self, index: Index) -> Path:
        return self._workspace.scores_folder(index.classifier, index.data)


def _without(index: Index, columns: Sequence[str]) -> str:
    where = index.name
    if index.imported:
        return index.lacks(*columns)
    if "features" in columns:
        return f"{where} was extracted with --features none"
    return f"{where} was extracted without {options_of(columns)}; extract it so under another --as"
