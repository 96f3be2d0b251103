"""torchvision's model functions, `torchvision.models:resnet18`, with the preprocessing of their published weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from trustcache.errors import UsageError, first_line


def is_torchvision(name: str) -> bool:
    """Return True for the name of a function of torchvision's models."""
    return name.partition(":")[0] == "torchvision.models"


def torchvision_model(name: str, published: bool, arguments: Mapping[str, Any]) -> nn.Module:
    """Return a model of torchvision's that declares its preprocessing as timm's do.

    published: take its default weights, if `arguments` name none. Raises UsageError where they cannot be downloaded.
    Errors of torchvision for arguments that do not fit pass through.
    """
    from torchvision import models

    function = name.partition(":")[2]
    known = models.get_model_weights(function)
    chosen = arguments.get("weights", "DEFAULT" if published else None)
    weights: Any = known[str(chosen).rpartition(".")[2]] if chosen else None
    try:
        model = models.get_model(function, **{**arguments, "weights": weights})
    except OSError as error:
        raise UsageError(
            f"--classifier {name}: its weights are not on this machine and cannot be downloaded ({first_line(error)}); "
            f"fetch {weights.url} on a machine with a network and pass it with --weights FILE"
        ) from error
    # Of weights from a file nobody knows how they were trained.
    model.pretrained_cfg = {**_preprocessing((weights or known.DEFAULT).transforms()), "assumed": weights is None}
    return model


def _preprocessing(transforms: Any) -> dict[str, Any]:
    """Return timm's terms for torchvision's ImageClassification preset."""
    crop, resized = transforms.crop_size[0], transforms.resize_size[0]
    return {
        "input_size": (3, crop, crop),
        # The least share whose quotient timm's rounding turns into the size after resizing.
        "crop_pct": crop / (resized + 0.25) if int(crop / (crop / resized)) != resized else crop / resized,
        "interpolation": transforms.interpolation.value,
        "mean": tuple(transforms.mean),
        "std": tuple(transforms.std),
    }
