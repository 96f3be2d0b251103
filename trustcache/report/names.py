"""The names that a report gives to methods, settings and runs, and what they mean, read from the registries."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

from trustcache.cache.joined import SECOND
from trustcache.cache.records import fingerprint
from trustcache.data.splits import other_half
from trustcache.errors import TrustcacheError
from trustcache.evaluate.sweep import Candidate
from trustcache.losses import LOSSES, loss_settings
from trustcache.models.views import VIEWS
from trustcache.oracles.head_inputs import of_second
from trustcache.oracles.heads import LINEAR, HeadSpec
from trustcache.oracles.presets.preset import read_preset
from trustcache.oracles.runs import Run, RunConfig
from trustcache.report.records import Record
from trustcache.scores import POST_HOC

BASELINE = "mcp"
"""The classifier's own confidence, which every other method is compared with."""
STRONG = "strong"
"""The preset whose oracles are called by its name."""
_STRONG_LOSS = "ce"
TRAININGS = {
    None: "computed from the classifier's outputs; there is no oracle to train",
    "frozen": "only a head is trained, on cached features; the backbone stays as it was",
    "fine-tuned": "backbone and head are trained together, on images",
}
_OF_RUNS = {
    "head": ("", "what the oracle is on top of the frozen model, and which of its outputs it looks at"),
    "rows": ("on its ", "scored on this half of the data only, since an oracle learnt from the other one"),
    "also": ("with ", "what the oracle learnt from beside its training data: the same images, changed"),
    "second": ("and ", "the network whose outputs the oracle reads beside those of the classifier"),
}
# Inputs that a strong oracle does without where logits, and perhaps features, are all that there is.
_OF_IMAGES = {"features", *VIEWS}
_HEAD_SETTINGS = ("hidden", "dropout", "input_dropout", "weight_decay", "patience")
# Readers would take these for the usual, so a label has them wherever they are not, whatever else is there.
_USUAL = {"head": LINEAR.label, "rows": "", "also": "", "second": ""}

Settings = dict[str, float | str]


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


def method_label(entry: Record | Candidate) -> str:
    """Return a method with its settings as papers write them: "ss α⁻3", "focal γ2", "ce depth=2", "strong"."""
    known = loss_settings()
    quiet = {name for name, one in known.items() if one.quiet and entry.settings.get(name) == one.default}
    shown = {name: value for name, value in entry.settings.items() if name not in quiet}
    texts = {name: v if isinstance(v, str) else f"{v:g}" for name, v in sorted(shown.items())}
    words = [entry.method, *([texts.pop("base")] if "base" in texts else [])]
    if entry.method == _STRONG_LOSS and texts.get("head", "").startswith(STRONG):
        words = [texts.pop("head")]
    symbols = [prefix + texts.pop(name) for name, (prefix, _) in settings().items() if name in texts]
    return " ".join([*words, *symbols, *(f"{name}={text}" for name, text in texts.items())])


def entry_name(record: Record, *, with_oracle: bool) -> str:
    """Return a method's label with its training, and where asked its oracle: "ss α⁻3, frozen, vit".

    A strong oracle is a head on cached features, which goes without saying.
    """
    label = method_label(record)
    training = None if label.startswith(STRONG) else record.training
    words = [label, training, record.oracle if with_oracle else None]
    return ", ".join(word for word in words if word)


def run_labels(runs: list[Run]) -> dict[str, Settings]:
    """Label each run by its loss settings, plus the training settings that vary among runs with its loss and head.

    Without these, runs trained for 20 and for 40 epochs would be averaged as if they were seeds of one.
    """
    alike: dict[tuple[str, ...], list[tuple[Run, Settings]]] = {}
    for run in runs:
        c = run.config
        key = (c.judged, c.oracle, c.protocol, c.training, c.loss.name, _head_name(c.head))
        alike.setdefault(key, []).append((run, _training_settings(c)))
    labels = {}
    for group in alike.values():
        varying = [key for key in group[0][1] if len({settings[key] for _, settings in group}) > 1]
        for run, settings in group:
            unusual = {key: settings[key] for key, usual in _USUAL.items() if settings[key] != usual}
            labels[run.name] = run.config.loss.settings | unusual | {key: settings[key] for key in varying}
    return labels


def run_names(runs: Sequence[Run]) -> dict[str, str]:
    """Return a name for people of each run, by its own name: "ss α⁻3, frozen", "strong"."""
    names = {}
    for name, settings in run_labels([*runs]).items():
        config = next(run.config for run in runs if run.name == name)
        label = method_label(Candidate(config.loss.name, settings, (name,), {}))
        names[name] = label if label.startswith(STRONG) else f"{label}, {config.training}"
    return names


@functools.cache
def _head_name(head: HeadSpec) -> str:
    """Return "strong" for a head of that preset, with what it lacks and its members; another head's label.

    >>> full = read_preset("strong").head
    >>> _head_name(replace(full, inputs=tuple(one for one in full.inputs if one not in ("shrunk", "tilted"))))
    'strong, 1 view (mirrored)'
    """
    strong = read_preset(STRONG).head
    if not strong or head != replace(strong, members=head.members, inputs=head.inputs):
        return head.label
    second = of_second(head.inputs)
    own = [name for name in head.inputs if name not in second]
    lacking = [name for name in strong.inputs if name not in own]
    if not set(lacking) <= _OF_IMAGES or not set(own) <= set(strong.inputs):
        return head.label
    views = [name for name in VIEWS if name in own]
    named = f"{len(views)} view{'s' if len(views) > 1 else ''} ({', '.join(views)})" if views else "no views"
    fewer = [named] if set(lacking) & {*VIEWS} else []
    without = ["no features"] if "features" in lacking else []
    unread = [name for name in own if second and SECOND + name not in second]
    less = [f"of the second no {' or '.join(unread)}"] if unread else []
    members = [f"{head.members} members"] if head.members > 1 else []
    return ", ".join([STRONG, *without, *fewer, *less, *members])


def _training_settings(config: RunConfig) -> Settings:
    c, optimiser = config, config.optimiser
    return {
        "data": c.data,
        "cache": c.cache[:8],  # the same data, extracted anew
        "head": _head_name(c.head),
        "rows": other_half(c.part) if c.part else "",
        "also": ",".join(c.also),
        "second": c.second.label if c.second else "",
        **{key: getattr(c.head, key) for key in _HEAD_SETTINGS},
        "start": c.start.rpartition("-seed")[0],
        "backbone": fingerprint(c.backbone)[:8],
        "signed_distance": str(c.signed_distance).lower(),
        "val_fraction": c.val_fraction,
        **{key: getattr(optimiser, key) for key in ("epochs", "batch_size", "lr", "momentum")},
        "optimiser": optimiser.name,
        "warmup_steps": "30%" if optimiser.warmup_steps is None else optimiser.warmup_steps,
        "cycle_momentum": str(optimiser.cycle_momentum).lower(),
    }
