"""A workspace in the paper's terms: setups, data sets and their variants, pairs, and the runs that make up a row."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trustcache.cache.index import Index
from trustcache.cache.records import fingerprint
from trustcache.data.manifest import Manifest
from trustcache.losses import LOSSES, settings_of
from trustcache.models.timm_models import PAPER_MODELS, architecture
from trustcache.oracles.heads import LINEAR
from trustcache.oracles.presets.preset import papers_preset, read_preset
from trustcache.oracles.runs import RunConfig
from trustcache.protocols import PROTOCOLS, shows_as_released
from trustcache.report.comparison import table_key
from trustcache.report.records import Scored, manifests_of

SEEDS = 3
"""Number of runs behind a cell of the paper's tables."""

LEAST_VALUES = 3
"""Runs with fewer values of alpha- are no sweep."""

# What comes with trustcache, read once.
known_preset = functools.cache(read_preset)


def papers_head(config: RunConfig) -> bool:
    """Return True for an oracle of the paper's kind: a linear head on the last layer's features, trained on all data.

    The one place that decides which runs the paper's tables take.
    """
    return config.head == LINEAR and not config.part and not config.also


@dataclass(frozen=True)
class Setup:
    """The setup of one Table 1: a clean data set, one protocol, and oracles that were trained one way."""

    data: str
    protocol: str
    training: str

    def __str__(self) -> str:
        return f"{self.data} · {self.training} · protocol {self.protocol}"


@dataclass(frozen=True)
class Method:
    """A row of the paper's tables: a loss, or a score that needs no training.

    settings: the loss settings that define the row; the others are the usual ones. signed_distance: the head's form,
    None for the loss's own. start: the loss of the runs that its fine-tunings start from.
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
    def base(self) -> str:
        """The loss whose formula it has: that which it weighs, or its own."""
        return str(self.settings.get("base", self.loss))

    @property
    def signed(self) -> bool:
        return LOSSES.find(self.base).signed_distance if self.signed_distance is None else self.signed_distance

    def usual(self, architecture: str) -> dict[str, float | str]:
        """Return the loss's settings where none are asked for: the paper's for oracles of such an architecture."""
        known = settings_of(self.loss, str(self.settings.get("base", "")))
        papers = known_preset(papers_preset(architecture)).settings
        values = {key: papers.get(key, [setting.default])[0] for key, setting in known.items()}
        return values | dict(self.settings)


@dataclass(frozen=True)
class Found:
    """The records of one row on one data set, one a seed, lowest first; `others` are those of other settings."""

    scored: tuple[Scored, ...]
    others: tuple[tuple[Scored, ...], ...] = ()

    @property
    def first(self) -> Scored:
        return self.scored[0]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(one.record.seed for one in self.scored if one.record.seed is not None)


@dataclass(frozen=True)
class PaperIndex:
    """Everything scored, the indices of all caches, and the options of every command, found by the paper's terms."""

    scored: Sequence[Scored]
    indices: Sequence[Index] = ()
    place: Sequence[str] = ()

    @functools.cached_property
    def _cells(self) -> dict[tuple[str, str, str], list[Scored]]:
        cells: dict[tuple[str, str, str], list[Scored]] = {}
        for one in self.scored:
            cells.setdefault(table_key(one.record), []).append(one)
        return cells

    @functools.cached_property
    def manifests(self) -> dict[str, Manifest]:
        """The data sets that something is scored on, by name."""
        return manifests_of(self.scored)

    @functools.cached_property
    def trained(self) -> list[Scored]:
        """The runs that could be the paper's."""
        return [one for one in self.scored if one.run is not None and papers_head(one.config)]

    def setups(self) -> list[Setup]:
        """Return the setups that anything was trained for: by data set, `equations` first, frozen before fine-tuned."""
        found = set()
        for one in self.trained:
            manifest = self.manifests[one.record.dataset]
            clean = manifest.condition and manifest.variant_of
            found.add(Setup(clean or manifest.name, one.record.protocol, str(one.record.training)))
        return sorted(found, key=lambda setup: (setup.data, setup.protocol, setup.training != "frozen"))

    def variants(self, clean: str) -> list[Manifest]:
        """Return the data sets here whose images are changed ones of `clean`."""
        return [m for m in self.manifests.values() if m.variant_of == clean and m.condition]

    def classifiers(self, setup: Setup) -> list[str]:
        """Return the classifiers cached on the setup's data, the paper's first; of one model's those its runs use."""
        here = {one.record.classifier: one.index.identity for one in self.scored if one.record.dataset == setup.data}
        used = {name for pair in self._pairs_run(setup) for name in pair}
        fitting = {name for name, model in here.items() if shows_as_released(model) == (setup.protocol == "released")}
        models: dict[str, set[str]] = {}
        for label, model in here.items():
            key = fingerprint([model.name, model.architecture, model.arguments, model.state_sha256])
            models.setdefault(key, set()).add(label)
        chosen = [label for labels in models.values() for label in labels & used or labels & fitting or labels]
        places = {model: place for place, model in enumerate(PAPER_MODELS.values())}
        return sorted(chosen, key=lambda label: (places.get(architecture(here[label].name), len(places)), label))

    def pairs(self, setup: Setup) -> list[tuple[str, str]]:
        """Return (oracle, classifier): every pair of the classifiers, and those of oracles that are none themselves."""
        names = self.classifiers(setup)
        every = [(oracle, classifier) for oracle in names for classifier in names]
        return every + sorted(pair for pair in self._pairs_run(setup) if pair not in every)

    def first_pair(self, setup: Setup) -> tuple[str, str]:
        """Return the first pair of a model with itself that has runs (the paper's is ⟨ViT, ViT⟩), else the first."""
        run, pairs = self._pairs_run(setup), self.pairs(setup)
        own = [pair for pair in pairs if pair[0] == pair[1]]
        return next((pair for pair in [*own, *pairs] if pair in run), pairs[0])

    def _pairs_run(self, setup: Setup) -> set[tuple[str, str]]:
        names = {setup.data, *(manifest.name for manifest in self.variants(setup.data))}
        return {pair for name in names for pair in self._pairs.get((name, setup.protocol, setup.training), ())}

    @functools.cached_property
    def _pairs(self) -> dict[tuple[str, str, str], set[tuple[str, str]]]:
        """The pairs that anything was trained for, by data set, protocol and training."""
        found: dict[tuple[str, str, str], set[tuple[str, str]]] = {}
        for one in (one.record for one in self.trained):
            key = one.dataset, one.protocol, str(one.training)
            found.setdefault(key, set()).add((str(one.oracle), one.classifier))
        return found

    def cached(self, data: str, classifier: str) -> bool:
        """Return True if something is scored on that data set of that classifier."""
        return any((data, classifier) == key[:2] for key in self._cells)

    def index_of(self, classifier: str) -> Index | None:
        """Return a cache of a classifier, to read its identity off."""
        return next((index for index in self.indices if index.classifier == classifier), None)

    def architecture(self, classifier: str) -> str:
        """Return a classifier's architecture, its name where no cache of it is here."""
        index = self.index_of(classifier)
        return index.identity.architecture if index else classifier

    def has_timms_weights(self, state_sha256: str, judged: Index) -> bool:
        """Return True if a cache of the model, `judged` or another one, says that timm gave its weights, not a file."""
        return any(
            index.identity.state_sha256 == state_sha256 and index.made_from.weights is None
            for index in (judged, *self.indices)
        )

    def began_with(self, one: Scored) -> str:
        """Return the loss of the run that a fine-tuning started from, "" where it began with its model's weights."""
        start = one.config.start if one.run else ""
        return self._losses.get(start, "another run") if start else ""

    @functools.cached_property
    def _losses(self) -> dict[str, str]:
        return {one.record.run: one.record.method for one in self.scored if one.record.run}

    def find(
        self, setup: Setup, data: str, pair: tuple[str, str], method: Method, like: Found | None = None
    ) -> Found | None:
        """Return a row's records on one data set. Of several settings: the usual ones, the usual optimiser, most seeds.

        Settings trained as `like` was, the row that it is compared with, come before all these. Scores never decide: a
        row is not the best of many.
        """
        groups: dict[object, list[Scored]] = {}
        for one in self._cells.get((data, pair[1], setup.protocol), ()):
            if self._fits(one, setup, pair[0], method):
                groups.setdefault(json.dumps(one.record.settings, sort_keys=True), []).append(one)
        if not groups:
            return None
        ranked = sorted(groups.values(), key=lambda group: _preference(group, method, like), reverse=True)
        chosen, *others = (tuple(sorted(group, key=lambda one: one.record.seed or 0)) for group in ranked)
        return Found(chosen, tuple(others))

    def _fits(self, one: Scored, setup: Setup, oracle: str, method: Method) -> bool:
        record = one.record
        if method.score or one.run is None:
            return one.run is None and record.method == method.score and "rows" not in record.settings
        config = one.config
        start = method.start if setup.training == "fine-tuned" else ""
        return (
            (record.method, record.oracle, record.training) == (method.loss, oracle, setup.training)
            and papers_head(config)
            and config.signed_distance == method.signed
            and config.loss.settings.items() >= method.settings.items()
            and self.began_with(one) == start
        )


