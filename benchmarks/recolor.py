"""Our ReColorAdv beside the authors' package, in one run: how strong, how fast, and how far colours move.

    python benchmarks/recolor.py IMAGES WEIGHTS [--images 200]

IMAGES is a folder of CIFAR-10 class folders, WEIGHTS a cifar-resnet32's file. The package is installed with
`pip install recoloradv six requests matplotlib`; without it, only ours is measured. Both attack the same batches in
turn, so that other work on the machine slows both. Five to ten minutes on two cores.

The promises: at most 3 % right after our attack, no colour past the bound, and at most half the package's time.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not

from trustcache.data.dataset import open_dataset
from trustcache.data.known_data import folder_manifest
from trustcache.data.variants.attacks import attack, checked_settings
from trustcache.data.variants.cieluv import rgb_to_luv
from trustcache.data.variants.pgd import Logits
from trustcache.models.building import ModelSpec
from trustcache.models.classifiers import Classifier, load_classifier

BATCH = 50
PROMISED_ACCURACY = 0.03
PROMISED_RATIO = 2
ROUNDING = 1e-5

Attacked = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def samples(folder: Path, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images, float32 (count, 3, 32, 32) in [0, 1], and labels, evenly from the whole folder."""
    dataset = open_dataset(folder_manifest(folder, "test"), Path())
    rows = np.linspace(0, len(dataset) - 1, count).round().astype(int)
    pixels = np.stack([np.asarray(dataset.read(int(row))) for row in rows])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(dataset.labels[rows])


def package(classifier: Classifier) -> Attacked:
    """The package's attack with its own settings for "recoloradv". Raises ImportError where it is not installed."""
    os.environ["MISTER_ED_GPU"] = "False"  # it would put its map on a GPU if there is one
    normalizers = importlib.import_module("recoloradv.mister_ed.utils.pytorch_utils")
    settings = classifier.preprocessing
    normalizer = normalizers.DifferentiableNormalize(mean=list(settings.mean), std=list(settings.std))
    attacker = importlib.import_module("recoloradv.utils").get_attack_from_name(
        "recoloradv", classifier.model, normalizer
    )
    return lambda images, labels: attacker.attack(images, labels)[0].detach()


@dataclass(frozen=True)
class Measured:
    """One attack's images, float32 (N, 3, 32, 32) in [0, 1], and the seconds that they took."""

    changed: torch.Tensor
    seconds: float


def measure(contenders: dict[str, Attacked], images: torch.Tensor, labels: torch.Tensor) -> dict[str, Measured]:
    """Attack batch by batch, each batch by every contender in turn."""
    changed: dict[str, list[torch.Tensor]] = {name: [] for name in contenders}
    seconds = dict.fromkeys(contenders, 0.0)
    for batch in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        for name, contender in contenders.items():
            began = time.perf_counter()
            changed[name].append(contender(*batch))
            seconds[name] += time.perf_counter() - began
    return {name: Measured(torch.cat(changed[name]), seconds[name]) for name in contenders}


def largest_change(images: torch.Tensor, changed: torch.Tensor) -> float:
    """How far any pixel moved in any channel of normalised CIELUV."""
    return float((rgb_to_luv(changed.double()) - rgb_to_luv(images.double())).abs().max())


def accuracy(logits: Logits, images: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of images that the classifier gets right."""
    with torch.no_grad():
        return float((logits(images).argmax(1) == labels).float().mean())


def main() -> int:
    """Print the table; 1 where a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="IMAGES")
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("--images", type=int, default=200)
    arguments = parser.parse_args()
    classifier = load_classifier(ModelSpec("cifar-resnet32", arguments.weights))
    logits = classifier.logits_of
    images, labels = samples(arguments.folder, arguments.images)
    contenders: dict[str, Attacked] = {"trustcache": lambda x, y: attack("recolor", logits, x, y, [0] * len(x), {})}
    try:
        contenders["recoloradv"] = package(classifier)
    except ImportError as error:
        print(f"{error}; to compare: pip install recoloradv six requests matplotlib\n")

    measured = measure(contenders, images, labels)
    ours = measured["trustcache"]
    print(f"{len(images)} images, batches of {BATCH}, {torch.get_num_threads()} threads\n")
    print(f"{'':12}{'right':>8}{'seconds':>10}{'ratio':>7}{'largest change in LUV':>24}")
    print(f"{'clean':12}{accuracy(logits, images, labels):>8.1%}")
    for name, row in measured.items():
        speed = f"{row.seconds:>10.1f}{row.seconds / ours.seconds:>7.2f}"
        print(
            f"{name:12}{accuracy(logits, row.changed, labels):>8.1%}{speed}{largest_change(images, row.changed):>24.5f}"
        )

    bound = checked_settings("recolor", {})["bound"]
    kept = {
        f"at most {PROMISED_ACCURACY:.0%} right": accuracy(logits, ours.changed, labels) <= PROMISED_ACCURACY,
        "no colour past the bound": largest_change(images, ours.changed) <= bound + ROUNDING,
    }
    if "recoloradv" in measured:
        kept[f"{PROMISED_RATIO} times as fast"] = measured["recoloradv"].seconds >= PROMISED_RATIO * ours.seconds
    print("\nPromises: " + ", ".join(f"{promise}: {'kept' if held else 'BROKEN'}" for promise, held in kept.items()))
    return 0 if all(kept.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
