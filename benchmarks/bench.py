"""A run of `gpu.py`: its rows, and the limits and data that its sections share."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from measuring import bare_forward, decoding, extraction, model_of, photos

from trustcache.data.dataset import Dataset, open_dataset
from trustcache.data.loader import choose_device
from trustcache.data.machine import decoding_workers
from trustcache.extract.settings import ExtractSettings
from trustcache.models.classifiers import Classifier
from trustcache.models.precision import resolved

# An extraction's rate is a difference, between one of all images and one of this part of them.
_PART = 5


@dataclasses.dataclass(frozen=True)
class Network:
    """A function of `measuring`, the least and the most pixels of its photos' sides, and sizes of batches."""

    name: str
    sides: tuple[int, int]
    batch: int
    on_cpu: int
    tuned: int


NETWORKS = {
    network.name: network
    for network in (
        Network("vit", (400, 500), batch=256, on_cpu=16, tuned=40),
        Network("resnet18", (400, 500), batch=256, on_cpu=64, tuned=8),
        Network("cifar_resnet32", (32, 32), batch=4096, on_cpu=64, tuned=128),
    )
}


class Extracted(NamedTuple):
    """Images a second of an extraction, and the seconds of what is done once, however many images there are."""

    rate: float
    once_s: float


class Bench:
    """One run: what was asked for, the rows so far, and what several sections share."""

    def __init__(self, options: argparse.Namespace, root: Path) -> None:
        self.options, self.root, self.network = options, root, NETWORKS[options.network]
        self.rows: list[dict[str, Any]] = []
        self.device, self.seconds = choose_device(options.device), options.seconds
        self.best = resolved("auto", self.device)
        self.cores = decoding_workers(None, 10**6, self.device.type)
        self.on_gpu = self.device.type != "cpu"
        self.large = self.network.batch if self.on_gpu else self.network.on_cpu

    def add(self, what: str, ours: float | Extracted, limit: float, of: str, unit: str = "images/s") -> None:
        """Add a row, and print it; of times, the lesser is the better one."""
        found, once = (ours.rate, ours.once_s) if isinstance(ours, Extracted) else (ours, None)
        share = limit / found if unit == "s" else found / limit
        row = {"what": what, "found": found, "limit": limit, "unit": unit, "limit is": of, "share": share}
        self.rows.append(row if once is None else {**row, "once_s": once})
        beside = "" if once is None else f", and once {once:.1f} s"
        print(f"{what:60s} {found:10.4g} of {limit:10.4g} {unit:9s} {share:6.2f}   {of}{beside}", flush=True)

    @cached_property
    def main(self) -> Classifier:
        return model_of(self.network.name)

    def measured_forward(self) -> float:
        """Images a second of the bare forward pass at its best, as it is now."""
        return bare_forward(self.main, self.best, self.large, self.device, self.seconds)

    @cached_property
    def forward(self) -> float:
        """The same, measured once."""
        return self.measured_forward()

    def beside_forward(self, work: Callable[[], Extracted]) -> tuple[Extracted, float]:
        """What some work gives, and the forward pass before and after it, on average: other work may slow a machine."""
        forward, found = [self.measured_forward()], []
        for _ in range(self.options.rounds):
            found.append(work())
            forward.append(self.measured_forward())
        return Extracted(*map(fmean, zip(*found, strict=True))), fmean(forward)

    @cached_property
    def jpegs(self) -> Dataset:
        return photos(self.root / "jpg", self.options.images, "jpg", self.network.sides)

    @cached_property
    def decoded(self) -> float:
        """Images a second that bare processes decode."""
        return decoding(self.main, self.jpegs, self.cores, self.large)

    @property
    def settings(self) -> ExtractSettings:
        return ExtractSettings(self.large, self.cores, str(self.device), self.best)

    def extracted(self, dataset: Dataset, settings: ExtractSettings, model: Classifier | None = None) -> Extracted:
        """Extract a part of a data set and then all of it: what is done once takes the same time in both."""
        manifest = dataclasses.replace(dataset.manifest, thinned_to=len(dataset) // _PART)
        few = open_dataset(manifest, self.root)
        place = self.root / f"cache-{len(self.rows)}"
        seconds = [extraction(model or self.main, one, place, settings, self.device) for one in (few, dataset)]
        each = (seconds[1] - seconds[0]) / (len(dataset) - len(few))
        return Extracted(1 / each, seconds[1] - len(dataset) * each)
