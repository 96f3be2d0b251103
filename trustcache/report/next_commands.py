"""The commands that go on from an answer: a threshold, answers for new images, and one file of both networks."""

from __future__ import annotations

from collections.abc import Sequence

from trustcache.command_lines import command_line
from trustcache.deploy.goals import COVERAGE, PROPOSED_DELTA, named_for_calibration
from trustcache.metrics.selective import guaranteed
from trustcache.report.records import Record
from trustcache.report.samples import Samples

_EASIER = (0.05, 0.1, 0.2)
"""Promises to propose where images for a threshold are there and the answer's risk is out of reach for so many."""


def calibration_options(record: Record, samples: Samples, same: Sequence[Record], max_risk: float) -> list[str]:
    """Return the options of a calibration: on images that are there for it, else on half of those of the answer.

    The promise is chosen by the images of the answer, of which as many are looked at as there are to calibrate on.
    """
    risks = [max_risk]
    if spare := [one for one in same if named_for_calibration(one.dataset) and one.dataset != record.dataset]:
        largest = max(spare, key=lambda one: one.n)
        data, step = [largest.dataset], max(1, -(-len(samples.z) // largest.n))
        risks += [risk for risk in _EASIER if risk > max_risk]
    else:
        # On one half, so that the other shows what the threshold is worth; a run of a half takes the half it did not
        # learn.
        half = ["--part", "first-half"] if samples.rows.all() else []
        data, step = [record.dataset, *half], 2 if half else 1
    z, correct = samples.z[::step], samples.correct[::step]
    for risk in risks:
        if guaranteed(z, correct, risk, PROPOSED_DELTA):
            return ["--data", *data, "--max-risk", f"{risk:g}", "--delta", f"{PROPOSED_DELTA:g}"]
    return ["--data", *data, "--coverage", f"{COVERAGE:g}"]


def next_commands(
    record: Record, calibration: Sequence[str], samples: Samples, place: Sequence[str] | None
) -> list[str]:
    """Return the commands that go on from an answer. calibration: the options of the first, none to leave it out."""
    if place is None:
        return []
    name = record.run or record.method
    which = [] if record.run else ["--classifier", record.classifier]
    lines = [command_line("calibrate", name, *which, *calibration, *place)] if calibration else []
    if samples.cache.index.imported:  # there is no model that could see an image
        return lines
    lines.append(command_line("predict", name, *which, "PATH", *place))
    return [*lines, *([command_line("export", name, *place)] if record.run else [])]
