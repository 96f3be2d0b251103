"""`trustcache fit-classifier`: a classifier of one's own, before stage one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trustcache.errors import UsageError, percent
from trustcache.models.model_options import ModelOptions
from trustcache.oracles.optim import FitSettings, Machine

from .from_dataclass import Without
from .options import Subset
from .program import Place, command, console, print_line, print_note

if TYPE_CHECKING:
    from trustcache.oracles.fit_classifier import Fitted


@command("fit-classifier")
def fit_classifier(
    place: Place,
    data: Annotated[
        str, typer.Option(help="What it learns: a known data set, a manifest.toml, or a folder or .tar of classes.")
    ],
    model: ModelOptions,
    out: Annotated[Path, typer.Option(help="Where its weights go, as safetensors.")],
    settings: FitSettings,
    machine: Annotated[Machine, Without("memory")],
    subset: Subset = None,
    start: Annotated[
        str | None,
        typer.Option(help="Weights to begin with: a file of this model's; a last layer of other classes is left out."),
    ] = None,
) -> None:
    """Fit a classifier to be judged, where you have none: a model's name and a data set become a file of weights.

    A stopped fitting goes on where it was. It ends by naming the extract that goes on from it.
    """
    from trustcache.command_lines import command_line
    from trustcache.data.dataset import open_dataset
    from trustcache.data.default_selection import thinned
    from trustcache.data.known_data import find_manifests
    from trustcache.oracles.fit_classifier import fit_classifier as fit

    manifests = find_manifests(data, "train", place.data_root)
    if len(manifests) > 1:
        raise UsageError(f"--data {data}: names {len(manifests)} data sets; a classifier is fitted on one, so name one")
    (manifest,) = thinned(manifests, subset)
    dataset = open_dataset(manifest, place.data_root)
    fitted = fit(model.spec(start), dataset, out, settings, machine, console, print_note)
    print_line(_outcome(out, fitted))
    thin = ["--subset", str(subset)] if subset else []
    print_line("go on with:")
    print_line(command_line("extract", *_extract_options(data, model, out), *place.given(), *thin))


def _outcome(out: Path, fitted: Fitted) -> str:
    some = f"{fitted.measured:,} of the " if fitted.measured < fitted.learnt_from else "the "
    learnt = f"right on {percent(fitted.accuracy)} of {some}{fitted.learnt_from:,} images it learnt from"
    held_out = (
        "" if fitted.val_accuracy is None else f", {percent(fitted.val_accuracy)} of {fitted.held_out:,} held out"
    )
    return f"{out}: {learnt}{held_out}"


def _extract_options(data: str, model: ModelOptions, out: Path) -> list[str]:
    """Return the options that extract the images it learnt from; for data to test on, take another --data."""
    words = ["--classifier", model.classifier, "--weights", str(out), "--as", out.stem]
    words += [word for text in model.model_arg for word in ("--model-arg", text)]
    words += [word for text in model.preprocess for word in ("--preprocess", text)]
    role = ["--role", "train"] if Path(data).exists() and not data.endswith(".toml") else []
    return [*words, "--data", data, *role]
