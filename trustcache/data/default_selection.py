"""The data sets of an extraction that names none: all of ImageNet that is here or can be made on the fly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trustcache.data.dataset import why_missing
from trustcache.data.known_data import packaged_manifests
from trustcache.data.manifest import PLAYS, Manifest

SUITE = "imagenet"


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


def _take(manifest: Manifest, known: list[Manifest], data_root: Path, selection: Selection) -> None:
    reason = why_missing(manifest, data_root)
    if reason is None:
        selection.taken.append(manifest)
        return
    selection.passed_over.append((manifest, reason))
    for other in known:
        if other.stands_in_for == manifest.name:
            _take(other, known, data_root, selection)
