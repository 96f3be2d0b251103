"""Builders for records and scored methods: plausible where a test does not care, exact where it does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from trustcache.metrics import METRICS
from trustcache.report.records import Record, Scored

_FIELDS = {field.name for field in dataclasses.fields(Record)}


@pytest.fixture
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


@pytest.fixture
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
        return Scored(record=record(method, seed, **given), **figures)

    return make
