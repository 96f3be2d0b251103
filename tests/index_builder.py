"""Build the index of a cache: plausible where a test does not care, exact where it does."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from trustcache.cache.index import Index
from trustcache.cache.meaning import DataMeaning, MadeFrom, Meaning
from trustcache.data.manifest import Files, Manifest
from trustcache.extract.settings import ExtractSettings
from trustcache.models.identity import Identity
from trustcache.models.preprocessing import RELEASED_PREPROCESSING, Preprocessing

PLAIN = Preprocessing((8, 8), 1.0, "center", "bilinear", (0.1,) * 3, (0.2,) * 3)
"""Preprocessing that is not the released code's."""
RELEASED = replace(PLAIN, **RELEASED_PREPROCESSING)


def build_identity(name: str = "net", **changes: Any) -> Identity:
    """A classifier's identity, by its architecture's name; keywords are its other fields."""
    return replace(Identity(name, name, {}, f"sha of {name}", PLAIN), **changes)


def build_manifest(name: str = "birds", role: str = "test") -> Manifest:
    """A data set in class folders."""
    return Manifest(name, role, (Files("folders", {"path": name}),))


def build_index(
    folder: Path,
    classifier: str = "net",
    *,
    manifest: Manifest | None = None,
    samples: int = 30,
    fingerprint: str = "bb",
    identity: Identity | None = None,
    weights: str | None = None,
    preprocessing: dict[str, Any] | None = None,
    **meaning: Any,
) -> Index:
    """An index of shards of ten rows that is not written yet; further keywords are fields of its meaning."""
    manifest = manifest or build_manifest()
    images = DataMeaning(manifest.name, fingerprint, samples)
    settings = {**vars(ExtractSettings(precision="float32", shard_rows=10)), "mc_dropout": None, **meaning}
    told = {field.name: settings[field.name] for field in fields(Meaning) if field.name in settings}
    means = Meaning(classifier, identity or build_identity(), images, **told)
    return Index(folder, means, MadeFrom(manifest, (), "/data", weights, None, preprocessing or {}), {"numpy": "2"})
