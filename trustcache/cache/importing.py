"""`trustcache import`: a cache of the workspace from the files of outputs and labels that a user has already."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trustcache.cache.array_files import FORMATS, Place, read_array
from trustcache.cache.dumps import Dump, last_layer, read_dump
from trustcache.cache.imported import ImportedOutputs, Origin, doubts, import_outputs
from trustcache.cache.index import Index, OtherImages, create_or_continue
from trustcache.cache.probabilities import KINDS
from trustcache.cache.publish import file_sha256, sole_writer
from trustcache.cache.view import CacheView, open_cache
from trustcache.cache.workspace import Workspace
from trustcache.data.manifest import ROLES
from trustcache.data.progress import Progress, silent
from trustcache.errors import UsageError
from trustcache.registry import REQUIRED, option

_FILES = "Files"


@dataclass(frozen=True)
class ImportRequest:
    """Files of outputs as the command line names them; FILE:NAME names one of several arrays in a file."""

    name: str = option(REQUIRED, "The classifier's name in the workspace.", name="--as")
    data: str = option(REQUIRED, "The data set's name; NAME/PART for a part of a family.")
    logits: str | None = option(
        None, f"Logits, a row a sample and a column a class: {', '.join(FORMATS)}.", panel=_FILES
    )
    labels: str | None = option(None, "True classes: numbers from 0, or names of --classes.", panel=_FILES)
    features: str | None = option(None, "What the last layer saw, for oracles and scores of features.", panel=_FILES)
    ids: str | None = option(None, "A name for each sample, as its path; a line each (the row's number).", panel=_FILES)
    dump: str | None = option(
        None,
        "In place of these, fd-shifts' folder (FOLDER:NUMBER of the data set) or OpenOOD's feature.npz.",
        panel=_FILES,
    )
    last_layer: str | None = option(
        None, "Instead of logits: last_layer.npz or a checkpoint, to make them of the features.", panel=_FILES
    )
    role: str = option("test", "train: oracles learn from it; test: they are scored on it.", choices=ROLES)
    classes: tuple[str, ...] = option(
        (), "Names of the classes in the order of the columns, or a file with a line each."
    )
    outputs: str = option("logits", "probabilities: --logits holds these; their logarithms are kept.", choices=KINDS)


def import_cache(
    workspace: Workspace,
    request: ImportRequest,
    progress: Progress = silent,
    tell: Callable[[str], None] = lambda doubt: None,
) -> CacheView:
    """Write the cache of a request, or what of it is missing, and return it.

    tell: receives a sentence on each thing that can be right and seldom is, as labels of other rows.
    Raises UsageError naming the file where something is missing or is not what it should be, and for a cache of other
    outputs under the same name.

    >>> np.save(tmp / "logits.npy", 2 * np.eye(3)), np.save(tmp / "labels.npy", np.arange(3))
    (None, None)
    >>> request = ImportRequest("mine", "photos", str(tmp / "logits.npy"), str(tmp / "labels.npy"))
    >>> import_cache(Workspace(tmp / "workspace"), request).logits.dtype
    dtype('float32')
    """
    if not {"", ".", ".."}.isdisjoint(request.data.split("/")):
        raise UsageError(f"--data {request.data}: must be a plain name such as photos-test or photos-c/fog/3")
    outputs, files = _read(request)
    folder = workspace.cache_folder(request.name, request.data)
    index = outputs.index(folder, Origin(request.name, request.data, request.role), files)
    _require_own_name(index, workspace)
    for doubt in doubts(outputs):
        tell(doubt)
    with sole_writer(folder):
        _write(index, outputs, progress)
    return open_cache(folder)


def _read(request: ImportRequest) -> tuple[ImportedOutputs, dict[str, str]]:
    """Return the checked outputs, and the SHA-256 of the files that they come from, by path."""
    given = {
        key: Place.parse(text) for key in ("logits", "labels", "features", "ids") if (text := getattr(request, key))
    }
    dump = _dump(request, given)
    arrays = {key: read_array(given[key], key) for key in ("logits", "features") if key in given} | dump.arrays
    where = {key: str(path) for key, path in dump.files.items()} | {key: str(place) for key, place in given.items()}
    paths = [*dump.files.values(), *(place.file for place in given.values())]
    if request.last_layer:
        if "logits" in arrays or "features" not in arrays:
            raise UsageError("--last-layer: makes logits of features; give it with --features, without --logits")
        layer = Place.parse(request.last_layer)
        weight, bias = last_layer(layer, arrays["features"].shape[1])
        arrays["logits"] = arrays["features"] @ weight.T + bias
        where["logits"] = f"{where['features']} through {layer.file}"
        paths.append(layer.file)
    if "logits" not in arrays:
        raise UsageError("--logits: is missing; name the file, or make them of --features with --last-layer")
    labels = read_array(given["labels"], "labels") if "labels" in given else dump.labels
    where.setdefault("labels", where.get("features", "labels"))
    ids = [str(one) for one in read_array(given["ids"], "ids")] if "ids" in given else None
    kind = dump.kind if request.dump else request.outputs
    outputs = import_outputs(arrays, labels, ids, _classes(request.classes), kind, {"classes": "--classes", **where})
    return outputs, {str(path.resolve()): file_sha256(path) for path in dict.fromkeys(paths)}


def _dump(request: ImportRequest, given: dict[str, Place]) -> Dump:
    """Return the dump that is asked for, else an empty one. Raises UsageError where labels are missing."""
    if request.dump is None:
        if "labels" not in given:
            raise UsageError("--labels: is missing; name the file with the true class of each row")
        return Dump({}, np.empty(0), "", {})
    if idle := next((key for key in given if key != "ids"), None):
        raise UsageError(f"--{idle}: a dump has its own; leave out --dump or --{idle}")
    return read_dump(Place.parse(request.dump))


def _classes(given: Sequence[str]) -> list[str] | None:
    """Return the names of the classes, from a file where one is named."""
    if len(given) == 1 and Path(given[0]).is_file():
        return Path(given[0]).read_text(encoding="utf-8").splitlines()
    return list(given) or None


def _require_own_name(index: Index, workspace: Workspace) -> None:
    """Raise UsageError where the name is another classifier's: one that was extracted, or has other classes."""
    for other in workspace.caches():
        if other.classifier != index.classifier or other.folder == index.folder:
            continue
        if not other.imported or len(other.made_from.classes) != len(index.made_from.classes):
            what = f"of {len(other.made_from.classes)} classes" if other.imported else "that was extracted"
            raise UsageError(
                f"--as {index.classifier}: {other.folder} is of a classifier {what}; give this one another name"
            )


def _write(index: Index, outputs: ImportedOutputs, progress: Progress) -> None:
    """Publish the shards that are missing or damaged. Raises UsageError where others are of other outputs."""
    anew = "remove that folder to import anew, or keep both with another --as or --data"
    try:
        index = create_or_continue(index, outputs.names)
    except OtherImages:
        raise UsageError(f"{index.folder}: holds other samples, or other labels; {anew}") from None
    missing = index.faults(progress)
    with progress(f"importing {index.name}", len(outputs)) as advance:
        for number, (start, stop) in enumerate(index.ranges()):
            columns = outputs.columns(index.data, start, stop)
            if number in missing:
                index.add(number, columns, {}, outputs.names(start, stop))
            else:
                record = index.record(number)
                assert record
                if record.content != hashlib.sha256(columns["content"].tobytes()).hexdigest():
                    raise UsageError(f"{index.folder}: holds other outputs of these samples; {anew}")
            advance(stop - start)
