"""`trustcache extract`: stage one."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from trustcache.errors import UsageError
from trustcache.progress import console

from .program import Place, app, command, say
from .values import pairs

DEFAULT_DATA = ("imagenet-train", "imagenet-val")


class Precision(StrEnum):
    """How the forward pass computes."""

    float32 = "float32"
    bf16 = "bf16"
    fp16 = "fp16"


class Store(StrEnum):
    """How logits and features are stored."""

    float16 = "float16"
    float32 = "float32"


class OnBadImage(StrEnum):
    """What an unreadable image does."""

    error = "error"
    skip = "skip"


class Role(StrEnum):
    """What a data set is for."""

    train = "train"
    test = "test"


@command(app, "extract")
def extract(
    place: Place,
    classifier: Annotated[
        str, typer.Option(help="vit, resnet, cifar-resnet32, any timm model, or package.module:function.")
    ],
    weights: Annotated[str | None, typer.Option(help="Your own weights: a safetensors or torch file.")] = None,
    name: Annotated[
        str | None, typer.Option("--as", help="The classifier's name in the workspace, where not its own.")
    ] = None,
    model_arg: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE for the model's builder; may be repeated.")
    ] = None,
    preprocess: Annotated[
        list[str] | None,
        typer.Option(help="Replace part of the model's preprocessing, as in mean=0.5,0.5,0.5; may be repeated."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="A known data set, a family, a manifest.toml, or a folder of class folders; may be repeated."
        ),
    ] = None,
    role: Annotated[Role, typer.Option(help="What a bare folder given as --data is for.")] = Role.test,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a forward pass.")] = 64,
    workers: Annotated[int, typer.Option(min=0, help="Decoding processes; 0 decodes in this one.")] = 2,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 …; auto takes the GPU where there is one.")] = "auto",
    precision: Annotated[
        Precision, typer.Option(help="Forward pass in float32 or under autocast.")
    ] = Precision.float32,
    store: Annotated[Store, typer.Option(help="Dtype of the stored logits and features.")] = Store.float16,
    shard_rows: Annotated[int, typer.Option(min=1, help="Samples a shard.")] = 2048,
    on_bad_image: Annotated[OnBadImage, typer.Option(help="Stop at an unreadable image, or record and skip it.")] = (
        OnBadImage.error
    ),
) -> None:
    """Stage one: run a frozen classifier once over data sets and cache logits, correctness and features.

    Without --data: ImageNet's train and val. Data sets that are not there are named and passed over. A stopped
    extraction goes on where it was; finished ones are only checked.
    """
    found = _find(place, data, role.value)
    from trustcache.classifiers import ModelSpec, load_classifier, parse_preprocessing
    from trustcache.extract import ExtractSettings, check_classes
    from trustcache.extract import extract as run
    from trustcache.workspace import Workspace, plain_name

    spec = ModelSpec(classifier, weights, pairs("--model-arg", model_arg or []), parse_preprocessing(preprocess or []))
    settings = ExtractSettings(
        batch_size, workers, device, precision.value, store.value, shard_rows, on_bad_image.value
    )
    model = load_classifier(spec)
    label = plain_name(name or classifier)
    for dataset in found:
        check_classes(model, label, dataset)
    for dataset in found:
        folder = Workspace(place.workspace).cache_folder(label, dataset.manifest.name)
        cache = run(model, label, dataset, place.data_root, folder, settings, console)
        skipped = len(dataset) - len(cache)
        print(
            f"{dataset.manifest.name}: {label} is right on {cache.correct.mean():.2%} of {len(cache):,} images"
            + (f"; {skipped} unreadable ones skipped" if skipped else "")
            + _whole(dataset.manifest.count, len(dataset))
            + f"  →  {folder}"
        )


def _find(place: Place, data: list[str] | None, role: str) -> list[Any]:
    """The data sets to extract; those of the default that are not there are named and passed over."""
    from trustcache.images import available, open_dataset
    from trustcache.manifest import find_manifests

    manifests = [manifest for request in data or DEFAULT_DATA for manifest in find_manifests(request, role)]
    here = [manifest for manifest in manifests if data or available(manifest, place.data_root)]
    missing = [(m.name, m.files[0].describe(place.data_root)) for m in manifests if m not in here]
    if not here:
        names, places = zip(*missing, strict=True)
        raise UsageError(
            f"none of {', '.join(names)} is here; looked for {', '.join(places)}; set --data-root, name other data "
            f"with --data, or see trustcache data show {names[-1]}"
        )
    for name, where in missing:
        say(f"{name}: passed over, looked for {where}")
    return [open_dataset(manifest, place.data_root) for manifest in here]


def _whole(count: int | None, here: int) -> str:
    return f" (of {count:,} in the whole data set)" if count and here != count else ""
