"""The commands that fill gaps: what a missing row needs, and as few lines as possible for many of them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trustcache.cache.index import Index
from trustcache.oracles import Optimiser
from trustcache.origins import extraction_options
from trustcache.protocols import PROTOCOLS
from trustcache.report.paper.evidence import PAPER_PRESETS, SEEDS, Evidence, Found, Method, Stage

EVALUATE = "trustcache evaluate"


@dataclass(frozen=True)
class Training:
    """Runs to train: those that share `words`, seeds and what comes `after` become one command with a list of losses.

    bases: of class-balanced, the losses it weighs.
    """

    words: tuple[str, ...]
    losses: tuple[str, ...]
    seeds: tuple[int, ...]
    after: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()

    def command(self) -> str:
        seeds = ",".join(map(str, self.seeds))
        base = ["--base", ",".join(self.bases)] if set(self.bases) - {"ce"} else []
        return shlex.join([*self.words, "--loss", ",".join(self.losses), *base, *self.after, "--seed", seeds])


@dataclass(frozen=True)
class Extraction:
    """Data sets to extract: those of one classifier become one command."""

    words: tuple[str, ...]
    data: tuple[str, ...]

    def command(self) -> str:
        return shlex.join([*self.words, *(word for name in self.data for word in ("--data", name))])


@dataclass(frozen=True)
class Evaluation:
    """Runs that are trained already, to be scored."""

    def command(self) -> str:
        return EVALUATE


Need = Training | Extraction | Evaluation


def commands(needs: Iterable[Need]) -> tuple[str, ...]:
    """The commands for all needs, merged, in the order they are to be run: extractions, trainings, then the scoring."""
    extractions: dict[tuple[str, ...], Extraction] = {}
    trainings: dict[tuple[Any, ...], Training] = {}
    unscored = False
    for need in needs:
        if isinstance(need, Extraction):
            known = extractions.get(need.words, replace(need, data=()))
            extractions[need.words] = replace(need, data=tuple(dict.fromkeys(known.data + need.data)))
        elif isinstance(need, Training):
            key = (need.words, need.seeds, need.after)
            planned = trainings.get(key, replace(need, losses=(), bases=()))
            losses, bases = planned.losses + need.losses, planned.bases + need.bases
            trainings[key] = replace(need, losses=tuple(dict.fromkeys(losses)), bases=tuple(dict.fromkeys(bases)))
        # A training scores its own runs; those that are there already have not seen what is extracted.
        unscored = unscored or not isinstance(need, Training)
    made = [*(e.command() for e in extractions.values()), *(t.command() for t in trainings.values())]
    return (*made, EVALUATE) if unscored else tuple(made)


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
) -> Training:
    """The training of one method's runs, with the data and the optimiser that the stage's other runs had."""
    oracle, classifier = pair
    words = ["trustcache", "train", "--classifier", classifier]
    if oracle != classifier:
        words += ["--oracle", oracle]
    beside = [one for one in evidence.trained() if _of_stage(one.record, stage)]
    model = (found.scored if found else None) or [one for one in beside if one.record.oracle == oracle] or beside
    if model and model[0].config:
        words += ["--data", model[0].config.data]
    preset = ""
    index = evidence.index_of(oracle)
    arch = index.meaning["classifier"]["architecture"] if index else oracle
    if stage.training == "frozen":
        words.append("--frozen")
    elif stage.protocol == "released":
        preset = PAPER_PRESETS.get(arch, "")
    words += ["--protocol", stage.protocol] if stage.protocol != "equations" else []
    words += ["--preset", preset] if preset else []
    if model and model[0].config and not preset:
        usual = PROTOCOLS[stage.protocol].optimiser(stage.training == "frozen", model[0].origin.learnt_from)
        words += _optimiser_options(model[0].config.optimiser, usual)
    base = (str(method.settings["base"]),) if "base" in method.settings else ()
    return Training(tuple(words), (method.loss,), seeds, tuple(_loss_options(method, arch, preset, stage)), base)


def _of_stage(record: Any, stage: Stage) -> bool:
    return (record.dataset, record.protocol, record.training) == (stage.data, stage.protocol, stage.training)


def _loss_options(method: Method, arch: str, preset: str, stage: Stage) -> list[str]:
    words = []
    defaults = Method("", method.loss, settings={k: v for k, v in method.settings.items() if k == "base"}).usual("")
    for key, value in method.usual("" if preset else arch).items():
        if value != defaults.get(key) and not isinstance(value, str):
            words += [f"--{key.replace('_', '-')}", f"{value:g}"]
    if method.signed_distance is not None:
        words.append("--signed-distance" if method.signed_distance else "--no-signed-distance")
    if method.start and stage.training == "fine-tuned":
        words += ["--start", method.start]
    return words


def _optimiser_options(optimiser: Optimiser, usual: Optimiser) -> list[str]:
    words = []
    for key in ("epochs", "batch_size", "lr"):
        if getattr(optimiser, key) != getattr(usual, key):
            words += [f"--{key.replace('_', '-')}", f"{getattr(optimiser, key):g}"]
    return words


def extraction(evidence: Evidence, classifier: str, data: Sequence[str], *options: str) -> Extraction:
    """The extraction of data sets by a classifier of the workspace, with the options that made its caches."""
    index = evidence.index_of(classifier)
    words = ["trustcache", "extract", "--classifier", classifier]
    if index is not None:
        words = ["trustcache", "extract", *extraction_options(index)]
        thinned = [i.manifest().thinned_to for i in evidence.indices if _tests(i, classifier)]
        words += ["--subset", str(thinned[0])] if thinned and thinned[0] else []
    return Extraction((*words, *options), tuple(data))


def _tests(index: Index, classifier: str) -> bool:
    return index.classifier == classifier and index.role == "test"
