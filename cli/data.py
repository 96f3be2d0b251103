"""`trustcache data list|show|check`: which data sets are known, and which of them are here."""

from __future__ import annotations

from typing import Annotated

import typer

from .program import Place, app, command

group = typer.Typer(no_args_is_help=True, help="Which data sets are known and here: list, show, check.")
app.add_typer(group, name="data")

Request = Annotated[str, typer.Argument(help="A known data set, family, pattern, manifest.toml, or folder.")]


@command(group, "list")
def list_data(place: Place) -> None:
    """One line a known data set: its name, role, and whether its files are here."""
    from trustcache.images import available
    from trustcache.manifest import packaged_manifests

    for manifest in packaged_manifests():
        files = available(manifest, place.data_root)
        print(f"{manifest.name}\t{manifest.role}\t{files.describe(place.data_root) if files else 'not here'}")


@command(group, "show")
def show(place: Place, request: Request) -> None:
    """Where a data set is looked for, and where to get it."""
    from trustcache.images import available
    from trustcache.manifest import find_manifests

    for manifest in find_manifests(request):
        found = available(manifest, place.data_root)
        print(f"{manifest.name}: {manifest.title} ({manifest.role})")
        for files in manifest.files:
            mark = "found" if files == found else "looked for"
            print(f"  {mark}: {files.describe(place.data_root)} [{files.layout}]")
        if manifest.source:
            print(f"  source: {manifest.source}")


@command(group, "check")
def check(place: Place, request: Request) -> None:
    """Count a data set's images against its manifest, and decode the first, the middle and the last."""
    from trustcache.images import open_dataset
    from trustcache.manifest import find_manifests

    for manifest in find_manifests(request):
        dataset = open_dataset(manifest, place.data_root)
        expected = f" of {manifest.count:,}" if manifest.count else ""
        print(f"{manifest.name}: {len(dataset):,}{expected} images, {len(dataset.classes)} classes")
        for index in sorted({0, len(dataset) // 2, len(dataset) - 1}):
            image = dataset.read(index)
            label = dataset.classes[dataset.labels[index]]
            print(f"  {dataset.ids[index]}: {image.width} x {image.height}, class {label}")
