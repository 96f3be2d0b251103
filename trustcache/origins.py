"""From a cache back to what it was made of: its images and its classifier, refused where they have changed; and to the
command that made it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from trustcache.built_in import built_in
from trustcache.cache.index import Index
from trustcache.cache.publish import file_sha256
from trustcache.classifiers import ModelSpec
from trustcache.errors import UsageError
from trustcache.extract import ExtractSettings
from trustcache.images import Dataset, open_dataset
from trustcache.preprocessing import as_recorded, preprocessing_of
from trustcache.protocols import PROTOCOLS, shows_as_released
from trustcache.timm_models import architecture
from trustcache.workspace import plain_name


def original_dataset(index: Index, data_root: Path) -> Dataset:
    """The data set a cache was extracted from: below `data_root`, else where it lay then.

    Raises UsageError where it is in neither place, or is no longer what was extracted.
    """
    manifest = index.manifest()
    reasons = []
    for root in dict.fromkeys((data_root.resolve(), Path(index.made_from["data_root"]))):
        try:
            dataset = open_dataset(manifest, root)
        except UsageError as error:
            reasons.append(str(error))
            continue
        if dataset.fingerprint() == index.meaning["data"]["fingerprint"]:
            return dataset
        reasons.append(
            f"{index.data}: the images below {root} are not the ones that {index.folder} was extracted from; "
            "put those back, or remove that folder and extract again"
        )
    raise UsageError("; ".join(reasons))


def original_name(data: str, caches: Iterable[Index]) -> str:
    """The data set whose images those of a data set were before they were changed, as a cache of it tells; else itself.

    So it finds the same images under the names of different variants.
    """
    manifest = next((index.manifest() for index in caches if index.data == data), None)
    return (manifest and manifest.variant_of) or data


def original_model(index: Index) -> ModelSpec:
    """The classifier of a cache, to be built anew. Raises UsageError where its weights file is gone or changed."""
    classifier = index.meaning["classifier"]
    weights = index.made_from["weights"]
    if weights and (not Path(weights).is_file() or file_sha256(Path(weights)) != index.made_from["weights_sha256"]):
        raise UsageError(
            f"{weights}: the weights that {index.folder} was extracted with are gone or changed; put them back there, "
            "or run the same trustcache extract with --weights where they are now"
        )
    return ModelSpec(classifier["name"], weights, classifier["arguments"], classifier["preprocessing"])


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
    if builder := built_in(name):
        model = builder(num_classes=2)
    elif ":" in full or arguments or (config := get_pretrained_cfg(full)) is None:
        return {}
    else:
        model.pretrained_cfg = config.to_dict()
    return as_recorded(vars(preprocessing_of(model, {})))
