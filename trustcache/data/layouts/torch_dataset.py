"""A Dataset of torch, or of the library `datasets`, that a user's function returns; `CodePermission` lets it run."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trustcache.data.archives import read_file
from trustcache.data.samples import BadImage, Samples, decode_rgb
from trustcache.errors import TrustcacheError, UsageError, first_line, kind_and_line
from trustcache.registry.permission import import_object

if TYPE_CHECKING:
    from PIL import Image

# Attributes of torchvision's data sets that hold all labels.
_LISTS = ("targets", "labels", "_labels")


def function_exists(data_root: Path, function: str) -> bool:
    """Return True: the function is not imported for a glance."""
    return True


def read_torch_dataset(data_root: Path, classes: tuple[str, ...] | None, function: str) -> DatasetSamples:
    """Call `package.module:function`, which returns a data set of pairs (image, label), or mappings with these.

    Raises UsageError where nobody has allowed it, it fails, or what it returns is no such data set.
    """
    made = import_object(function, "--data")
    try:
        dataset = made() if callable(made) else made
        length = len(dataset)
        found, names = _labels(dataset, length), classes or class_names_of(dataset, f"--data {function}")
        if not names and any(isinstance(label, str) for label in found):
            names = tuple(sorted(set(map(str, found))))
        labels = [label_number(label, names, f"--data {function}") for label in found]
    except TrustcacheError:
        raise
    except Exception as error:  # a user's code may raise anything
        raise UsageError(
            f"--data {function}: {kind_and_line(error)}; it must return a torch Dataset with a length, of pairs "
            "(image, label)"
        ) from error
    names = names or tuple(map(str, range(max(labels, default=-1) + 1)))
    if labels and not 0 <= min(labels) <= max(labels) < len(names):
        raise UsageError(
            f"--data {function}: has labels from {min(labels)} to {max(labels)} for {len(names)} classes; give the "
            "data set an attribute 'classes' with all their names"
        )
    return DatasetSamples(function, dataset, np.arange(length), labels, names)


def _labels(dataset: Any, length: int) -> list[Any]:
    """Return all labels: those that the data set has listed, else those of its items, which takes a pass over them."""
    column = _label_column(dataset)
    lists = [dataset[column]] if column else [getattr(dataset, name, None) for name in _LISTS]
    if getattr(dataset, "target_transform", None) is None:
        for found in lists:
            if found is not None and len(found) == length:
                return list(found)
    return [_parts(dataset[number])[1] for number in range(length)]


def label_number(label: Any, classes: Sequence[str], where: str) -> int:
    """Return the number of a label that is a class's name, or its number.

    Raises UsageError that begins with `where` for another name.
    """
    if isinstance(label, str) and label not in classes:
        raise UsageError(
            f"{where}: has the label '{label}', none of its {len(classes)} named classes; give the data set an "
            "attribute 'classes' with all their names"
        )
    return classes.index(label) if isinstance(label, str) else int(label)


def class_names_of(dataset: Any, where: str) -> tuple[str, ...]:
    """Return the names that a data set gives its classes, or those that it is made of; () without names.

    Raises UsageError that begins with `where` for joined data sets whose names differ: one number means two classes.
    """
    from torch.utils.data import ConcatDataset

    column = _label_column(dataset)
    names = getattr(dataset.features[column], "names", None) if column else getattr(dataset, "classes", None)
    if names:
        return tuple(map(str, names))
    if not isinstance(dataset, ConcatDataset):
        inner = getattr(dataset, "dataset", None)
        return () if inner is None else class_names_of(inner, where)
    first, *others = (class_names_of(part, where) for part in dataset.datasets)
    for number, found in enumerate(others, 2):
        for label, (one, other) in enumerate(itertools.zip_longest(first, found, fillvalue="unnamed")):
            if one != other:
                raise UsageError(
                    f"{where}: joins data sets of which the first calls class {label} '{one}' and number {number} "
                    f"'{other}'; let them return the same labels, and give the joined one an attribute 'classes'"
                )
    return first


def _label_column(dataset: Any) -> str:
    """Return the column with the labels of a data set of the library `datasets`, "" of another one."""
    from trustcache.data.pictures import LABELS

    features = getattr(dataset, "features", None)
    return next((name for name in LABELS if name in features), "") if isinstance(features, Mapping) else ""


def _parts(item: Any) -> tuple[Any, Any]:
    from trustcache.data.pictures import parts_of

    return parts_of(item)


class DatasetSamples(Samples):
    """Images `numbers` (N,) of a torch Dataset, each as the bytes of its file, or of a PPM file of its pixels."""

    def __init__(
        self, function: str, dataset: Any, numbers: np.ndarray, labels: Sequence[int], classes: tuple[str, ...]
    ) -> None:
        self.function, self.dataset, self.numbers, self.classes = function, dataset, numbers, classes
        self.ids = [f"{number:06d}" for number in numbers.tolist()]
        self.labels = np.asarray(labels, dtype=np.int64)

    def raw(self, index: int) -> bytes:
        from trustcache.data.pictures import picture_of

        try:
            image, label = _parts(self.dataset[int(self.numbers[index])])
            if isinstance(image, str | Path):
                found = read_file(str(image))
            else:
                picture = picture_of(image)
                if not hasattr(picture, "decode"):
                    raise ValueError("a tensor of floats: let the data set return the image before ToTensor")
                rgb = picture.decode()
                found = b"P6 %d %d 255\n" % rgb.size + rgb.tobytes()
        except Exception as error:  # a user's code may raise anything
            raise BadImage(f"{self.function}[{self.numbers[index]}]", first_line(error)) from error
        if (number := label_number(label, self.classes, self.function)) != self.labels[index]:
            raise TrustcacheError(
                f"{self.function}[{self.numbers[index]}]: has the label {number}, and {self.labels[index]} in the "
                "list of all labels; let the data set return the same one each time"
            )
        return found

    def decode(self, index: int, raw: bytes, least: tuple[int, int] | None = None) -> Image.Image:
        return decode_rgb(raw, f"{self.function}[{self.numbers[index]}]", least)

    def take(self, numbers: np.ndarray) -> DatasetSamples:
        labels = self.labels[numbers].tolist()
        return DatasetSamples(self.function, self.dataset, self.numbers[numbers], labels, self.classes)

    def contents(self) -> bytes:
        return self.numbers.astype("<i8").tobytes()

    def stamps(self) -> bytes:
        # Nothing tells whether a function's images have changed but a look at each.
        return os.urandom(16)
