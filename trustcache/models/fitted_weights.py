"""The record that fit-classifier keeps in its weights, from which a model sees images as they were fitted with."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any

from trustcache.errors import naming
from trustcache.models.preprocessing import parse_preprocessing, preprocessing_words

if TYPE_CHECKING:
    from trustcache.models.building import ModelSpec

FITTED = "trustcache"
"""The entry of the metadata of weights that fit-classifier made."""
# safetensors allows a header no more.
_MOST_HEADER_BYTES = 100_000_000


def metadata_text(file: IO[bytes], key: str) -> str:
    """Return an entry of the metadata of an open safetensors file, "" for none. Raises ValueError where it is no such.

    safetensors' own reading of a file says that there is none where a disk fails.

    >>> import io
    >>> from safetensors.numpy import save
    >>> metadata_text(io.BytesIO(save({}, {"made by": "me"})), "made by")
    'me'
    """
    size = int.from_bytes(file.read(8), "little")
    try:
        header = json.loads(file.read(size)) if size <= _MOST_HEADER_BYTES else None
    except RecursionError:
        header = None
    about = header.get("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(about, dict) or not isinstance(text := about.get(key, ""), str):
        raise ValueError("its header is not that of a safetensors file")
    return text


def fitted_text(weights: Path) -> str:
    """Return the record that fit-classifier keeps in its weights, "" for others and where there is no file.

    >>> (tmp / "plain.pt").touch()
    >>> fitted_text(tmp / "plain.pt")
    ''
    """
    if not weights.is_file():
        return ""
    with naming(weights), weights.open("rb") as file, contextlib.suppress(ValueError):
        return metadata_text(file, FITTED)
    return ""


def fitted_preprocessing(weights: Path) -> dict[str, Any]:
    """Return the preprocessing that fit-classifier fitted these weights with, as --preprocess gives it; {} for others.

    >>> (tmp / "plain.pt").touch()
    >>> fitted_preprocessing(tmp / "plain.pt")
    {}
    """
    try:
        words = json.loads(fitted_text(weights))["preprocessing"].split()
    except (ValueError, LookupError, TypeError, AttributeError):  # weights of others, or of an earlier version
        return {}
    return parse_preprocessing(words, f"--weights {weights}: fitted with")


def as_fitted(
    spec: ModelSpec, note: Callable[[str], None] = lambda line: None, over: Mapping[str, Any] = MappingProxyType({})
) -> ModelSpec:
    """Return a model that sees images as fit-classifier fitted its weights with, where the spec does not say otherwise.

    over: entries that replace those, but none of the spec. note: told where the spec does.

    >>> from trustcache.models.building import ModelSpec
    >>> spec = ModelSpec("resnet18", preprocessing={"crop_pct": 0.9})
    >>> as_fitted(spec, over={"crop_pct": 1.0, "mean": (0.5,) * 3}).preprocessing
    {'crop_pct': 0.9, 'mean': (0.5, 0.5, 0.5)}
    """
    fitted = fitted_preprocessing(Path(spec.weights)) if spec.weights else {}
    for key, value in spec.preprocessing.items():
        if fitted.get(key, value) != value:
            (word,) = preprocessing_words({key: fitted[key]})
            note(f"--preprocess {key}: {spec.weights} was fitted with {word}")
    return replace(spec, preprocessing={**fitted, **over, **spec.preprocessing})
