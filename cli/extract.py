"""`trustcache extract`: stage one."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from trustcache.errors import TrustcacheError, UsageError
from trustcache.progress import console

from .options import Classifier, Device, ModelArg, Preprocess, Subset, Workers, thinned
from .program import Place, app, command, say
from .values import ProtocolName, pairs

if TYPE_CHECKING:
    from trustcache.cache import CacheView
    from trustcache.data.manifest import Manifest


class Precision(StrEnum):
    """How the forward pass computes."""

    float32 = "float32"
    bf16 = "bf16"
    fp16 = "fp16"


class Store(StrEnum):
    """How logits and features are stored."""

    float16 = "float16"
    float32 = "float32"


class Features(StrEnum):
    """Which features are kept."""

    last = "last"
    stages = "stages"
    none = "none"


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
    classifier: Classifier,
    weights: Annotated[str | None, typer.Option(help="Your own weights: a safetensors or torch file.")] = None,
    name: Annotated[
        str | None, typer.Option("--as", help="The classifier's name in the workspace, where not its own.")
    ] = None,
    model_arg: ModelArg = None,
    preprocess: Preprocess = None,
    protocol: Annotated[
        ProtocolName,
        typer.Option(help="released: images as the paper's released code shows them; the name gets -released."),
    ] = ProtocolName.equations,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="A known data set, a family, a manifest.toml, or a folder or .tar of class folders; may be repeated."
        ),
    ] = None,
    subset: Subset = None,
    role: Annotated[Role, typer.Option(help="What a bare folder or .tar given as --data is for.")] = Role.test,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a forward pass.")] = 64,
    workers: Workers = 2,
    device: Device = "auto",
    precision: Annotated[
        Precision, typer.Option(help="Forward pass in float32 or under autocast.")
    ] = Precision.float32,
    store: Annotated[Store, typer.Option(help="Dtype of the stored logits and features.")] = Store.float16,
    features: Annotated[
        Features,
        typer.Option(
            help="What the last layer sees; for strong oracles every stage's output, pooled, and the mirror image's "
            "logits too, which takes twice the time; or none."
        ),
    ] = Features.last,
    shard_rows: Annotated[int, typer.Option(min=1, help="Samples a shard.")] = 2048,
    on_bad_image: Annotated[OnBadImage, typer.Option(help="Stop at an unreadable image, or record and skip it.")] = (
        OnBadImage.error
    ),
    mc_dropout: Annotated[
        int, typer.Option(min=0, help="Ask this often more, with dropout on, for the score mc-dropout; 0: do not.")
    ] = 0,
    mc_seed: Annotated[int | None, typer.Option(min=0, help="Draws what --mc-dropout drops (0).")] = None,
) -> None:
    """Stage one: run a frozen classifier once over data sets and cache logits, correctness and features.

    Without --data: ImageNet's train and val, and its stylized, adversarial, corrupted and natural variants, from files
    where they are here and made on the fly where they can be. One that fails does not stop the rest. A stopped
    extraction goes on where it was; finished ones are only checked.
    """
    if mc_seed is not None and not mc_dropout:
        raise UsageError("--mc-seed: means nothing without --mc-dropout")
    manifests = thinned(_choose(place, data, role.value), subset)
    from trustcache.cache.workspace import Workspace, plain_name
    from trustcache.extract import ExtractSettings, extract_each, require_ready
    from trustcache.models.classifiers import ModelSpec, load_classifier
    from trustcache.models.identity import McDropout
    from trustcache.models.preprocessing import parse_preprocessing
    from trustcache.protocols import PROTOCOLS

    preprocessing = {**PROTOCOLS[protocol.value].preprocessing, **parse_preprocessing(preprocess or [])}
    spec = ModelSpec(classifier, weights, pairs("--model-arg", model_arg or []), preprocessing)
    settings = ExtractSettings(
        batch_size,
        workers,
        device,
        precision.value,
        store.value,
        shard_rows,
        on_bad_image.value,
        McDropout(mc_dropout, mc_seed or 0) if mc_dropout else None,
        features.value,
    )
    suffix = "" if protocol is ProtocolName.equations else f"-{protocol.value}"
    model, label = load_classifier(spec), plain_name(name or classifier + suffix)
    if data:
        require_ready(model, label, manifests, place.data_root)
    failed = []
    workspace = Workspace(place.workspace)
    for manifest, outcome in extract_each(model, label, manifests, place.data_root, workspace, settings, console):
        if isinstance(outcome, TrustcacheError):
            if len(manifests) == 1:
                raise outcome
            say(f"error: {outcome}")
            failed.append(manifest.name)
        else:
            print(_outcome(label, outcome))
    if failed:
        raise TrustcacheError(f"{len(failed)} of {len(manifests)} data sets failed: {', '.join(failed)}")


def _choose(place: Place, data: list[str] | None, role: str) -> list[Manifest]:
    """The data sets to extract; those of the default that are passed over are named, with the reason."""
    from trustcache.data.default_selection import everything
    from trustcache.data.known_data import find_manifests

    if data:
        return [manifest for request in data for manifest in find_manifests(request, role)]
    selection = everything(place.data_root)
    if not selection.taken:
        raise UsageError(
            f"none of ImageNet is here: {'; '.join(selection.told()[:2])}; set --data-root, name other data with "
            "--data, or see trustcache data list"
        )
    for line in selection.told():
        say(line)
    return selection.taken


def _outcome(label: str, cache: CacheView) -> str:
    from trustcache.extract import accuracy_within_subset

    manifest, samples = cache.index.manifest, cache.index.samples
    skipped = samples - len(cache)
    within = accuracy_within_subset(cache)
    return (
        f"{manifest.name}: {label} is right on {cache.correct.mean():.2%} of {len(cache):,} images"
        + (f", {within:.2%} among the {len(manifest.subset or ())} classes that occur" if within is not None else "")
        + (f"; {skipped} unreadable ones skipped" if skipped else "")
        + (f" (of {manifest.count:,} in the whole data set)" if manifest.count not in (None, samples) else "")
        + f"  →  {cache.index.folder}"
    )
