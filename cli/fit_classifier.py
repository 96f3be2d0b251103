"""`trustcache fit-classifier`: a classifier of one's own, before stage one."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trustcache.errors import UsageError
from trustcache.progress import console

from .options import Classifier, Device, ModelArg, Preprocess, Subset, Workers, thinned
from .program import Place, app, command
from .values import pairs

if TYPE_CHECKING:
    from trustcache.oracles.fit_classifier import Fitted


class OptimiserName(StrEnum):
    """How steps are taken."""

    adamw = "adamw"
    sgd = "sgd"


class Augment(StrEnum):
    """How training images are varied."""

    none = "none"
    flip_crop = "flip-crop"


@command(app, "fit-classifier")
def fit_classifier(
    place: Place,
    data: Annotated[
        str, typer.Option(help="What it learns: a known data set, a manifest.toml, or a folder or .tar of classes.")
    ],
    classifier: Classifier,
    out: Annotated[Path, typer.Option(help="Where its weights go, as safetensors.")],
    subset: Subset = None,
    model_arg: ModelArg = None,
    preprocess: Preprocess = None,
    start: Annotated[
        str | None, typer.Option(help="Weights to begin with, all but a last layer for other classes.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the data.")] = 10,
    batch_size: Annotated[int, typer.Option(min=2, help="Images a step.")] = 128,
    optimiser: Annotated[OptimiserName, typer.Option(help="AdamW, or SGD with momentum 0.9; either with OneCycle.")] = (
        OptimiserName.adamw
    ),
    lr: Annotated[float | None, typer.Option(min=0, help="Highest learning rate (adamw: 0.001, sgd: 0.05).")] = None,
    weight_decay: Annotated[float | None, typer.Option(min=0, help="Weight decay (adamw: 0.05, sgd: 0.0005).")] = None,
    augment: Annotated[
        Augment, typer.Option(help="flip-crop mirrors half of the images and shifts all; not for digits.")
    ] = Augment.none,
    val_fraction: Annotated[float, typer.Option(min=0, max=0.9, help="Part held out, to tell how good it is.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Draws first weights, order, augmentation, dropout, that part.")] = 0,
    device: Device = "auto",
    workers: Workers = 2,
    checkpoint_every: Annotated[float, typer.Option(min=0, help="Seconds between checkpoints.")] = 60.0,
) -> None:
    """Fit a classifier to be judged, where you have none: a model's name and a data set become a file of weights.

    A stopped fitting goes on where it was. It ends by naming the extract that goes on from it.
    """
    from trustcache.data.dataset import open_dataset
    from trustcache.data.known_data import find_manifests
    from trustcache.models.classifiers import ModelSpec
    from trustcache.models.preprocessing import parse_preprocessing
    from trustcache.oracles.fit_classifier import fit_classifier as run
    from trustcache.oracles.optim import FitSettings, Machine

    manifests = find_manifests(data, role="train")
    if len(manifests) > 1:
        raise UsageError(f"--data {data}: names {len(manifests)} data sets; a classifier is fitted on one, so name one")
    spec = ModelSpec(classifier, start, pairs("--model-arg", model_arg or []), parse_preprocessing(preprocess or []))
    settings = FitSettings(epochs, batch_size, optimiser.value, lr, weight_decay, augment.value, val_fraction, seed)
    (manifest,) = thinned(manifests, subset)
    dataset = open_dataset(manifest, place.data_root)
    fitted = run(spec, dataset, out, settings, Machine(device, workers, checkpoint_every), console)
    print(_outcome(out, fitted))
    line = _extract_line(place, data, classifier, out, model_arg, preprocess)
    print(f"go on with:\n{shlex.join(line + (['--subset', str(subset)] if subset else []))}")


def _outcome(out: Path, fitted: Fitted) -> str:
    some = f"{fitted.measured:,} of the " if fitted.measured < fitted.learnt_from else "the "
    learnt = f"right on {fitted.accuracy:.2%} of {some}{fitted.learnt_from:,} images it learnt from"
    held_out = "" if fitted.val_accuracy is None else f", {fitted.val_accuracy:.2%} of {fitted.held_out:,} held out"
    return f"{out}: {learnt}{held_out}"


def _extract_line(
    place: Place, data: str, classifier: str, out: Path, model_arg: list[str] | None, preprocess: list[str] | None
) -> list[str]:
    """The extraction of what it learnt from; for data to test on, another --data."""
    line = ["trustcache", "extract", "--classifier", classifier, "--weights", str(out), "--as", out.stem]
    line += [word for text in model_arg or [] for word in ("--model-arg", text)]
    line += [word for text in preprocess or [] for word in ("--preprocess", text)]
    line += ["--data", data, *(["--role", "train"] if Path(data).exists() and not data.endswith(".toml") else [])]
    return line + place.given()
