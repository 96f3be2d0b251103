"""Data sets that are known and here: list, show, check."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from trustcache.errors import TrustcacheError, UsageError

from .program import Place, command, command_group, print_line, say

if TYPE_CHECKING:
    from trustcache.data.manifest import Manifest

group = command_group("data", __doc__)

Request = Annotated[str, typer.Argument(help="A known data set, family, pattern, manifest.toml, folder or .tar file.")]


@command("list", group)
def list_data(place: Place) -> None:
    """Print one line a known data set or family: its name, role, and whether its files are here or what it lacks."""
    from trustcache.data.dataset import available, why_missing
    from trustcache.data.known_data import packaged_manifests

    known = sorted(packaged_manifests(), key=lambda manifest: manifest.family)
    for family, members in groupby(known, key=lambda manifest: manifest.family):
        found = list(members)
        reasons = [reason for m in found if (reason := why_missing(m, place.data_root))]
        if len(found) > 1:
            state = f"{len(found) - len(reasons)} of {len(found)} data sets are here"
        else:
            files = available(found[0], place.data_root)
            state = files.describe(place.data_root) if files and not reasons else "not here"
        made = f", made on the fly ({found[0].variant.kind})" if found[0].variant else ""
        print_line(f"{family}\t{found[0].role}\t{state}{made}")


@command("show", group)
def show(place: Place, request: Request) -> None:
    """Show where a data set is looked for, in which layout, what it lacks, and where to get it."""
    from trustcache.data.known_data import find_manifests

    for manifest in find_manifests(request):
        _show(place, manifest)


def _show(place: Place, manifest: Manifest) -> None:
    from trustcache.data.dataset import available, why_missing

    found = available(manifest, place.data_root)
    print_line(f"{manifest.name}: {manifest.title} ({manifest.role})")
    for files in manifest.files:
        mark = "found" if files == found else "looked for"
        print_line(f"  {mark}: {files.describe(place.data_root)} [{files.layout}]")
    if manifest.variant:
        settings = {key: value for key, value in manifest.record()["variant"].items() if value not in (None, "", {})}
        print_line(f"  made on the fly: {', '.join(f'{key} {value}' for key, value in settings.items())}")
    if found and (reason := why_missing(manifest, place.data_root)):
        print_line(f"  lacks: {reason}")
    if manifest.stands_in_for:
        print_line(f"  stands in for: {manifest.stands_in_for}")
    if manifest.source:
        print_line(f"  source: {manifest.source}")


@command("check", group)
def check(
    place: Place,
    request: Request,
    against: Annotated[
        str | None, typer.Option(help="A cache, CLASSIFIER/DATA: compare the bytes of every image with its own.")
    ] = None,
) -> None:
    """Count a data set's images against its manifest, and decode the first, the middle and the last.

    Exit code 1 where one is missing, incomplete or cannot be read, and where images are not those of the cache.
    """
    from trustcache.data.known_data import find_manifests

    manifests = find_manifests(request)
    if against:
        if len(manifests) > 1:
            raise UsageError(f"--against {against}: {request} is {len(manifests)} data sets; name one")
        _compare(place, manifests[0], against)
    faulty = []
    for manifest in manifests:
        try:
            whole = _check(place, manifest)
        except TrustcacheError as error:
            if len(manifests) == 1:
                raise
            say(f"error: {error}")
            whole = False
        if not whole:
            faulty.append(manifest.name)
    if faulty:
        raise TrustcacheError(f"{len(faulty)} of {len(manifests)} data sets are not whole: {', '.join(faulty)}")


def _compare(place: Place, manifest: Manifest, against: str) -> None:
    from trustcache.cache.provenance import compare_data
    from trustcache.cache.workspace import Workspace
    from trustcache.progress import console

    index = Workspace(place.workspace).cache_named(against)
    if differences := compare_data(index, manifest, place.data_root, console):
        raise TrustcacheError(f"{manifest.name}: not the images of {against}: {differences}")
    print_line(f"{manifest.name}: the images of {against}")


def _check(place: Place, manifest: Manifest) -> bool:
    """Print what there is of a data set; return True if it has as many images as its manifest counts."""
    from trustcache.data.dataset import open_dataset

    dataset = open_dataset(manifest, place.data_root)
    count = manifest.count
    counted = f" of {count:,}" if count else ""
    occurring, expected = len(set(dataset.labels.tolist())), len(manifest.subset or dataset.classes)
    print_line(f"{manifest.name}: {len(dataset):,}{counted} images, {occurring:,} of {expected:,} classes")
    for index in sorted({0, len(dataset) // 2, len(dataset) - 1}):
        image = dataset.read(index)
        label = dataset.classes[dataset.labels[index]]
        print_line(f"  {dataset.ids[index]}: {image.width} x {image.height}, class {label}")
    return count in (None, len(dataset)) or bool(manifest.rows or manifest.thinned_to)
