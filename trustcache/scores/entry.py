"""One post-hoc score: its meaning, the cached columns it reads, and what computes it, built in or a user's own."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from trustcache.cache.columns import OUTPUTS
from trustcache.errors import UsageError
from trustcache.scores.fitting import FittingData, Outputs

S = TypeVar("S", bound=Callable[..., Any])


class Fitted(Protocol):
    """A score that was fitted on a training cache: a frozen dataclass of arrays and numbers.

    It may have a property `chosen`, a dictionary of the settings that it chose, which the report shows.
    """

    @classmethod
    def fit(cls, data: FittingData) -> Fitted:
        """Fit on a training cache. Raises TooFew where that lacks what the score learns from."""
        ...

    def score(self, rows: Outputs) -> np.ndarray:
        """Return float64 (N,), higher = more trustworthy, a sample's independent of the others it is scored with."""
        ...


@dataclass(frozen=True)
class PostHoc:
    """The entry of a score: its meaning, how it is computed, and the columns it reads.

    meaning: one line for the report's legend.
    compute: a function of the columns as arrays of N rows, giving (N,); or a class as `Fitted`.
    columns: names of `trustcache.cache.columns.OUTPUTS`; a function takes them in this order.
    natural_zero: True if a score above 0 means trusted; else only the order counts, and TPR and TNR are undefined.
    settings: symbol and meaning of each setting that `chosen` may name, as tables show them.
    sum_of: for a sum, two other scores; the second is weighted by least AURC on a training cache's validation rows.
    source: SHA-256 of the file of a user's own score, so that scores of older code are made anew; "" for built-in ones.
    """

    meaning: str
    compute: Any
    columns: tuple[str, ...] = ("logits",)
    natural_zero: bool = False
    settings: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    sum_of: tuple[str, ...] = ()
    source: str = ""

    @property
    def fitted(self) -> bool:
        """True if it learns from a training cache."""
        return isinstance(self.compute, type)

    @property
    def of_logits(self) -> bool:
        """True if it is a function of logits alone."""
        return not self.fitted and self.columns == ("logits",)


def arrays_of(learnt: Any) -> dict[str, np.ndarray]:
    """Return the fields of a fitted score as arrays in C order, to be kept on disk.

    Raises TypeError where it is no dataclass of arrays and numbers.

    >>> from trustcache.scores.registry import Weight
    >>> arrays_of(Weight(0.5))
    {'weight': array(0.5)}
    """
    if not dataclasses.is_dataclass(learnt):
        raise TypeError("fit must return a dataclass")
    arrays = {one.name: np.asarray(getattr(learnt, one.name), order="C") for one in dataclasses.fields(learnt)}
    if odd := [name for name, array in arrays.items() if array.dtype.kind not in "biuf"]:
        raise TypeError(f"its field {odd[0]} is neither a number nor an array of numbers")
    return arrays


def restored(kind: Callable[..., Any], arrays: Mapping[str, np.ndarray]) -> Any:
    """Return a fitted score from its arrays; those of no dimension are plain numbers.

    >>> restored(dict, {"p": np.array(2)})
    {'p': 2}
    """
    return kind(**{name: array if array.ndim else array.item() for name, array in arrays.items()})


def post_hoc(
    *, meaning: str = "", columns: Sequence[str] | None = None, natural_zero: bool = False
) -> Callable[[S], S]:
    """Declare what a score of your own is; see `PostHoc` for the arguments.

    Decorates a function of columns, or a class with `fit` and `score`. Without `meaning`, that is the first line of the
    docstring. Without `columns`, a function reads those that its parameters without default are named after, a class
    the logits.

    >>> @post_hoc(meaning="largest feature")
    ... def largest(features):
    ...     return features.max(1)
    >>> largest.__post_hoc__.columns
    ('features',)
    """

    def declare(score: S) -> S:
        score.__post_hoc__ = _entry(score, meaning, columns, natural_zero)  # type: ignore[attr-defined]
        return score

    return declare


def _entry(score: Any, meaning: str = "", columns: Sequence[str] | None = None, natural_zero: bool = False) -> PostHoc:
    learns = isinstance(score, type)
    if columns is None:
        parameters = [] if learns else inspect.signature(score).parameters.values()
        columns = ["logits"] if learns else [p.name for p in parameters if p.default is p.empty]
    text = meaning or (inspect.getdoc(score) or "").partition("\n")[0] or score.__qualname__
    return PostHoc(text, score, tuple(columns), natural_zero)


def name_of(score: Any) -> str:
    """Return the name of a score: itself, or that of a user's function or class.

    >>> name_of("mcp"), name_of(len)
    ('mcp', 'len')
    """
    return score if isinstance(score, str) else getattr(score, "__name__", type(score).__name__)


def entry_of(name: str, found: Any) -> PostHoc:
    """Return the entry of a user's function or class, declared or not, or of a ready `PostHoc`.

    Raises UsageError where it is none of these, or reads a column that no cache has or that holds the truth.

    >>> def top(logits):
    ...     "Largest logit."
    ...     return logits.max(1)
    ...
    >>> entry_of("mine:top", top).meaning, entry_of("mine:top", top).columns
    ('Largest logit.', ('logits',))
    """
    where = f"--score {name}"
    if isinstance(found, PostHoc):
        entry = found
    elif isinstance(found, type) and not (callable(getattr(found, "fit", 0)) and callable(getattr(found, "score", 0))):
        raise UsageError(f"{where}: a class needs the methods fit(data) and score(outputs)")
    elif callable(found):
        entry = getattr(found, "__post_hoc__", None) or _entry(found)
    else:
        raise UsageError(f"{where}: must be a function or a class, not {type(found).__name__}")
    if strange := [column for column in entry.columns if column not in OUTPUTS]:
        raise UsageError(
            f"{where}: reads {', '.join(map(repr, strange))}, and a score reads columns among {', '.join(OUTPUTS)}; "
            "name its parameters so, or declare them with trustcache.scores.post_hoc(columns=...)"
        )
    return replace(entry, source=_source(entry.compute))


def _source(code: Any) -> str:
    file = getattr(sys.modules.get(getattr(code, "__module__", "")), "__file__", None)
    text = Path(file).read_bytes() if file and Path(file).is_file() else repr(code).encode()
    return hashlib.sha256(text).hexdigest()
