"""What makes each of the paper's tables and figures: the commands, in order, for the paper's models and data or others.

A recipe says which pairs of models it is about, on which images beside the clean ones, and how its oracles learn;
`plan` turns recipes into commands. What several of them need is done once: a run belongs to every table it fits.
"""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trustcache.cache.workspace import plain_name
from trustcache.data.suites import Suite, find_suite
from trustcache.errors import UsageError
from trustcache.models.timm_models import PAPER_MODELS as PAPER_NAMES
from trustcache.models.zoo.registry import CIFAR_VGG16, MNIST_CONVNET
from trustcache.oracles.presets.preset import papers_preset, read_preset, small_scale_preset


@dataclass(frozen=True)
class Model:
    """A model that is judged and judges: its name in the workspace, and the words that name it to `extract`.

    `words` are what follows --classifier there, without --as.
    """

    name: str
    words: tuple[str, ...]

    def label(self, protocol: str) -> str:
        """What its caches are called under a protocol."""
        return self.name if protocol == "equations" else f"{self.name}-{protocol}"

    @property
    def preset(self) -> str:
        """The paper's hyperparameters for an oracle built on it."""
        return papers_preset(self.words[0])


PAPER_MODELS = tuple(Model(name, (name,)) for name in PAPER_NAMES)
# The presets' steepnesses, for where their optimiser, that of ImageNet's million images, would learn nothing.
STEEPNESS = {"paper-imagenet-vit": ("1", "3"), "paper-imagenet-resnet": ("2", "5")}
# What the presets' learning rate is made for: one epoch over ImageNet's training images.
PRESET_IMAGES = 1_281_167


