"""Suites: the data sets of one experiment (train, test, stylized and so on), as their manifests declare them."""

from __future__ import annotations

import fnmatch
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from trustcache.data.dataset import those_here
from trustcache.data.known_data import packaged_manifests
from trustcache.data.manifest import PLAYS, Manifest
from trustcache.data.variants.corruptions import COMMON
from trustcache.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Suite:
    """The data sets chosen for each part of `PLAYS`: one, or for "corrupted" those of the 15 common corruptions.

    Of several data sets that play a part, it holds the first whose files are here, else the first known; one that
    stands in for another comes after it.
    """

    name: str
    parts: dict[str, list[Manifest]]

    def one(self, part: str) -> str:
        """Return the name of the data set that plays a part. Raises UsageError if none does."""
        return self._of(part)[0].name

    def count(self, part: str) -> int | None:
        """Return the number of images of the data set that plays a part. Raises UsageError if none does."""
        return self._of(part)[0].count

    def corrupted(self, corruption: str, severity: int) -> str:
        """Return the name of the data set with one corruption. Raises UsageError if there is none."""
        wanted = f"{corruption}/{severity}"
        found = next((m.name for m in self._of("corrupted") if m.condition == wanted), None)
        if found is None:
            raise UsageError(f"--data {self.name}: has no images under {wanted}; choose another suite of data sets")
        return found

    def every_corruption(self) -> list[str]:
        """Return a pattern of names for all severities of each corruption. Raises UsageError if there are none."""
        manifests = self._of("corrupted")
        every = [manifest.name for manifest in manifests]
        patterns = []
        for corruption in dict.fromkeys(manifest.corruption for manifest in manifests):
            names = [manifest.name for manifest in manifests if manifest.corruption == corruption]
            pattern = f"{posixpath.commonpath(names)}/*"
            patterns += [pattern] if fnmatch.filter(every, pattern) == names else names
        return patterns

    def _of(self, part: str) -> list[Manifest]:
        if not self.parts[part]:
            raise UsageError(
                f"--data {self.name}: no known data set plays the part '{part}' in it; choose another suite of data "
                "sets, or leave out what needs these images"
            )
        return self.parts[part]


def suite_of(data: str) -> str:
    """Return the suite in which a data set plays the part "test", "" if there is none."""
    return next((m.suite for m in packaged_manifests() if m.name == data and m.plays == "test"), "")


def find_suite(name: str, data_root: Path) -> Suite:
    """Return the suite `name`, such as imagenet or cifar10. Raises UsageError with the known names if there is none."""
    known = [m for m in packaged_manifests() if m.plays and (not m.corruption or m.corruption in COMMON)]
    parts = {play: [m for m in known if (m.suite, m.plays) == (name, play)] for play in PLAYS}
    if not parts["train"] or not parts["test"]:
        suites = sorted({manifest.suite for manifest in known})
        raise UsageError(
            f"--data {name}: not a suite of data sets; one of {', '.join(suites)}{did_you_mean(name, suites)}"
        )
    return Suite(name, {play: _first_here(manifests, data_root) for play, manifests in parts.items()})


def _first_here(manifests: Sequence[Manifest], data_root: Path) -> list[Manifest]:
    """Return the manifests of the first family that is here, else of the first."""
    by_name = {manifest.name: manifest for manifest in manifests}

    def stand_ins(manifest: Manifest) -> int:
        replaced = by_name.get(manifest.stands_in_for)
        return 1 + stand_ins(replaced) if replaced else 0

    ordered = sorted(manifests, key=lambda manifest: (stand_ins(manifest), manifest.family))
    families = [list(members) for _, members in groupby(ordered, key=lambda manifest: manifest.family)]
    here = (members for members in families if those_here(members, data_root) == members)
    return next(here, families[0] if families else [])
