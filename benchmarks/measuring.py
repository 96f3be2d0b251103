"""Limits of extraction and training on a machine, and our own rates beside them: what `gpu.py` makes its rows of."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from trustcache.cache import open_cache
from trustcache.data.dataset import Dataset, open_dataset
from trustcache.data.known_data import find_manifests
from trustcache.data.loader import Viewer, viewed_batches
from trustcache.extract.on_disk import extract
from trustcache.extract.settings import ExtractSettings
from trustcache.models.building import ModelSpec
from trustcache.models.classifiers import Classifier, load_classifier
from trustcache.models.precision import Repeatable, arithmetic
from trustcache.oracles.network import Oracle
from trustcache.oracles.training_loop import TrainingLoop
from trustcache.registry.permission import allow_code

CLASSES = 100
# Batches that are decoded to know the rate of decoding alone.
_BATCHES = 100


def synchronise(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize()


def rate(step: Callable[[], object], images: int, device: torch.device, seconds: float) -> float:
    """Images a second of a step that takes `images`, over about `seconds`, after warming up."""
    for _ in range(3):
        step()
    synchronise(device)
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for _ in range(5 if device.type != "cpu" else 1):
            step()
            steps += 1
        synchronise(device)
    return steps * images / (time.perf_counter() - began)


def _ready(model: Classifier, batch: int, device: torch.device) -> torch.Tensor:
    """Move a model to a device, and return a normalised batch of noise there."""
    model.model.to(device)
    pixels = torch.randint(0, 256, (batch, 3, *model.preprocessing.input_size), dtype=torch.uint8, device=device)
    return model.preprocessing.normalise(pixels)


def bare_forward(model: Classifier, precision: str, batch: int, device: torch.device, seconds: float) -> float:
    """Images a second of the network alone, on one normalised batch on the device."""
    x = _ready(model, batch, device)
    with torch.inference_mode(), arithmetic(precision, device):
        return rate(lambda: model.model(x), batch, device, seconds)


def compiled_forward(
    model: Classifier, precision: str, batch: int, device: torch.device, seconds: float
) -> tuple[float, float]:
    """Images a second of the network compiled by torch, as in `bare_forward`; and the seconds until it is compiled."""
    x, network = _ready(model, batch, device), torch.compile(model.model)
    with torch.inference_mode(), arithmetic(precision, device):
        began = time.perf_counter()
        network(x)
        synchronise(device)
        once = time.perf_counter() - began
        return rate(lambda: network(x), batch, device, seconds), once


def extraction(
    model: Classifier, dataset: Dataset, folder: Path, settings: ExtractSettings, device: torch.device
) -> float:
    """Seconds of a whole extraction into a fresh cache."""
    shutil.rmtree(folder, ignore_errors=True)
    model.model.to(device)
    synchronise(device)
    began = time.perf_counter()
    extract(model, "bench", dataset, folder.parent, folder, settings)
    seconds = time.perf_counter() - began
    assert len(open_cache(folder)) == len(dataset)
    return seconds


def decoding(model: Classifier, dataset: Dataset, workers: int, batch: int) -> float:
    """Images a second that so many processes decode and hand over, with no model: of some batches after the first."""
    viewer = Viewer(model.preprocessing, torch.device("cpu"), workers)
    parts = [np.arange(i, min(i + batch, len(dataset))) for i in range(0, len(dataset), batch)][:_BATCHES]
    batches = viewed_batches(dataset, viewer, parts)
    next(batches)
    began = time.perf_counter()
    return sum(len(seen.indices) for seen in batches) / (time.perf_counter() - began)


def photos(root: Path, count: int, kind: str, sides: tuple[int, int]) -> Dataset:
    """A data set of `count` files, links to 64 noisy pictures with sides of so many pixels, from least to most."""
    rng, originals = np.random.default_rng(0), []
    for number in range(64):
        shape = tuple(rng.integers(sides[0], sides[1] + 1, 2))
        smooth = Image.fromarray(rng.integers(0, 256, (25, 25, 3), dtype=np.uint8)).resize(shape[::-1])
        noisy = np.asarray(smooth).astype(np.int16) + rng.integers(-12, 13, (*shape, 3), dtype=np.int16)
        file = root / f"original-{number:02d}.{kind}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, quality=90)
        originals.append(file)
    for number in range(count):
        folder = root / "photos" / f"{number % CLASSES:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        os.link(originals[number % 64], folder / f"{number:06d}.{kind}")
    return open_dataset(find_manifests(str(root / "photos"))[0], root)


def training(
    name: str, precision: str, batch: int, dataset: Dataset, device: torch.device, seconds: float, workers: int | None
) -> tuple[float, float, float]:
    """Images a second of the training loop from files, of a bare loop over one batch, and of that with equal bits."""
    allow_code(f"{__name__}:{name}")
    oracle = Oracle(ModelSpec(f"{__name__}:{name}"), False, 0).to(device)
    adam = torch.optim.Adam(oracle.parameters(), lr=1e-5)
    pixels = torch.rand(batch, 3, *oracle.preprocessing.input_size, device=device)
    targets = torch.rand(batch, device=device)

    def loss_of(x: torch.Tensor) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(oracle(x).float(), targets)

    def bare() -> None:
        with arithmetic(precision, device):
            adam.zero_grad()
            loss_of(pixels).backward()
            adam.step()

    oracle.train()
    limit, repeat = rate(bare, batch, device, seconds), Repeatable(device)
    repeated = rate(lambda: repeat(bare), batch, device, seconds)
    steps = max(int(limit * seconds * 2 / batch), 3)
    place = Path(tempfile.mkdtemp()) / "checkpoint"
    loop = TrainingLoop(name, oracle, adam, None, steps + 2, place, 1e9, precision=precision)
    parts = [np.arange(batch) + i * batch % (len(dataset) - batch) for i in range(steps + 2)]
    seen = viewed_batches(dataset, Viewer(oracle.preprocessing, device, workers), parts)
    batches = (oracle.preprocessing.normalise(batch.pixels) for batch in seen)
    loop.run(itertools.islice(batches, 2), loss_of, lambda: None)
    synchronise(device)
    began = time.perf_counter()
    loop.run(batches, loss_of, lambda: None)
    synchronise(device)
    return steps * batch / (time.perf_counter() - began), limit, repeated


def model_of(name: str) -> Classifier:
    """A classifier of this file with random weights."""
    allow_code(f"{__name__}:{name}")
    return load_classifier(ModelSpec(f"{__name__}:{name}", preprocessing={"crop_pct": 1.0}))


def vit() -> nn.Module:
    import timm

    return timm.create_model("vit_base_patch16_384", num_classes=CLASSES)


def resnet50() -> nn.Module:
    import timm

    return timm.create_model("resnet50", num_classes=CLASSES)


def resnet18() -> nn.Module:
    import timm

    return timm.create_model("resnet18", num_classes=CLASSES)


def cifar_resnet32() -> nn.Module:
    from trustcache.models.zoo.cifar_resnet import CifarResNet

    return CifarResNet(32, CLASSES)
