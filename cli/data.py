"""Data sets that are known and here: list, show, check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trustcache.errors import TrustcacheError, UsageError

from .program import Output, Place, command, command_group, console, print_line, print_table, say_error

if TYPE_CHECKING:
    from trustcache.data.manifest import Manifest

group = command_group("data", __doc__)

Request = Annotated[
    str, typer.Argument(help="A known data set, family, pattern or manifest.toml, or images, as --data takes them.")
]


@command("list", group)
def list_data(place: Place) -> Output:
    """List the known data sets and families: role, and whether the files are here or what they lack."""
    from trustcache.data.listing import known_families

    found = known_families(place.data_root)
    rows = [(one.name, one.role, one.state) for one in found]
    return Output({"data": found}, lambda: print_table(("data", "role", "files"), rows))


@command("show", group)
def show(place: Place, request: Request) -> Output:
    """Show where a data set is looked for, in which layout, what it lacks, and where to get it."""
    from trustcache.data.known_data import find_manifests
    from trustcache.data.listing import describe

    found = [describe(manifest, place.data_root) for manifest in find_manifests(request, data_root=place.data_root)]

    def print_all() -> None:
        for one in found:
            for line in one.lines():
                print_line(line)

    return Output({"data": found}, print_all)


@command("check", group)
def check(
    place: Place,
    request: Request,
    against: Annotated[
        str | None, typer.Option(help="A cache, CLASSIFIER/DATA: compare the bytes of every image with its own.")
    ] = None,
) -> Output:
    """Count a data set's images against its manifest, and decode the first, the middle and the last.

    Exit code 1 where one is missing, incomplete or cannot be read, and where images are not those of the cache.
    """
    from trustcache.data.known_data import find_manifests
    from trustcache.data.listing import check as count

    manifests = find_manifests(request, data_root=place.data_root)
    if against:
        if len(manifests) > 1:
            raise UsageError(f"--against {against}: {request} is {len(manifests)} data sets; name one")
        _compare(place, manifests[0], against)
    checked, faulty = [], []
    for manifest in manifests:
        try:
            checked.append(count(manifest, place.data_root, console))
        except TrustcacheError as error:
            if len(manifests) == 1:
                raise
            say_error(error)
            faulty.append(manifest.name)
    faulty += [one.name for one in checked if not one.whole]
    usable = "; extract takes the images that are here" if any(not one.whole for one in checked) else ""
    failure = TrustcacheError(f"{len(faulty)} of {len(manifests)} data sets are not whole: {', '.join(faulty)}{usable}")
    document = {"data": checked, "against": against, "not_whole": faulty}

    def print_all() -> None:
        for line in [f"{manifests[0].name}: the images of {against}"] if against else []:
            print_line(line)
        for line in [line for one in checked for line in one.lines()]:
            print_line(line)

    return Output(document, print_all, failure if faulty else None)


def _compare(place: Place, manifest: Manifest, against: str) -> None:
    from trustcache.cache.provenance import compare_data
    from trustcache.cache.workspace import Workspace

    index = Workspace(place.workspace).cache_named(against)
    if differences := compare_data(index, manifest, place.data_root, console):
        raise TrustcacheError(f"{manifest.name}: not the images of {against}: {differences}")
