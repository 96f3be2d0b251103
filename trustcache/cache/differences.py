"""Differences between the meanings of two caches, by place and in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# Plain words for entries of the meaning, in messages.
_IN_WORDS = {
    "classifier.state_sha256": "the SHA-256 of the classifier's weights",
    "data.fingerprint": "the fingerprint of the images' names, labels and sizes",
    "data.samples": "the number of images",
    "data.subset": "the part of the images here that --subset takes",
    "data.kept_images": "what --keep-images says",
    "features": "what features are kept",
    "stages": "whose outputs are kept as stages",
}


def differences_of(there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return both values where two meanings as plain data differ, by their place.

    >>> differences_of({"data": {"samples": 3}, "views": []}, {"data": {"samples": 4}, "views": []})
    {'data.samples': (3, 4)}
    """
    found = dict(_differing(there, here))
    if "features" in found:  # that stages are kept says more than which
        found.pop("stages", None)
    return found


def in_words(differences: Mapping[str, tuple[Any, Any]]) -> str:
    """Return differences as a part of a sentence.

    >>> in_words({"data.samples": (3, 4)})
    'the number of images was 3 and is now 4'
    """
    return ", ".join(
        f"{_IN_WORDS.get(where, where)} was {a!r} and is now {b!r}" for where, (a, b) in differences.items()
    )


def _differing(there: Any, here: Any, where: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in sorted(there.keys() | here.keys()):
            yield from _differing(there.get(key), here.get(key), f"{where}.{key}" if where else key)
    elif there != here:
        yield where, (there, here)
