"""Fitted scores on disk: each is fitted on a training cache once, whatever evaluation caches come later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from trustcache.cache import open_cache
from trustcache.cache.arrays import MADE_ANEW, read_about, read_arrays, write_arrays
from trustcache.cache.index import Index
from trustcache.cache.records import fingerprint
from trustcache.cache.seal import check_seal
from trustcache.cache.workspace import file_name
from trustcache.errors import DamagedError
from trustcache.metrics.jackknife import aurc_difference_error
from trustcache.metrics.tie_groups import rank
from trustcache.scores.entry import Fitted, arrays_of, restored
from trustcache.scores.fitting import TooFew, fitting_data
from trustcache.scores.registry import POST_HOC, Learnt, Weight

# Raised when scores change their meaning or the way they learn: what an older program made is then made anew.
RECIPE = 4
_CONFIDENCE = "mcp"  # what every score is compared with
SCORES, FIT = ".safetensors", ".fit.safetensors"
"""Suffixes of a score's files."""


def recipe_fingerprint(name: str, *caches: Index) -> str:
    """Return SHA-256 over a score's name and the caches it comes from, so that none is used for others."""
    return fingerprint([RECIPE, name, *(cache.fingerprint() for cache in caches)])


def score_file(folder: Path, name: str, suffix: str) -> Path:
    """Return the file of a score in a folder.

    >>> score_file(Path("scores"), "my_scores:spread", SCORES).name
    'my_scores%3Aspread.safetensors'
    """
    return folder / f"{file_name(name)}{suffix}"


@dataclass(frozen=True)
class FitRecord:
    """The metadata of a fitted score's file. key: pins its training cache. lacks: why it was not fitted, or "".

    aurc: on the rows that the fit held out, in which its settings were chosen; mcp_aurc: that of mcp there; error: the
    standard error of their difference. None where it was not fitted, or its scores are no numbers.
    """

    SCHEMA: ClassVar[int] = 3

    key: str
    lacks: str = ""
    aurc: float | None = None
    mcp_aurc: float | None = None
    error: float | None = None


class HeldOut(NamedTuple):
    """AURC of a score and of mcp on rows that its fit held out, and the standard error of their difference."""

    aurc: float
    mcp: float
    error: float


class KeptFits(Learnt):
    """Fitted scores of one training cache, `<score>.fit.safetensors` in a folder, or why one could not be fitted.

    damage: is told of files that are not as they were written; their scores are fitted anew.
    """

    def __init__(
        self, folder: Path, training: Index, damage: Callable[[DamagedError], None] = lambda damage: None
    ) -> None:
        super().__init__(lambda: fitting_data(open_cache(training.folder)))
        self._folder, self._training, self._damage = folder, training, damage

    def lacks(self, name: str) -> str | None:
        """Return what the training cache was found to lack for a score, None if that was not tried."""
        about = self._about(name)
        return about.lacks or None if about else None

    def holds(self, name: str) -> bool:
        """Return True if a score's fit, or what was found to be lacking, is kept, as far as its record tells."""
        return self._about(name) is not None

    def _learn(self, name: str) -> Fitted | Weight:
        about = self._about(name)
        if about and about.lacks:
            raise TooFew(about.lacks)
        if about:
            try:
                return restored(POST_HOC[name].compute, read_arrays(self._path(name), FitRecord, MADE_ANEW)[1])
            except DamagedError as damage:
                self._damage(damage)
        try:
            learnt = super()._learn(name)
        except TooFew as few:
            write_arrays(self._path(name), {}, FitRecord(self._key(name), str(few)))
            raise
        self._known[name] = learnt
        record = FitRecord(self._key(name), "", *self._held_out(name))
        write_arrays(self._path(name), arrays_of(learnt), record)
        return learnt

    def held_out(self, name: str) -> HeldOut | None:
        """Return how a score stood beside mcp on the rows that its fit held out; None where it is not known."""
        about = self._about(name)
        if about is None or about.aurc is None or about.mcp_aurc is None or about.error is None:
            return None
        return HeldOut(about.aurc, about.mcp_aurc, about.error)

    def _held_out(self, name: str) -> HeldOut | tuple[()]:
        rows = self.data.validation
        both = self.scores([name, _CONFIDENCE], rows)
        if len(rows.correct) < 2 or not all(np.isfinite(z).all() for z in both.values()):
            return ()
        own, mcp = both[name], both[_CONFIDENCE]
        error = aurc_difference_error(own, mcp, rows.correct)
        return HeldOut(rank(own, rows.correct).aurc, rank(mcp, rows.correct).aurc, error)

    def _about(self, name: str) -> FitRecord | None:
        """Return the notes beside what is kept for a score, or None where nothing is kept for this training cache."""
        path = self._path(name)
        try:
            about = read_about(path, FitRecord, MADE_ANEW)
            if about.lacks:  # the checksum of a large fit can wait until its arrays are read
                check_seal(path, MADE_ANEW)
        except FileNotFoundError:
            return None
        except DamagedError as damage:
            self._damage(damage)
            return None
        return about if about.key == self._key(name) else None

    def _path(self, name: str) -> Path:
        return score_file(self._folder, name, FIT)

    def _key(self, name: str) -> str:
        return recipe_fingerprint(name + POST_HOC[name].source, self._training)
