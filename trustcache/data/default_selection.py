"""Which data sets an extraction takes when none are named: all of ImageNet that is here or can be made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trustcache.data.dataset import why_missing
from trustcache.data.known_data import find_manifests, packaged_manifests
from trustcache.data.manifest import Manifest
from trustcache.errors import UsageError
from trustcache.registry import option

ORDER = (
    "imagenet-train",
    "imagenet-val",
    "imagenet-stylized",
    "imagenet-recolor",
    "imagenet-c",
    "imagenet-a",
    "imagenet-r",
    "imagenet-v2",
    "imagenet-sketch",
)
"""The paper's data sets in its order, then ImageNet's natural variants; each a data set or a family of them."""


SUBSET_HELP = "Take only so many images of each data set, spread evenly over its classes."


@dataclass(frozen=True)
class Selection:
    """The data sets to take, in order, and those passed over with the reasons."""

    taken: list[Manifest]
    passed_over: list[tuple[Manifest, str]]

    def told(self) -> list[str]:
        """What is passed over and why, a sentence a family."""
        families: dict[str, list[tuple[Manifest, str]]] = {}
        for manifest, reason in self.passed_over:
            families.setdefault(manifest.family, []).append((manifest, reason))
        lines = []
        for family, members in families.items():
            first, reason = members[0]
            count = f"{len(members)} of its data sets passed over" if first.name != family else "passed over"
            names = {manifest.name for manifest, _ in members}
            instead = {m.family for m in self.taken if m.stands_in_for in names}
            made = f"; made on the fly instead: {', '.join(sorted(instead))}" if instead else ""
            lines.append(f"{family}: {count}, {reason}{made}")
        return lines


def everything(data_root: Path) -> Selection:
    """ImageNet's data sets that are here, and for those that are not, what stands in for them on the fly."""
    known = packaged_manifests()
    selection = Selection([], [])
    for wanted in ORDER:
        for manifest in known:
            if manifest.family == wanted:
                _take(manifest, known, data_root, selection)
    return selection


@dataclass(frozen=True)
class DataOptions:
    """The data sets that an extraction is asked for, by default all of ImageNet that is here or can be made."""

    data: list[str] = option(
        [], "A known data set, a family, a manifest.toml, or a folder or .tar of class folders; may be repeated."
    )
    subset: int | None = option(None, SUBSET_HELP, min=1)
    role: str = option("test", "What a bare folder or .tar given as --data is for.", choices=("train", "test"))

    def manifests(self, data_root: Path) -> tuple[list[Manifest], list[str]]:
        """Return the data sets, and notes on those passed over. Raises UsageError where there is none."""
        if self.data:
            return thinned([m for request in self.data for m in find_manifests(request, self.role)], self.subset), []
        selection = everything(data_root)
        notes = selection.told()
        if not selection.taken:
            raise UsageError(
                f"none of ImageNet is here: {'; '.join(notes[:2])}; set --data-root, name other data with "
                "--data, or see trustcache data list"
            )
        return thinned(selection.taken, self.subset), notes


def thinned(manifests: Sequence[Manifest], subset: int | None) -> list[Manifest]:
    """Return the data sets as --subset asks for them; one that its own manifest thins stays so without."""
    return [replace(manifest, thinned_to=subset or manifest.thinned_to) for manifest in manifests]


def _take(manifest: Manifest, known: list[Manifest], data_root: Path, selection: Selection) -> None:
    reason = why_missing(manifest, data_root)
    if reason is None:
        selection.taken.append(manifest)
        return
    selection.passed_over.append((manifest, reason))
    for other in known:
        if other.stands_in_for == manifest.name:
            _take(other, known, data_root, selection)
