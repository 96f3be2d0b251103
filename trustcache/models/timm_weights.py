"""A checkpoint under the names and shapes of a timm model, as timm itself would load it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from trustcache.models.timm_models import built_by_timm


def converted(
    model: nn.Module, name: str, arguments: Mapping[str, Any], weights: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return weights as timm's `model` takes them; unchanged where timm cannot convert them.

    timm knows the original names of its architectures, resamples position embeddings and patches for another
    `img_size`, and sums the colours of a first layer for `in_chans=1`. Last layers of another number of classes stay.
    name, arguments: what the model was built from.
    """
    config: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    heads, offset = config.get("classifier") or (), config.get("label_offset") or 0
    first = weights.get(f"{heads if isinstance(heads, str) else next(iter(heads), '')}.weight")
    with_background = first is not None and first.shape[0] == config["num_classes"] + offset
    overlay = {
        "source": "",
        "state_dict": dict(weights),
        "num_classes": getattr(model, "num_classes", config["num_classes"]),
        # Weights with a background class before the others lose it; a user's own have none.
        "label_offset": offset if with_background else None,
    }
    with _not_loaded() as given:
        try:
            built_by_timm(name, True, {**arguments, "pretrained_cfg_overlay": overlay})
        except Exception:  # the conversion of one architecture may raise anything for the weights of another
            return dict(weights)
    return given


@contextmanager
def _not_loaded() -> Iterator[dict[str, torch.Tensor]]:
    """Context in which the first state dict that any module is to load is put into the dictionary instead.

    timm's conversions are private to its architectures and end in `load_state_dict`, whose strictness differs among
    them; what is missing would keep random weights.
    """
    given: dict[str, torch.Tensor] = {}
    load = nn.Module.load_state_dict

    def take(module: nn.Module, state: Mapping[str, Any], *settings: Any, **named: Any) -> Any:
        given.update({} if given else state)
        return load(module, {}, strict=False)

    nn.Module.load_state_dict = take  # type: ignore[method-assign,assignment]
    try:
        yield given
    finally:
        nn.Module.load_state_dict = load  # type: ignore[method-assign]
