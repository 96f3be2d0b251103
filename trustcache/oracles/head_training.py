"""Stage two, fast: many heads trained at once on cached outputs, each one column of one matrix product."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trustcache.data.progress import Progress, silent
from trustcache.data.splits import training_rows, validation_rows
from trustcache.data.threads import WORTH_BESIDE, overlapped, threads_for
from trustcache.losses import LossChoice
from trustcache.models.precision import arithmetic
from trustcache.oracles.cuda_graphs import on_graphs
from trustcache.oracles.head_inputs import Outputs, head_inputs
from trustcache.oracles.head_rows import LearntRows, WholeColumns, made_once
from trustcache.oracles.heads import LINEAR, AnyHead, HeadSpec, LinearHead
from trustcache.oracles.mlp_heads import MlpHead, first_parameters, joined, mlp_scores
from trustcache.oracles.network import initial_weight
from trustcache.protocols import PROTOCOLS, Optimiser, validation_entry

# All heads of a job see the samples in one order, with the same inputs and hidden units left out, whatever their
# seeds; a seed draws the head's first weights and its validation rows. So one matrix product can serve them all.
ORDER_SEED = 0


@dataclass(frozen=True)
class HeadTask:
    """One head to train, on the loss that its protocol has by that name; `negative` as in `validation_entry`."""

    loss: LossChoice
    signed_distance: bool
    seed: int
    protocol: str = "equations"
    negative: float | None = None

    @property
    def formula_key(self) -> tuple[str, str, str]:
        """A key that tasks of one formula share."""
        return self.protocol, self.loss.name, str(self.loss.settings.get("base"))


class Trained(NamedTuple):
    """A trained head and its log: one entry an epoch, the last one for the epoch whose weights were kept."""

    head: AnyHead
    log: list[dict[str, Any]]


@dataclass(frozen=True)
class Diverged:
    """A head with nothing to keep: its loss, weights or scores were no longer finite at the end of an epoch."""

    epoch: int


def train_heads(
    outputs: Outputs | LearntRows,
    correct: Tensor,
    true_class_prob: Tensor,
    tasks: Sequence[HeadTask],
    optimiser: Optimiser,
    val_fraction: float,
    spec: HeadSpec = LINEAR,
    progress: Progress = silent,
    shown_again: np.ndarray | None = None,
) -> list[Trained | Diverged]:
    """Train every task's head with AdamW; each ends where it would end if trained alone (to float tolerance).

    One that diverges touches no other's column, so the others go on.
    outputs: the columns that the inputs need, of any float dtype, or rows that are read in blocks; correct and
    true_class_prob (N,); all on the device to train on. Inputs are standardised by all rows' mean and deviation, and
    made a minibatch at a time; two are in memory at most.
    shown_again: of as many last rows as it has, int (M,), the number of the row whose sample each shows again, changed,
    or -1. These are never validated on, and not learnt from where that row is held out.
    """
    # Heads of one formula stand side by side, so that each formula works on a slice, not on a copy.
    place = sorted(range(len(tasks)), key=lambda i: tasks[i].formula_key)
    inputs = _Inputs(spec, WholeColumns(outputs) if isinstance(outputs, Mapping) else outputs)
    targets = {"correct": correct.float(), "true_class_prob": true_class_prob.float()}
    again = np.empty(0, dtype=np.int64) if shown_again is None else shown_again
    batch = _Batch([tasks[i] for i in place], targets, inputs, spec, val_fraction, again)
    keeper = _Keeper(batch, correct, spec.patience)
    adam = batch.optimiser(optimiser.lr, spec.weight_decay)
    order = torch.Generator().manual_seed(ORDER_SEED)
    threads = threads_for(optimiser.batch_size, sum(map(torch.numel, batch.parameters)))
    with (
        threads as idle,
        arithmetic("float32", inputs.device),
        progress(f"epochs of {len(tasks)} heads", optimiser.epochs) as advance,
    ):
        steps = _Steps(batch, adam, optimiser.batch_size, idle)
        for epoch in range(1, optimiser.epochs + 1):
            losses = steps.epoch(inputs.learnt.epoch(order, optimiser.batch_size))
            losses = torch.where(batch.finite(), losses, torch.nan)
            keeper.look(epoch, losses.tolist(), last=epoch == optimiser.epochs)
            advance(1)
            if keeper.all_ended:
                break
    return [keeper.trained(rank) for rank in np.argsort(place).tolist()]


class _Minibatch(NamedTuple):
    """All that a step needs of its rows and that no parameter changes, so that it can be made before its turn."""

    x: Tensor  # standardised inputs (n, D) with input dropout
    kept: Tensor | None  # the hidden layers' dropout factors (n, hidden)
    targets: list[Tensor]  # for each group of h columns, (n, h), or (1, h) where all samples of a column share one
    share: Tensor  # of each row in its column's mean loss (n, columns), 0 for those that the column's seed holds out


class _Steps:
    """The steps of all heads on minibatches, most of them of `size` rows.

    idle: whether there is a thread for large minibatches to be made in while the step before them is taken.
    """

    def __init__(self, batch: _Batch, adam: torch.optim.Optimizer, size: int, idle: bool) -> None:
        self._batch, self._adam, inputs = batch, adam, batch.inputs
        self._total = torch.zeros(len(batch.columns), device=inputs.device)  # of each column's losses
        self._beside = idle and inputs.device.type == "cpu" and size * batch.made_of_a_row >= WORTH_BESIDE
        self._on_rows: Callable[[Tensor], None] = lambda rows: self._step(batch.minibatch(rows))
        if inputs.device.type == "cuda":
            self._on_rows = on_graphs(self._on_rows, size, inputs.generator)

    def epoch(self, minibatches: Iterator[Tensor]) -> Tensor:
        """Take a step on the rows of each minibatch; return each task's mean loss, (tasks,)."""
        self._total.zero_()
        if self._beside:
            count = overlapped(self._batch.minibatch, self._step, minibatches)
        else:
            count = sum(1 for _ in map(self._on_rows, minibatches))
        return self._total.view(len(self._batch.tasks), -1).mean(1) / count

    def _step(self, made: _Minibatch) -> None:
        losses = self._batch.losses(made)
        self._adam.zero_grad()
        losses.backward(made.share)  # of the sum of all columns' means
        self._adam.step()
        self._total += (losses.detach() * made.share).sum(0)


