"""The whole of trustcache on data that ships with scikit-learn: a classifier, its cache, oracles, a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from trustcache.cache.workspace import Workspace
from trustcache.data.dataset import open_dataset
from trustcache.data.known_data import find_manifests
from trustcache.data.progress import Progress, silent
from trustcache.data.threads import one_thread
from trustcache.evaluate.scoring import evaluate
from trustcache.extract.on_disk import extract
from trustcache.extract.settings import ExtractSettings
from trustcache.losses import LOSSES
from trustcache.models.building import ModelSpec
from trustcache.models.classifiers import load_classifier
from trustcache.models.views import ALL
from trustcache.oracles.backbones import cached_oracle
from trustcache.oracles.fit_classifier import fit_classifier
from trustcache.oracles.loss_grid import loss_grid
from trustcache.oracles.optim import FitSettings, Machine
from trustcache.oracles.plan import TrainSettings, plan
from trustcache.oracles.request import TrainRequest, resolve
from trustcache.protocols import default_optimiser

LABEL = "digits-resnet8"
DATA = ("digits-train", "digits-test", "digits-c/gaussian_noise/2")
SEEDS = (0, 1, 2)
# The digits are 8 x 8 pixels, and the classifier takes them as they are.
MODEL = ModelSpec("cifar-resnet8", preprocessing={"input_size": (8, 8)})
BRIEFLY = FitSettings(epochs=4, batch_size=64, lr=2e-3, val_fraction=0.0)
# Decoding workers take longer to start than these images to read.
MACHINE = Machine(device="cpu", workers=0)


def run_demo(workspace: Workspace, data_root: Path, progress: Progress = silent) -> None:
    """Fit a classifier on one part of the digits, extract the others, train every loss both ways and strong oracles.

    Everything lands in the workspace as the ordinary commands would leave it; what is there already is kept.
    """
    with one_thread():  # the images are small
        _run_all(workspace, data_root, progress)


def _run_all(workspace: Workspace, data_root: Path, progress: Progress) -> None:
    weights = workspace.root / "demo" / f"{LABEL}.safetensors"
    if not weights.is_file():
        fit_digits(weights, data_root, progress)
    classifier = load_classifier(replace(MODEL, weights=str(weights)))
    for name in DATA:
        (manifest,) = find_manifests(name)
        folder = workspace.cache_folder(LABEL, name)
        settings = ExtractSettings(views=(ALL,), workers=0, device="cpu", batch_size=256)
        extract(classifier, LABEL, open_dataset(manifest, data_root), data_root, folder, settings, progress)
    index = workspace.find_cache("train", LABEL, DATA[0])
    losses = loss_grid(list(LOSSES), {})
    oracle = cached_oracle(workspace, index, label=None)
    runs = []
    for frozen in (True, False):
        shared = TrainSettings(frozen, default_optimiser(frozen, index.samples), SEEDS)
        runs += plan(index, oracle, losses, shared).run(workspace, data_root, MACHINE, progress)
    strong = resolve(workspace, TrainRequest(preset="strong", data=DATA[0], seed=SEEDS), {}, {}, {})
    runs += strong.run(workspace, data_root, MACHINE, progress)
    evaluate(workspace, runs, data_root, MACHINE, progress)


def fit_digits(weights: Path, data_root: Path, progress: Progress = silent) -> None:
    """Fit a ResNet-8 on the digits set aside for it, briefly, so that it leaves mistakes to learn from."""
    (manifest,) = find_manifests("digits-fit")
    fit_classifier(MODEL, open_dataset(manifest, data_root), weights, BRIEFLY, MACHINE, progress)