@dataclass(frozen=True)
class Setting:
    """What a reproduction is made with; by default, what the paper has.

    family: of data sets, "" for each recipe's own. models: () for the recipe's own. frozen: heads on cached features
    instead of fine-tuning. subset: so many images of each data set. workspace: where classifiers that are fitted go.
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


@dataclass(frozen=True)
class Step:
    """One command: its words, and the names in the workspace of the models whose caches and runs it is about."""

    words: tuple[str, ...]
    models: tuple[str, ...] = ()

    def __str__(self) -> str:
        return shlex.join(["trustcache", *self.words])


LOSSES = ("--loss", "ce,focal,tcp,ss")
SWEPT = ",".join(f"{0.5 * n:g}" for n in range(1, 17))


@dataclass(frozen=True)
class Recipe:
    """How one table or figure is made.

    extracted: parts of the data family that are extracted beside what `unseen` says. pairs: "all" of the models,
    "first" (the first model judging itself), or "none". unseen: `stylized`, `adversarial`, `corrupted` (defocus blur at
    severity 5), `every-corruption`. trainings: the words of one `train` each, beside those of pair and protocol, and
    beside the paper's hyperparameters where they give none of their own. frozen: heads, whatever the setting says.
    protocols: those it is held to, () for the setting's.
    """

    title: str
    pairs: str = "all"
    extracted: tuple[str, ...] = ("train", "test")
    unseen: tuple[str, ...] = ()
    trainings: tuple[tuple[str, ...], ...] = (LOSSES,)
    frozen: bool = False
    protocols: tuple[str, ...] = ()


_UNSEEN = ("stylized", "adversarial", "corrupted")
RECIPES: dict[str, Recipe] = {
    "table1": Recipe("four losses for all pairs of models, on the test images"),
    "table2": Recipe("MNIST and CIFAR-10: MCP, MC dropout, TrustScore, TCP, and ss tuned from TCP"),
    "table3": Recipe(
        "the first model judging itself on stylized, adversarial and corrupted images", "first", unseen=_UNSEEN
    ),
    "table-a1": Recipe("the same on 15 corruptions at 5 severities", "first", unseen=("every-corruption",)),
    "table-e": Recipe("all pairs on stylized, adversarial and corrupted images", unseen=_UNSEEN),
    "table-f": Recipe(
        "ss with and without the norm of w, the first model judging itself",
        "first",
        trainings=(("--loss", "ss", "--signed-distance"), ("--loss", "ss", "--no-signed-distance")),
    ),
    "table-g": Recipe("how far apart the scores of right and wrong answers lie, from the runs of table1"),
    "table-h": Recipe(
        "class-balanced losses beside plain ones, the first model judging itself",
        "first",
        trainings=(LOSSES, ("--loss", "class-balanced", "--base", "ce,focal,ss")),
        protocols=("equations",),
    ),
    "figure2b": Recipe("the loss curves, which need no run", "first", extracted=("test",), trainings=()),
    "figure3": Recipe("histograms of trust confidence, the first model judging itself", "first"),
    "figure-d": Recipe("histograms of trust confidence for all pairs, from the runs of table1"),
    "figure4a": Recipe("risk against coverage, the first model judging itself", "first"),
    "figure-e": Recipe("risk against coverage for all pairs, on the images of table-e too", unseen=_UNSEEN),
    "figure4bc": Recipe(
        "loss, TPR and TNR against alpha-neg: 16 values and all seeds as one training of heads",
        "first",
        trainings=(("--loss", "ss", "--alpha-pos", "1", "--alpha-neg", SWEPT),),
        frozen=True,
    ),
    "theorem3.1": Recipe(
        "the bound on the risk of ss heads, the first model judging itself",
        "first",
        trainings=(("--loss", "ss"),),
        frozen=True,
    ),
}
"""Every table and figure of the paper by its key in the report."""

FindFamily = Callable[[str], Suite]
_ORDER = ("fit-classifier", "extract", "train", "report")


def plan(names: Sequence[str], setting: Setting) -> list[Step]:
    """The commands that make some tables and figures, each once: all extractions, then all trainings, then the report.

    So a training scores its oracles on all test data at once. Raises UsageError for an unknown name, and for data and
    models that do not go with one.
    """
    steps: list[Step] = []
    find = functools.cache(lambda family: find_suite(family, setting.data_root))
    for name in names:
        if name not in RECIPES:
            raise UsageError(f"{name}: no table or figure of the paper; one of {', '.join(RECIPES)}, or all")
        steps += _small_scale(setting, find) if name == "table2" else _steps(name, setting, find)
    steps.append(Step(("report", *setting.place)))
    return sorted(dict.fromkeys(steps), key=lambda step: _ORDER.index(step.words[0]))


def _steps(name: str, setting: Setting, find: FindFamily) -> list[Step]:
    recipe, family = RECIPES[name], find(setting.family or "imagenet")
    if family.name != "imagenet" and not setting.models:
        raise UsageError(
            f"--data {family.name}: the paper's models know ImageNet's classes only; name others for {name}, as in "
            "--classifier 'cifar-resnet32 --weights resnet32.safetensors --as resnet32'"
        )
    models = setting.models or PAPER_MODELS
    models = models if recipe.pairs == "all" else models[:1]
    if recipe.frozen:
        setting = replace(setting, frozen=True)
    steps = []
    for protocol in recipe.protocols or setting.protocols:
        groups = [[family.one(part) for part in recipe.extracted], *(_UNSEEN_DATA[u](family) for u in recipe.unseen)]
        steps += [_extract(model, protocol, data, setting) for model in models for data in groups]
        for judged in models:
            for oracle in models:
                for words in recipe.trainings:
                    chosen = _hyperparameters(oracle, protocol, family, words) + _rate(
                        oracle, protocol, family, setting
                    )
                    steps.append(_train(judged, oracle, protocol, family.one("train"), chosen, setting))
    return steps


_UNSEEN_DATA: dict[str, Callable[[Suite], list[str]]] = {
    "stylized": lambda family: [family.one("stylized")],
    "adversarial": lambda family: [family.one("adversarial")],
    "corrupted": lambda family: [family.corrupted("defocus_blur", 5)],
    "every-corruption": Suite.every_corruption,
}


def _hyperparameters(oracle: Model, protocol: str, family: Suite, words: tuple[str, ...]) -> tuple[str, ...]:
    """The paper's preset; by the equations on other data than the paper's, its steepnesses alone."""
    if protocol == "released" or family.name == "imagenet":
        return "--preset", oracle.preset, *words
    if "--alpha-neg" in words:
        return words
    right, wrong = STEEPNESS[oracle.preset]
    return *words, "--alpha-pos", right, "--alpha-neg", wrong


def _rate(oracle: Model, protocol: str, family: Suite, setting: Setting) -> tuple[str, ...]:
    """For fine-tuning under `released` on fewer images than ImageNet's: the preset's rate, raised as steps are fewer.

    Rate times steps, and so how far an oracle can get from where it began, stay the scripts': at theirs, a few hundred
    steps teach nothing.
    """
    known = [count for count in (family.count("train"), setting.subset) if count]
    preset = read_preset(oracle.preset).fine_tuning
    if protocol != "released" or setting.frozen or not known or preset is None or min(known) == PRESET_IMAGES:
        return ()
    return "--lr", f"{preset.lr * PRESET_IMAGES / min(known):.3g}"


@dataclass(frozen=True)
class _SmallScale:
    """A row of Table 2: the classifier that is fitted, and how."""

    classifier: str
    fitting: tuple[str, ...] = ()


_SMALL_SCALE = {
    "mnist": _SmallScale(MNIST_CONVNET),
    "cifar10": _SmallScale(CIFAR_VGG16, ("--augment", "flip-crop", "--epochs", "100")),
}


def _small_scale(setting: Setting, find: FindFamily) -> list[Step]:
    """Table 2, by the equations alone, for its code has neither of the two faults; fine-tuned, for ss goes on from tcp.

    A classifier of the user's is taken as it is; the paper's are fitted first, and asked 50 times with dropout.
    """
    setting = replace(setting, frozen=False)
    steps = []
    for name in [setting.family] if setting.family else _SMALL_SCALE:
        family = find(name)
        train, test = family.one("train"), family.one("test")
        row = _SMALL_SCALE.get(name)
        models = setting.models
        dropout: tuple[str, ...] = ()
        if not models:
            if row is None:
                raise UsageError(f"--data {name}: table2 has no classifier for it; name yours with --classifier")
            steps.append(_fit(row, train, setting))
            models, dropout = (_fitted(row, setting),), ("--mc-dropout", "50")
        for model in models:
            steps.append(_extract(model, "equations", [train, test], setting, dropout))
            for words in (("--loss", "tcp"), ("--preset", small_scale_preset(name))):
                steps.append(_train(model, model, "equations", train, words, setting))
    return steps


def _weights(row: _SmallScale, setting: Setting) -> str:
    return str(setting.workspace / "classifiers" / f"{row.classifier}.safetensors")


def _fitted(row: _SmallScale, setting: Setting) -> Model:
    return Model(row.classifier, (row.classifier, "--weights", _weights(row, setting)))


def _fit(row: _SmallScale, data: str, setting: Setting) -> Step:
    words = ["fit-classifier", "--data", data, "--classifier", row.classifier, "--out", _weights(row, setting)]
    return Step((*words, *row.fitting, *_subset(setting), *setting.machine, *setting.place))


def _extract(model: Model, protocol: str, data: Sequence[str], setting: Setting, more: tuple[str, ...] = ()) -> Step:
    label = model.label(protocol)
    words = ["extract", "--classifier", *model.words, *more]
    if protocol != "equations":
        words += ["--protocol", protocol]
    if label != plain_name(model.words[0] if protocol == "equations" else f"{model.words[0]}-{protocol}"):
        words += ["--as", label]
    words += [word for name in data for word in ("--data", name)]
    return Step((*words, *_subset(setting), *setting.machine, *setting.place), (label,))


def _train(judged: Model, oracle: Model, protocol: str, data: str, chosen: tuple[str, ...], setting: Setting) -> Step:
    labels = judged.label(protocol), oracle.label(protocol)
    words = ["train", "--classifier", labels[0], "--data", data]
    if oracle != judged:
        words += ["--oracle", labels[1]]
    if protocol != "equations":
        words += ["--protocol", protocol]
    if setting.frozen:
        words += ["--frozen"]
    return Step((*words, *chosen, "--seed", setting.seeds, *setting.machine, *setting.place), labels)


def _subset(setting: Setting) -> tuple[str, ...]:
    return () if setting.subset is None else ("--subset", str(setting.subset))
