"""The names that a report gives to methods and settings, and what they mean, read from the registries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from trustcache.errors import TrustcacheError
from trustcache.losses import LOSSES, loss_settings
from trustcache.scores import POST_HOC

BASELINE = "mcp"
"""The classifier's own confidence, which every other method is compared with."""
TRAININGS = {
    None: "computed from the classifier's outputs; there is no oracle to train",
    "frozen": "only a head is trained, on cached features; the backbone stays as it was",
    "fine-tuned": "backbone and head are trained together, on images",
}
_OF_RUNS = {
    "head": ("", "what the oracle is on top of the frozen model, and which of its outputs it looks at"),
    "rows": ("on its ", "scored on this half of the data only, since an oracle learnt from the other one"),
    "also": ("with ", "what the oracle learnt from beside its training data: the same images, changed"),
}


class Labelled(Protocol):
    """What has a method and its settings: a record, a row, a sweep's candidate."""

    @property
    def method(self) -> str: ...
    @property
    def settings(self) -> Mapping[str, float | str] | tuple[tuple[str, float | str], ...]: ...


class Entry(Labelled, Protocol):
    """A method with its training ("frozen", "fine-tuned" or None) and its oracle."""

    @property
    def oracle(self) -> str | None: ...
    @property
    def training(self) -> str | None: ...


def settings() -> dict[str, tuple[str, str]]:
    """Return prefix and meaning of every setting that has them, in the order in which labels write them."""
    of_losses = {key: (one.symbol or f"{key}=", one.meaning) for key, one in loss_settings().items() if key != "base"}
    of_scores = {key: entry for score in POST_HOC.values() for key, entry in score.settings.items()}
    return of_losses | _OF_RUNS | of_scores


def methods() -> list[str]:
    """Return the known methods in the order of a table's rows."""
    return [*POST_HOC, *LOSSES]


def method_meaning(method: str) -> str:
    """Return what a method is; "" where its loss or score is a user's function that cannot be imported any more."""
    for registry in (POST_HOC, LOSSES):
        try:
            return registry[method].meaning
        except (KeyError, TrustcacheError):
            continue
    return ""


def method_label(entry: Labelled) -> str:
    """Return a method with its settings as papers write them: "ss α⁺1 α⁻3", "focal γ2", "ce depth=2"."""
    texts = {name: v if isinstance(v, str) else f"{v:g}" for name, v in sorted(dict(entry.settings).items())}
    base = [texts.pop("base")] if "base" in texts else []
    known = [prefix + texts.pop(name) for name, (prefix, _) in settings().items() if name in texts]
    return " ".join([entry.method, *base, *known, *(f"{name}={text}" for name, text in texts.items())])


def entry_name(entry: Entry, *, with_oracle: bool) -> str:
    """Return a method's label with its training, and where asked its oracle: "ss α⁺1 α⁻3, frozen, vit"."""
    words = [method_label(entry), entry.training, entry.oracle if with_oracle else None]
    return ", ".join(word for word in words if word)
