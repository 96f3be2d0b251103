"""The pair of a run: what its oracle is built on, and where that model's features of the judged images are cached."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from trustcache.cache import CacheView
from trustcache.cache.index import Index
from trustcache.cache.provenance import original_model
from trustcache.cache.records import as_read
from trustcache.cache.workspace import Workspace, plain_name
from trustcache.command_lines import extraction_options
from trustcache.errors import UsageError
from trustcache.models.identity import Identity
from trustcache.oracles.head_inputs import columns_of
from trustcache.oracles.runs import RunConfig
from trustcache.protocols import PROTOCOLS

if TYPE_CHECKING:
    from trustcache.models.classifiers import ModelSpec


@dataclass(frozen=True)
class OracleModel:
    """The model that an oracle is built on.

    label: its name in the workspace and in reports. identity: what pins it.
    source: a cache of it, whose features heads are trained on and whose weights are tuned; or what to build and tune.
    """

    label: str
    identity: Identity
    source: Index | ModelSpec

    def spec(self) -> ModelSpec:
        """The network to tune. Raises UsageError where the weights that a cache was made with are gone or changed."""
        if isinstance(self.source, Index):
            return replace(original_model(self.source), preprocessing=asdict(self.identity.preprocessing))
        return self.source

    def features(self) -> Index:
        """The cache with the features of the training images."""
        assert isinstance(self.source, Index)
        return self.source


def cached_oracle(workspace: Workspace, judged: Index, label: str | None) -> OracleModel:
    """The oracle whose features of the judged images are cached under `label`; without one, the judged model itself.

    Raises UsageError naming the command where they are not cached, and the difference where other images are.
    """
    if label in (None, judged.classifier):
        return OracleModel(judged.classifier, judged.identity, judged)
    name = plain_name(str(label))
    caches = workspace.caches()
    of_model = [index for index in caches if index.classifier == name]
    command = _extract_command(str(label), judged.data, next(iter(of_model), None))
    found = next((index for index in of_model if index.data == judged.data), None)
    if found is None:
        there = ", ".join(sorted({index.classifier for index in caches if index.data == judged.data}))
        raise UsageError(
            f"--oracle {label}: its features of {judged.data} are not in {workspace.root / 'cache'} (there are those "
            f"of: {there}); make them with {command}"
        )
    if difference := _other_images(judged, found):
        raise UsageError(
            f"--oracle {label}: {found.folder} is of other images than {judged.folder}: {difference}; remove the one "
            f"that is out of date and extract it again, as with {command}"
        )
    return OracleModel(name, found.identity, found)


def tuned_oracle(workspace: Workspace, judged: Index, asked: ModelSpec | None, protocol: str) -> OracleModel:
    """The oracle that is fine-tuned: the model asked for, from its own weights; without one, the judged model itself.

    A bare name of a model that the workspace has a cache of is that model, with its weights and preprocessing. What the
    protocol says of preprocessing goes before the model's own, what is asked for by hand before both.
    """
    from trustcache.models.classifiers import load_classifier

    by_protocol = dict(PROTOCOLS[protocol].preprocessing)
    cached = judged if asked is None else None
    if asked and not asked.weights and not asked.arguments:
        known = [judged, *workspace.caches()]
        cached = next((index for index in known if index.classifier == plain_name(asked.name)), None)
    by_hand = by_protocol | (asked.preprocessing if asked else {})
    if cached:
        preprocessing = replace(cached.identity.preprocessing, **by_hand)
        return OracleModel(cached.classifier, replace(cached.identity, preprocessing=preprocessing), cached)
    assert asked is not None
    spec = replace(asked, preprocessing=by_hand)
    try:
        return OracleModel(plain_name(asked.name), as_read(load_classifier(spec).identity()), spec)
    except UsageError as error:
        # Loading speaks of the options that classifiers are named by.
        text = re.sub(r"--(?:model-)?(weights|arg)\b", r"--oracle-\1", str(error)).replace("--classifier", "--oracle")
        raise UsageError(text) from error


def features_of(config: RunConfig, judged: Index, caches: Iterable[Index]) -> Index | None:
    """The finished cache, of these, of the features that a run's head needs on the images of `judged`; None without."""
    known = [judged, *(index for index in caches if not _other_images(judged, index))]
    fitting = (index for index in known if index.identity == config.backbone and _holds(index, config))
    return next((index for index in fitting if index.finished()), None)


