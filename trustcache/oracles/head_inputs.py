"""The inputs of heads: the model's outputs they are made from, and how these become the columns of one matrix.

All is made of plain tensor operations, a block of rows at a time: the same function serves training, scoring, and the
exported graph. A matrix of all inputs exists in training alone, where memory has room for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trustcache.cache import CacheView
from trustcache.cache.joined import SECOND
from trustcache.errors import UsageError, did_you_mean
from trustcache.models.views import VIEWS, view_column

if TYPE_CHECKING:
    from torch import Tensor

# Outputs for some rows, by the cache's names, any float dtype: logits and those of views (N, K), features (N, D),
# stages (N, S); a second network's after `SECOND`.
Outputs = Mapping[str, "Tensor"]


@dataclass(frozen=True)
class HeadInput:
    """One kind of inputs: the cache's columns they are made from, their meaning, and the function that makes them."""

    columns: tuple[str, ...]
    meaning: str
    make: Callable[..., Tensor]


def _log_probs(logits: Tensor) -> Tensor:
    return logits.log_softmax(dim=1)


def _sorted_log_probs(logits: Tensor) -> Tensor:
    return _log_probs(logits).sort(dim=1, descending=True).values


def _prediction(logits: Tensor) -> Tensor:
    import torch

    classes = torch.arange(logits.shape[1], device=logits.device)
    return (logits.argmax(dim=1, keepdim=True) == classes).to(logits.dtype)


def _agreement(logits: Tensor, others: Tensor) -> Tensor:
    """Return what other logits of the same classes give as log-probability of the class predicted by the first."""
    return (_log_probs(others) * _prediction(logits)).sum(dim=1, keepdim=True)


def _view(logits: Tensor, of_view: Tensor) -> Tensor:
    """Return a view's three inputs, and its log-probability of the class predicted for the image itself."""
    import torch

    agreed = _agreement(logits, of_view)
    return torch.cat([_log_probs(of_view), _sorted_log_probs(of_view), _prediction(of_view), agreed], 1)


INPUTS: dict[str, HeadInput] = {
    "features": HeadInput(("features",), "what the last layer sees", lambda features: features),
    "stages": HeadInput(
        ("stages",), "mean, max and deviation of every stage's output over positions", lambda stages: stages
    ),
    "log-probs": HeadInput(("logits",), "the classes' log-probabilities, in the classifier's order", _log_probs),
    "sorted-log-probs": HeadInput(("logits",), "the same, largest first", _sorted_log_probs),
    "prediction": HeadInput(("logits",), "the predicted class, one column a class", _prediction),
    **{
        name: HeadInput(
            ("logits", view_column(name)),
            f"log-probabilities in both orders and predicted class of the image {view.meaning}, and how far it agrees",
            _view,
        )
        for name, view in VIEWS.items()
    },
}
"""All inputs from one network by name; a head takes them in this order."""
AGREEMENT = f"{SECOND}agreement"
_ALL: dict[str, HeadInput] = {
    **INPUTS,
    **{
        SECOND + name: HeadInput(tuple(SECOND + column for column in one.columns), one.meaning, one.make)
        for name, one in INPUTS.items()
    },
    AGREEMENT: HeadInput(
        ("logits", f"{SECOND}logits"), "the second network's log-probability of the predicted class", _agreement
    ),
}

PLAIN = ("features",)
"""Inputs that are a column as it stands."""

NAMED = {
    "last": PLAIN,
    "strong": ("features", "log-probs", "sorted-log-probs", "prediction", *VIEWS),
    "all": tuple(INPUTS),
}
"""Names that stand for several inputs."""


def parse_inputs(words: Sequence[str]) -> tuple[str, ...]:
    """Return the inputs asked for, in the order of `INPUTS`; those of `NAMED` stand for several. Raises UsageError.

    >>> parse_inputs(["log-probs", "features"]), parse_inputs("features")
    (('features', 'log-probs'), ('features',))
    """
    asked = {name for word in ([words] if isinstance(words, str) else words) for name in NAMED.get(word, (word,))}
    if unknown := sorted(asked - _ALL.keys()):
        raise UsageError(
            f"--inputs {unknown[0]}: unknown; {', '.join(NAMED)}, or a list of {', '.join(INPUTS)}; with "
            f"--also-features also {SECOND} before any of these, and {AGREEMENT}"
            f"{did_you_mean(unknown[0], [*NAMED, *_ALL])}"
        )
    return tuple(name for name in _ALL if name in asked)


def computed(names: Sequence[str]) -> bool:
    """Return True if any of some inputs is made from columns, and is not one as it stands.

    >>> computed(["features"]), computed(["features", "log-probs"])
    (False, True)
    """
    return any(_ALL[name].columns != (name,) for name in names)


def held_inputs(names: Sequence[str], holds: Callable[[str], bool]) -> tuple[str, ...]:
    """Return the inputs of a head on one cache: of "strong" and "all" those whose columns it holds, else all given."""
    if tuple(names) not in (NAMED["strong"], NAMED["all"]):
        return tuple(names)
    return tuple(name for name in names if all(map(holds, INPUTS[name].columns)))


def of_second(names: Sequence[str]) -> tuple[str, ...]:
    """Return those of some inputs that a second network's outputs are needed for."""
    return tuple(name for name in names if name.startswith(SECOND))


def with_second(names: Sequence[str], holds: Callable[[str], bool], same_classes: bool) -> tuple[str, ...]:
    """Return the inputs of a head that reads a second network's outputs too: those asked for, else the same of both.

    holds: tells if the second's cache has a column; inputs that it lacks are left out. same_classes: True if the second
    network tells the same classes apart, in the same order.
    """
    if of_second(names):
        return tuple(names)
    same = [SECOND + name for name in names if all(map(holds, INPUTS[name].columns))]
    return (*names, *same, *([AGREEMENT] if same_classes else []))


def inputs_label(names: Sequence[str]) -> str:
    """Return a short name of some inputs: one of `NAMED`, or their names joined; "+second" if that gives the same.

    >>> inputs_label(["features", "second:features", "second:agreement"])
    'last+second'
    """
    own, second = [name for name in names if not name.startswith(SECOND)], of_second(names)
    label = next((name for name, named in NAMED.items() if named == tuple(own)), "+".join(own))
    if not second:
        return label
    same = [name for name in second if name != AGREEMENT] == [SECOND + name for name in own]
    return f"{label}+second" if same else "+".join(filter(None, [label, *second]))


def columns_of(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the cache's columns that some inputs need."""
    return tuple(dict.fromkeys(column for name in names for column in _ALL[name].columns))


def read_columns(names: Sequence[str], cache: CacheView) -> dict[str, Tensor]:
    """Return the cache's columns that some inputs need, in the dtype they are stored in.

    Raises UsageError naming those that the cache was extracted without.
    """
    import torch

    return {name: torch.from_numpy(column) for name, column in cache.columns(columns_of(names)).items()}


def head_inputs(names: Sequence[str], outputs: Outputs) -> Tensor:
    """Return the inputs of some rows, float32 (N, D), not yet standardised."""
    import torch

    made = [_ALL[name].make(*(outputs[column].float() for column in _ALL[name].columns)) for name in names]
    return made[0] if len(made) == 1 else torch.cat(made, 1)
