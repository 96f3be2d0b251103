"""What fills a gap: the commands that a missing row needs, with the options of the runs and caches beside it."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace

from trustcache.cache.index import Index
from trustcache.cache.workspace import plain_name
from trustcache.command_lines import extraction_options
from trustcache.data.splits import VAL_FRACTION
from trustcache.data.suites import suite_of
from trustcache.extract import ExtractSettings
from trustcache.losses import LOSSES
from trustcache.models.timm_models import PAPER_MODELS
from trustcache.oracles.presets.preset import papers_preset, small_scale_preset
from trustcache.oracles.runs import RunConfig
from trustcache.paper.commands import Evaluation, Extraction, Need, Training
from trustcache.paper.evidence import SEEDS, Evidence, Found, Method, Stage, known_preset
from trustcache.protocols import PROTOCOLS, Optimiser, shows_as_released
from trustcache.report.records import Scored
from trustcache.training_settings import LOSS_SETTINGS


def needs_of(
    evidence: Evidence, stage: Stage, data: str, pair: tuple[str, str], method: Method, found: Found | None
) -> list[Need]:
    """What fills a row's gap: its data set, its scores, or its runs as far as there are fewer than three seeds."""
    if found and (method.score or len(found.seeds) >= SEEDS):
        return []
    if not evidence.cached(data, pair[1]):
        return [extraction(evidence, pair[1], (data,))]
    if method.score:
        if method.score == "mc-dropout":
            return [extraction(evidence, pair[1], (data,), "--mc-dropout", "50")]
        return [Evaluation()]
    elsewhere = evidence.find(stage, stage.data, pair, method) if data != stage.data else None
    if elsewhere and (found is None or len(elsewhere.seeds) > len(found.seeds)):
        return [*_features(evidence, stage, data, pair[0]), Evaluation()]
    there = found.seeds if found else ()
    seeds = tuple(seed for seed in range(SEEDS + len(there)) if seed not in there)[: SEEDS - len(there)]
    return [training(evidence, stage, pair, method, seeds, found)]


def _features(evidence: Evidence, stage: Stage, data: str, oracle: str) -> list[Need]:
    """The extraction of the oracle's features, which heads read; those of attacked images are made when scored."""
    attacked = evidence.manifests[data].condition == "adversarial"
    if stage.training != "frozen" or attacked or evidence.cached(data, oracle) or not evidence.index_of(oracle):
        return []
    return [extraction(evidence, oracle, (data,))]


def training(
    evidence: Evidence,
    stage: Stage,
    pair: tuple[str, str],
    method: Method,
    seeds: tuple[int, ...],
    found: Found | None = None,
    swept: Mapping[str, Sequence[float]] | None = None,
) -> Training:
    """The training of one method's runs: as `found` was trained, else as the runs were that are likest to them.

    swept: lists of values of the loss's settings, in place of one each.
    """
    oracle, classifier = pair
    like = found.first if found else _likest(evidence, stage, pair, method)
    settings = {key: [value] for key, value in _loss_settings(evidence, stage, pair, method, found, like).items()}
    settings |= {key: [*values] for key, values in (swept or {}).items()}
    words = ["trustcache", "train", "--classifier", classifier]
    if oracle != classifier:
        words += ["--oracle", oracle]
    if like and like.config:
        words += ["--data", like.config.data]
    words += ["--frozen"] if stage.training == "frozen" else []
    words += ["--protocol", stage.protocol] if stage.protocol != "equations" else []
    preset, optimised = _optimisation(method, stage, evidence.architecture(oracle), found, like)
    words += ["--preset", preset] if preset else []
    after = _loss_options(method, settings, preset, set(swept or ()))
    if method.start and stage.training == "fine-tuned":
        after += ["--start", method.start]
    base = (str(method.settings["base"]),) if "base" in method.settings else ()
    return Training((*words, *optimised), (method.loss,), seeds, tuple(after), base)


def _likest(evidence: Evidence, stage: Stage, pair: tuple[str, str], method: Method) -> Scored | None:
    """A run of the stage to take after: of the same loss (or base) and pair, else of the same oracle, else any."""
    own = str(method.settings.get("base", method.loss))
    names = [own, *(name for name in LOSSES if name not in (own, "class-balanced"))]
    methods = [
        made
        for name in names
        for made in (
            *(Method(name, loss=name, signed_distance=signed) for signed in (None, True, False)),
            Method(name, loss="class-balanced", settings={"base": name}),
        )
    ]
    pairs = sorted(evidence.pairs(stage), key=lambda other: (other != pair, other[0] != pair[0]))
    own_oracle = [other for other in pairs if other[0] == pair[0]]
    tries = itertools.chain(itertools.product(methods, own_oracle), itertools.product(methods, pairs))
    found = (evidence.find(stage, stage.data, other, one) for one, other in tries)
    return next((one.first for one in found if one), None)


def _loss_settings(
    evidence: Evidence,
    stage: Stage,
    pair: tuple[str, str],
    method: Method,
    found: Found | None,
    like: Scored | None,
) -> dict[str, float | str]:
    """The settings of a method's loss: those of a run of that loss or its base, else the usual ones of such oracles."""
    if method.start and not found:  # its preset has them
        return {}
    settings = method.usual(evidence.architecture(pair[0]))
    taught = like.config.loss if like and like.config and like.record.oracle == pair[0] else None
    if taught and taught.name in (method.loss, method.settings.get("base")):
        own = settings.keys() & taught.settings.keys() - method.settings.keys()
        settings |= {key: taught.settings[key] for key in own}
    return settings


