"""The commands that fill a gap of a table, with the options of the runs and caches beside it."""

from __future__ import annotations

import itertools
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import fields, replace

from trustcache.cache.index import Index
from trustcache.command_lines import Command, Evaluation, Extraction, Training, extraction_options, setting_words
from trustcache.data.splits import VAL_FRACTION
from trustcache.data.suites import suite_of
from trustcache.extract.settings import ExtractSettings
from trustcache.losses import LOSSES, loss_settings
from trustcache.models.timm_models import PAPER_MODELS
from trustcache.models.zoo.registry import without_dropout
from trustcache.oracles.presets.preset import papers_preset, small_scale_preset
from trustcache.paper.paper_index import SEEDS, Found, Method, PaperIndex, Setup, known_preset
from trustcache.paper.recipes import model_name
from trustcache.protocols import PROTOCOLS, Optimiser, shows_as_released
from trustcache.registry import option_name
from trustcache.report.records import Scored

_DEMO = "digits"
"""The suite of the demo's data sets."""


def fill(
    paper: PaperIndex, setup: Setup, data: str, pair: tuple[str, str], method: Method, found: Found | None
) -> list[Command]:
    """Return what fills a row: its data set, its scores, or its runs where there are fewer than three seeds."""
    if found and (method.score or len(found.seeds) >= SEEDS):
        return []
    if not paper.cached(data, pair[1]):
        return [extraction(paper, pair[1], (data,))]
    if method.score == "mc-dropout":
        return [] if no_dropout(paper, pair[1]) else [extraction(paper, pair[1], (data,), "--mc-dropout", "50")]
    if method.score:
        return [Evaluation()]
    elsewhere = paper.find(setup, setup.data, pair, method) if data != setup.data else None
    if elsewhere and (found is None or len(elsewhere.seeds) > len(found.seeds)):
        return [*_features(paper, setup, data, pair[0]), Evaluation()]
    there = found.seeds if found else ()
    seeds = tuple(seed for seed in range(SEEDS + len(there)) if seed not in there)[: SEEDS - len(there)]
    return [training(paper, setup, pair, method, seeds, found)]


def no_dropout(paper: PaperIndex, classifier: str) -> bool:
    """Return True for a classifier of the workspace that is known to have no dropout to ask it with."""
    index = paper.index_of(classifier)
    return index is not None and without_dropout(index.identity.name, index.identity.arguments)


def _features(paper: PaperIndex, setup: Setup, data: str, oracle: str) -> list[Command]:
    """Return the extraction of the features that heads read; those of attacked images are made when scored."""
    attacked = paper.manifests[data].condition == "adversarial"
    if setup.training != "frozen" or attacked or paper.cached(data, oracle) or not paper.index_of(oracle):
        return []
    return [extraction(paper, oracle, (data,))]


def training(
    paper: PaperIndex,
    setup: Setup,
    pair: tuple[str, str],
    method: Method,
    seeds: tuple[int, ...],
    found: Found | None = None,
    swept: Mapping[str, Sequence[float]] | None = None,
) -> Training:
    """Return the training of one method's runs: as `found` was trained, else as the runs most like it were.

    swept: lists of values of the loss's settings, in place of one each.
    """
    oracle, classifier = pair
    like = found.first if found else _likest(paper, setup, pair, method)
    settings = {key: [value] for key, value in _loss_settings(paper, pair, method, found, like).items()}
    settings |= {key: [*values] for key, values in (swept or {}).items()}
    preset, optimised = _optimisation(method, setup, paper.architecture(oracle), found, like)
    words = ["--classifier", classifier]
    words += ["--oracle", oracle] if oracle != classifier else []
    words += ["--data", like.config.data] if like else []
    words += ["--frozen"] if setup.training == "frozen" else []
    words += ["--protocol", setup.protocol] if setup.protocol != "equations" else []
    words += ["--preset", preset] if preset else []
    after = _loss_options(method, settings, preset, set(swept or ()))
    after += ["--start", method.start] if method.start and setup.training == "fine-tuned" else []
    base = (method.base,) if "base" in method.settings else ()
    return Training((*words, *optimised), (method.loss,), seeds, tuple(after), base)


