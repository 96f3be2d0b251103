"""The command lines that messages and reports print for a user to run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from trustcache.cache.index import Index
from trustcache.cache.workspace import plain_name
from trustcache.extract import ExtractSettings
from trustcache.models.preprocessing import as_recorded, preprocessing_of
from trustcache.models.timm_models import architecture
from trustcache.models.zoo.registry import built_in
from trustcache.protocols import PROTOCOLS, shows_as_released


def extraction_options(index: Index) -> list[str]:
    """The options of `extract` that make a cache's columns of other data: its classifier again, and what is kept."""
    model = index.meaning["classifier"]
    words = ["--classifier", model["name"]]
    if weights := index.made_from["weights"]:
        words += ["--weights", weights]
    for key, value in model["arguments"].items():
        words += ["--model-arg", f"{key}={value}"]
    released = shows_as_released(model) and index.classifier == plain_name(f"{model['name']}-released")
    if released:
        words += ["--protocol", "released"]
    elif index.classifier != plain_name(model["name"]):
        words += ["--as", index.classifier]
    own = _own_preprocessing(model["name"], model["arguments"])
    if released:
        own |= as_recorded(PROTOCOLS["released"].preprocessing)
    for key, value in model["preprocessing"].items():
        if own.get(key) != value:
            text = ",".join(map(str, value)) if isinstance(value, list | tuple) else value
            words += ["--preprocess", f"{key}={text}"]
    for key in ("precision", "store", "features"):
        usual = getattr(ExtractSettings(), key)
        if (value := index.meaning.get(key, usual)) != usual:
            words += [f"--{key.replace('_', '-')}", str(value)]
    return words


def _own_preprocessing(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A model's own preprocessing as an index has it, without building timm's models; {} where only they can say."""
    from timm.models import get_pretrained_cfg

    full = architecture(name)
    model = nn.Module()
    if (own := built_in(name)) and not own.outside:
        model = own.build(num_classes=2)
    elif own or ":" in full or arguments or (config := get_pretrained_cfg(full)) is None:
        return {}
    else:
        model.pretrained_cfg = config.to_dict()
    return as_recorded(vars(preprocessing_of(model, {})))