def _loss_options(
    method: Method, settings: Mapping[str, Sequence[float | str]], preset: str, swept: Set[str]
) -> list[str]:
    """The options of a loss's settings, where they are not what `train` takes by itself, and of the head's form."""
    usual = known_preset(preset).settings if preset else {}
    words = []
    for key, given in settings.items():
        default = LOSS_SETTINGS[key].default if key in LOSS_SETTINGS else None
        if key != "base" and (key in swept or [*given] != usual.get(key, [default])):
            words += [f"--{key.replace('_', '-')}", ",".join(_number(value) for value in given)]
    if method.signed_distance is not None:
        words.append("--signed-distance" if method.signed_distance else "--no-signed-distance")
    return words


def _optimisation(
    method: Method, stage: Stage, architecture: str, found: Found | None, like: Scored | None
) -> tuple[str, list[str]]:
    """The preset and the options that make `train` optimise as a run was optimised, on as many of the samples."""
    if method.start and not found:
        return small_scale_preset(stage.data), []
    if like is None or like.config is None:
        return (papers_preset(architecture), []) if stage.training == "fine-tuned" else ("", [])
    config = like.config
    usual = PROTOCOLS[stage.protocol].optimiser(config.training == "frozen", like.origin.learnt_from)
    preset, words = _told(config, usual, papers_preset(architecture))
    fraction = known_preset(preset).val_fraction if preset else None
    if config.val_fraction != (VAL_FRACTION if fraction is None else fraction):
        words += ["--val-fraction", _number(config.val_fraction)]
    return preset, words


def _told(config: RunConfig, usual: Optimiser, papers: str) -> tuple[str, list[str]]:
    """A preset ("" for none) and options that give a run's optimiser; what a preset of the user's gave has no words."""
    bases = [("", usual)]
    if config.training == "fine-tuned":
        tuned = [(n, known_preset(n).fine_tuning or usual) for n in (papers, "paper-cifar10", "paper-mnist")]
        # The paper's own optimiser comes with its preset, which says more.
        bases = [*tuned[:1], *bases, *tuned[1:]] if config.protocol == "released" else [*bases, *tuned]
    for preset, base in bases:
        if (words := _apart(config.optimiser, base)) is not None:
            return preset, words
    return "", []


def _apart(optimiser: Optimiser, base: Optimiser) -> list[str] | None:
    """The options that turn one optimiser into another, None where none do."""
    changed = {key: getattr(optimiser, key) for key in ("epochs", "batch_size", "lr")}
    by_hand = (optimiser.momentum, optimiser.cycle_momentum) != (base.momentum, base.cycle_momentum)
    if by_hand and not optimiser.cycle_momentum:
        changed["momentum"] = optimiser.momentum
    if replace(base, **changed, cycle_momentum=base.cycle_momentum and "momentum" not in changed) != optimiser:
        return None
    told = {key: value for key, value in changed.items() if key == "momentum" or value != getattr(base, key)}
    return [word for key, value in told.items() for word in (f"--{key.replace('_', '-')}", _number(value))]


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.12g}"


def extraction(evidence: Evidence, classifier: str, data: Sequence[str], *options: str) -> Extraction:
    """The extraction of data sets by a classifier of the workspace, with the options that made its caches."""
    index = evidence.index_of(classifier)
    words = ["trustcache", "extract", "--classifier", classifier]
    if index is not None:
        words = ["trustcache", "extract", *extraction_options(index)]
        words += _subset(i for i in evidence.indices if i.classifier == classifier and i.role == "test")
    return Extraction((*words, *options), tuple(data))


def _subset(indices: Iterable[Index]) -> list[str]:
    """The option that makes extractions as small as the first of some caches."""
    thinned = next((index.manifest().thinned_to for index in indices), None)
    return ["--subset", str(thinned)] if thinned else []


def reproduction(evidence: Evidence) -> list[str] | None:
    """The options of `reproduce` that make an artefact on this workspace's data, None where no recipe is for those.

    With nothing trained it is the paper's own data and models.
    """
    words: list[str] = []
    stages = evidence.stages()
    if stages:
        family = suite_of(stages[0].data)
        if not family:
            return None
        names = evidence.classifiers(stages[0])
        models = [shlex.join(_as_named(index)) for name in names if (index := evidence.index_of(name))]
        if family != "imagenet" or models != [*PAPER_MODELS][: len(models)]:
            words += ["--data", family, *(word for model in models for word in ("--classifier", model))]
        protocols = {stage.protocol for stage in stages}
        if protocols != {"released"}:
            words += ["--protocol", "both" if len(protocols) > 1 else protocols.pop()]
        words += ["--frozen"] if all(stage.training == "frozen" for stage in stages) else []
        words += _subset(i for i in evidence.indices if i.data == stages[0].data)
    return [*words, *evidence.place]


def _as_named(index: Index) -> list[str]:
    """A cache's classifier as `reproduce` is told of it; what a protocol adds, that adds by itself."""
    words, released = extraction_options(index)[1:], shows_as_released(index.meaning["classifier"])
    kept = words[:1]
    told = {"--protocol", "--as"} | ({"--preprocess"} if released else set())
    options = zip(words[1::2], words[2::2], strict=True)
    kept += [word for option, value in options if option not in told for word in (option, value)]
    if index.shard_rows != ExtractSettings().shard_rows:
        kept += ["--shard-rows", str(index.shard_rows)]
    name = index.classifier.removesuffix("-released") if released else index.classifier
    return kept if name == plain_name(kept[0]) else [*kept, "--as", name]
