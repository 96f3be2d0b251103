"""The data sets of an extraction that names none: all of ImageNet that is here or can be made on the fly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trustcache.data.dataset import why_missing
from trustcache.data.known_data import find_manifests, packaged_manifests
from trustcache.data.manifest import PLAYS, Manifest
from trustcache.errors import UsageError
from trustcache.registry import option

SUITE = "imagenet"


SUBSET_HELP = "Take at most this many images of each data set, spread evenly over its classes."


@dataclass(frozen=True)
class Selection:
    """The data sets to extract, in order, and those passed over with the reasons."""

    taken: list[Manifest]
    passed_over: list[tuple[Manifest, str]]

    def told(self) -> list[str]:
        """Return one sentence per family that is passed over, with the reason."""
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
    """Select the suite's data sets that are here, and for the others those that stand in for them.

    They come in the order of `PLAYS`: the paper's, then ImageNet's natural variants.
    """
    known = packaged_manifests()
    selection = Selection([], [])
    wanted = [m for m in known if m.suite == SUITE and m.plays and not m.stands_in_for]
    for manifest in sorted(wanted, key=lambda m: PLAYS.index(m.plays)):
        _take(manifest, known, data_root, selection)
    return selection


@dataclass(frozen=True)
class DataOptions:
    """The data sets that an extraction is asked for, by default all of ImageNet that is here or can be made."""

    data: list[str] = option(
        [],
        "A known data set, a family, a manifest.toml, a folder or .tar of class folders, photos/test, which is then "
        "called photos-test, shards, a table of labels, .parquet, .mat, or package.module:function; with :train behind "
        "it oracles learn from it. May be repeated.",
    )
    subset: int | None = option(None, SUBSET_HELP, min=1)
    role: str = option(
        "test",
        "What folders and .tars given as --data are for, where they do not say so behind a colon.",
        choices=("train", "test"),
    )

    def manifests(self, data_root: Path) -> tuple[list[Manifest], list[str]]:
        """Return the data sets, and notes on those passed over. Raises UsageError where there is none."""
        if self.data:
            named = [(request, m) for request in self.data for m in find_manifests(request, self.role, data_root)]
            return thinned(_each_once(named), self.subset), []
        selection = everything(data_root)
        notes = selection.told()
        if not selection.taken:
            raise UsageError(
                f"none of ImageNet is here: {'; '.join(notes[:2])}; set --data-root, name other data with "
                "--data, or see trustcache data list"
            )
        return thinned(selection.taken, self.subset), notes


def _each_once(named: Sequence[tuple[str, Manifest]]) -> list[Manifest]:
    """Return the data sets, repeated ones once. Raises UsageError where different ones have the same name."""
    found: dict[str, tuple[str, Manifest]] = {}
    for request, manifest in named:
        other, known = found.setdefault(manifest.name, (request, manifest))
        if known != manifest:
            raise UsageError(
                f"--data {request}: would be named {manifest.name}, as --data {other} is; rename a folder, or give one "
                "a manifest.toml with a name of its own"
            )
    return [manifest for _, manifest in found.values()]


def thinned(manifests: Sequence[Manifest], subset: int | None) -> list[Manifest]:
    """Return the data sets as --subset asks for them; one that its own manifest thins stays so without."""
    return [replace(manifest, thinned_to=subset or manifest.thinned_to) for manifest in manifests]


def _take(manifest: Manifest, known: Sequence[Manifest], data_root: Path, selection: Selection) -> None:
    reason = why_missing(manifest, data_root)
    if reason is None:
        selection.taken.append(manifest)
        return
    selection.passed_over.append((manifest, reason))
    for other in known:
        if other.stands_in_for == manifest.name:
            _take(other, known, data_root, selection)
