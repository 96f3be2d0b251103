"""Options that several commands take: the model, and the machine it works on."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from trustcache.models.timm_models import classifier_names

if TYPE_CHECKING:
    from trustcache.data.manifest import Manifest

Classifier = Annotated[
    str,
    typer.Option(help=f"One of {', '.join(classifier_names())}."),
]
ModelArg = Annotated[list[str] | None, typer.Option(help="KEY=VALUE for the model's builder; may be repeated.")]
Preprocess = Annotated[
    list[str] | None,
    typer.Option(help="Replace part of the model's preprocessing, as in mean=0.5,0.5,0.5; may be repeated."),
]
Subset = Annotated[
    int | None,
    typer.Option(min=1, help="Take only so many images of each data set, spread evenly over its classes."),
]
DEVICE_HELP = "cpu, cuda, cuda:1 …; auto takes the GPU where there is one."
WORKERS_HELP = "Decoding processes; 0 decodes in this one."
Device = Annotated[str, typer.Option(help=DEVICE_HELP)]
Workers = Annotated[int, typer.Option(min=0, help=WORKERS_HELP)]


class Half(StrEnum):
    """One half of the samples of a data set."""

    first_half = "first-half"
    second_half = "second-half"


def thinned(manifests: list[Manifest], subset: int | None) -> list[Manifest]:
    """The data sets as --subset asks for them; one that is thinned by its own manifest stays so without."""
    return [replace(manifest, thinned_to=subset or manifest.thinned_to) for manifest in manifests]
