"""The commands that make the paper's tables and figures, in order, for the paper's models and data or others.

A recipe holds the pairs of models, the images beside the clean ones, and how the oracles are trained; `plan` turns
recipes into commands. What several of them share is done once: a run belongs to every table it fits.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trustcache.command_lines import command_line
from trustcache.data.suites import Suite, find_suite
from trustcache.errors import UsageError, did_you_mean
from trustcache.models.timm_models import PAPER_MODELS as PAPER_NAMES
from trustcache.models.zoo.registry import CIFAR_VGG16, MNIST_CONVNET
from trustcache.oracles.presets.preset import papers_preset, read_preset, small_scale_preset


@dataclass(frozen=True)
class Model:
    """A model that is judged and judges: its name in the workspace, and the words after `extract --classifier`.

    The words are without --as.
    """

    name: str
    words: tuple[str, ...]

    def label(self, protocol: str) -> str:
        """Return the name of its caches under a protocol."""
        return self.name if protocol == "equations" else f"{self.name}-{protocol}"

    @property
    def preset(self) -> str:
        """The paper's hyperparameters for an oracle built on it."""
        return papers_preset(self.words[0])


def model_name(label: str, protocol: str) -> str:
    """Return the name of the model whose caches have a label under a protocol."""
    return label if protocol == "equations" else label.removesuffix(f"-{protocol}")


PAPER_MODELS = tuple(Model(name, (name,)) for name in PAPER_NAMES)
# The presets' steepnesses, for where their optimiser, that of ImageNet's million images, would learn nothing.
STEEPNESS = {"paper-imagenet-vit": ("1", "3"), "paper-imagenet-resnet": ("2", "5")}
# What the presets' learning rate is made for: one epoch over ImageNet's training images.
PRESET_IMAGES = 1_281_167


@dataclass(frozen=True)
class Request:
    """The data, models and options of a reproduction; by default the paper's.

    family: of data sets, "" for each recipe's own. models: () for the recipe's own. frozen: heads on cached features
    instead of fine-tuning. subset: the number of images of each data set. workspace: the folder of fitted classifiers.
    machine: options of every command that computes; place: of every command.
    """

    workspace: Path
    data_root: Path
    family: str = ""
    models: tuple[Model, ...] = ()
    protocols: tuple[str, ...] = ("released",)
    frozen: bool = False
    seeds: str = "0,1,2"
    subset: int | None = None
    machine: tuple[str, ...] = ()
    place: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise UsageError where two models have one name."""
        names = [model.name for model in self.models]
        if twice := next((name for i, name in enumerate(names) if name in names[:i]), None):
            raise UsageError(f"--classifier: two of them are called {twice}; tell them apart with --as NAME")


@dataclass(frozen=True)
class Step:
    """One command: its words, and the names in the workspace of the models whose caches and runs it is about."""

    words: tuple[str, ...]
    models: tuple[str, ...] = ()

    def __str__(self) -> str:
        return command_line(*self.words)


FOUR_LOSSES = ("--loss", "ce,focal,tcp,ss")


@dataclass(frozen=True)
class Recipe:
    """Recipe of one table or figure.

    pairs: "all" of the models, or "first" (the first model judging itself). extracted: parts of the data family that
    are extracted beside what `unseen` says. unseen: `stylized`, `adversarial`, `corrupted` (defocus blur at severity
    5), `every-corruption`. trainings: the words of one `train` each, beside those of pair and protocol, and beside the
    paper's hyperparameters where they give none of their own. frozen: heads, whatever the request says. protocols:
    those it is held to, () for the request's. small_scale: it is Table 2, whose classifiers are fitted first.
    two_models: one model alone gives nothing to show.
    """

    pairs: str = "all"
    extracted: tuple[str, ...] = ("train", "test")
    unseen: tuple[str, ...] = ()
    trainings: tuple[tuple[str, ...], ...] = (FOUR_LOSSES,)
    frozen: bool = False
    protocols: tuple[str, ...] = ()
    small_scale: bool = False
    two_models: bool = False


SECOND_MODEL = "it needs a second model: add --classifier 'NAME --weights FILE --as NAME2'"
FindSuite = Callable[[str], Suite]
_ORDER = ("fit-classifier", "extract", "train", "report")


def plan(recipes: Mapping[str, Recipe], names: Sequence[str], request: Request) -> list[Step]:
    """Return the commands that make some recipes, each once: all extractions, then all trainings, then report.

    So a training scores its oracles on all test data at once. Raises UsageError for an unknown name, and for data and
    models that do not go with one, but for `all`, which leaves out what one model alone gives nothing for.
    """
    steps: list[Step] = []
    find = functools.cache(lambda family: find_suite(family, request.data_root))
    alone = len(request.models) == 1
    every = [name for name, recipe in recipes.items() if not (alone and recipe.two_models)]
    for name in every if "all" in names else names:
        if name not in recipes:
            known = f"one of {', '.join(recipes)}, or all{did_you_mean(name, recipes)}"
            raise UsageError(f"{name}: no table or figure of the paper; {known}")
        recipe = recipes[name]
        if alone and recipe.two_models:
            raise UsageError(f"{name}: {SECOND_MODEL}")
        steps += _small_scale(name, request, find) if recipe.small_scale else _steps(name, recipe, request, find)
    only = () if "all" in names else ("--only", ",".join(dict.fromkeys(names)))
    steps.append(Step(("report", *only, *request.place)))
    return sorted(dict.fromkeys(steps), key=lambda step: _ORDER.index(step.words[0]))


def _steps(name: str, recipe: Recipe, request: Request, find: FindSuite) -> list[Step]:
    family = find(request.family or "imagenet")
    if family.name != "imagenet" and not request.models:
        raise UsageError(
            f"--data {family.name}: the paper's models know ImageNet's classes only; name others for {name}, as in "
            "--classifier 'cifar-resnet32 --weights resnet32.safetensors --as resnet32'"
        )
    models = (request.models or PAPER_MODELS)[: None if recipe.pairs == "all" else 1]
    request = replace(request, frozen=request.frozen or recipe.frozen)
    groups = [[family.one(part) for part in recipe.extracted], *(_UNSEEN_DATA[u](family) for u in recipe.unseen)]
    train = family.one("train")
    steps = []
    for protocol in recipe.protocols or request.protocols:
        steps += [_extract(model, protocol, data, request) for model in models for data in groups]
        for judged, oracle, words in itertools.product(models, models, recipe.trainings):
            chosen = _hyperparameters(oracle, protocol, family, words) + _rate(oracle, protocol, family, request)
            steps.append(_train(judged, oracle, protocol, train, chosen, request))
    return steps


_UNSEEN_DATA: dict[str, Callable[[Suite], list[str]]] = {
    "stylized": lambda family: [family.one("stylized")],
    "adversarial": lambda family: [family.one("adversarial")],
    "corrupted": lambda family: [family.corrupted("defocus_blur", 5)],
    "every-corruption": Suite.every_corruption,
}


def _hyperparameters(oracle: Model, protocol: str, family: Suite, words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the paper's preset; by the equations on other data than the paper's, its steepnesses alone."""
    if protocol == "released" or family.name == "imagenet":
        return "--preset", oracle.preset, *words
    if "--alpha-neg" in words:
        return words
    right, wrong = STEEPNESS[oracle.preset]
    return *words, "--alpha-pos", right, "--alpha-neg", wrong


