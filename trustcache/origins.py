"""From a cache back to what it was made of: its images and its classifier, refused where they have changed."""

from __future__ import annotations

from pathlib import Path

from trustcache.cache.index import Index
from trustcache.cache.publish import file_sha256
from trustcache.classifiers import ModelSpec
from trustcache.errors import UsageError
from trustcache.images import Dataset, open_dataset


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
