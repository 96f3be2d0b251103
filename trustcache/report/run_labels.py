"""The settings that a report names runs by: those of the loss, and those of the training in which runs differ."""

from __future__ import annotations

from trustcache.cache.records import fingerprint
from trustcache.data.splits import other_half
from trustcache.oracles.heads import LINEAR
from trustcache.oracles.runs import Run, RunConfig

_HEAD_SETTINGS = ("hidden", "dropout", "input_dropout", "weight_decay", "patience")
# Readers would take these for the usual, so a label has them wherever they are not, whatever else is there.
_USUAL = {"head": LINEAR.label, "rows": "", "also": ""}

Settings = dict[str, float | str]


def run_labels(runs: list[Run]) -> dict[str, Settings]:
    """Label each run by its loss settings, plus the training settings that vary among runs with the same loss.

    Without these, runs trained for 20 and for 40 epochs would be averaged as if they were seeds of one.
    """
    alike: dict[tuple[str, ...], list[tuple[Run, Settings]]] = {}
    for run in runs:
        c = run.config
        key = (c.judged, c.oracle, c.protocol, c.training, c.loss.name)
        alike.setdefault(key, []).append((run, _training_settings(c)))
    labels = {}
    for group in alike.values():
        varying = [key for key in group[0][1] if len({settings[key] for _, settings in group}) > 1]
        for run, settings in group:
            unusual = {key: settings[key] for key, usual in _USUAL.items() if settings[key] != usual}
            labels[run.name] = run.config.loss.settings | unusual | {key: settings[key] for key in varying}
    return labels


def _training_settings(config: RunConfig) -> Settings:
    c, optimiser = config, config.optimiser
    return {
        "data": c.data,
        "cache": c.cache[:8],  # the same data, extracted anew
        "head": c.head.label,
        "rows": other_half(c.part) if c.part else "",
        "also": ",".join(c.also),
        **{key: getattr(c.head, key) for key in _HEAD_SETTINGS},
        "start": c.start.rpartition("-seed")[0],
        "backbone": fingerprint(c.backbone)[:8],
        "signed_distance": str(c.signed_distance).lower(),
        "val_fraction": c.val_fraction,
        "epochs": optimiser.epochs,
        "batch_size": optimiser.batch_size,
        "lr": optimiser.lr,
        "momentum": optimiser.momentum,
        "optimiser": optimiser.name,
        "warmup_steps": "30%" if optimiser.warmup_steps is None else optimiser.warmup_steps,
        "cycle_momentum": str(optimiser.cycle_momentum).lower(),
    }
