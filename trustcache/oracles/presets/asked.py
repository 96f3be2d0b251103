"""What a training asks for: what is given by hand, else the preset's, else the usual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from trustcache.errors import UsageError
from trustcache.oracles.head_inputs import parse_inputs
from trustcache.oracles.heads import HEADS, LINEAR, HeadSpec
from trustcache.oracles.presets.preset import Preset
from trustcache.protocols import MLP_OPTIMISER, PROTOCOLS, Optimiser, default_optimiser


def head_asked(preset: Preset, kind: str | None, inputs: Sequence[str] | None, of_mlp: Mapping[str, Any]) -> HeadSpec:
    """The head of a kind, by default the preset's, with the inputs given and the fields of an MLP that are not None.

    Raises UsageError where such a field would do nothing.
    """
    base = HEADS[kind] if kind else preset.head or LINEAR
    if preset.head and base.kind == preset.head.kind:
        base = preset.head
    changed = {key: value for key, value in of_mlp.items() if value is not None}
    if base.kind != "mlp" and changed:
        option = "ensemble" if "members" in changed else next(iter(changed)).replace("_", "-")
        raise UsageError(f"--{option}: means nothing to a {base.kind} head; add --head mlp")
    if inputs:
        changed["inputs"] = parse_inputs(inputs)
    return replace(base, **changed)


def optimiser_asked(
    preset: Preset, head: HeadSpec, frozen: bool, protocol: str, samples: int, by_hand: Mapping[str, Any]
) -> Optimiser:
    """The optimiser of so many samples: the preset's, else the head's or the protocol's, with what is not None of
    the fields `by_hand`.

    Raises UsageError for a momentum that the optimiser would not use.
    """
    if head.kind == "mlp":
        usual = preset.heads or default_optimiser(True, samples, MLP_OPTIMISER)
    else:
        usual = PROTOCOLS[protocol].optimiser(frozen, samples)
    optimiser = preset.fine_tuning if preset.fine_tuning and not frozen else usual
    given = {key: value for key, value in by_hand.items() if value is not None}
    if "momentum" in given:
        if optimiser.name == "adam":
            raise UsageError(f"--momentum: means nothing to Adam, which preset '{preset.title}' takes")
        given["cycle_momentum"] = False  # OneCycle would put its own in place of the one given
    return replace(optimiser, **given)
