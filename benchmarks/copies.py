"""Forward passes on a CPU: all of torch's threads on one batch, and each on a batch of its own by a copy, in one run.

    python benchmarks/copies.py [--rounds 3] [--seconds 2] [--threads N]

Prints images a second of networks with random weights in both ways, their ratio, and the numbers of a batch, which
choose between them: `->` marks trustcache's way for `extract`. Torch's threads sleep while they wait for each other, as
`import trustcache` sets them to, and freed memory is kept, as the commands have it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import timm
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not

from trustcache.data import copies
from trustcache.data.pipeline import Waits
from trustcache.models.classifiers import Classifier, as_classifier
from trustcache.models.memory import keep_freed_memory
from trustcache.models.zoo.cifar_resnet import CifarResNet


def _timm(name: str, **more: Any) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, num_classes=10, **more)


CASES: list[tuple[str, Callable[[], nn.Module], int, int]] = [
    ("CIFAR's ResNet-8", lambda: CifarResNet(8, 10), 8, 64),
    ("CIFAR's ResNet-20", lambda: CifarResNet(20, 10), 32, 64),
    ("CIFAR's ResNet-32", lambda: CifarResNet(32, 10), 32, 64),
    ("CIFAR's ResNet-110", lambda: CifarResNet(110, 10), 32, 64),
    ("DenseNet-121", _timm("densenet121"), 32, 64),
    ("MobileNetV2", _timm("mobilenetv2_100"), 32, 64),
    ("VGG-16", _timm("vgg16_bn"), 32, 64),
    ("ViT-S/4", _timm("vit_small_patch16_224", img_size=32, patch_size=4), 32, 64),
    ("CIFAR's ResNet-32", lambda: CifarResNet(32, 10), 32, 512),
    ("ResNet-18", _timm("resnet18"), 64, 64),
    ("MobileNetV2", _timm("mobilenetv2_100"), 96, 64),
    ("ResNet-18", _timm("resnet18"), 96, 64),
    ("ResNet-18", _timm("resnet18"), 128, 64),
    ("MobileNetV2", _timm("mobilenetv2_100"), 224, 64),
    ("ResNet-18", _timm("resnet18"), 224, 64),
]
"""Names, networks, sides of their images in pixels, and images a batch."""


def rate(classifier: Classifier, batch: int, small: float, seconds: float) -> float:
    """Images a second of the forward pass where batches of fewer than `small` numbers go to copies."""
    pixels = torch.randint(0, 256, (batch, 3, *classifier.preprocessing.input_size), dtype=torch.uint8)
    first = 2 * torch.get_num_threads()  # these make memory, and copies
    begun, done = 0.0, -first
    with mock.patch.object(copies, "SMALL", small):
        for _ in copies.classifier_copies(classifier, batch).each(Classifier.__call__, repeat(pixels), Waits()):
            now = time.perf_counter()
            if done == 0:
                begun = now
            elif done > first and now - begun > seconds:
                break
            done += 1
    return done * batch / (now - begun)


def main() -> None:
    """Time each case both ways, in turns, and print the most of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="the most of so many rates counts")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement, about")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    keep_freed_memory()
    print(f"{'images/s':24}{'px':>5}{'batch':>7}{'numbers':>9}{'all on one':>14}{'one each':>14}{'ratio':>8}")
    for name, network, side, batch in CASES:
        classifier = as_classifier(network(), {"input_size": (side, side), "crop_pct": 1.0})
        rounds = [[rate(classifier, batch, s, asked.seconds) for s in (0, torch.inf)] for _ in range(asked.rounds)]
        together, each = (max(column) for column in zip(*rounds, strict=True))
        numbers = 3 * batch * side**2
        small = numbers < copies.SMALL
        ways = "".join(
            f"{'->' if taken else '':>5}{found:9.0f}" for taken, found in ((not small, together), (small, each))
        )
        print(f"{name:24}{side:5}{batch:7}{numbers / 1e6:7.2f} M{ways}{each / together:8.2f}", flush=True)


if __name__ == "__main__":
    main()
