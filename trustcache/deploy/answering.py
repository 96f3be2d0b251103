"""How `predict` answers: its options, declared once; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trustcache.data.machine import device_option, workers_option
from trustcache.registry import option

FORMATS = ("json", "csv")
"""A JSON object a line, or CSV with a header."""


@dataclass(frozen=True)
class Answering:
    """The run whose answers are asked for, if its name does not say, and how they are made and written."""

    classifier: str | None = option(None, "Whose run or score, where there are several.")
    groups: Path | None = option(None, "Thresholds by group: a CSV file id,group, whose ids end the images' paths.")
    sets: bool = option(False, "Tell the classes that each image may well be, as trustcache sets calibrated them.")
    format: str = option("json", "A JSON object a line, or CSV with a header.", choices=FORMATS)
    batch_size: int = option(64, "Images a forward pass.", min=1)
    workers: int | None = workers_option()
    device: str = device_option()


@dataclass(frozen=True)
class Failing:
    """Outcomes that end `predict` with exit code 1, once all is answered."""

    strict: bool = option(False, "Exit code 1 where an image cannot be read.")
    fail_on_alarm: bool = option(False, "Exit code 1 where scores no longer look like those calibrated on.")