def _rate(oracle: Model, protocol: str, family: Suite, request: Request) -> tuple[str, ...]:
    """Return the preset's rate, raised as steps are fewer, for fine-tuning under `released` on fewer images.

    Rate times steps, and so how far an oracle can get from where it began, stay the scripts': at theirs, a few hundred
    steps teach nothing.
    """
    known = [count for count in (family.count("train"), request.subset) if count]
    preset = read_preset(oracle.preset).fine_tuning
    if protocol != "released" or request.frozen or not known or preset is None or min(known) == PRESET_IMAGES:
        return ()
    return "--lr", f"{preset.lr * PRESET_IMAGES / min(known):.3g}"


_SMALL_SCALE: dict[str, tuple[str, tuple[str, ...]]] = {
    "mnist": (MNIST_CONVNET, ()),
    "cifar10": (CIFAR_VGG16, ("--augment", "flip-crop", "--epochs", "100")),
}
"""By data family the classifier of Table 2 that is fitted, and how."""


def _small_scale(key: str, request: Request, find: FindSuite) -> list[Step]:
    """Return the steps of Table 2, by the equations, as its code has neither fault; fine-tuned, as ss starts from tcp.

    A classifier of the user's is taken as it is; the paper's are fitted first, and asked 50 times with dropout.
    """
    request = replace(request, frozen=False)
    steps = []
    for name in [request.family] if request.family else _SMALL_SCALE:
        family = find(name)
        train, test = family.one("train"), family.one("test")
        models, dropout = request.models, tuple[str, ...]()
        if not models:
            if name not in _SMALL_SCALE:
                raise UsageError(f"--data {name}: {key} has no classifier for it; name yours with --classifier")
            classifier, fitting = _SMALL_SCALE[name]
            weights = str(request.workspace / "classifiers" / f"{classifier}.safetensors")
            words = ("fit-classifier", "--data", train, "--classifier", classifier, "--out", weights, *fitting)
            steps.append(Step((*words, *_limits(request))))
            models, dropout = (Model(classifier, (classifier, "--weights", weights)),), ("--mc-dropout", "50")
        for model in models:
            steps.append(_extract(model, "equations", [train, test], request, dropout))
            for words in (("--loss", "tcp"), ("--preset", small_scale_preset(name))):
                steps.append(_train(model, model, "equations", train, words, request))
    return steps


def _extract(model: Model, protocol: str, data: Sequence[str], request: Request, more: tuple[str, ...] = ()) -> Step:
    label = model.label(protocol)
    words = ["extract", "--classifier", *model.words, *more, *_by(protocol)]
    if label != Model(model.words[0], ()).label(protocol):
        words += ["--as", label]
    words += [word for name in data for word in ("--data", name)]
    return Step((*words, *_limits(request)), (label,))


def _train(judged: Model, oracle: Model, protocol: str, data: str, chosen: tuple[str, ...], request: Request) -> Step:
    labels = judged.label(protocol), oracle.label(protocol)
    words = ["train", "--classifier", labels[0], "--data", data]
    words += ["--oracle", labels[1]] if oracle != judged else []
    words += [*_by(protocol), *(["--frozen"] if request.frozen else []), *chosen, "--seed", request.seeds]
    return Step((*words, *request.machine, *request.place), labels)


def _by(protocol: str) -> tuple[str, ...]:
    return () if protocol == "equations" else ("--protocol", protocol)


def _limits(request: Request) -> tuple[str, ...]:
    """Return the options of a command that reads images."""
    subset = () if request.subset is None else ("--subset", str(request.subset))
    return *subset, *request.machine, *request.place
