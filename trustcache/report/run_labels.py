"""The settings that a report names runs by: those of the loss, and those of the training in which runs differ."""

from __future__ import annotations

from trustcache.cache.records import fingerprint
from trustcache.data.splits import other_half
from trustcache.oracles.heads import LINEAR
from trustcache.oracles.runs import Run

_HEAD_SETTINGS = ("hidden", "dropout", "input_dropout", "weight_decay", "patience")


def told_apart(runs: list[Run]) -> dict[str, dict[str, float | str]]:
    """By run, the settings of its loss, and those of its training in which runs of one loss and way differ.

    Without these, runs that learnt for 20 epochs and for 40 would be averaged as if they were seeds of one.
    """
    alike: dict[tuple[str, ...], list[tuple[Run, dict[str, float | str]]]] = {}
    for run in runs:
        c = run.config
        told: dict[str, float | str] = {
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
            "epochs": c.optimiser.epochs,
            "batch_size": c.optimiser.batch_size,
            "lr": c.optimiser.lr,
            "momentum": c.optimiser.momentum,
            "optimiser": c.optimiser.name,
            "warmup_steps": "30%" if c.optimiser.warmup_steps is None else c.optimiser.warmup_steps,
            "cycle_momentum": str(c.optimiser.cycle_momentum).lower(),
        }
        alike.setdefault((c.judged, c.oracle, c.protocol, c.training, c.loss.name), []).append((run, told))
    settings = {}
    for group in alike.values():
        differing = [key for key in group[0][1] if len({told[key] for _, told in group}) > 1]
        for run, told in group:
            # What a head looks at, and half the data, no reader should take for the usual, whatever else is there.
            unusual = {
                key: told[key]
                for key, usual in (("head", LINEAR.label), ("rows", ""), ("also", ""))
                if told[key] != usual
            }
            settings[run.name] = run.config.loss.settings | unusual | {key: told[key] for key in differing}
    return settings
