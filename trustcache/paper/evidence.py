"""What a workspace holds, in the paper's terms: data sets and their variants, pairs, and which runs make up a row."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trustcache.cache.index import Index
from trustcache.data.known_data import packaged_manifests
from trustcache.data.manifest import Manifest
from trustcache.losses import LossChoice, settings_of
from trustcache.oracles.heads import LINEAR
from trustcache.oracles.presets.preset import Preset, papers_preset, read_preset
from trustcache.oracles.runs import RunConfig
from trustcache.protocols import PROTOCOLS, shows_as_released
from trustcache.report.records import Record, Scored

SEEDS = 3
"""Runs a cell of the paper's tables goes over."""


def papers_head(config: RunConfig) -> bool:
    """Whether a run is an oracle of the paper's kind: a linear head on the last layer's features, taught on all data.

    The one place that decides which runs its tables take.
    """
    return config.head == LINEAR and not config.part and not config.also


@dataclass(frozen=True)
class Stage:
    """What one Table 1 is of: a clean data set, under one protocol, with oracles that were trained one way."""

    data: str
    protocol: str
    training: str

    def __str__(self) -> str:
        return f"{self.data} · {self.training} · protocol {self.protocol}"


@dataclass(frozen=True)
class Method:
    """A row of the paper's tables: a loss, or a score that needs no training.

    settings: those of the loss that make the row; the others are the usual ones. signed_distance: the head's form, None
    for the loss's own. start: the loss of the runs that its fine-tunings go on from.
    """

    label: str
    loss: str = ""
    score: str = ""
    settings: Mapping[str, float | str] = field(default_factory=dict)
    signed_distance: bool | None = None
    start: str = ""

    @property
    def name(self) -> str:
        return self.loss or self.score

    @property
    def signed(self) -> bool:
        if self.signed_distance is not None:
            return self.signed_distance
        return LossChoice(self.loss, dict(self.settings)).core.signed_distance

    def usual(self, architecture: str) -> dict[str, float | str]:
        """The loss's settings where none are asked for: the paper's for oracles of an architecture of that kind."""
        known = settings_of(self.loss, str(self.settings.get("base", "")))
        papers = known_preset(papers_preset(architecture)).settings
        values = {key: papers.get(key, [setting.default])[0] for key, setting in known.items()}
        return values | dict(self.settings)


@dataclass(frozen=True)
class Found:
    """The records of one row on one data set, one a seed, lowest first; `others` are rows with other settings."""

    scored: tuple[Scored, ...]
    others: tuple[Record, ...] = ()

    @property
    def first(self) -> Scored:
        return self.scored[0]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(one.record.seed for one in self.scored if one.record.seed is not None)


