"""The paper's own figures, and the definitions under which alone they stand beside ours."""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources

from trustcache.models.timm_models import PAPER_MODELS
from trustcache.models.zoo.registry import CIFAR_VGG16, MNIST_CONVNET
from trustcache.oracles.runs import RunConfig
from trustcache.paper.paper_index import Found, PaperIndex, known_preset, papers_head
from trustcache.protocols import shows_as_released
from trustcache.report.table import Cell


@dataclass(frozen=True)
class Definition:
    """The definitions of a published table's figures. Ours stand beside them only where all of these agree.

    data: our data sets, as the file names them. samples: how many images each has. models: architectures, as the file
    names them. judged: by our data set, the one architecture that was judged on it, where not all of them were.
    learnt_from: the training data and how many they are. presets: by oracle, as the file names them, the preset with
    the settings. oracles: what they are on top, where not one linear layer. scores: post-hoc scores that are defined
    alike. unlike: metrics that are not, and how. remarks: by oracle, as the file names them, in what its training still
    differs, to be said wherever its figures are shown.
    """

    data: Mapping[str, str]
    samples: int
    protocol: str
    models: Mapping[str, str]
    judged: Mapping[str, str] = field(default_factory=dict)
    learnt_from: tuple[str, int] = ("", 0)
    presets: Mapping[str, str] = field(default_factory=dict)
    oracles: str = ""
    scores: frozenset[str] = frozenset()
    unlike: Mapping[str, str] = field(default_factory=dict)
    remarks: Mapping[str, str] = field(default_factory=dict)


_VIT, _RESNET = PAPER_MODELS["vit"], PAPER_MODELS["resnet"]
_SHIFTED = {
    "imagenet-stylized": "imagenet-stylized",
    "imagenet-recolor": "imagenet-adversarial",
    "imagenet-c/defocus_blur/5": "imagenet-c/defocus_blur/5",
}


def _imagenet(data: Mapping[str, str]) -> Definition:
    return Definition(
        data,
        50_000,
        "released",
        {_VIT: "vit", _RESNET: "resnet"},
        learnt_from=("imagenet-train", 1_281_167),
        presets={"vit": "paper-imagenet-vit", "resnet": "paper-imagenet-resnet"},
        remarks={"vit": "the scripts train their ViT oracle with dropout 0.1, timm's has none"},
    )


DEFINITIONS: dict[str, Definition] = {
    "table1": _imagenet({"imagenet-val": "imagenet-val"}),
    "table2": Definition(
        {"mnist-test": "mnist", "cifar10-test": "cifar10"},
        10_000,
        "equations",
        {MNIST_CONVNET: "confidnet", CIFAR_VGG16: "confidnet"},
        judged={"mnist-test": MNIST_CONVNET, "cifar10-test": CIFAR_VGG16},
        oracles="ConfidNet's five layers on top, not one",
        scores=frozenset({"mcp"}),
        unlike={"fpr_at_95_tpr": "the paper's FPR@95 is read off a grid of thresholds, ours is exact"},
    ),
    "table3": _imagenet(_SHIFTED),
}
"""By table of the file. Table 2 has the right sign of AUPR-Error, hence `equations`. Of its post-hoc scores, MC dropout
averages logits there and probabilities here, and TrustScore chooses its alpha here."""


def mismatches(paper: PaperIndex, definition: Definition, found: Found, method: str) -> list[str]:
    """Return how a row of ours differs from the published one, a phrase each; none where they are defined alike."""
    record = found.first.record
    apart = []
    # First what changes figures most.
    if found.first.run is not None and found.first.config.training != "fine-tuned":
        apart.append(f"fine-tuned, not {found.first.config.training} heads")
    if record.protocol != definition.protocol:
        apart.append(f"under protocol {definition.protocol}, not {record.protocol}")
    if record.dataset not in definition.data:
        apart.append(f"of {' or '.join(definition.data)}, not {record.dataset}")
    if record.n != definition.samples:
        apart.append(f"of {definition.samples:,} images, not {record.n:,}")
    apart += _other_classifier(paper, definition, found)
    if found.first.run is not None:
        return apart + _other_oracle(paper, definition, found)
    if method not in definition.scores:
        apart.append(f"of another {method} than ours")
    return apart


