"""Dumps of a classifier's outputs as other projects keep them: fd-shifts and OpenOOD.

fd-shifts (github.com/IML-DKFZ/fd-shifts) writes into a folder `raw_logits.npz`, or `raw_output.npz` with the softmax:
`arr_0` (N, K + 2), whose last two columns are the label and the number of the data set; and `encoded_output.npz`,
`arr_0` (N, D + 1), the features and that number again. OpenOOD (github.com/Jingkang50/OpenOOD) writes `feature.npz`:
`feat_list` (N, D) and `label_list` (N,); logits follow from the last layer's weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trustcache.cache.array_files import Place, names_in, read_array
from trustcache.errors import UsageError

_LOGITS, _SOFTMAX, _FEATURES = "raw_logits.npz", "raw_output.npz", "encoded_output.npz"


@dataclass(frozen=True)
class Dump:
    """The arrays of a dump by the names of columns, OpenOOD's without logits; and labels (N,).

    kind: of its logits. files: their files, by what they hold.
    """

    arrays: dict[str, np.ndarray]
    labels: np.ndarray
    kind: str
    files: dict[str, Path]


def read_dump(place: Place) -> Dump:
    """Read a dump: fd-shifts' folder, with the number of a data set as its member, or OpenOOD's `feature.npz`.

    Raises UsageError where it is neither, and where it holds several data sets and none is named.

    >>> np.savez(tmp / "feature.npz", feat_list=np.zeros((3, 2)), label_list=np.arange(3))
    >>> read_dump(Place(tmp / "feature.npz")).labels
    array([0, 1, 2])
    """
    if place.file.is_dir():
        return _fd_shifts(place)
    if place.file.suffix != ".npz" or not place.file.is_file():
        raise UsageError(
            f"{place.file}: is no dump; give the folder that fd-shifts writes {_LOGITS} to, or OpenOOD's feature.npz"
        )
    if {"conf", "pred"} <= set(names_in(place.file)):
        raise UsageError(
            f"{place.file}: OpenOOD's scores, which hold a confidence and no logits; have its pipeline feat_extract "
            "write feature.npz, and give that with --last-layer CHECKPOINT"
        )
    arrays = {"features": read_array(Place(place.file, "feat_list"), "features")}
    return Dump(arrays, read_array(Place(place.file, "label_list"), "labels"), "logits", {"features": place.file})


def _fd_shifts(place: Place) -> Dump:
    logits = next((path for name in (_LOGITS, _SOFTMAX) if (path := place.file / name).is_file()), None)
    if logits is None:
        raise UsageError(f"{place.file}: holds neither {_LOGITS} nor {_SOFTMAX}; give the folder of fd-shifts' outputs")
    table = read_array(Place(logits, "arr_0"), "logits")
    if table.ndim != 2 or table.shape[1] < 4:
        raise UsageError(f"{logits}: has shape {table.shape}, not that of fd-shifts: classes, label and data set")
    rows = _of_data_set(table[:, -1], place)
    arrays, files = {"logits": table[rows, :-2]}, {"logits": logits}
    encoded = place.file / _FEATURES
    if encoded.is_file():
        features = read_array(Place(encoded, "arr_0"), "features")
        if len(features) != len(table):
            raise UsageError(f"{encoded}: has {len(features):,} rows, and {logits} has {len(table):,}; dump both again")
        arrays["features"], files["features"] = features[rows, :-1], encoded
    return Dump(arrays, table[rows, -2], "logits" if logits.name == _LOGITS else "probabilities", files)


def _of_data_set(numbers: np.ndarray, place: Place) -> np.ndarray:
    """Return the rows of the data set that is named, bool (N,), of all where there is one."""
    known = {f"{number:g}": int(count) for number, count in zip(*np.unique(numbers, return_counts=True), strict=True)}
    if len(known) == 1 and not place.member:
        return np.ones(len(numbers), dtype=bool)
    if place.member not in known:
        there = ", ".join(f"{number} ({count:,} rows)" for number, count in known.items())
        raise UsageError(f"{place.file}: holds the data sets {there}; name one as --dump {place.file}:NUMBER")
    return numbers == float(place.member)


def last_layer(place: Place, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the weight (K, D) and the bias (K,) of a last layer that takes `width` features.

    place: fd-shifts' `last_layer.npz`, or a checkpoint, with the layer's name as its member; by default its last layer
    that fits. Raises UsageError where none does.

    >>> np.savez(tmp / "last_layer.npz", np.ones((4, 3)), np.zeros(4))
    >>> last_layer(Place(tmp / "last_layer.npz"), 3)[0].shape
    (4, 3)
    """
    if place.file.suffix == ".npz":
        found = [read_array(Place(place.file, name), "features") for name in ("arr_0", "arr_1")]
        pairs = {"": (found[0], found[1])}
    else:
        from trustcache.models.checkpoints import read_weights

        weights = read_weights(place.file, "--last-layer")
        names = [name.removesuffix(".weight") for name in weights if name.endswith(".weight")]
        pairs = {
            name: (weights[f"{name}.weight"].float().numpy(), weights[f"{name}.bias"].float().numpy())
            for name in names
            if f"{name}.bias" in weights and place.member in ("", name)
        }
    fitting = [(w, b) for w, b in pairs.values() if w.ndim == 2 and w.shape[1] == width and b.shape == w.shape[:1]]
    if not fitting:
        raise UsageError(
            f"--last-layer {place}: holds no layer of {width} features with a bias; name its weights, or give --logits"
        )
    return fitting[-1]
