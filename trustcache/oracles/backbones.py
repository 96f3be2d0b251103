"""The networks that a run's oracle is built on and reads, and the caches of what they say of the judged images."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from trustcache.cache import CacheView, open_cache
from trustcache.cache.index import Index
from trustcache.cache.joined import JoinedView
from trustcache.cache.provenance import original_model, require_extracted
from trustcache.cache.records import as_read
from trustcache.cache.workspace import Workspace
from trustcache.command_lines import command_line, extract_line, same_images
from trustcache.errors import UsageError, did_you_mean
from trustcache.models.identity import Identity
from trustcache.oracles.networks import Network
from trustcache.oracles.runs import RunConfig
from trustcache.protocols import PROTOCOLS
from trustcache.registry.permission import full_name, short_name

if TYPE_CHECKING:
    from trustcache.models.building import ModelSpec


@dataclass(frozen=True)
class OracleModel:
    """The model that an oracle is built on.

    label: its name in the workspace and in reports.
    source: a cache of it, with features to train heads on and weights to tune; or a model to build and tune.
    """

    label: str
    identity: Identity
    source: Index | ModelSpec

    def spec(self) -> ModelSpec:
        """Return the network to tune. Raises UsageError where the weights of a cache are gone or changed."""
        spec = original_model(self.source) if isinstance(self.source, Index) else self.source
        return replace(spec, preprocessing=asdict(self.identity.images))

    def features(self) -> Index:
        """Return the cache with the features of the training images."""
        assert isinstance(self.source, Index)
        return self.source


def cached_oracle(workspace: Workspace, judged: Index, label: str | None) -> OracleModel:
    """Return the oracle whose features of the judged images are cached under `label`, None for the judged model itself.

    Raises UsageError naming the command if they are not cached, and the difference if the cache is of other images.
    """
    if label in (None, judged.classifier):
        return OracleModel(judged.classifier, judged.identity, judged)
    found = _cached(workspace, judged, f"--oracle {label}", str(label))
    return OracleModel(found.classifier, found.identity, found)


def second_network(workspace: Workspace, learnt_from: Sequence[Index], label: str) -> tuple[Index, ...]:
    """Return the caches under `label` of the images of some caches of a classifier.

    Raises UsageError as `cached_oracle`, and where `label` is the classifier or of several networks.
    """
    option = f"--also-features {label}"
    found = tuple(_cached(workspace, judged, option, label) for judged in learnt_from)
    if any(index.identity == judged.identity for index, judged in zip(found, learnt_from, strict=True)):
        raise UsageError(f"{option}: is the classifier that is judged; name another network's caches")
    if other := next((index for index in found if index.identity != found[0].identity), None):
        raise UsageError(
            f"{option}: {other.folder} and {found[0].folder} are of different networks; remove one and run "
            f"{extract_line(found[0], *same_images(other))}"
        )
    return found


def _cached(workspace: Workspace, judged: Index, option: str, label: str) -> Index:
    """Return the cache under a network's label of the images of another cache. Raises as `cached_oracle`."""
    caches = workspace.caches()
    of_model = [index for index in caches if index.classifier == label]
    command = _extract_command(label, same_images(judged), next(iter(of_model), None))
    found = next((index for index in of_model if index.data == judged.data), None)
    if found is None:
        labels = sorted({index.classifier for index in caches if index.data == judged.data})
        there, near = ", ".join(labels), "" if of_model else did_you_mean(label, labels)
        raise UsageError(
            f"{option}: its features of {judged.data} are not in {workspace.root / 'cache'} (there are those "
            f"of: {there}); make them with {command}{near}"
        )
    if difference := _other_images(judged, found):
        raise UsageError(
            f"{option}: {found.folder} is of other images than {judged.folder}: {difference}; remove the one "
            f"that is out of date and extract it again, as with {command}"
        )
    return found


def tuned_oracle(workspace: Workspace, judged: Index, asked: ModelSpec | None, protocol: str) -> OracleModel:
    """Return the oracle to fine-tune: the model asked for, from its own weights; None for the judged model itself.

    A bare name of a model that the workspace has a cache of is that model, with its weights and preprocessing. The
    protocol's preprocessing replaces the model's own, and entries set by hand replace both.
    """
    from trustcache.models.classifiers import load_classifier
    from trustcache.models.timm_models import FOR_REPRODUCE

    by_protocol = dict(PROTOCOLS[protocol].preprocessing)
    cached = judged if asked is None else None
    if asked and not asked.weights and not asked.arguments:
        known = [judged, *workspace.caches()]
        cached = next((index for index in known if index.classifier == asked.name), None)
    by_hand = by_protocol | (asked.preprocessing if asked else {})
    if cached:
        require_extracted(cached)
        preprocessing = replace(cached.identity.images, **by_hand)
        return OracleModel(cached.classifier, replace(cached.identity, preprocessing=preprocessing), cached)
    assert asked is not None
    spec = replace(asked, name=full_name(asked.name), preprocessing=by_hand)
    try:
        return OracleModel(short_name(asked.name), as_read(load_classifier(spec).identity()), spec)
    except UsageError as error:
        # Loading names the options of classifiers.
        text = str(error).partition(FOR_REPRODUCE)[0]
        text = re.sub(r"--(?:model-)?(weights|arg)\b", r"--oracle-\1", text).replace("--classifier", "--oracle")
        raise UsageError(text) from error


