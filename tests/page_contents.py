"""What a page shows, made of scores that are drawn here, so that every number of it is known."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from trustcache.metrics.calibration import calibration_metrics
from trustcache.metrics.ranking import trust_metrics
from trustcache.report.answer import Answer, Weakest
from trustcache.report.comparison import compare_methods
from trustcache.report.contents import Contents
from trustcache.report.explorer import explore
from trustcache.report.intervals import Compared, Estimate
from trustcache.report.records import Record, Scored
from trustcache.report.samples import Samples
from trustcache.report.trade import Trade
from trustcache.report.units import Unit, make_unit

CALIBRATED = 1.2345


class Reader:
    """Stands in for a workspace's scores: those of a record, drawn by its names."""

    def read(self, record: Record) -> Samples:
        rng = np.random.default_rng(zlib.crc32(f"{record.classifier} {record.dataset}".encode(errors="replace")))
        correct = rng.random(record.n) < record.metrics["accuracy"]
        own = zlib.crc32(f"{record.method} {record.seed} {record.training} {record.dataset}".encode(errors="replace"))
        rng = np.random.default_rng(own)
        z = np.round(rng.normal(np.where(correct, 2.0, 0.2), 1.5), 2)  # rounded, so that there are ties
        rows: Any = np.ones(record.n, dtype=bool)
        return Samples(z, correct, rows, cache=None, negative=None)  # type: ignore[arg-type]


def make_contents(scored: Sequence[Scored], spare: Sequence[str] = (), **fields: Any) -> Contents:
    """Return a page's contents with a unit for each classifier, whose answer is its first trained method.

    spare: data sets whose images are there for a threshold.
    """
    units = [_unit([one for one in scored if one.record.classifier == name], spare) for name in _classifiers(scored)]
    return Contents(scored, units=units, answers=[unit.answer for unit in units], **fields)


def _classifiers(scored: Sequence[Scored]) -> list[str]:
    return list(dict.fromkeys(one.record.classifier for one in scored))


def _unit(scored: Sequence[Scored], spare: Sequence[str]) -> Unit:
    for one in scored:
        samples = Reader().read(one.record)
        one.record.metrics.update(trust_metrics(samples.z, samples.correct))
        one.record.metrics.update(calibration_metrics(samples.z, samples.correct))
    chosen = next(one.record for one in scored if one.run)
    trade = Trade(0.8, 0.05, 0.8, 0.08)
    gain = Estimate(0.05, 0.04, 0.06)
    answer = Answer(
        classifier=chosen.classifier, dataset=chosen.dataset, record=chosen, name=chosen.method, seeds=2,
        chosen_by="validation AURC 1.00 %, the least of 3 oracles", threshold=CALIBRATED,
        threshold_of="calibrated on held-out data: max risk 5 %, delta 0.001", guarantee="with confidence 0.999",
        other_half=False, rows=np.ones(chosen.n, dtype=bool), error_rate=0.2,
        at_threshold=trade, at_coverage=trade, max_risk=0.05, at_risk=trade,
        gain=gain, weakest=Weakest(scored[-1].record.dataset, 0.5, 0.4, 0.3), worse=["knn"], compared=3,
        commands=["trustcache calibrate x", "trustcache predict x PATH"],
        spare=spare,
    )  # fmt: skip
    comparisons = compare_methods([one.record for one in scored])
    compared = [
        Compared(table, row, {"auc": Estimate(row.value("auc"), row.value("auc") - 0.02, row.value("auc") + 0.02)}, {
            "auc": Estimate(0.01 * i - 0.02, 0.01 * i - 0.03, 0.01 * i - 0.01)
        } if row.record.method != "mcp" else {})
        for table in comparisons
        for i, row in enumerate(table.rows)
    ]  # fmt: skip
    threshold = SimpleNamespace(point=SimpleNamespace(threshold=CALIBRATED))
    known = {(chosen.classifier, str(chosen.run)): threshold}
    explored = explore(scored, answer, known, Reader())  # type: ignore[arg-type]
    return make_unit(answer, explored, scored, comparisons, compared)
