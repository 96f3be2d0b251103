"""Which data sets an extraction takes when none are named: all of ImageNet that is here or can be made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trustcache.data.dataset import why_missing
from trustcache.data.known_data import packaged_manifests
from trustcache.data.manifest import Manifest

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


def _take(manifest: Manifest, known: list[Manifest], data_root: Path, selection: Selection) -> None:
    reason = why_missing(manifest, data_root)
    if reason is None:
        selection.taken.append(manifest)
        return
    selection.passed_over.append((manifest, reason))
    for other in known:
        if other.stands_in_for == manifest.name:
            _take(other, known, data_root, selection)
