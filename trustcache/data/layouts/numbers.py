"""Class names, and the labels that are written as numbers or as these names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from trustcache.errors import UsageError

_MOST_CLASSES = 1_000_000  # where only labels tell of them
_NUMBER = re.compile(r"([+-]?\d{1,18})(\.0*)?")


def normal_form(name: str) -> str:
    """Return a class name in Unicode's composed form; folders from a Mac are named in the decomposed one."""
    return unicodedata.normalize("NFC", name)


def odd_order(classes: Sequence[str]) -> str:
    """Return a sentence where classes that are named by numbers stand in the order of text, else "".

    >>> odd_order(["1", "2", "10"]), odd_order(["1", "10", "2"]).partition(":")[0]
    ('', "its classes are in the order of text, as torchvision's ImageFolder has them")
    """
    if not all(name.isdecimal() for name in classes) or list(classes) == sorted(classes, key=int):
        return ""
    shown = ", ".join(classes[:4]) + (", …" if len(classes) > 4 else "")
    return (
        f"its classes are in the order of text, as torchvision's ImageFolder has them: {shown}; for another one name "
        "'classes' in a manifest"
    )


def class_names(classes: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the manifest's class names, else the ten digits."""
    return classes or tuple(str(digit) for digit in range(10))


def checked_labels(labels: np.ndarray, classes: tuple[str, ...], path: Path) -> np.ndarray:
    """Return `labels` (N,). Raises UsageError naming the file where one is not the number of a class."""
    if labels.size and not 0 <= labels.min() <= labels.max() < len(classes):
        raise UsageError(
            f"{path}: has labels from {labels.min()} to {labels.max()} for {len(classes)} classes; "
            "use this data set's file, or name all 'classes' in its manifest"
        )
    return labels


def labels_as_written(
    texts: Sequence[str], classes: tuple[str, ...] | None, where: Callable[[int], str], numbers_first: bool = False
) -> tuple[list[int], tuple[str, ...]]:
    """Return the numbers (N,) of labels that are written as class names or as numbers from 0, and the class names.

    Without class names, numbers are classes named by themselves, and other texts are in alphabetical order. where:
    returns the place of a label for a message. numbers_first: a number is meant so even if a class is named by it.
    Raises UsageError for a label that is no class.
    """
    numbers = [int(found[1]) if (found := _NUMBER.fullmatch(text)) else None for text in texts]
    if not classes:
        known = [number for number in numbers if number is not None]
        if len(known) == len(texts):
            classes = tuple(str(label) for label in range(min(max(known, default=-1) + 1, _MOST_CLASSES)))
        else:
            classes = tuple(sorted(set(map(normal_form, texts))))
    of_name = {normal_form(name): label for label, name in enumerate(classes)}
    labels = []
    for row, (text, number) in enumerate(zip(texts, numbers, strict=True)):
        named = of_name.get(normal_form(text), number)
        label = number if numbers_first and number is not None else named
        if label is None or not 0 <= label < len(classes):
            raise UsageError(
                f"{where(row)}: has the label {text} for {len(classes)} classes; use this data set's files, or name "
                "all 'classes' in its manifest"
            )
        labels.append(label)
    return labels, classes
