"""Checkpoints, JAX's among them, under the names and shapes of a timm model, as timm itself would load them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from trustcache.errors import UsageError, kind_and_line
from trustcache.models.timm_models import built_by_timm

JAX_SUFFIX = ".npz"
_JAX_HEADS = ("head/kernel", "head/conv2d/kernel")


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


def from_jax(name: str, arguments: Mapping[str, Any], path: Path, where: str) -> dict[str, torch.Tensor]:
    """Return Google's JAX weights of a Vision Transformer or BiT ResNet (`.npz`) under timm's names.

    name, arguments: what the model is built from. where: the option and file, with which messages begin. Raises
    UsageError where timm cannot read them for that architecture, or where they lack some of its tensors.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            classes = [file[key].shape[-1] for key in file.files if key.endswith(_JAX_HEADS)]
        model = built_by_timm(name, False, {**arguments, **({"num_classes": classes[0]} if classes else {})})
        load: Any = model.load_pretrained
        for parameter in model.parameters():
            parameter.detach().fill_(torch.nan)  # timm passes over what the file lacks
        load(str(path))
    except Exception as error:  # timm's readers may raise anything for the weights of another architecture
        raise UsageError(
            f"{where}: is no JAX checkpoint of {name} that timm reads ({kind_and_line(error)}); name its own "
            "architecture, such as vit_base_patch16_224, by --classifier"
        ) from error
    state = model.state_dict()
    lacking = [key for key, tensor in state.items() if tensor.isnan().any()]
    if [key for key in lacking if classes or not key.startswith("head.")]:
        raise UsageError(
            f"{where}: lacks {len(lacking)} tensors of {name} (first '{lacking[0]}'); name its own architecture by "
            "--classifier"
        )
    return {key: tensor for key, tensor in state.items() if key not in lacking}
