"""Methods as Python code gives them: oracles, post-hoc scores by name, and functions or classes of one's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from trustcache.cache import CacheView
from trustcache.cache.learnt_rows import row_hashes, rows_again
from trustcache.cache.view import require_cache
from trustcache.errors import UsageError
from trustcache.scores.entry import PostHoc, entry_of, name_of
from trustcache.scores.fitting import Outputs, TooFew
from trustcache.scores.registry import Learnt, learnt_from, scored_rows
from trustcache.scores.stored import ScoreRecord


@runtime_checkable
class Scores(Protocol):
    """Something that scores caches, as `Oracle` does; a class of one's own needs no more."""

    def decision_function(self, cache: CacheView) -> np.ndarray:
        """Return float64 (N,), higher = more trustworthy."""
        ...


AnyMethod = Scores | str | Callable[..., Any] | Mapping[str, Any]
"""An oracle, a post-hoc score's name, a function of columns or a class as `post_hoc` takes them, or scores by name."""


@dataclass(frozen=True, repr=False)
class Given:
    """Scores that were computed elsewhere, of the rows of one cache."""

    name: str
    z: Any

    def __repr__(self) -> str:
        return self.name

    def decision_function(self, cache: CacheView) -> np.ndarray:
        """Return the scores, whatever the cache; `Method.scores` checks their number."""
        return np.asarray(self.z)

    @property
    def probabilities(self) -> bool:
        """True if all lie within [0, 1], as probabilities do, in which 0 parts nothing from anything."""
        z = np.asarray(self.z, dtype=np.float64)
        return bool(((z >= 0) & (z <= 1)).all())


@dataclass(frozen=True)
class Method:
    """A method with its name in tables.

    scorer: what scores a cache; without one it is the post-hoc score `name` of `learnt`. training: what that learns
    from, if it does. given: as the caller gave it.
    """

    name: str
    learnt: Learnt
    scorer: Scores | None = None
    training: CacheView | None = None
    given: Any = None

    @property
    def entry(self) -> PostHoc | None:
        """The entry of a post-hoc score, None for an oracle."""
        return None if self.scorer else self.learnt.entry(self.name)

    def scores(self, cache: CacheView) -> np.ndarray:
        """Return the score of every row of a cache, float64 (N,).

        Raises UsageError where it cannot be computed there, or is not a finite number for each row.
        """
        require_cache(cache)
        try:
            z = self.scorer.decision_function(cache) if self.scorer else scored_rows(self.name, cache, self.learnt)
        except TooFew as few:
            raise UsageError(f"{self.name}: {few}") from None
        z = np.asarray(z, dtype=np.float64)
        if z.shape != (len(cache),) or not np.isfinite(z).all():
            found = f"shape {z.shape}" if z.shape != (len(cache),) else "numbers that are not finite"
            raise UsageError(f"{self.name}: gave {found} for the {len(cache)} rows of {cache.index.data}")
        return z

    def about(self) -> ScoreRecord:
        """Return the record of its scores, as a post-hoc score's."""
        entry = self.entry
        if entry is None:
            meaning = (type(self.scorer).__doc__ or self.name).strip().partition("\n")[0]
            zero = not (isinstance(self.scorer, Given) and self.scorer.probabilities)
            return ScoreRecord(self.name, "", {}, False, meaning, zero, "")
        settings = self.learnt.chosen(self.name)
        return ScoreRecord(self.name, "", settings, entry.fitted, entry.meaning, entry.natural_zero, entry.source)

    def learnt_rows(self, cache: CacheView) -> int:
        """Return the number of a cache's rows that it has learnt from, as `Oracle.learnt_rows` counts them."""
        if own := getattr(self.scorer, "learnt_rows", None):
            return int(own(cache))
        if self.training is None or self.entry is None or not self.entry.fitted:
            return 0
        read = [name for name in self.entry.columns if cache.index.holds(name) and self.training.index.holds(name)]
        return rows_again(cache, read, self.training.content, row_hashes(self.training, read))

    def of_outputs(self) -> Callable[[Outputs], np.ndarray]:
        """Return a post-hoc score as a function of the classifier's outputs, giving float64 (N,).

        Raises UsageError where it learns, and there is nothing, or too little, to learn from.
        """
        try:
            if self.learnt.entry(self.name).fitted:
                self.learnt[self.name]
        except TooFew as few:
            raise UsageError(f"{self.name}: {few}") from None
        return lambda rows: self.learnt.scores([self.name], rows)[self.name]


def methods_of(given: Sequence[AnyMethod], training: CacheView | None = None) -> list[Method]:
    """Return methods with the names that tables give them.

    given: as `AnyMethod` has them; a mapping holds an array (N,) of scores for each name.
    training: what scores that learn do so from; without it, the cache that the first oracle has learnt from.
    Raises UsageError for an unknown score, and for what is no method.

    >>> [method.name for method in methods_of(["mcp", lambda logits: logits.max(1)])]
    ['mcp', '<lambda>']
    """
    given = [method for one in given for method in _each(one)]
    if training is None:
        learners = (getattr(one, "training_", None) for one in given)
        training = next((cache for cache in learners if cache is not None), None)
    names = [_name(one) for one in given]
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise UsageError(f"{twice}: is given twice; leave one out, or name your functions apart")
    own = {
        name: entry_of(name, one)
        for name, one in zip(names, given, strict=True)
        if not isinstance(one, str) and not _scores(one)
    }
    learnt = learnt_from(training, own)
    scorers = (one if _scores(one) else None for one in given)
    found = [
        Method(name, learnt, scorer, training, one)  # type: ignore[arg-type]
        for name, scorer, one in zip(names, scorers, given, strict=True)
    ]
    for method in found:
        method.entry  # noqa: B018 (raises for an unknown name)
    return found


def _each(one: AnyMethod) -> Iterator[AnyMethod]:
    """Yield a method, or those of a mapping of scores by name. Raises UsageError for scores without a name."""
    if isinstance(one, Mapping):
        yield from (Given(name, z) for name, z in one.items())
    elif (isinstance(one, Sequence) and not isinstance(one, str)) or hasattr(one, "__array__"):
        raise UsageError("scores that are numbers need a name; give a mapping, as in {'mine': scores}")
    else:
        yield one


def _scores(one: AnyMethod) -> bool:
    return isinstance(one, Scores) and not isinstance(one, type)


def _name(one: AnyMethod) -> str:
    if _scores(one) and type(one).__repr__ is not object.__repr__:
        return repr(one)
    return name_of(one)
