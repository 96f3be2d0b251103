"""Caches that were made before, by another classifier or with other settings, which are refused all at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec

from trustcache.cache.differences import differences_of, in_words
from trustcache.cache.index import KEEP_BOTH, Index, read_index
from trustcache.cache.records import as_read
from trustcache.cache.workspace import Workspace
from trustcache.data.manifest import Manifest
from trustcache.errors import TrustcacheError, UsageError
from trustcache.extract.settings import ExtractSettings
from trustcache.models.identity import Identity

_SETTINGS = ("store", "shard_rows", "features", "views")


def refuse_other_settings(
    label: str,
    manifests: Iterable[Manifest],
    workspace: Workspace,
    settings: ExtractSettings,
    identity: Identity | None = None,
) -> None:
    """Raise UsageError where caches of a classifier `label` were made with other settings than these.

    identity: the classifier that they must have been made by; None before it is loaded.
    """
    now: dict[str, Any] = {key: getattr(settings, key) for key in _SETTINGS} | {"mc_dropout": settings.dropout}
    if settings.precision != "auto":
        now["precision"] = settings.precision
    if identity:
        now["classifier"] = as_read(identity)
    now = msgspec.to_builtins(now)
    others: dict[str, list[Index]] = defaultdict(list)
    for manifest in manifests:
        try:
            index = read_index(workspace.cache_folder(label, manifest.name))
        except TrustcacheError:  # no cache, or a damaged one, which is reported when its turn comes
            continue
        there = msgspec.to_builtins(index.meaning)
        if not index.imported and (found := differences_of(there, there | now)):
            others[in_words(found)].append(index)
    if others:
        told = "; ".join(f"{', '.join(index.name for index in found)}: {words}" for words, found in others.items())
        line = workspace.removal_line([index for found in others.values() for index in found])
        raise UsageError(f"made with other settings: {told}; extract again after {line}, {KEEP_BOTH}")