@dataclass(frozen=True)
class Evidence:
    """Everything scored, the indices of all caches, and the options that make a command work in this workspace."""

    scored: Sequence[Scored]
    indices: Sequence[Index] = ()
    place: Sequence[str] = ()
    _cells: dict[tuple[str, str, str], list[Scored]] = field(default_factory=dict, compare=False)
    _losses: dict[str, str] = field(default_factory=dict, compare=False)
    _here: set[tuple[str, str]] = field(default_factory=set, compare=False)

    def __post_init__(self) -> None:
        for one in self.scored:
            r = one.record
            self._cells.setdefault((r.dataset, r.classifier, r.protocol), []).append(one)
            self._here.add((r.dataset, r.classifier))
            if r.run:
                self._losses[r.run] = r.method

    @functools.cached_property
    def manifests(self) -> dict[str, Manifest]:
        """The data sets that something is scored on; of those that an older trustcache extracted, as known today."""
        known = {manifest.name: manifest for manifest in known_manifests()}
        found = {}
        for index in {one.record.dataset: one.origin.index for one in self.scored}.values():
            manifest = index.manifest
            today = known.get(manifest.name, manifest)
            found[manifest.name] = today if today.variant_of and not manifest.variant_of else manifest
        return found

    def trained(self) -> Iterable[Scored]:
        """The runs that could be the paper's."""
        return (one for one in self.scored if one.config is not None and papers_head(one.config))

    def stages(self) -> list[Stage]:
        """All that anything was trained for, clean data sets by name, `equations` first, frozen before fine-tuned."""
        found = set()
        for one in self.trained():
            manifest = self.manifests[one.record.dataset]
            clean = manifest.variant_of if manifest.condition else manifest.name
            found.add(Stage(clean or manifest.name, one.record.protocol, str(one.record.training)))
        return sorted(found, key=lambda stage: (stage.data, stage.protocol, stage.training != "frozen"))

    def variants(self, clean: str) -> list[Manifest]:
        """The data sets here whose images were those of `clean` before they were changed."""
        return [m for m in self.manifests.values() if m.variant_of == clean and m.condition]

    def classifiers(self, stage: Stage) -> list[str]:
        """Whose answers on the stage's data are cached, ViTs first; of one model's caches those that the runs take."""
        here = {one.record.classifier: one.origin.index for one in self.scored if one.record.dataset == stage.data}
        used = {name for pair in self._pairs_run(stage) for name in pair}
        models: dict[str, list[str]] = {}
        for label, index in here.items():
            models.setdefault(_model(index), []).append(label)
        chosen = []
        for labels in models.values():
            fitting = [label for label in labels if label in used]
            wanted = stage.protocol == "released"
            fitting = fitting or [label for label in labels if shows_as_released(here[label].identity) == wanted]
            chosen += fitting or labels
        return sorted(chosen, key=_model_order)

    def pairs(self, stage: Stage) -> list[tuple[str, str]]:
        """(oracle, classifier): every pair of the classifiers, and those of oracles that are none themselves."""
        names = self.classifiers(stage)
        every = [(oracle, classifier) for oracle in names for classifier in names]
        return every + sorted(pair for pair in self._pairs_run(stage) if pair not in every)

    def first_pair(self, stage: Stage) -> tuple[str, str]:
        """The first pair of an oracle with itself that has runs (the paper's is ⟨ViT, ViT⟩), else the first at all."""
        run, pairs = self._pairs_run(stage), self.pairs(stage)
        own = [pair for pair in pairs if pair[0] == pair[1]]
        return next((pair for pair in [*own, *pairs] if pair in run), pairs[0])

    def _pairs_run(self, stage: Stage) -> set[tuple[str, str]]:
        names = {stage.data, *(manifest.name for manifest in self.variants(stage.data))}
        return {
            (str(one.record.oracle), one.record.classifier)
            for one in self.trained()
            if one.record.dataset in names
            and (one.record.protocol, one.record.training) == (stage.protocol, stage.training)
        }

    def cached(self, data: str, classifier: str) -> bool:
        """Whether something is scored on that data set of that classifier."""
        return (data, classifier) in self._here

    def index_of(self, classifier: str) -> Index | None:
        """A cache of a classifier, to read its identity off."""
        return next((index for index in self.indices if index.classifier == classifier), None)

    def architecture(self, classifier: str) -> str:
        """A classifier's architecture, its name where no cache of it is here."""
        index = self.index_of(classifier)
        return index.identity.architecture if index else classifier

    def has_timms_weights(self, state_sha256: str, judged: Index) -> bool:
        """Whether a model has weights that no file gave it: so says a cache of it, be it `judged` or another one."""
        return any(
            index.identity.state_sha256 == state_sha256 and index.made_from.weights is None
            for index in (judged, *self.indices)
        )

    def began_with(self, one: Scored) -> str:
        """The loss of the run that a fine-tuning went on from, "" where it began with its model's own weights."""
        start = one.config.start if one.config else ""
        return self._losses.get(start, "another run") if start else ""

    def find(
        self, stage: Stage, data: str, pair: tuple[str, str], method: Method, like: Found | None = None
    ) -> Found | None:
        """A row's records on one data set. Of several settings: the usual ones, the usual optimiser, the most seeds.

        Before all that come settings in which it was trained as `like` was, the row that it is compared with. What was
        scored never decides: a row is not the best of many.
        """
        groups: dict[object, list[Scored]] = {}
        for one in self._cells.get((data, pair[1], stage.protocol), ()):
            if self._fits(one, stage, pair[0], method):
                groups.setdefault(json.dumps(one.record.settings, sort_keys=True), []).append(one)
        if not groups:
            return None

        def preference(group: list[Scored]) -> tuple[Any, ...]:
            return bool(like and trained_alike(group[0], like.first)), *_preference(group, method)

        ranked = sorted(groups.values(), key=preference, reverse=True)
        chosen = sorted(ranked[0], key=lambda one: one.record.seed or 0)
        return Found(tuple(chosen), tuple(group[0].record for group in ranked[1:]))

    def _fits(self, one: Scored, stage: Stage, oracle: str, method: Method) -> bool:
        record, config = one.record, one.config
        if method.score or config is None:
            return config is None and record.method == method.score and "rows" not in record.settings
        start = method.start if stage.training == "fine-tuned" else ""
        return (
            (record.method, record.oracle, record.training) == (method.loss, oracle, stage.training)
            and papers_head(config)
            and config.signed_distance == method.signed
            and config.loss.settings.items() >= method.settings.items()
            and self.began_with(one) == start
        )


def pair_name(pair: tuple[str, str]) -> str:
    """A pair as the paper writes it: oracle, then classifier."""
    return f"⟨{pair[0]}, {pair[1]}⟩"


def trained_alike(one: Scored, other: Scored) -> bool:
    """Whether two runs differ in nothing but the seed, the head's form, and what only one of their losses has."""
    if one.config is None or other.config is None:
        return False
    a, b = one.config.loss.settings, other.config.loss.settings
    same = all(getattr(one.config, key) == getattr(other.config, key) for key in ("optimiser", "val_fraction"))
    return same and all(a[key] == b[key] for key in a.keys() & b.keys())


@functools.cache
def known_manifests() -> tuple[Manifest, ...]:
    """The data sets that trustcache knows."""
    return tuple(packaged_manifests())


@functools.cache
def known_preset(name: str) -> Preset:
    """A preset that comes with trustcache, read once."""
    return read_preset(name)


def _model(index: Index) -> str:
    i = index.identity
    return json.dumps([i.name, i.architecture, i.arguments, i.state_sha256], sort_keys=True)


def _model_order(label: str) -> tuple[bool, str]:
    return "vit" not in label.lower(), label


def _preference(group: Sequence[Scored], method: Method) -> tuple[Any, ...]:
    one = group[0]
    if one.config is None:
        return (True,)
    config, origin = one.config, one.origin
    usual = [PROTOCOLS[config.protocol].optimiser(config.training == "frozen", origin.learnt_from)]
    if config.training == "fine-tuned":
        papers = known_preset(papers_preset(config.backbone.architecture)).fine_tuning
        usual += [papers] if papers else []
    return (
        config.loss.settings == method.usual(config.backbone.architecture),
        config.optimiser in usual,
        len(group),
        # Last, so that equal ones are told apart the same way each time.
        json.dumps(one.record.settings, sort_keys=True),
    )
