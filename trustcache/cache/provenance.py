"""From a cache back to its images and its classifier, which are refused where they have changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trustcache.cache.content import Differences, compare_images
from trustcache.cache.index import INDEX, Index, read_index
from trustcache.cache.publish import file_sha256
from trustcache.cache.seal import check_seal
from trustcache.cache.workspace import file_name
from trustcache.data.dataset import Dataset, open_dataset
from trustcache.data.manifest import Manifest
from trustcache.data.progress import Progress, silent
from trustcache.errors import TrustcacheError, UsageError
from trustcache.models.fitted_weights import fitted_text

if TYPE_CHECKING:
    from trustcache.models.building import ModelSpec


def require_extracted(index: Index) -> None:
    """Raise UsageError for an imported cache, where images or the classifier are needed.

    >>> require_extracted(demo_workspace.find_cache("test"))
    """
    if index.imported:
        raise UsageError(
            f"{index.folder}: was imported, so it leads to no images and to no classifier, and this takes both; run "
            "trustcache extract on the images, or stay with train --frozen, evaluate, report and calibrate"
        )


def assumption(index: Index) -> str:
    """Return a sentence on preprocessing that a cache was made with and nobody told, with the remedy; "" for none.

    >>> assumption(demo_workspace.find_cache("test"))
    ''
    """
    made_from = index.made_from
    if not made_from.assumed:
        return ""
    source = Path(made_from.weights).name if made_from.weights else "its model"
    again = "call extract again with preprocess" if index.imported else "extract again with --preprocess"
    are, them = ("is", "it") if len(made_from.assumed) == 1 else ("are", "them")
    return (
        f"{index.classifier}: {', '.join(made_from.assumed)} of its images {are} assumed, not known from {source}, and "
        f"every figure depends on {them}; if its accuracy is lower than you know it to be, {again}"
    )


def data_roots(index: Index, data_root: Path) -> list[Path]:
    """Return the folders that the images of a cache may lie below: the one given, then the one where they lay.

    >>> len(data_roots(demo_workspace.find_cache("test"), Path("data")))
    2
    """
    return [*dict.fromkeys((data_root.resolve(), Path(index.made_from.data_root)))]


def original_dataset(index: Index, data_root: Path) -> Dataset:
    """Return the data set that a cache was extracted from: below `data_root`, else where it lay then.

    Raises UsageError where it is in neither place, or has changed, and for an imported cache.
    """
    require_extracted(index)
    manifest = index.manifest
    reasons = []
    for root in data_roots(index, data_root):
        try:
            dataset = open_dataset(manifest, root).surveyed()
        except UsageError as error:
            reasons.append(str(error))
            continue
        if dataset.fingerprint() == index.meaning.data.fingerprint:
            return dataset
        reasons.append(
            f"{index.data}: the images below {root} are not the ones that {index.folder} was extracted from "
            f"({compare_images(index, dataset, contents=False)}); "
            "put those back, or remove that folder and extract again"
        )
    raise UsageError("; ".join(reasons))


def compare_data(index: Index, manifest: Manifest, data_root: Path, progress: Progress = silent) -> Differences:
    """Compare the images of a manifest with those that a cache was extracted from, every one by its bytes.

    Of a cache of a part of its data set, the same part is compared. Raises UsageError where the files are missing, and
    for an imported cache.
    """
    require_extracted(index)
    thinned_to = manifest.thinned_to or index.manifest.thinned_to
    return compare_images(index, open_dataset(replace(manifest, thinned_to=thinned_to), data_root), progress)


def original_name(data: str, caches: Iterable[Index]) -> str:
    """Return the data set that a data set is a variant of, as a cache of it says; for no variant, its own name.

    So the same images are found under the names of different variants.

    >>> original_name("birds", demo_workspace.caches())
    'birds'
    """
    manifest = next((index.manifest for index in caches if index.data == data), None)
    return (manifest and manifest.variant_of) or data


def original_model(index: Index) -> ModelSpec:
    """Return the classifier of a cache, to be built again. Raises UsageError where its weights are gone or changed."""
    require_extracted(index)
    from trustcache.models.building import ModelSpec

    identity, weights = index.identity, index.made_from.weights
    if weights and (not Path(weights).is_file() or file_sha256(Path(weights)) != index.made_from.weights_sha256):
        raise UsageError(
            f"{weights}: the weights that {index.folder} was extracted with are gone or changed; put them back there, "
            "or run the same trustcache extract with --weights where they are now"
        )
    labels = index.made_from.labels
    return ModelSpec(identity.name, weights, identity.arguments, asdict(identity.images), identity.reading, labels)


_WHOLE = "put a whole copy in its place, or fit the classifier again"


def require_as_fitted(weights: Path, remedy: str = _WHOLE) -> None:
    """Raise DamagedError for weights that fit-classifier made and are not as it wrote them; others have no checksum.

    >>> (tmp / "plain.pt").touch()
    >>> require_as_fitted(tmp / "plain.pt")
    """
    if fitted_text(weights):
        check_seal(weights, remedy)


def precision_of(folder: Path, label: str) -> str | None:
    """Return the precision of the cache in `folder`, else of another one of the classifier's, None without any.

    label: the classifier's name in the workspace, and that of the folder of all its caches.

    >>> precision_of(demo_workspace.cache_folder("net", "birds"), "net")
    'float32'
    """

    def places() -> Iterator[Path]:
        yield folder
        of_classifier = next((place for place in folder.parents if place.name == file_name(label)), folder)
        yield from sorted(path.parent for path in of_classifier.rglob(INDEX))

    for place in places():
        try:
            index = read_index(place)
        except TrustcacheError:  # no cache, or a damaged one, which is reported when its turn comes
            continue
        if index.classifier == label:
            return index.meaning.precision
    return None
