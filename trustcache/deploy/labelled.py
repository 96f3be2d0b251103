"""Labelled scores: what calibration looks at, rows of a cache with a scorer's z, found by the names of data sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy

from trustcache.cache import CacheView, open_cache
from trustcache.cache.content import training_images
from trustcache.cache.index import Index
from trustcache.data.known_data import name_among
from trustcache.data.pipeline import unheard
from trustcache.data.splits import other_half
from trustcache.deploy.scorers import Scorer
from trustcache.errors import UsageError, did_you_mean
from trustcache.evaluate.scoring import Scoring
from trustcache.scores import POST_HOC
from trustcache.scores.fitting import Rows, outputs_of
from trustcache.scores.logit_scores import maximum_class_probability

BLOCK_ROWS = 8192
MOST_AGAIN = 0.01
"""The share of images learnt from that a promise's data may hold: data sets have some images twice."""


@dataclass(frozen=True)
class Labelled:
    """Rows of a cache with their scores.

    data: a name for people. z: float64 (N,). rows: their numbers, int (N,), ascending. groups: text (N,), None without.
    """

    data: str
    z: np.ndarray
    cache: CacheView
    rows: np.ndarray
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def correct(self) -> np.ndarray:
        """True where the prediction is the label, bool (N,)."""
        return self.cache.correct[self.rows]

    @property
    def predictions(self) -> np.ndarray:
        """Predicted classes, int (N,)."""
        return self.cache.predictions[self.rows]

    @property
    def content(self) -> np.ndarray:
        """Hashes of the images before any variant, uint64 (N,)."""
        return self.cache.content[self.rows]

    def take(self, picked: np.ndarray) -> Labelled:
        """Return some of the rows. picked: numbers, or a mask (N,)."""
        groups = None if self.groups is None else self.groups[picked]
        return replace(self, z=self.z[picked], rows=self.rows[picked], groups=groups)

    def apart_from(self, content: np.ndarray) -> Labelled:
        """Return the rows of other images than those of some content, or all if none is of another."""
        fresh = ~np.isin(self.content, content)
        return self.take(fresh) if fresh.any() else self

    def probabilities(self) -> np.ndarray:
        """Return the softmax probability of the predicted class, float64 (N,)."""
        rows, starts = Rows(self.cache, self.rows), range(0, len(self), BLOCK_ROWS)
        z = [maximum_class_probability(rows.part(start, start + BLOCK_ROWS).logits) for start in starts]
        return scipy.special.expit(np.concatenate(z)) if z else np.empty(0)


def whole_cache(cache: CacheView, z: np.ndarray) -> Labelled:
    """Return all rows of a cache with their scores (N,).

    >>> cache = CacheView.from_arrays([[2.0, 0.5], [0.1, 0.3]], [0, 0])
    >>> whole_cache(cache, np.array([1.5, 0.2])).take(np.array([1])).correct.tolist()
    [False]
    """
    return Labelled(cache.index.data, z, cache, np.arange(len(cache)))


@dataclass(frozen=True)
class LabelledData:
    """The labelled scores of a scorer on the data sets of its workspace, by the names of data sets.

    note: told of a few images among them that the scorer has learnt from under another name; of many is an error.
    """

    scorer: Scorer
    scoring: Scoring
    note: Callable[[str], None] = unheard

    def held_out(self) -> Labelled:
        """Return what a run set aside in training. Raises UsageError where that was nothing, or is gone."""
        scorer, names = self.scorer, self._names()
        if scorer.run is None:
            raise UsageError(f"{scorer.name}: has set no data aside; name a cache with --data ({names})")
        own = scorer.caches[0]
        if own.fingerprint() != scorer.run.config.cache:
            raise UsageError(
                f"{scorer.name}: the cache of {scorer.run.config.data} that it learnt from is not there any more, so "
                f"neither is the part it set aside; name another with --data ({names})"
            )
        rows, z = self.scoring.of_validation(scorer.run, own)
        return Labelled(f"the validation part of {own.data}", z, open_cache(own.folder), rows)

    def named(self, option: str, name: str) -> Labelled:
        """Return a data set. option: names it. Raises UsageError where there is none, or the scorer learnt from it."""
        name = self._meant(name)
        index = next((index for index in self.scorer.caches if index.data == name), None)
        if index is None:
            raise UsageError(self._no_cache(option, name))
        return self._of(option, index)

    def family(self, option: str, name: str) -> list[Labelled]:
        """Return a data set, or all parts of a family such as cifar10-c-made. Raises as `named`."""
        name = self._meant(name)
        found = [index for index in self.scorer.caches if index.data == name or index.data.startswith(f"{name}/")]
        if not found:
            raise UsageError(self._no_cache(option, name))
        return [self._of(option, index) for index in sorted(found, key=lambda index: index.data)]

    def _names(self) -> str:
        return ", ".join(index.data for index in self.scorer.caches)

    def _meant(self, name: str) -> str:
        return name_among([index.data for index in self.scorer.caches], name)

    def _no_cache(self, option: str, name: str) -> str:
        near = did_you_mean(
            name, [each for index in self.scorer.caches for each in (index.data, index.manifest.family)]
        )
        return f"{option} {name}: no cache of {self.scorer.classifier} has that name; there are {self._names()}{near}"

    @cached_property
    def _learnt(self) -> np.ndarray:
        """The hashes of all images that the scorer has learnt from, where their cache is still there."""
        scorer = self.scorer
        if scorer.run is None:
            learnt = training_images(scorer.caches if POST_HOC[scorer.name].fitted else ())
            return np.concatenate([np.empty(0, np.uint64), *learnt.values()])
        own, config = scorer.caches[0], scorer.run.config
        if own.fingerprint() != config.cache:
            return np.empty(0, np.uint64)
        cache = open_cache(own.folder)
        return cache.content[config.learnt_rows(cache)]

    def _require_unseen(self, option: str, found: Labelled) -> None:
        """Raise UsageError where images are byte for byte those that the scorer learnt from, whatever their name."""
        if not (count := int(np.isin(found.content, self._learnt).sum())):
            return
        told = (
            f"{option} {found.data}: {count:,} of its {len(found):,} images are byte for byte ones that "
            f"{self.scorer.name} learnt from"
        )
        if count > MOST_AGAIN * len(found):
            raise UsageError(f"{told}, so scores there promise nothing; name others")
        self.note(told)

    def _of(self, option: str, index: Index) -> Labelled:
        found = self._scored(option, index)
        self._require_unseen(option, found)
        return found

    def _scored(self, option: str, index: Index) -> Labelled:
        scorer, run, data = self.scorer, self.scorer.run, index.data
        if run and not run.config.part and run.config.learnt_images_of(index, scorer.workspace_caches):
            raise UsageError(
                f"{option} {data}: {run.name} learnt from its images, so scores there promise nothing; leave it out to "
                "take the part that was set aside, or name other data"
            )
        cache = open_cache(index.folder)
        if run is None:
            if index.role == "train" and POST_HOC[scorer.name].fitted:
                raise UsageError(
                    f"{option} {data}: {scorer.name} learns from training data, so its scores there promise nothing; "
                    "name other data"
                )
            cache.require(POST_HOC[scorer.name].columns)
            score = scorer.post_hoc()
            return whole_cache(cache, np.concatenate([score(outputs_of(part)) for part in cache.chunks()]))
        z, unseen = self.scoring.of_cache(run, index), run.unseen(cache, scorer.workspace_caches)
        named = data if unseen.all() else f"{data}, its {other_half(run.config.part)}"
        return Labelled(named, z[unseen], cache, np.flatnonzero(unseen))
