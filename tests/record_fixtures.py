"""Builders for records and scored methods: plausible where a test does not care, exact where it does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.index_builder import PLAIN, RELEASED, build_identity, build_index
from trustcache.data.manifest import Files, Manifest
from trustcache.losses import LOSSES, LossChoice
from trustcache.metrics.ranking import METRICS
from trustcache.models.identity import Identity
from trustcache.models.preprocessing import Preprocessing
from trustcache.models.timm_models import PAPER_MODELS
from trustcache.oracles.presets.preset import read_preset
from trustcache.oracles.runs import Run, RunConfig
from trustcache.protocols import default_optimiser
from trustcache.report.records import Record, Scored

_FIELDS = {field.name for field in dataclasses.fields(Record)}


@pytest.fixture(scope="session")
def record() -> Callable[..., Record]:
    """Make a record; keywords are its fields or, failing that, its metrics. Post hoc where the method is mcp."""

    def make(method: str = "ce", seed: int | None = 0, **given: Any) -> Record:
        trained = method != "mcp"
        fields: dict[str, Any] = {
            "dataset": "digits",
            "classifier": "mlp",
            "oracle": "mlp" if trained else None,
            "training": "frozen" if trained else None,
            "protocol": "equations",
            "n": 1000,
            "settings": {},
            "run": f"run-{method}-{seed}" if trained else None,
        }
        metrics = dict.fromkeys(METRICS, 0.5) | {"accuracy": 0.8}
        for name, value in given.items():
            (fields if name in _FIELDS else metrics)[name] = value
        return Record(method=method, seed=seed if trained else None, metrics=metrics, **fields)

    return make


@pytest.fixture(scope="session")
def scored(record: Callable[..., Record]) -> Callable[..., Scored]:
    """Make a scored method: a record's keywords, or `histogram`, `coverage` and `risk` given whole."""

    def make(method: str = "ce", seed: int | None = 0, **given: Any) -> Scored:
        coverage = np.asarray(given.pop("coverage", np.linspace(0.01, 1, 50)))
        figures = {
            "histogram": given.pop(
                "histogram",
                {
                    "TP": np.array([0, 0, 30, 570]),
                    "FN": np.array([50, 150, 0, 0]),
                    "FP": np.array([0, 0, 12, 48]),
                    "TN": np.array([100, 40, 0, 0]),
                },
            ),
            "coverage": coverage,
            "risk": np.asarray(given.pop("risk", 0.2 * coverage)),
        }
        told = {key: given.pop(key) for key in [*given] if key in _SOURCE}
        made = record(method, seed, **given)
        return Scored(record=made, **figures, **_source(made, **told))

    return make


_SOURCE = {
    "model",
    "oracle_model",
    "preprocessing",
    "weights",
    "variant_of",
    "shows",
    "folder",
    "learnt_from",
    "config",
}


def _source(
    record: Record,
    model: str = "",
    oracle_model: str = "",
    preprocessing: Preprocessing = PLAIN,
    weights: str | None = None,
    variant_of: str = "",
    shows: str = "",
    folder: Path = Path("nowhere"),
    learnt_from: int = 1000,
    config: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Where a record could come from: a cache of `model`, and for a trained one a run; `config` is what it differs in.

    Models are named by their architectures, and an oracle is of its classifier's unless told otherwise.
    """

    def of(name: str) -> Identity:
        return build_identity(name, preprocessing=preprocessing)

    model = model or record.classifier
    manifest = Manifest(record.dataset, "test", (Files("digits"),), variant_of=variant_of, shows=shows)
    asked = {"mean": preprocessing.mean}
    given = {"identity": of(model), "manifest": manifest, "weights": weights, "preprocessing": asked}
    index = build_index(folder, record.classifier, samples=record.n, **given)
    if record.training is None or record.run is None:
        return {"index": index}
    frozen = record.training == "frozen"
    settings = LOSSES[record.method].defaults if record.method in LOSSES else {}
    own = {key: record.settings.get(key, value) for key, value in settings.items()}
    own |= {key: value for key, value in record.settings.items() if key in ("alpha_pos", "alpha_neg", "gamma", "beta")}
    entries: dict[str, Any] = {
        "classifier": record.classifier,
        "data": "learnt-from",
        "cache": "fingerprint",
        "judged": "judged",
        "oracle": record.oracle,
        "backbone": of(oracle_model or (model if record.oracle == record.classifier else str(record.oracle))),
        "features": "fingerprint" if frozen else "",
        "training": record.training,
        "loss": LossChoice(record.method, own),
        "signed_distance": LOSSES[record.method].signed_distance if record.method in LOSSES else False,
        "seed": record.seed or 0,
        "optimiser": default_optimiser(frozen, learnt_from),
        "val_fraction": 0.1,
        "protocol": record.protocol,
    }
    run = Run(folder / record.run, RunConfig(**(entries | (config or {}))))
    return {"index": index, "run": run, "learnt_from": learnt_from}


@pytest.fixture
def papers(scored: Callable[..., Scored]) -> Callable[..., Scored]:
    """Make a run of the paper's own Table 1, ⟨ViT, ViT⟩; keywords change it, `config` single entries of its config."""

    def make(method: str = "ss", seed: int = 0, config: dict[str, Any] | None = None, **given: Any) -> Scored:
        preset = read_preset("paper-imagenet-vit")
        own: dict[str, Any] = {"data": "imagenet-train", "optimiser": preset.fine_tuning, "val_fraction": 0.0}
        fields: dict[str, Any] = {
            "dataset": "imagenet-val",
            "n": 50_000,
            "classifier": "vit-released",
            "oracle": "vit-released",
            "model": PAPER_MODELS["vit"],
            "preprocessing": RELEASED,
            "protocol": "released",
            "training": "fine-tuned",
            "settings": LOSSES[method].defaults if method in LOSSES else {},
            "learnt_from": 1_281_167,
        }
        return scored(method, seed, **(fields | {"config": own | (config or {})} | given))

    return make
