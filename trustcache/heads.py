"""Stage two, fast: many linear heads trained at once on cached features, each one column of one matrix product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trustcache.losses import LossChoice
from trustcache.oracles import Optimiser, initial_weight, validation_rows
from trustcache.progress import Progress, silent
from trustcache.protocols import PROTOCOLS

# All heads of a job see the samples in one order, whatever their seeds; a seed draws the head's first
# weights and its validation rows. That is what lets a single matrix product serve them all.
ORDER_SEED = 0


@dataclass(frozen=True)
class HeadTask:
    """One head to train, on the loss that its protocol has by that name."""

    loss: LossChoice
    signed_distance: bool
    seed: int
    protocol: str = "equations"

    @property
    def formula_key(self) -> tuple[str, str, str]:
        """Tasks of one formula have the same."""
        return self.protocol, self.loss.name, str(self.loss.settings.get("base"))


@dataclass(frozen=True)
class LinearHead:
    """A trained head on raw features: z = ((x - mean)/std . w + b), over |w| where it is a signed distance."""

    weight: np.ndarray
    bias: float
    mean: np.ndarray
    std: np.ndarray
    signed_distance: bool

    def folded(self) -> tuple[np.ndarray, float]:
        """w (D,) and b such that z = x . w + b, float64: many heads score in one product, whatever their scaling."""
        w = self.weight.astype(np.float64)
        norm = np.linalg.norm(w) if self.signed_distance else 1.0
        slope = w / self.std / norm
        return slope, float(self.bias / norm - self.mean.astype(np.float64) @ slope)


def score_heads(heads: Sequence[LinearHead], features: np.ndarray) -> np.ndarray:
    """z of many heads on raw features (N, D), float64 (N, H)."""
    folded = [head.folded() for head in heads]
    weights = np.stack([w for w, _ in folded], axis=1)
    return features.astype(np.float64) @ weights + np.array([b for _, b in folded])


def train_heads(
    features: Tensor,
    correct: Tensor,
    true_class_prob: Tensor,
    tasks: Sequence[HeadTask],
    optimiser: Optimiser,
    val_fraction: float,
    progress: Progress = silent,
) -> tuple[list[LinearHead], np.ndarray]:
    """Train every task's head with Adam; each ends where it would end if trained alone (to float tolerance).

    features (N, D) of any float dtype, correct and true_class_prob (N,), all on the device to train on. Features are
    standardised by all rows' mean and deviation. Returns the heads and their mean training losses (epochs, H).
    """
    mean, std = _moments(features)
    targets = {"correct": correct.float(), "true_class_prob": true_class_prob.float()}
    # Heads of one formula stand side by side, so that each formula works on a slice, not on a copy.
    place = sorted(range(len(tasks)), key=lambda i: tasks[i].formula_key)
    batch = _Batch([tasks[i] for i in place], correct, features.shape[1], val_fraction)
    adam = torch.optim.Adam([batch.weight, batch.bias], lr=optimiser.lr)
    order = torch.Generator().manual_seed(ORDER_SEED)
    history = torch.zeros(optimiser.epochs, len(tasks), device=features.device)
    with progress(f"{len(tasks)} heads", optimiser.epochs) as advance:
        for epoch in range(optimiser.epochs):
            parts = torch.randperm(len(features), generator=order).to(features.device).split(optimiser.batch_size)
            for rows in parts:
                x = features[rows].float().sub_(mean).mul_(1 / std)
                losses = batch.losses(x, {k: t[rows] for k, t in targets.items()}, rows)
                adam.zero_grad()
                losses.sum().backward()
                adam.step()
                history[epoch] += losses.detach() / len(parts)
            advance(1)
    ranks = np.argsort(place)
    heads = batch.heads(mean, std)
    return [heads[rank] for rank in ranks], history.cpu().numpy()[:, ranks]


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each feature, float32 (D,), in two passes over slices; 1 where a feature is constant."""
    parts = features.split(8192)
    mean = (torch.stack([part.float().sum(0) for part in parts]).double().sum(0) / len(features)).float()
    square = torch.stack([(part.float() - mean).square_().sum(0) for part in parts]).double().sum(0) / len(features)
    std = square.sqrt().float()
    return mean, torch.where(std > 1e-6 * mean.abs().clamp(min=1e-6), std, 1.0)


class _Batch:
    """The parameters of all heads, and their losses on a minibatch."""

    def __init__(self, tasks: list[HeadTask], correct: Tensor, features: int, val_fraction: float) -> None:
        device = correct.device
        self.tasks = tasks
        self.weight = (
            torch.stack([initial_weight(features, task.seed) for task in tasks], 1).to(device).requires_grad_()
        )
        self.bias = torch.zeros(len(tasks), device=device, requires_grad=True)
        self.distance = torch.tensor([task.signed_distance for task in tasks], device=device)
        seeds = sorted({task.seed for task in tasks})
        held_out = np.stack([validation_rows(len(correct), val_fraction, seed) for seed in seeds], axis=1)
        self.training = torch.from_numpy(~held_out).to(device)  # (N, number of seeds)
        self.seed_column = torch.tensor([seeds.index(task.seed) for task in tasks], device=device)
        self.groups = self._group(correct)

    def _group(self, correct: Tensor) -> list[tuple[slice, Callable[..., Tensor], str, dict[str, Tensor]]]:
        """Runs of tasks with one formula: their columns, the formula, its target, its settings as rows (h,)."""
        bound = []
        for task, column in zip(self.tasks, self.seed_column.tolist(), strict=True):
            kept = self.training[:, column]
            right, wrong = int((kept & correct.bool()).sum()), int((kept & ~correct.bool()).sum())
            bound.append(task.loss.bind((wrong, right), PROTOCOLS[task.protocol].losses))
        groups = []
        first = 0
        for last in range(1, len(bound) + 1):
            if last == len(bound) or bound[last][0] is not bound[first][0]:
                settings = {
                    key: torch.tensor([numbers[key] for _, numbers in bound[first:last]], device=correct.device)
                    for key in bound[first][1]
                }
                task = self.tasks[first]
                target = PROTOCOLS[task.protocol].losses[task.loss.name].target
                groups.append((slice(first, last), bound[first][0], target, settings))
                first = last
        return groups

    def losses(self, x: Tensor, targets: dict[str, Tensor], rows: Tensor) -> Tensor:
        """Mean loss of each head over those of the minibatch's rows that its seed trains on, (H,)."""
        norm = torch.where(self.distance, self.weight.norm(dim=0), 1.0)
        z = (x @ self.weight + self.bias) / norm
        kept = self.training[rows][:, self.seed_column]
        count = kept.sum(0).clamp(min=1)
        # A sample's target stands in a row of one; what a head's own samples have in common, in a column of one.
        compared = {name: target[:, None].expand(-1, len(self.tasks)) for name, target in targets.items()}
        compared["mean_correct"] = ((targets["correct"][:, None] * kept).sum(0) / count)[None]
        each = torch.cat([formula(z[:, c], compared[name][:, c], **row) for c, formula, name, row in self.groups], 1)
        return (each * kept).sum(0) / count

    def heads(self, mean: Tensor, std: Tensor) -> list[LinearHead]:
        weights, biases = self.weight.detach().cpu().numpy(), self.bias.detach().cpu().numpy()
        scaling = mean.cpu().numpy(), std.cpu().numpy()
        return [
            LinearHead(weights[:, i].copy(), float(biases[i]), *scaling, task.signed_distance)
            for i, task in enumerate(self.tasks)
        ]
