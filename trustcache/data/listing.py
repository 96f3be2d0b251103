"""Known data sets as they are listed and shown: where each is looked for, and what is here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from trustcache.data.dataset import available, open_dataset, those_here, why_missing
from trustcache.data.known_data import packaged_manifests
from trustcache.data.manifest import Manifest
from trustcache.data.progress import Progress, silent


@dataclass(frozen=True)
class FamilySummary:
    """A line of `trustcache data list`: a data set, or a family of them.

    data_sets: their number; here: that of those whose files are here. made: how they are made on the fly, "" for files.
    """

    name: str
    role: str
    data_sets: int
    here: int
    where: str
    made: str

    @property
    def state(self) -> str:
        """State of the files, in words."""
        if self.data_sets > 1:
            state = f"{self.here} of {self.data_sets} data sets are here"
        else:
            state = self.where or "not here"
        return f"{state}, made on the fly ({self.made})" if self.made else state


def known_families(data_root: Path) -> list[FamilySummary]:
    """Return every data set and family that trustcache knows, sorted by name."""
    known = sorted(packaged_manifests(), key=lambda manifest: manifest.family)
    return [_summarise(name, [*members], data_root) for name, members in groupby(known, key=lambda one: one.family)]


def _summarise(name: str, members: list[Manifest], data_root: Path) -> FamilySummary:
    first = members[0]
    here = len(those_here(members, data_root))
    files = available(first, data_root) if here == len(members) == 1 else None
    where = files.describe(data_root) if files else ""
    made = first.variant.kind if first.variant else ""
    return FamilySummary(name, first.role, len(members), here, where, made)


@dataclass(frozen=True)
class Place:
    """A place where the files of a data set may lie."""

    path: str
    layout: str


@dataclass(frozen=True)
class Description:
    """A known data set as `trustcache data show` shows it.

    places: where it is looked for; found: the path of the one that is there, "" for none. lacks: why it cannot be read,
    "" where it can.
    """

    name: str
    title: str
    role: str
    places: tuple[Place, ...]
    found: str
    variant: dict[str, Any]
    lacks: str
    stands_in_for: str
    source: str

    def lines(self) -> Iterator[str]:
        """Yield it as lines for people."""
        yield f"{self.name}: {self.title} ({self.role})"
        for place in self.places:
            yield f"  {'found' if place.path == self.found else 'looked for'}: {place.path} [{place.layout}]"
        if self.variant:
            yield f"  made on the fly: {', '.join(f'{key} {value}' for key, value in self.variant.items())}"
        facts = ("lacks", self.lacks), ("stands in for", self.stands_in_for), ("source", self.source)
        yield from (f"  {name}: {text}" for name, text in facts if text)


def describe(manifest: Manifest, data_root: Path) -> Description:
    """Return where a data set is looked for, and what is here."""
    found = available(manifest, data_root)
    return Description(
        manifest.name,
        manifest.title,
        manifest.role,
        tuple(Place(files.describe(data_root), files.layout) for files in manifest.files),
        found.describe(data_root) if found else "",
        {key: v for key, v in asdict(manifest.variant).items() if v not in (None, "", {})} if manifest.variant else {},
        (why_missing(manifest, data_root) or "") if found else "",
        manifest.stands_in_for,
        manifest.source,
    )


@dataclass(frozen=True)
class Decoded:
    """An image that was decoded, in pixels, with the name of its class."""

    id: str
    width: int
    height: int
    label: str


@dataclass(frozen=True)
class Check:
    """A data set whose images were counted, and three of them decoded.

    count: how many its manifest says, None where it does not. whole: True if it has as many as that. passed_over: files
    at their place that are none of the images, by the reason. notes: sentences for people.
    """

    name: str
    samples: int
    count: int | None
    classes: int
    classes_of: int
    images: tuple[Decoded, ...]
    whole: bool
    passed_over: dict[str, int]
    notes: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """Yield it as lines for people."""
        counted = f" of {self.count:,}" if self.count else ""
        yield f"{self.name}: {self.samples:,}{counted} images, {self.classes:,} of {self.classes_of:,} classes"
        yield from (f"  {note}" for note in self.notes)
        for image in self.images:
            yield f"  {image.id}: {image.width} x {image.height}, class {image.label}"


def check(manifest: Manifest, data_root: Path, progress: Progress = silent) -> Check:
    """Count a data set's images, and decode the first, the middle and the last.

    Raises TrustcacheError where one cannot be read.
    """
    dataset = open_dataset(manifest, data_root, progress)
    images = []
    for index in sorted({0, len(dataset) // 2, len(dataset) - 1}):
        image = dataset.read(index)
        label = dataset.classes[dataset.labels[index]]
        images.append(Decoded(dataset.ids[index], image.width, image.height, label))
    whole = manifest.count in (None, len(dataset)) or bool(manifest.rows or manifest.thinned_to)
    occurring, expected = len(set(dataset.labels.tolist())), len(manifest.subset or dataset.classes)
    return Check(
        manifest.name,
        len(dataset),
        manifest.count,
        occurring,
        expected,
        tuple(images),
        whole,
        dict(dataset.passed_over),
        tuple(dataset.notes()),
    )
