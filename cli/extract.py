"""`trustcache extract`: stage one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.filesize import decimal

from trustcache.data.default_selection import DataOptions
from trustcache.errors import TrustcacheError, percent
from trustcache.extract.on_disk import extract_each
from trustcache.extract.settings import ClassifierOptions, ExtractSettings

from .program import Place, command, console, print_line, print_note, say, say_error

if TYPE_CHECKING:
    from trustcache.cache import CacheView


@command("extract")
def extract(
    place: Place,
    model: ClassifierOptions,
    data: DataOptions,
    settings: ExtractSettings,
) -> None:
    """Stage one: run a frozen classifier once over data sets and cache logits, correctness and features.

    Without --data: ImageNet's train and val, and its stylized, adversarial, corrupted and natural variants, from files
    where they are here and made on the fly where they can be. One that fails does not stop the rest. A stopped
    extraction goes on where it was; finished ones are only checked.
    """
    from trustcache.cache.workspace import Workspace
    from trustcache.extract.chance import chance_warning

    manifests, notes = data.manifests(place.data_root)
    for note in notes:
        say(note)
    failed = []
    workspace = Workspace(place.workspace)
    for manifest, outcome in extract_each(
        model, manifests, place.data_root, workspace, settings, console, check_first=bool(data.data), note=print_note
    ):
        if isinstance(outcome, TrustcacheError):
            if len(manifests) == 1:
                raise outcome
            say_error(outcome)
            failed.append(manifest.name)
        else:
            print_line(_outcome(outcome))
            if warning := chance_warning(outcome, workspace):
                say(warning)
    if failed:
        raise TrustcacheError(f"{len(failed)} of {len(manifests)} data sets failed: {', '.join(failed)}")


def _outcome(cache: CacheView) -> str:
    manifest, samples = cache.index.manifest, cache.index.samples
    skipped = samples - len(cache)
    within, accuracy = cache.accuracy_within_subset(), percent(cache.correct.mean())
    return (
        f"{manifest.name}: {cache.index.classifier} is right on {accuracy} of {len(cache):,} images"
        + (
            f", {percent(within)} among the {len(manifest.subset or ())} classes that occur"
            if within is not None
            else ""
        )
        + (f"; {skipped} unreadable ones skipped" if skipped else "")
        + (
            f"; adversarial images kept: {decimal(cache.index.kept_bytes)}"
            if cache.index.meaning.data.kept_images
            else ""
        )
        + (f"; these are {size}" if (size := cache.index.size) != f"{samples:,}" else "")
        + f"  →  {cache.index.folder}"
    )