def _likest(paper: PaperIndex, setup: Setup, pair: tuple[str, str], method: Method) -> Scored | None:
    """Find a run to take after: of the same loss (or base) and pair, else of the same oracle, else any."""
    weighing = [name for name in LOSSES if "base" in LOSSES[name].settings]
    methods: list[Method] = []
    for name in sorted(LOSSES.keys() - weighing, key=lambda name: (name != method.base, [*LOSSES].index(name))):
        methods += (Method(name, loss=name, signed_distance=signed) for signed in (None, True, False))
        methods += (Method(other, loss=other, settings={"base": name}) for other in weighing)
    pairs = sorted(paper.pairs(setup), key=lambda other: (other != pair, other[0] != pair[0]))
    own = [other for other in pairs if other[0] == pair[0]]
    tries = [*itertools.product(methods, own), *itertools.product(methods, pairs)]
    found = (paper.find(setup, setup.data, other, one) for one, other in tries)
    return next((one.first for one in found if one), None)


def _loss_settings(
    paper: PaperIndex, pair: tuple[str, str], method: Method, found: Found | None, like: Scored | None
) -> dict[str, float | str]:
    """Return a method's loss settings: those of a run of that loss or its base, else the usual ones of its oracle."""
    if method.start and not found:  # its preset has them
        return {}
    settings = method.usual(paper.architecture(pair[0]))
    trained = like.config.loss if like and like.record.oracle == pair[0] else None
    if trained and trained.name in (method.loss, method.settings.get("base")):
        own = settings.keys() & trained.settings.keys() - method.settings.keys()
        settings |= {key: trained.settings[key] for key in own}
    return settings


def _loss_options(
    method: Method, settings: Mapping[str, Sequence[float | str]], preset: str, swept: Set[str]
) -> list[str]:
    """Return the options of settings that are not what `train` takes by itself, and of the head's form."""
    usual, known = known_preset(preset).settings if preset else {}, loss_settings()
    words = []
    for key, given in settings.items():
        default = known[key].default if key in known else None
        if key != "base" and (key in swept or [*given] != usual.get(key, [default])):
            words += setting_words(key, given)
    if method.signed_distance is not None:
        words.append("--signed-distance" if method.signed_distance else "--no-signed-distance")
    return words


def _optimisation(
    method: Method, setup: Setup, architecture: str, found: Found | None, like: Scored | None
) -> tuple[str, list[str]]:
    """Return the preset and the options that make `train` optimise as a run was optimised, on as many samples."""
    if method.start and not found:
        return small_scale_preset(setup.data), []
    papers = papers_preset(architecture)
    if like is None:
        return (papers if setup.training == "fine-tuned" else ""), []
    config = like.config
    usual = PROTOCOLS[setup.protocol].optimiser(config.training == "frozen", like.learnt_from)
    bases = {"": usual}
    if config.training == "fine-tuned":
        tuned = {name: known_preset(name).fine_tuning or usual for name in (papers, "paper-cifar10", "paper-mnist")}
        # The paper's own optimiser comes with its preset, which says more.
        bases = {papers: tuned[papers]} | bases | tuned if config.protocol == "released" else bases | tuned
    made = ((name, _changes(config.optimiser, base)) for name, base in bases.items())
    # Only a user's own preset gives an optimiser that none of these do.
    preset, words = next(((name, words) for name, words in made if words is not None), ("", []))
    fraction = known_preset(preset).val_fraction if preset else None
    if config.val_fraction != (VAL_FRACTION if fraction is None else fraction):
        words = [*words, "--val-fraction", _number(config.val_fraction)]
    return preset, words


