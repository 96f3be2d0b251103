"""`trustcache extract`: stage one."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from trustcache.data.default_selection import DataOptions
from trustcache.errors import TrustcacheError, UsageError
from trustcache.extract import ExtractSettings
from trustcache.models.model_options import ModelOptions
from trustcache.progress import console
from trustcache.protocols import PROTOCOLS

from .program import Place, app, command, say

if TYPE_CHECKING:
    from trustcache.cache import CacheView

ProtocolName = StrEnum("ProtocolName", {name: name for name in PROTOCOLS})  # type: ignore[misc]
_EQUATIONS = ProtocolName("equations")


@command(app, "extract")
def extract(
    place: Place,
    model: ModelOptions,
    data: DataOptions,
    settings: ExtractSettings,
    weights: Annotated[str | None, typer.Option(help="Your own weights: a safetensors or torch file.")] = None,
    name: Annotated[
        str | None, typer.Option("--as", help="The classifier's name in the workspace, where not its own.")
    ] = None,
    protocol: Annotated[
        ProtocolName,
        typer.Option(help="released: images as the paper's released code shows them; the name gets -released."),
    ] = _EQUATIONS,
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
    from trustcache.cache.workspace import Workspace
    from trustcache.extract import extract_each, load_as_asked, require_ready
    from trustcache.models.identity import McDropout

    if mc_seed is not None and not mc_dropout:
        raise UsageError("--mc-seed: means nothing without --mc-dropout")
    manifests, notes = data.manifests(place.data_root)
    for note in notes:
        say(note)
    settings = replace(settings, mc_dropout=McDropout(mc_dropout, mc_seed or 0) if mc_dropout else None)
    classifier, label = load_as_asked(model, weights, name, protocol.value)
    if data.data:
        require_ready(classifier, label, manifests, place.data_root)
    failed = []
    workspace = Workspace(place.workspace)
    for manifest, outcome in extract_each(classifier, label, manifests, place.data_root, workspace, settings, console):
        if isinstance(outcome, TrustcacheError):
            if len(manifests) == 1:
                raise outcome
            say(f"error: {outcome}")
            failed.append(manifest.name)
        else:
            print(_outcome(label, outcome))
    if failed:
        raise TrustcacheError(f"{len(failed)} of {len(manifests)} data sets failed: {', '.join(failed)}")


def _outcome(label: str, cache: CacheView) -> str:
    manifest, samples = cache.index.manifest, cache.index.samples
    skipped = samples - len(cache)
    within = cache.accuracy_within_subset()
    return (
        f"{manifest.name}: {label} is right on {cache.correct.mean():.2%} of {len(cache):,} images"
        + (f", {within:.2%} among the {len(manifest.subset or ())} classes that occur" if within is not None else "")
        + (f"; {skipped} unreadable ones skipped" if skipped else "")
        + (f" (of {manifest.count:,} in the whole data set)" if manifest.count not in (None, samples) else "")
        + f"  →  {cache.index.folder}"
    )
