"""The command lines that messages and reports print for a user to run."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trustcache.cache.index import Index
from trustcache.data.known_data import images_in
from trustcache.errors import visible
from trustcache.extract.settings import ExtractSettings
from trustcache.losses import LOSSES, loss_settings
from trustcache.models.preprocessing import preprocessing_words
from trustcache.protocols import PROTOCOLS, shows_as_released
from trustcache.registry import option_name


def extraction_options(index: Index) -> list[str]:
    """Return the options of `extract` that make a cache's columns of other data: its classifier, and what is kept."""
    model, made_from = index.identity, index.made_from
    # Where none is asked for, a cache is made in the precision of the classifier's others.
    usual = ExtractSettings(precision="float32")
    words = ["--classifier", model.name]
    if made_from.weights:
        words += ["--weights", str(_from_here(Path(made_from.weights)))]
    if not model.reading.use_ema:
        words.append("--no-ema")
    if model.reading.outputs != "logits":
        words += ["--outputs", model.reading.outputs]
    if made_from.labels:
        words += ["--classes", made_from.labels]
    for key, value in model.arguments.items():
        words += ["--model-arg", f"{key}={value}"]
    released = shows_as_released(model) and index.classifier == f"{model.name}-released"
    if released:
        words += ["--protocol", "released"]
    elif index.classifier != model.name:
        words += ["--as", index.classifier]
    by_protocol = PROTOCOLS["released"].preprocessing if released else {}
    given = {key: entry for key, entry in made_from.preprocessing.items() if by_protocol.get(key) != entry}
    for word in preprocessing_words(given):
        words += ["--preprocess", word]
    for key in ("precision", "store", "features"):
        if (chosen := getattr(index.meaning, key)) != getattr(usual, key):
            words += [f"--{key}", chosen]
    if index.meaning.views:
        words += ["--views", ",".join(index.meaning.views)]
    if (decode := index.meaning.data.decode) != usual.decode:
        words += ["--decode", decode]
    if index.meaning.data.kept_images:
        words += ["--keep-images"]
    return words


def command_line(*words: str) -> str:
    """Return the command line of a command and its options, quoted for a shell."""
    return visible(shlex.join(["trustcache", *words]))  # one line, whatever a name holds


def setting_words(key: str, values: Sequence[float | str]) -> list[str]:
    """Return the option of `train` for a loss's setting: its own, or `--setting` where the loss comes from outside."""
    text = ",".join(value if isinstance(value, str) else f"{value:.12g}" for value in values)
    return [option_name(key), text] if key in loss_settings(LOSSES.built_in) else ["--setting", f"{key}={text}"]


def extract_line(index: Index, data: str, *more: str) -> str:
    """Return the extraction, or the import, of other data as a cache was made."""
    if index.imported:
        arrays = ("logits", "labels", *(["features"] if index.holds("features") else []))
        files = (word for name in arrays for word in (f"--{name}", "FILE"))
        return command_line("import", *files, "--as", index.classifier, "--data", data, *more)
    return command_line("extract", *extraction_options(index), "--data", data, *more)


def _folder(index: Index) -> Path | None:
    """Return the path of a cache's images that were named without a manifest, from here; None where there is one."""
    files = index.manifest.files
    path = Path(str(next(iter(files[0].keys.values()), "")) if files else "")
    return _from_here(path) if index.manifest.title == images_in(path) else None


def _from_here(path: Path) -> Path:
    """Return a path below the current folder as it is called from there, another one unchanged."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _part(index: Index) -> tuple[str, ...]:
    """Return the option of `extract` that takes as many images as a cache was made of."""
    return ("--subset", str(index.manifest.thinned_to)) if index.manifest.thinned_to else ()


def same_images(index: Index) -> tuple[str, ...]:
    """Return the data of a cache as `--data` names them, then further options that make it the same images."""
    folder = _folder(index)
    return index.data if folder is None else f"{folder}:{index.role}", *_part(index)


def training_line(index: Index, *more: str) -> str:
    """Return the extraction that makes training data, by a cache's classifier: of its own images if it is called so.

    Nothing is computed again for a folder that was extracted without `:train`.
    """
    folder = _folder(index)
    if "train" not in index.data or folder is None:
        return extract_line(index, "FOLDER:train", *more)
    return extract_line(index, f"{folder}:train", *_part(index), *more)


@dataclass(frozen=True)
class Training:
    """A `train` command: runs that share `words`, seeds and what comes `after` are one command with a list of losses.

    bases: the losses that a loss with a base of its own weighs.
    """

    words: tuple[str, ...]
    losses: tuple[str, ...]
    seeds: tuple[int, ...]
    after: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()

    def line(self, place: Sequence[str]) -> str:
        base = ("--base", ",".join(self.bases)) if {*self.bases} - {loss_settings()["base"].default} else ()
        seeds = ",".join(map(str, self.seeds))
        words = (*self.words, "--loss", ",".join(self.losses), *base, *self.after, "--seed", seeds)
        return command_line("train", *words, *place)


@dataclass(frozen=True)
class Extraction:
    """An `extract` command for data sets of one classifier."""

    words: tuple[str, ...]
    data: tuple[str, ...]

    def line(self, place: Sequence[str]) -> str:
        return command_line("extract", *self.words, *(w for name in self.data for w in ("--data", name)), *place)


@dataclass(frozen=True)
class Evaluation:
    """The `evaluate` command: all runs that are trained already are scored."""

    def line(self, place: Sequence[str]) -> str:
        return command_line("evaluate", *place)


Command = Training | Extraction | Evaluation


def merged(commands: Iterable[Command], place: Sequence[str] = ()) -> tuple[str, ...]:
    """Return as few lines as do the same, in the order to run them: extractions, trainings, then the scoring.

    place: the options that make each of them work in a workspace.
    """
    extractions: dict[tuple[str, ...], Extraction] = {}
    trainings: dict[tuple[Any, ...], Training] = {}
    evaluations: list[Evaluation] = []
    for command in commands:
        if isinstance(command, Training):
            key = (command.words, command.seeds, command.after)
            planned = trainings.get(key, replace(command, losses=(), bases=()))
            losses, bases = planned.losses + command.losses, planned.bases + command.bases
            trainings[key] = replace(command, losses=tuple(dict.fromkeys(losses)), bases=tuple(dict.fromkeys(bases)))
            continue
        if isinstance(command, Extraction):
            known = extractions.get(command.words, replace(command, data=()))
            extractions[command.words] = replace(command, data=tuple(dict.fromkeys(known.data + command.data)))
        # A training scores its own runs; those that are there already have not seen what is extracted.
        evaluations = [Evaluation()]
    ordered: list[Command] = [*extractions.values(), *trainings.values(), *evaluations]
    return tuple(command.line(place) for command in ordered)