def made_anew(config: RunConfig, judged: Index, caches: Iterable[Index]) -> Index | None:
    """A cache, among these, of the model whose features of attacked images can only be made from those images.

    Each model's own cache of an attack is of other images: those that were made for it.
    """
    if not attacked(judged):
        return None
    return next((index for index in caches if index.identity == config.backbone), None)


def _holds(index: Index, config: RunConfig) -> bool:
    """Whether a cache of a head's model has all that the head looks at."""
    columns = columns_of(config.head.inputs)
    if "stages" in columns and index.stages != config.stages:
        return False
    return all(index.holds(column) for column in columns)


def scorable(config: RunConfig, judged: Index, caches: Sequence[Index]) -> bool:
    """Whether a run can be scored on a cache of the classifier it judges: there are features, and unseen images."""
    if config.mixed_up(judged, caches):
        return False
    if config.training == "fine-tuned":
        return True
    return (features_of(config, judged, caches) or made_anew(config, judged, caches)) is not None


def attacked(index: Index) -> bool:
    """Whether a cache's images were changed for its own classifier."""
    return index.meaning.data.variant is not None and index.meaning.data.variant.kind == "attack"


def lacking(config: RunConfig, judged: Index, caches: Sequence[Index]) -> str:
    """The sentence that says which features, or unseen images, a run lacks in `judged`, and what makes them.

    caches: all there are, among which one of the oracle's may say how it is extracted.
    """
    if config.mixed_up(judged, caches):
        return (
            f"oracle {config.oracle} learnt from the {config.part.replace('-', ' ')} of {config.samples} images of "
            f"{config.data}, and which of the {judged.samples} of {judged.data} those are cannot be told: extract both "
            "with the same --subset"
        )
    data = config.data if attacked(judged) else judged.data
    of_oracle = [index for index in caches if index.identity == config.backbone]
    known = next((index for index in of_oracle if _holds(index, config)), None)
    command = _extract_command(config.backbone.name, data, known)
    if not known:
        stages = " --features stages" if config.stages or config.head.mirrored else ""
        command += f" --as {config.oracle}{stages}"
    # Features are not added to a cache that was made with fewer.
    poorer = next((index for index in of_oracle if index.data == data and not _holds(index, config)), None)
    first = f"remove {poorer.folder}, " if poorer else ""
    return (
        f"the features of oracle {config.oracle} on {judged.data} are not cached: {first}run `{command}`, then "
        "`trustcache evaluate`"
    )


def require_same_rows(judged: CacheView, features: CacheView) -> None:
    """Raise UsageError where two caches of the same images skipped different ones of them."""
    ours, theirs = judged.sample_indices, features.sample_indices
    if np.array_equal(ours, theirs):
        return
    apart = np.setxor1d(ours, theirs)
    raise UsageError(
        f"{features.index.folder}: {len(apart)} images are only there or only in {judged.index.folder}, because "
        "unreadable ones were skipped; remove both folders and extract them again with the same images"
    )


def _other_images(judged: Index, other: Index) -> str:
    """What tells the images of two caches apart, empty where nothing does."""
    ours, theirs = vars(judged.meaning.data), vars(other.meaning.data)
    for key in ("name", "samples", "variant", "fingerprint"):
        if ours[key] != theirs[key]:
            what = "their names, labels or sizes differ" if key == "fingerprint" else f"{ours[key]} and {theirs[key]}"
            return f"data.{key}, {what}"
    if attacked(judged):
        return "each was attacked for its own classifier"
    return ""


def _extract_command(asked: str, data: str, known: Index | None) -> str:
    """The extraction that makes a model's features of a data set, as in a cache of it where there is one."""
    options = extraction_options(known) if known else ["--classifier", asked]
    return shlex.join(["trustcache", "extract", *options, "--data", data])