def is_papers(setup: Setup, protocol: str = "released") -> bool:
    """Return True for oracles trained as the paper's are, by the protocol that made one of its tables."""
    return (setup.training, setup.protocol) == ("fine-tuned", protocol)


def pair_name(pair: tuple[str, str]) -> str:
    """Return a pair as the paper writes it: oracle, then classifier."""
    return f"⟨{pair[0]}, {pair[1]}⟩"


def trained_alike(one: Scored, other: Scored) -> bool:
    """Return True if two runs differ only in the seed, the head's form, and settings that only one loss has."""
    a, b = one.config.loss.settings, other.config.loss.settings
    same = all(getattr(one.config, key) == getattr(other.config, key) for key in ("optimiser", "val_fraction"))
    return same and all(a[key] == b[key] for key in a.keys() & b.keys())


def sweep_key(one: Scored) -> str:
    """Return what runs of ss that make up a sweep share: all but alpha- and the seed; "" for a run of no sweep."""
    config = one.config
    if config.loss.name != "ss" or config.start:
        return ""
    settings = {key: value for key, value in config.loss.settings.items() if key != "alpha_neg"}
    alike = {key: value for key, value in vars(config).items() if key not in ("loss", "seed")}
    return json.dumps([one.record.dataset, settings, alike], sort_keys=True, default=str)


def _preference(group: Sequence[Scored], method: Method, like: Found | None) -> tuple[Any, ...]:
    one = group[0]
    if one.run is None:
        return (True,)
    config = one.config
    usual = [PROTOCOLS[config.protocol].optimiser(config.training == "frozen", one.learnt_from)]
    if config.training == "fine-tuned":
        papers = known_preset(papers_preset(config.backbone.architecture)).fine_tuning
        usual += [papers] if papers else []
    return (
        like is not None and trained_alike(one, like.first),
        config.loss.settings == method.usual(config.backbone.architecture),
        config.optimiser in usual,
        len(group),
        # Last, so that equal ones are told apart the same way each time.
        json.dumps(one.record.settings, sort_keys=True),
    )