def _other_classifier(paper: PaperIndex, definition: Definition, found: Found) -> list[str]:
    record, index = found.first.record, found.first.index
    judged, wanted = index.identity, definition.judged.get(record.dataset)
    if judged.architecture not in definition.models or judged.arguments:
        return [f"of {wanted or _named(definition)}, not {record.classifier}"]
    if wanted and judged.architecture != wanted:
        return [f"of {wanted}, not {judged.architecture}"]
    if record.protocol == "released" and not shows_as_released(judged):
        return [f"of a {record.classifier} that sees images as the released code shows them"]
    if judged.architecture in (_VIT, _RESNET) and not paper.has_timms_weights(judged.state_sha256, index):
        return [f"of timm's weights, not those of {record.classifier}"]
    return []


def _other_oracle(paper: PaperIndex, definition: Definition, found: Found) -> list[str]:
    first = found.first
    record, config = first.record, first.config
    backbone, apart = config.backbone, []
    if backbone.architecture not in definition.models or backbone.arguments:
        if config.oracle != record.classifier:
            apart.append(f"with oracles {_named(definition)}, not {config.oracle}")
    elif record.protocol == "released" and not shows_as_released(backbone):
        apart.append(f"with an oracle {config.oracle} that sees images as the released code shows them")
    elif backbone.architecture in (_VIT, _RESNET) and not paper.has_timms_weights(backbone.state_sha256, first.index):
        apart.append(f"with timm's weights, which no cache says that oracle {config.oracle} has")
    if definition.oracles:
        return [*apart, f"of oracles with {definition.oracles}"]
    if not papers_head(config):
        apart.append("with linear heads on the last layer's features")
    if config.training != "fine-tuned":
        return apart
    data, samples = definition.learnt_from
    if (config.data, first.learnt_from) != (data, samples):
        apart.append(f"learnt from {samples:,} images of {data}, not {first.learnt_from:,} of {config.data}")
    return apart + _other_settings(definition, config)


def _other_settings(definition: Definition, config: RunConfig) -> list[str]:
    oracle = definition.models.get(config.backbone.architecture)
    if oracle is None:
        return []
    name = definition.presets[oracle]
    preset = known_preset(name)
    own = config.loss.settings
    chosen = {key: values for key, values in preset.settings.items() if key in own and [own[key]] != values}
    apart = [f"with {key} {values[0]}, not {own[key]}" for key, values in chosen.items()]
    if config.optimiser != preset.fine_tuning or config.val_fraction != preset.val_fraction:
        apart.append(f"tuned as preset {name} says, not otherwise")
    return apart


def _named(definition: Definition) -> str:
    """Name the models of a table: by the paper's names, where it tells them apart."""
    names = dict.fromkeys(definition.models.values())
    return " and ".join(names if len(names) > 1 else definition.models)


def beside(table: str, found: Found, method: str, metrics: Iterable[str]) -> tuple[Cell | None, ...]:
    """Return the published row of a row of ours without `mismatches`, by the file's method; () where there is none.

    It is in the order of `metrics`; one that is defined otherwise, or not given, is None.
    """
    definition = DEFINITIONS[table]
    first = found.first
    classifier = definition.models[first.index.identity.architecture]
    oracle = definition.models[first.config.backbone.architecture] if first.run else classifier
    key = (table, definition.data[first.record.dataset], oracle, classifier, method)
    row = tuple(None if metric in definition.unlike else figures().get((*key, metric)) for metric in metrics)
    return row if any(row) else ()


def remark(table: str, found: Found) -> str:
    """Say how the training of a run's oracle still differs from the published one's, "" for nothing known."""
    definition, first = DEFINITIONS[table], found.first
    oracle = definition.models.get(first.config.backbone.architecture, "") if first.run else ""
    return definition.remarks.get(oracle, "")


@functools.cache
def figures() -> dict[tuple[str, ...], Cell]:
    """Return all published figures as fractions, by table, data set, oracle, classifier, method and metric."""
    text = (resources.files("trustcache.paper") / "published.csv").read_text(encoding="utf-8")
    found = {}
    for row in csv.DictReader(text.splitlines()):
        key = tuple(row[name] for name in ("table", "dataset", "oracle", "classifier", "method", "metric"))
        std = float(row["std_percent"]) / 100 if row["std_percent"] else None
        found[key] = Cell(float(row["mean_percent"]) / 100, std)
    return found
