"""The data behind the page's charts: counts as differences, packed so that hundreds of curves fit into a page."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from trustcache.errors import visible
from trustcache.report.charts import (
    COLOURS,
    CONFIG,
    DASHES,
    IDEAL,
    LEAST_SPAN,
    LEGEND_ROW,
    PLOT_HEIGHT,
    SHAPES,
    SPIKE,
    heat_map,
    reliability,
    risk_coverage,
    roc,
    score_histogram,
)
from trustcache.report.explorer import BINS, Explored, Steps
from trustcache.report.failures import Failures
from trustcache.report.records import finite
from trustcache.report.units import Unit
from trustcache.scores.registry import probability_of


def packed(text: str) -> str:
    """Return text as base64 of zlib, which the page unpacks; no markup can occur in it."""
    return base64.b64encode(zlib.compress(text.encode())).decode()


def page_data(units: Sequence[Unit], failures: Sequence[Failures] = ()) -> str:
    """Return all that the page's script draws, packed. failures: one a unit, or none."""
    charts = {
        "risk": risk_coverage((), now=True),
        "roc": roc(()),
        "histogram": score_histogram(),
        "reliability": reliability(()),
        "heat": heat_map(""),
        "difference": heat_map("", diverging=True),
    }
    looks = {
        "colours": COLOURS,
        "dashes": DASHES,
        "shapes": SHAPES,
        "ideal": IDEAL,
        "config": CONFIG,
        "bins": BINS,
        "spike": SPIKE,
        "plot": PLOT_HEIGHT,
        "legend": LEGEND_ROW,
        "span": LEAST_SPAN,
    }
    plain = {"charts": charts, "looks": looks, "units": [_unit(*both) for both in zip_longest(units, failures)]}
    return packed(json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def _unit(unit: Unit, failing: Failures | None) -> dict[str, Any]:
    places = {data.name: str(i) for i, data in enumerate(unit.data)}
    data = [
        {"name": visible(d.name), "title": visible(d.title), "n": d.n, "clean": d.clean, "row": visible(d.row)}
        | {"column": visible(d.column)}
        for d in unit.data
    ]
    methods = [
        {
            "key": visible(m.key),
            "name": visible(m.name),
            "baseline": m.baseline,
            "picked": m.picked,
            "odds": m.explored.record.run is None and probability_of(m.explored.record.method, 0.0) is not None,
            **_explored(m.explored, places),
        }
        for m in unit.methods
    ]
    answer = unit.answer
    start = {"method": unit.chosen, "data": int(places[answer.dataset]), "threshold": answer.threshold}
    return {
        "name": visible(unit.classifier),
        "data": data,
        "noSeverity": unit.no_severity,
        "methods": methods,
        "start": start,
        "risk": answer.max_risk,
        "half": answer.other_half,
        "failures": _failures(failing) if failing else None,
    }


def _failures(failing: Failures) -> dict[str, Any]:
    """Return the counts of each row of the tables of classes and of confused pairs."""
    classes = [{"c": _differences(one.trusted), "w": _differences(one.wrong_trusted)} for one in failing.classes]
    return {"classes": classes, "pairs": [{"c": _differences(one.trusted)} for one in failing.confused]}


def _explored(one: Explored, places: dict[str, str]) -> dict[str, Any]:
    return {
        "t": one.thresholds.tolist(),
        "calibrated": one.calibrated,
        "zero": one.zero,
        "edges": one.edges,
        "on": {places[data]: _steps(steps) for data, steps in one.steps.items()},
    }


def _steps(steps: Steps) -> dict[str, Any]:
    auc = finite(steps.record.metrics["auc"])
    found = {
        "c": _differences(steps.trusted),
        "w": _differences(steps.wrong),
        "r": steps.right_bins.tolist(),
        "f": steps.wrong_bins.tolist(),
        "rel": [[one.n, one.right, round(one.confidence, 4)] for one in steps.reliability],
        "auc": None if auc is None else round(float(auc), 6),
    }
    if steps.mcp_trusted is not None and steps.mcp_wrong is not None:
        found |= {"x": (steps.mcp_trusted - steps.trusted).tolist(), "v": _differences(steps.mcp_wrong)}
    return found


def _differences(counts: np.ndarray) -> list[int]:
    return np.diff(counts, prepend=0).tolist()