def _changes(optimiser: Optimiser, base: Optimiser) -> list[str] | None:
    """Return the options that turn one optimiser into another, None where none do."""
    if base.cycle_momentum and not optimiser.cycle_momentum:  # a momentum that is given ends its cycle
        base = replace(base, momentum=math.nan, cycle_momentum=False)
    changed = [one for one in fields(Optimiser) if getattr(optimiser, one.name) != getattr(base, one.name)]
    if any("help" not in one.metadata or (one.name == "momentum" and optimiser.cycle_momentum) for one in changed):
        return None
    options = ((option_name(one.name, Optimiser), _number(getattr(optimiser, one.name))) for one in changed)
    return [word for option in options for word in option]


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.12g}"


def extraction(paper: PaperIndex, classifier: str, data: Sequence[str], *options: str) -> Extraction:
    """Return the extraction of data sets by a classifier of the workspace, with the options that made its caches."""
    index = paper.index_of(classifier)
    words = ["--classifier", classifier]
    if index is not None:
        words = extraction_options(index)
        tests = [i for i in paper.indices if i.classifier == classifier and i.role == "test"]
        words += _subset([i for i in tests if i.data in data] or tests)
    return Extraction((*words, *options), tuple(data))


def _subset(indices: Iterable[Index]) -> list[str]:
    """Return the option that makes extractions as small as the first of some caches."""
    thinned = next((index.manifest.thinned_to for index in indices), None)
    return ["--subset", str(thinned)] if thinned else []


def reproduce_options(paper: PaperIndex, papers: Setup | None = None) -> list[str] | None:
    """Return the options of `reproduce` that make artefacts on this workspace's data, None where it has no such data.

    With nothing trained they are for the paper's own data and models. They are of the setups of one data set, and of
    heads where it has any: what was fine-tuned beside them, as Table 2 is, leaves them in use.

    papers: a setup whose data and models are to be used in the paper's own way, fine-tuned by protocol released.
    """
    words: list[str] = []
    setups = [papers] if papers else paper.setups()
    # The demo's digits stand for no other data in its workspace.
    setups = [setup for setup in setups if suite_of(setup.data) != _DEMO] or setups
    setups = [setup for setup in setups if setup.data == setups[0].data]
    setups = [setup for setup in setups if setup.training == "frozen"] or setups
    if setups:
        family = suite_of(setups[0].data)
        if not family:
            return None
        indices = map(paper.index_of, paper.classifiers(setups[0]))
        models = [shlex.join(as_named(index, papers is not None)) for index in indices if index]
        if family != "imagenet" or models != [*PAPER_MODELS][: len(models)]:
            words += ["--data", family, *(word for model in models for word in ("--classifier", model))]
        protocols = {"released"} if papers else {setup.protocol for setup in setups}
        if protocols != {"released"}:
            words += ["--protocol", "both" if len(protocols) > 1 else protocols.pop()]
        words += ["--frozen"] if setups[0].training == "frozen" and not papers else []
        words += _subset(i for i in paper.indices if i.data == setups[0].data)
    return [*words, *paper.place]


def as_named(index: Index, for_released: bool = False) -> list[str]:
    """Return a cache's classifier as `reproduce` takes it, without the options that a protocol adds by itself.

    for_released: it is to be extracted by protocol released, whose preprocessing given options would replace.
    """
    words, released = extraction_options(index)[1:], shows_as_released(index.identity)
    kept, name = words[:1], model_name(index.classifier, "released" if released else "equations")
    left_out = {"--protocol", "--as"} | ({"--preprocess"} if released else set())
    options: list[list[str]] = []  # each with its value, where it takes one
    for word in words[1:]:
        options += [[word]] if word.startswith("--") else []
        options[-1] += [] if word.startswith("--") else [word]
    replaced = PROTOCOLS["released"].preprocessing if for_released else {}
    for option, *value in options:
        overrides = option == "--preprocess" and value[0].partition("=")[0] in replaced
        kept += [] if option in left_out or overrides else [option, *value]
    if index.meaning.shard_rows != ExtractSettings.shard_rows:
        kept += ["--shard-rows", str(index.meaning.shard_rows)]
    return kept if name == kept[0] else [*kept, "--as", name]
