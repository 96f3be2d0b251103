"""Views of an image, ranked by how much they say about whether a classifier is right.

    python benchmarks/views.py resnet32.safetensors
    python benchmarks/views.py resnet32.safetensors --beside shrunk

Asks a ResNet-32 about 10,000 CIFAR-10 training images and changed copies of them, each beside the image itself, its
mirror image and the views named: AUC, AUPR-Error and FPR@95, out of fold, of a logistic regression on what each view
says of the predicted class, and how often the classifier is right on the view alone. Each change takes twelve seconds
of a core, a forward pass in bf16; `--only` names those to try. Test images take no part.
"""

from __future__ import annotations

import argparse
import io
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not

from trustcache.data.dataset import open_dataset
from trustcache.data.known_data import find_manifests
from trustcache.metrics.ranking import trust_metrics
from trustcache.models.building import ModelSpec
from trustcache.models.classifiers import Classifier, load_classifier
from trustcache.models.precision import arithmetic
from trustcache.models.views import VIEWS, placed

IMAGES, BATCH, FOLDS = 10_000, 250, 5
LUMA = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)


def blurred(x: Tensor, sigma: float) -> Tensor:
    reach = max(1, math.ceil(3 * sigma))
    kernel = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    x = F.conv2d(F.pad(x, (reach,) * 4, mode="replicate"), kernel, groups=3)
    return F.conv2d(x, kernel.transpose(2, 3), groups=3)


def noisy(x: Tensor, deviation: float) -> Tensor:
    return (x + deviation * torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(0))).clamp(0, 255)


def jpeg(x: Tensor, quality: int) -> Tensor:
    def again(image: Tensor) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(image.byte().permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file))

    return torch.from_numpy(np.stack([again(image) for image in x])).permute(0, 3, 1, 2).float()


def grey(x: Tensor) -> Tensor:
    return (x * LUMA).sum(1, keepdim=True).expand_as(x)


def dull(x: Tensor) -> Tensor:
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + 0.6 * (x - mean)


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    **{name: view.make for name, view in VIEWS.items()},
    **{f"scaled {scale}": partial(placed, scale=scale) for scale in (0.78, 0.85, 0.93, 1.18)},
    "scaled 0.85, mirrored": lambda x: placed(x, 0.85).flip(-1),
    "scaled 0.88, turned 8": lambda x: placed(x, 0.88, degrees=8),
    "moved by half a pixel": lambda x: placed(x, 1.0, shift=1 / 32),
    **{f"blurred {sigma}": partial(blurred, sigma=sigma) for sigma in (0.5, 0.8)},
    "noise 8": lambda x: noisy(x, 8),
    "8 levels": lambda x: torch.floor(x / 32) * 32 + 16,
    "grey": grey,
    "contrast 0.6": dull,
    "JPEG 50": lambda x: jpeg(x, 50),
}


def logits_of(classifier: Classifier, pixels: Tensor, change: Callable[[Tensor], Tensor]) -> np.ndarray:
    with torch.inference_mode(), arithmetic("bf16", pixels.device):
        return np.concatenate([classifier(change(part.float()))[0].numpy() for part in pixels.split(BATCH)])


def said(log_probs: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return what one view says of the class predicted for the image itself, float64 (N, 5)."""
    rows, others = np.arange(len(predicted)), log_probs.copy()
    others[rows, predicted] = -np.inf
    own, best = log_probs[rows, predicted], others.max(1)
    against = np.log1p(-np.exp(np.minimum(own, -1e-9)))
    return np.c_[own, own - best, against, log_probs.argmax(1) == predicted, -(np.exp(log_probs) * log_probs).sum(1)]


def row(views: list[np.ndarray], labels: np.ndarray) -> str:
    """Return AUC, AUPR-Error and FPR@95 out of fold of a logistic regression on some views, the image itself first."""
    predicted = views[0].argmax(1)
    correct, mean = predicted == labels, np.log(np.mean(np.exp(views), axis=0))
    x = np.concatenate([np.eye(10)[predicted], said(mean, predicted), *(said(view, predicted) for view in views)], 1)
    x = (x - x.mean(0)) / (x.std(0) + 1e-9)
    folds = [np.flatnonzero(np.random.default_rng(1).integers(0, FOLDS, len(x)) == fold) for fold in range(FOLDS)]
    splits = [(np.setdiff1d(np.arange(len(x)), fold), fold) for fold in folds]
    regression = LogisticRegression(C=0.1, max_iter=300, tol=1e-3)
    z = cross_val_predict(regression, x, correct, cv=splits, method="decision_function")
    found = trust_metrics(z, correct)
    return " | ".join(f"{100 * float(found[name] or 0):.1f}" for name in ("auc", "aupr_error", "fpr_at_95_tpr"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--beside", nargs="*", default=[], choices=CHANGES)
    parser.add_argument("--only", nargs="*", choices=CHANGES)
    given = parser.parse_args()
    torch.set_num_threads(1)
    dataset = open_dataset(find_manifests("cifar10-train")[0], given.data_root)
    chosen = np.sort(np.random.default_rng(0).permutation(len(dataset))[:IMAGES])
    pixels = torch.from_numpy(np.stack([np.asarray(dataset.read(int(i))) for i in chosen])).permute(0, 3, 1, 2)
    classifier = load_classifier(ModelSpec("cifar-resnet32", given.weights))
    labels = dataset.labels[chosen]

    def view(change: Callable[[Tensor], Tensor]) -> np.ndarray:
        return log_softmax(logits_of(classifier, pixels, change).astype(np.float64), axis=1)

    known = [view(lambda x: x)]
    print(f"| view | AUC | AUPR-Error | FPR@95 | right |\n|---|---|---|---|---|\n| none | {row(known, labels)} | |")
    for name in ("mirrored", *given.beside):
        known.append(view(CHANGES[name]))
        print(f"| and {name} | {row(known, labels)} | {100 * (known[-1].argmax(1) == labels).mean():.1f} |", flush=True)
    for name in given.only or CHANGES.keys() - {"mirrored", *given.beside}:
        more = view(CHANGES[name])
        right = 100 * (more.argmax(1) == labels).mean()
        print(f"| beside these {name} | {row([*known, more], labels)} | {right:.1f} |", flush=True)


if __name__ == "__main__":
    main()
