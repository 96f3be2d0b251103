"""The paper's own figures, and the definitions under which alone they stand beside ours."""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources

from trustcache.protocols import shows_as_released
from trustcache.report.paper.evidence import Evidence, Found, known_preset, papers_head
from trustcache.report.paper.shown import Value
from trustcache.timm_models import PAPER_MODELS

ACCURACY = "acc"
"""What the file calls the metric `accuracy`."""
RERUNS = {"tcp": ("tcp", "tcp-rerun")}
"""Methods that the paper has two rows of: ConfidNet's figures, and its authors' own run of that code."""


@dataclass(frozen=True)
class Definition:
    """What a published table's figures are of. Ours are of the same only where all of it agrees.

    data: our data sets, as the file names them. samples: how many images each has. learnt_from: by our data set, the
    training data and how many they are. models: architectures, as the file names them. presets: by oracle or by data
    set, as the file names them, the preset with the settings. unlike: metrics that are defined otherwise, and how.
    scores: post-hoc scores that are.
    """

    data: Mapping[str, str]
    samples: int
    protocol: str
    learnt_from: Mapping[str, tuple[str, int]]
    models: Mapping[str, str]
    presets: Mapping[str, str]
    unlike: Mapping[str, str] = field(default_factory=dict)
    scores: frozenset[str] = frozenset()


_VIT, _RESNET = PAPER_MODELS["vit"], PAPER_MODELS["resnet"]
_IMAGENET_TRAIN = ("imagenet-train", 1_281_167)
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
        dict.fromkeys(data, _IMAGENET_TRAIN),
        {_VIT: "vit", _RESNET: "resnet"},
        {"vit": "paper-imagenet-vit", "resnet": "paper-imagenet-resnet"},
    )


DEFINITIONS: dict[str, Definition] = {
    "table1": _imagenet({"imagenet-val": "imagenet-val"}),
    "table2": Definition(
        {"mnist-test": "mnist", "cifar10-test": "cifar10"},
        10_000,
        "equations",
        {"mnist-test": ("mnist-train", 60_000), "cifar10-test": ("cifar10-train", 50_000)},
        {"mnist-convnet": "confidnet", "cifar-vgg16": "confidnet"},
        {"mnist": "paper-mnist", "cifar10": "paper-cifar10"},
        {"fpr_at_95_tpr": "FPR@95 is read off a grid of thresholds there, and exact here"},
        frozenset({"mcp", "mc-dropout"}),
    ),
    "table3": _imagenet(_SHIFTED),
}
"""By table of the file. Table 2 has the right sign of AUPR-Error, hence `equations`; TrustScore chooses its alpha here,
so that of the paper stays away."""


def mismatches(evidence: Evidence, definition: Definition, found: Found, method: str) -> list[str]:
    """What tells a row of ours from the published one, a phrase each; none where they are defined alike."""
    record, origin = found.first.record, found.first.origin
    apart, known = [], definition.models
    if record.dataset not in definition.data:
        apart.append(f"of {' or '.join(definition.data)}, not {record.dataset}")
    if record.n != definition.samples:
        apart.append(f"of {definition.samples:,} images, not {record.n:,}")
    if record.protocol != definition.protocol:
        apart.append(f"under protocol {definition.protocol}, not {record.protocol}")
    judged = origin.index.meaning["classifier"]
    models = " and ".join(dict.fromkeys(known.values() if "confidnet" not in known.values() else known))
    if judged["architecture"] not in known or judged["arguments"]:
        apart.append(f"of {models}, not {record.classifier}")
    elif record.protocol == "released" and not shows_as_released(judged):
        apart.append(f"of a {record.classifier} that sees images as the released code shows them")
    elif judged["architecture"] in (_VIT, _RESNET) and evidence.own_weights(judged["state_sha256"]):
        apart.append(f"of timm's weights, not those of {record.classifier}")
    run = origin.run
    if run is None:
        if method not in definition.scores:
            apart.append(f"of another {method} than ours, whose settings are chosen on training data")
        return apart
    config = run.config
    if config.backbone["architecture"] not in known or config.backbone["arguments"]:
        if config.oracle != record.classifier:
            apart.append(f"with oracles {models}, not {config.oracle}")
    elif record.protocol == "released" and not shows_as_released(config.backbone):
        apart.append(f"with an oracle {config.oracle} that sees images as the released code shows them")
    elif config.backbone["architecture"] in (_VIT, _RESNET) and evidence.own_weights(config.backbone["state_sha256"]):
        apart.append(f"with timm's weights, not those of oracle {config.oracle}")
    if not papers_head(config):
        apart.append("with linear heads on the last layer's features")
    if config.training != "fine-tuned":
        apart.append(f"fine-tuned, not {config.training}")
        return apart
    wanted = definition.learnt_from.get(record.dataset)
    if wanted and (config.data, origin.learnt_from) != wanted:
        apart.append(f"learnt from {wanted[1]:,} images of {wanted[0]}, not {origin.learnt_from:,} of {config.data}")
    apart += _other_settings(definition, found)
    return apart


def _other_settings(definition: Definition, found: Found) -> list[str]:
    config = found.first.config
    assert config is not None
    names = (definition.models.get(config.backbone["architecture"]), definition.data.get(found.first.record.dataset))
    name = next((definition.presets[n] for n in names if n and n in definition.presets), None)
    if name is None:
        return []
    preset = known_preset(name)
    apart = []
    for key, values in preset.settings.items():
        if key in config.loss.settings and [config.loss.settings[key]] != values:
            apart.append(f"with {key} {values[0]}, not {config.loss.settings[key]}")
    if config.loss.name in preset.losses and (
        config.optimiser != preset.fine_tuning or config.val_fraction != preset.val_fraction
    ):
        apart.append(f"tuned as preset {name} says, not otherwise")
    return apart


def beside(
    evidence: Evidence, table: str, found: Found, method: str, metrics: Iterable[str]
) -> dict[str, tuple[Value | None, ...]]:
    """The published rows of a row of ours, by the file's method; {} where the definitions differ or there is none.

    Each is in the order of `metrics`; one that is defined otherwise is None.
    """
    definition = DEFINITIONS[table]
    if mismatches(evidence, definition, found, method):
        return {}
    record, config = found.first.record, found.first.config
    classifier = definition.models[found.first.origin.index.meaning["classifier"]["architecture"]]
    oracle = definition.models[config.backbone["architecture"]] if config else classifier
    rows = {}
    for name in RERUNS.get(method, (method,)):
        key = (table, definition.data[record.dataset], oracle, classifier, name)
        values = [
            None if metric in definition.unlike else figures().get((*key, ACCURACY if metric == "accuracy" else metric))
            for metric in metrics
        ]
        if any(values):
            rows[name] = tuple(values)
    return rows


@functools.cache
def figures() -> dict[tuple[str, ...], Value]:
    """All published figures: by table, data set, oracle, classifier, method and metric, as fractions."""
    text = (resources.files("trustcache.report.paper") / "published.csv").read_text(encoding="utf-8")
    found = {}
    for row in csv.DictReader(text.splitlines()):
        key = tuple(row[name] for name in ("table", "dataset", "oracle", "classifier", "method", "metric"))
        std = float(row["std_percent"]) / 100 if row["std_percent"] else None
        found[key] = Value(float(row["mean_percent"]) / 100, std)
    return found