class _Inputs:
    """The inputs of all rows, made, standardised and dropped a few at a time."""

    def __init__(self, spec: HeadSpec, learnt: LearntRows) -> None:
        self._spec = spec
        self._names, self.learnt = made_once(spec.inputs, learnt)
        self.device = learnt.device
        self.mean, self.std = self._moments()
        self._scale = 1 / self.std
        # A GPU draws its own dropout, and another one than the processor: none is copied to it at each step.
        self.generator = torch.Generator(self.device).manual_seed(ORDER_SEED)

    @property
    def width(self) -> int:
        return len(self.mean)

    def _standardised(self, outputs: Outputs) -> Tensor:
        """Return standardised inputs (n, D) of outputs that are no one else's."""
        return self._raw(outputs).sub_(self.mean).mul_(self._scale)

    def passed(self, rows: Tensor) -> Iterator[Tensor]:
        """Yield the standardised inputs of some rows, ascending, a block at a time."""
        return map(self._standardised, self.learnt.passed(rows))

    def dropped(self, rows: Tensor) -> Tensor:
        """Return the standardised inputs of a minibatch with input dropout, as a training step sees them."""
        x = self._standardised(self.learnt.at(rows))
        return x * self.keep(x.shape, self._spec.input_dropout) if self._spec.input_dropout else x

    def keep(self, shape: Sequence[int], dropout: float) -> Tensor:
        """Return the factors of dropout for a tensor of a shape: 0, or 1/(1 - dropout)."""
        return (torch.rand(*shape, generator=self.generator, device=self.device) >= dropout) / (1 - dropout)

    def _raw(self, outputs: Outputs) -> Tensor:
        return head_inputs(self._names, outputs)

    def _summed(self, of: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the sum over all rows of a function of the inputs, float64 (D,), of float32 sums over blocks.

        It is on the CPU, as Apple's GPUs have no float64.
        """
        blocks = (of(self._raw(outputs)).sum(0).cpu().double() for outputs in self.learnt.passed())
        total = next(blocks)
        for each in blocks:
            total += each
        return total

    def _moments(self) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of each input, float32 (D,), in two passes over slices; 1 where one is constant."""
        # Summed as they come: small arrays that outlive the blocks between them would keep freed memory in pieces.
        mean = (self._summed(lambda part: part) / self.learnt.rows).float().to(self.device)
        std = (self._summed(lambda part: (part - mean).square_()) / self.learnt.rows).sqrt().float().to(self.device)
        return mean, torch.where(std > 1e-6 * mean.abs().clamp(min=1e-6), std, 1.0)


class _Batch:
    """The parameters of all heads, and their losses on a minibatch; a column is a head, or one member of it."""

    def __init__(
        self,
        tasks: list[HeadTask],
        targets: dict[str, Tensor],
        inputs: _Inputs,
        spec: HeadSpec,
        val_fraction: float,
        shown_again: np.ndarray,
    ) -> None:
        device = inputs.device
        self.tasks, self.targets, self.inputs, self.spec = tasks, targets, inputs, spec
        self.columns = [task for task in tasks for _ in range(spec.members)]
        self.parameters = [p.to(device).requires_grad_() for p in self._first_parameters()]
        self.distance = torch.tensor([task.signed_distance for task in self.columns], device=device)
        self.seeds = sorted({task.seed for task in tasks})
        rows = inputs.learnt.rows - len(shown_again)
        self.held_out = np.stack([validation_rows(rows, val_fraction, seed) for seed in self.seeds], axis=1)
        kept = np.stack([training_rows(column, shown_again) for column in self.held_out.T], axis=1)
        self.training = torch.from_numpy(kept).to(device)  # (N, number of seeds)
        self.seed_column = torch.tensor([self.seeds.index(task.seed) for task in self.columns], device=device)
        self.groups = self._group(targets["correct"].bool())

    def _first_parameters(self) -> Sequence[Tensor]:
        width, spec = self.inputs.width, self.spec
        if spec.kind == "linear":
            weight = torch.stack([initial_weight(width, task.seed) for task in self.tasks])
            return weight, torch.zeros(len(self.tasks))
        members = range(spec.members)
        return joined([first_parameters(width, spec.hidden, task.seed, m) for task in self.tasks for m in members])

    def optimiser(self, lr: float, weight_decay: float) -> torch.optim.Optimizer:
        """Return AdamW, with decay for the weights and none for the biases."""
        weights, biases = self.parameters[::2], self.parameters[1::2]
        groups = [{"params": weights, "weight_decay": weight_decay}, {"params": biases, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=lr, fused=True, capturable=self.training.is_cuda)

    def _group(self, correct: Tensor) -> list[tuple[slice, Callable[..., Tensor], str, dict[str, Tensor]]]:
        """Return the groups of columns with one formula: slice, formula, target, settings as rows (h,)."""
        bound = []
        for task, column in zip(self.columns, self.seed_column.tolist(), strict=True):
            kept = self.training[:, column]
            right, wrong = int((kept & correct).sum()), int((kept & ~correct).sum())
            bound.append(task.loss.bind((wrong, right), PROTOCOLS[task.protocol].losses))
        groups = []
        for formula, places in groupby(range(len(bound)), key=lambda i: bound[i][0]):
            first, *others = places
            own = slice(first, first + 1 + len(others))
            settings = {
                key: torch.tensor([numbers[key] for _, numbers in bound[own]], device=correct.device)
                for key in bound[first][1]
            }
            task = self.columns[first]
            groups.append((own, formula, PROTOCOLS[task.protocol].losses[task.loss.name].target, settings))
        return groups

    def z(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        """Return z (n, columns) for standardised inputs (n, D); `kept`: the hidden layers' dropout factors."""
        if self.spec.kind == "mlp":
            return mlp_scores(x, self.parameters, self.distance, kept)
        weight, bias = self.parameters
        # Heads are rows, as of torch's own layers: a processor multiplies by two to eight columns five times as slowly.
        return F.linear(x, weight, bias) / weight.norm(dim=1).masked_fill(~self.distance, 1.0)

    @property
    def made_of_a_row(self) -> int:
        """Numbers that a minibatch has of a row: inputs and hidden layers' dropout factors."""
        return self.inputs.width + (self.spec.hidden if self.spec.dropout else 0)

    def minibatch(self, rows: Tensor) -> _Minibatch:
        """Return what a step on some rows needs of them."""
        x, dropout = self.inputs.dropped(rows), self.spec.dropout
        kept = self.inputs.keep((len(x), self.spec.hidden), dropout) if dropout else None
        counted = self.training.index_select(0, rows).to(x.dtype)
        share = (counted / counted.sum(0).clamp(min=1))[:, self.seed_column]
        # A sample's target stands in a row of one; what a head's own samples have in common, in a column of one.
        targets = {name: target.index_select(0, rows)[:, None] for name, target in self.targets.items()}
        targets["mean_correct"] = targets["correct"].T @ share
        compared = [targets[name].expand(-1, len(self.columns))[:, columns] for columns, _, name, _ in self.groups]
        return _Minibatch(x, kept, compared, share)

    def losses(self, made: _Minibatch) -> Tensor:
        """Return each column's loss on each row of a minibatch, (n, columns)."""
        z = self.z(made.x, made.kept)
        groups = zip(self.groups, made.targets, strict=True)
        return torch.cat([formula(z[:, c], target, **row) for (c, formula, _, row), target in groups], 1)

    def finite(self) -> Tensor:
        """Return, for each task, True if all its parameters are finite, bool (tasks,)."""
        first, *others = self.parameters
        by_column = first.transpose(0, 1) if self.spec.kind == "mlp" else first, *others
        each = [parameter.reshape(len(self.columns), -1).isfinite().all(1) for parameter in by_column]
        return torch.stack(each).all(0).view(len(self.tasks), -1).all(1)

    def validated(self, correct: np.ndarray, tasks: Sequence[int]) -> list[dict[str, float | None] | None]:
        """Return some tasks' metrics on the rows that their seeds hold out, {} where these are of one class.

        None where the scores are no numbers.
        """
        rows = np.flatnonzero(self.held_out.any(axis=1))
        if not len(rows):
            return [{} for _ in tasks]
        held_out = torch.from_numpy(rows)
        z, done = torch.empty(len(rows), len(self.columns), device=self.inputs.device), 0
        with torch.no_grad():
            for part in self.inputs.passed(held_out):
                z[done : done + len(part)] = self.z(part)
                done += len(part)
        mean = z.cpu().double().view(len(rows), len(self.tasks), -1).mean(2).numpy()
        found = []
        for i in tasks:
            mine = self.held_out[rows, self.seeds.index(self.tasks[i].seed)]
            own, task = mean[mine, i], self.tasks[i]
            broken = np.isnan(own).any()
            found.append(None if broken else validation_entry(own, correct[rows[mine]], task.protocol, task.negative))
        return found

    def head(self, task: int) -> AnyHead:
        """Return one task's head as it is now."""
        mine = slice(task * self.spec.members, (task + 1) * self.spec.members)
        scaling = self.inputs.mean.cpu().numpy(), self.inputs.std.cpu().numpy()
        arrays = [parameter.detach().cpu().numpy() for parameter in self.parameters]
        distance = self.tasks[task].signed_distance
        if self.spec.kind == "mlp":
            first_weight, first_bias, weight, bias = arrays
            own = first_weight[:, mine].copy(), first_bias[mine].copy(), weight[mine].copy(), bias[mine].copy()
            return MlpHead(*own, *scaling, distance)
        weight, bias = arrays
        return LinearHead(weight[task].copy(), bias[task].copy(), *scaling, distance)


class _Keeper:
    """Keeps each task's weights: with patience those of the best validation AUC, else those of the last epoch."""

    def __init__(self, batch: _Batch, correct: Tensor, patience: int) -> None:
        self.batch, self.patience = batch, patience
        self.correct = correct.bool().cpu().numpy()
        self.logs: list[list[dict[str, Any]]] = [[] for _ in batch.tasks]
        self.kept: list[tuple[int, AnyHead] | None] = [None for _ in batch.tasks]
        self.diverged: dict[int, int] = {}  # tasks, and the epoch that ended them
        self.best = [-1.0 for _ in batch.tasks]

    def look(self, epoch: int, losses: Sequence[float], last: bool) -> None:
        """Log an epoch of each task that has not ended yet."""
        running = [task for task in range(len(self.logs)) if not self._ended(task)]
        self.diverged |= {task: epoch for task in running if not math.isfinite(losses[task])}
        running = [task for task in running if task not in self.diverged]
        for task in running:
            self.logs[task].append({"epoch": epoch, "loss": losses[task]})
        if self.patience or last:
            self._validate(epoch, running)

    def _validate(self, epoch: int, tasks: Sequence[int]) -> None:
        for task, metrics in zip(tasks, self.batch.validated(self.correct, tasks), strict=True):
            if metrics is None:
                self.diverged[task] = epoch
                continue
            self.logs[task][-1]["validation"] = metrics
            auc = metrics.get("auc")
            if not self.patience or auc is None or auc > self.best[task]:
                self.kept[task] = epoch, self.batch.head(task)
                self.best[task] = -1.0 if auc is None else auc

    def _ended(self, task: int) -> bool:
        kept = self.kept[task]
        return task in self.diverged or bool(
            self.patience and kept and self.logs[task][-1]["epoch"] - kept[0] >= self.patience
        )

    @property
    def all_ended(self) -> bool:
        return all(map(self._ended, range(len(self.logs))))

    def trained(self, task: int) -> Trained | Diverged:
        if task in self.diverged:
            return Diverged(self.diverged[task])
        log, kept = self.logs[task], self.kept[task]
        assert kept is not None
        epoch, head = kept
        return Trained(head, log if log[-1]["epoch"] == epoch else [*log, log[epoch - 1]])
