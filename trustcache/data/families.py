"""The data sets of a family by the part they play in the paper's experiments, as far as the family has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trustcache.data.dataset import why_missing
from trustcache.data.known_data import packaged_manifests
from trustcache.data.manifest import Manifest
from trustcache.data.variants.corruptions import COMMON
from trustcache.errors import UsageError

PARTS = {
    "train": ("train",),
    "test": ("val", "test"),
    "stylized": ("stylized", "adain", "fourier"),
    "adversarial": ("recolor", "pgd"),
    "corrupted": ("c", "c-made"),
}
"""What follows the family's name in a data set's, by part: the first that is here is taken, else the first known."""


@dataclass(frozen=True)
class DataFamily:
    """The manifests of each of PARTS, several for `corrupted` (of the 15 common corruptions) alone."""

    name: str
    parts: dict[str, list[Manifest]]

    def one(self, part: str) -> str:
        """The name of the data set that plays a part. Raises UsageError where none does."""
        return self._of(part)[0].name

    def count(self, part: str) -> int | None:
        """How many images the data set of a part is known to have. Raises UsageError where there is none."""
        return self._of(part)[0].count

    def corrupted(self, corruption: str, severity: int) -> str:
        """The name of one corruption's data set. Raises UsageError where there is none."""
        wanted = f"{self._of('corrupted')[0].family}/{corruption}/{severity}"
        if wanted not in {manifest.name for manifest in self.parts["corrupted"]}:
            raise UsageError(f"--data {self.name}: has no {wanted}; take another family of data sets")
        return wanted

    def every_corruption(self) -> list[str]:
        """Patterns for all severities of each corruption. Raises UsageError where there are none."""
        return list(dict.fromkeys(f"{m.name.rpartition('/')[0]}/*" for m in self._of("corrupted")))

    def _of(self, part: str) -> list[Manifest]:
        if not self.parts[part]:
            raise UsageError(
                f"--data {self.name}: has no {part} images (none of "
                f"{', '.join(f'{self.name}-{end}' for end in PARTS[part])} is known); take another family of data "
                "sets, or leave out what needs them"
            )
        return self.parts[part]


def family_of(data: str) -> str:
    """The family whose clean evaluation images a data set has, "" where it is of none."""
    known = {manifest.family for manifest in packaged_manifests()}
    name, _, end = data.rpartition("-")
    return name if end in PARTS["test"] and {data, f"{name}-train"} <= known else ""


def data_family(name: str, data_root: Path) -> DataFamily:
    """The family `name`, as in imagenet or cifar10. Raises UsageError naming the families there are."""
    known: dict[str, list[Manifest]] = {}
    for manifest in packaged_manifests():
        if "-c" not in manifest.family or manifest.name.split("/")[1] in COMMON:
            known.setdefault(manifest.family, []).append(manifest)
    candidates = {part: [known.get(f"{name}-{end}", []) for end in ends] for part, ends in PARTS.items()}
    if not any(candidates["train"]) or not any(candidates["test"]):
        families = sorted({f.removesuffix("-train") for f in known if f.endswith("-train")})
        raise UsageError(f"--data {name}: no family of data sets; one of {', '.join(families)}")
    return DataFamily(name, {part: _first_here(data, data_root) for part, data in candidates.items()})


def _first_here(candidates: Sequence[list[Manifest]], data_root: Path) -> list[Manifest]:
    there = [manifests for manifests in candidates if manifests]
    here = (manifests for manifests in there if not any(why_missing(m, data_root) for m in manifests))
    return next(here, there[0] if there else [])