def caches_read(config: RunConfig, judged: Index, caches: Sequence[Index]) -> list[Index]:
    """Return the finished cache of `judged`'s images by each network that a run's head reads; [] if one lacks."""
    found = [_cache_of(network, judged, caches) for network in config.networks]
    return [index for index in found if index] if all(found) else []


def _cache_of(network: Network, judged: Index, caches: Iterable[Index]) -> Index | None:
    """Return the finished cache with what a network says of `judged`'s images, None without one."""
    known = [judged, *(index for index in caches if not _other_images(judged, index))]
    fitting = (index for index in known if index.identity == network.identity and _holds(index, network))
    return next((index for index in fitting if index.finished()), None)


def made_anew(config: RunConfig, judged: Index, caches: Iterable[Index]) -> list[Index]:
    """Return a cache of each network that a head reads if `judged` is of attacked images, whose features lack.

    Each model's own cache of an attack is of other images: those that were made for it. Empty where a network has none.
    """
    if not attacked(judged):
        return []
    by_identity = [next((i for i in caches if i.identity == network.identity), None) for network in config.networks]
    return [index for index in by_identity if index] if all(by_identity) else []


def read_together(judged: CacheView, found: Sequence[Index]) -> CacheView:
    """Return what networks say of the judged images as one cache, which heads read: of one network, or of two.

    Raises UsageError where a cache is of other images than the judged one.
    """
    views = [judged if index.folder == judged.index.folder else open_cache(index.folder) for index in found]
    for view in views:
        if view is not judged:
            require_same_rows(judged, view)
    return views[0] if len(views) == 1 else JoinedView(*views)


def _holds(index: Index, network: Network) -> bool:
    """Return True if the cache holds every column that is read of a network."""
    if "stages" in network.columns and index.stages != network.stages:
        return False
    return all(index.holds(column) for column in network.columns)


def attacked(index: Index) -> bool:
    """Return True if a cache's images were changed for its own classifier."""
    return index.meaning.data.variant is not None and index.meaning.data.variant.kind == "attack"


def why_not(config: RunConfig, judged: Index, caches: Sequence[Index]) -> str | None:
    """Say why a run cannot be scored on a cache of its classifier, and the command that mends it; None if it can.

    caches: all of the workspace; one of the oracle's says how to extract it.
    """
    if config.mixed_up(judged, caches):
        return (
            f"oracle {config.oracle} learnt from the {config.part.replace('-', ' ')} of {config.samples} images of "
            f"{config.data}, and which of the {judged.samples} of {judged.data} those are cannot be told: extract both "
            "with the same --subset"
        )
    tuned = config.training == "fine-tuned"
    if tuned or caches_read(config, judged, caches) or made_anew(config, judged, caches):
        return None
    data = (config.data,) if attacked(judged) else same_images(judged)
    network = next(one for one in config.networks if attacked(judged) or not _cache_of(one, judged, caches))
    of_network = [index for index in caches if index.identity == network.identity]
    known = next((index for index in of_network if _holds(index, network)), None)
    stages = ["--features", "stages"] if network.stages else []
    views = ["--views", ",".join(network.views)] if network.views else []
    command = _extract_command(network.identity.name, data, known, ["--as", network.label, *stages, *views])
    # Features are not added to a cache that was made with fewer.
    poorer = next((index for index in of_network if index.data == data[0] and not _holds(index, network)), None)
    first = f"remove {poorer.folder}, " if poorer else ""
    what = f"oracle {network.label}" if network == config.networks[0] else network.label
    return f"the features of {what} on {judged.data} are not cached: {first}run `{command}`, then `trustcache evaluate`"


def require_same_rows(judged: CacheView, features: CacheView) -> None:
    """Raise UsageError where two caches skipped different ones of their images, or are of images that were changed."""
    ours, theirs = judged.sample_indices, features.sample_indices
    if np.array_equal(ours, theirs):
        # Content that was imported is of each model's outputs; ids and labels have been compared.
        compared = not (judged.index.imported or features.index.imported)
        if compared and (changed := int((judged.content != features.content).sum())):
            raise UsageError(
                f"{features.index.folder}: {changed} of its {len(features)} images were others when "
                f"{judged.index.folder} was extracted; remove the one that is out of date and extract it again, as "
                f"with {extract_line(features.index, *same_images(judged.index))}"
            )
        return
    apart = np.setxor1d(ours, theirs)
    raise UsageError(
        f"{features.index.folder}: {len(apart)} images are only there or only in {judged.index.folder}, because "
        "unreadable ones were skipped; remove both folders and extract them again with the same images, as with "
        f"{extract_line(features.index, *same_images(judged.index))}"
    )


def _other_images(judged: Index, other: Index) -> str:
    """Return the difference between the images of two caches, "" for none."""
    ours, theirs = vars(judged.meaning.data), vars(other.meaning.data)
    for key in ("name", "samples", "variant", "fingerprint"):
        if ours[key] != theirs[key]:
            what = "their names, labels or sizes differ" if key == "fingerprint" else f"{ours[key]} and {theirs[key]}"
            return f"data.{key}, {what}"
    if attacked(judged):
        return "each was attacked for its own classifier"
    return ""


def _extract_command(asked: str, data: Sequence[str], known: Index | None, new: Sequence[str] = ()) -> str:
    """Return the extraction of a model's features, as a known cache was made, else with `new`.

    data: as `same_images` returns it.
    """
    if known:
        return extract_line(known, *data)
    return command_line("extract", "--classifier", asked, "--data", data[0], *new, *data[1:])
