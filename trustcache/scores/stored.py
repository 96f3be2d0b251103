"""Post-hoc scores on disk: `scores/<classifier>/<data set>/<score>.h5`, made once for each evaluation cache."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from trustcache.cache import CacheView, open_cache
from trustcache.cache.index import Index, judged_fingerprint
from trustcache.cache.publish import pack, publish
from trustcache.cache.workspace import Workspace
from trustcache.command_lines import extraction_options
from trustcache.errors import TrustcacheError, UsageError
from trustcache.progress import Progress, silent
from trustcache.scores.fits import KeptFits, recipe_fingerprint
from trustcache.scores.fitting import TooFew
from trustcache.scores.registry import POST_HOC, Learnt


@dataclass(frozen=True)
class StoredScore:
    """A score of every row of a cache, float64 (N,), and the settings that were chosen for it."""

    z: np.ndarray
    settings: dict[str, float | str]


class ScoreStore:
    """The post-hoc scores of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._caches = workspace.caches()
        self._fits: dict[Path, KeptFits] = {}

    def read(self, index: Index, name: str) -> StoredScore | None:
        """A score of a cache, or None where it has not been made from the caches that are there now."""
        path = self._folder(index) / f"{name}.h5"
        if not path.is_file():
            return None
        try:
            with h5py.File(path, "r", locking=False) as file:
                if file.attrs["key"] != self._key(index, name):
                    return None
                return StoredScore(file["z"][:], json.loads(file.attrs["settings"]))
        except (OSError, KeyError, ValueError) as error:
            raise TrustcacheError(f"{path}: cannot be read ({error}); remove it and run trustcache evaluate") from None

    def applicable(self, index: Index) -> list[str]:
        """The scores but those that a cache would have to hold from its extraction, and does not."""
        return [name for name, entry in POST_HOC.items() if not entry.column or index.holds(entry.column)]

    def why_not(self, index: Index, name: str) -> str | None:
        """Why a score cannot be made of a cache, and what mends that; None where nothing is known to be in the way."""
        if name not in self.applicable(index):
            option = POST_HOC[name].option
            return f"{index.classifier}/{index.data} was extracted without {option}; extract it so under another --as"
        if POST_HOC[name].features and not index.holds("features"):
            return _without_features(index)
        return self._why_unlearnt(index, name)

    def _why_unlearnt(self, index: Index, name: str) -> str | None:
        """Why a score has nothing, or too little, to learn from; None where nothing is known to be in the way."""
        if not POST_HOC[name].fitted:
            return None
        training = self._training(index)
        if training is None:
            command = shlex.join(["trustcache", "extract", *extraction_options(index)]) + " --data TRAINING-DATA"
            return f"there is no training cache of {index.classifier} to learn from: run `{command}`"
        if POST_HOC[name].features and not training.holds("features"):
            return _without_features(training)
        lacks = self._learnt(training).lacks(name)
        return f"{training.data} is no use to learn from: {lacks}" if lacks else None

    def scorer(self, index: Index, name: str) -> Learnt:
        """What scores any rows of the cache's classifier, once it has learnt what `name` needs.

        Raises UsageError where there is nothing, or too little, to learn from.
        """
        reason = self._why_unlearnt(index, name)
        learnt = self._learnt(self._training(index) or index)
        if reason is None and POST_HOC[name].fitted:
            try:
                learnt[name]
            except TooFew as few:
                reason = str(few)
        if reason:
            raise UsageError(f"{name}: {reason}")
        return learnt

    def learnt_from(self, index: Index, name: str) -> str:
        """The fingerprint of the training cache that a score of a cache learns from, "" where it learns nothing."""
        training = self._teacher(index, name)
        return training.fingerprint() if training else ""

    def missing(self, index: Index, logits_only: bool = False) -> list[str]:
        """The scores that could be made of a cache and are not there, or those of them that need no fitting."""
        names = [name for name in self.applicable(index) if not (logits_only and POST_HOC[name].fitted)]
        return [name for name in names if self.why_not(index, name) is None and self.read(index, name) is None]

    def fill(self, indices: Sequence[Index], logits_only: bool = False, progress: Progress = silent) -> int:
        """Make and keep what is missing on some finished caches; returns how many scores that were.

        Raises TrustcacheError, after all others are kept, where scores are not finite.
        """
        made = 0
        refused = []
        for index in indices:
            if names := self._learn(index, self.missing(index, logits_only), progress):
                refused += self._score(index, names, progress)
            made += len(names)
        if refused:
            raise TrustcacheError(
                f"{', '.join(refused)}: some of the scores are not finite, and are not kept; run trustcache cache "
                "verify, and extract again with --precision float32"
            )
        return made

    def _learn(self, index: Index, names: list[str], progress: Progress) -> list[str]:
        """Learn what the scores need, and leave out those for which there is too little to learn from."""
        fitted = [name for name in names if POST_HOC[name].fitted]
        training = self._training(index)
        if not fitted or training is None:
            return names
        learnt = self._learnt(training)
        with progress(f"post-hoc scores learn from {training.classifier}/{training.data}", len(fitted)) as advance:
            for name in fitted:
                try:
                    learnt[name]
                except TooFew:
                    names = [other for other in names if other != name]
                advance(1)
        return names

    def _score(self, index: Index, names: list[str], progress: Progress) -> list[str]:
        """Make scores of a cache, and keep those that are finite; returns which are not."""
        cache, training = open_cache(index.folder), self._training(index)
        learnt = self._learnt(training or index)
        scores = {name: np.empty(len(cache)) for name in names}
        done = 0
        with progress(f"post-hoc scores of {index.classifier}/{index.data}", len(cache)) as advance:
            for part in cache.chunks():
                for name, z in learnt.scores(names, _Held(part)).items():
                    scores[name][done : done + len(part)] = z
                done += len(part)
                advance(len(part))
        refused = [name for name, z in scores.items() if not np.isfinite(z).all()]
        for name in [name for name in names if name not in refused]:
            settings = learnt[name].chosen if POST_HOC[name].fitted else {}
            attributes = {"key": self._key(index, name), "settings": json.dumps(settings)}
            publish(self._folder(index) / f"{name}.h5", pack({"z": scores[name]}, attributes))
        return [f"{name} of {index.classifier}/{index.data}" for name in refused]

    def _training(self, index: Index) -> Index | None:
        """The training cache that scores of a cache learn from: of the same classifier, the largest of several."""
        judged = judged_fingerprint(index)
        fitting = [c for c in self._caches if c.role == "train" and judged_fingerprint(c) == judged and c.finished()]
        return max(fitting, key=lambda other: other.samples, default=None)

    def _teacher(self, index: Index, name: str) -> Index | None:
        """The training cache that a score learns from; None where there is none, or the score learns nothing."""
        return self._training(index) if POST_HOC[name].fitted else None

    def _learnt(self, training: Index) -> KeptFits:
        return self._fits.setdefault(training.folder, KeptFits(self._folder(training), training))

    def _key(self, index: Index, name: str) -> str:
        training = self._teacher(index, name)
        return recipe_fingerprint(name, index, *([training] if training else []))

    def _folder(self, index: Index) -> Path:
        return self._workspace.scores_folder(index.classifier, index.data)


class _Held:
    """A part of a cache whose columns are read once, however many scores ask for them."""

    def __init__(self, part: CacheView) -> None:
        self._part = part

    @cached_property
    def logits(self) -> np.ndarray:
        return self._part.logits

    @cached_property
    def features(self) -> np.ndarray:
        return self._part.features

    @cached_property
    def predictions(self) -> np.ndarray:
        return self._part.predictions

    @cached_property
    def mc_dropout(self) -> np.ndarray:
        return self._part.mc_dropout

    @cached_property
    def mirrored_logits(self) -> np.ndarray:
        return self._part.mirrored_logits


def _without_features(index: Index) -> str:
    return f"{index.classifier}/{index.data} was extracted with --features none"
