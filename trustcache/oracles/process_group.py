"""The processes that train one network together: their shares of a batch, sums over all, and the network they share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.overrides import TorchFunctionMode

from trustcache.data.ranks import ranks
from trustcache.errors import TrustcacheError, UsageError, first_line

_BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
# One may look through its images, or score more of them, on a slower disk than the others.
_PATIENCE = timedelta(hours=1)


@dataclass(frozen=True)
class ProcessGroup:
    """One of `count` processes that take each step of a training together; by default the only one."""

    rank: int = 0
    count: int = 1

    def share(self, size: int) -> slice:
        """Return the places of a batch of `size` that are this process's."""
        return slice(size * self.rank // self.count, size * (self.rank + 1) // self.count)

    def summed(self, tensor: Tensor) -> Tensor:
        """Return the sum of all processes' tensors of one shape."""
        if self.count > 1:
            dist.all_reduce(tensor)
        return tensor

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.count > 1:
            dist.barrier()

    def shared(self, model: nn.Module) -> nn.Module:
        """Return a model whose gradients are averaged over the processes, on the parameters of this one."""
        if self.count == 1:
            return model
        converted = any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())
        if next(model.parameters()).is_cuda and not converted:
            from timm.layers.norm_act import convert_sync_batchnorm  # keeps the activations in timm's own layers

            convert_sync_batchnorm(model)
        # static_graph: a parameter without a gradient, as of a layer that the backbone leaves unused, never has one.
        return DistributedDataParallel(model, static_graph=True)

    def normalising(self, device: torch.device) -> AbstractContextManager[object]:
        """Return the context of a forward pass in training: batch norm takes the statistics of the whole batch.

        torch has that for GPUs only, as `SyncBatchNorm`.
        """
        return _WholeBatchNorm() if self.count > 1 and device.type == "cpu" else nullcontext()


ALONE = ProcessGroup()
_held: list[object] = []  # the last group of CPUs


@contextmanager
def process_group(device: torch.device) -> Iterator[ProcessGroup]:
    """Meet the other processes that torchrun started; alone without them, and where they cannot reach one another.

    Raises UsageError for a device that several cannot train on, and TrustcacheError where another one ends meanwhile.
    """
    place = ranks()
    if not place.meet:
        yield ALONE
        return
    if device.type not in _BACKENDS:
        raise UsageError(f"--device {device}: several processes train one network on cpu or cuda; take one process")
    if device.type == "cuda":
        if place.local_count > torch.cuda.device_count():
            raise UsageError(
                f"--device {device}: {place.local_count} processes here and {torch.cuda.device_count()} GPUs; start as "
                "many processes as GPUs, as with torchrun --nproc-per-node gpu"
            )
        torch.cuda.set_device(device)
    try:
        dist.init_process_group(_BACKENDS[device.type], rank=place.rank, world_size=place.count, timeout=_PATIENCE)
        dist.barrier()  # one that ends at once, with a refusal, must not be gone while others still connect
        yield ProcessGroup(place.rank, place.count)
    except (RuntimeError, TrustcacheError) as error:
        cause = error.__cause__ or error  # a model that fails is named
        if not isinstance(cause, dist.DistError) and "gloo" not in str(cause):
            raise
        raise TrustcacheError(
            f"process {place.rank} of {place.count}: another one cannot be reached ({first_line(cause):.120}); see its "
            "error; the same command, by any number of processes, continues from the last checkpoint"
        ) from error
    finally:
        if dist.is_initialized():
            # An error holds the network, and that the group. Were the group to end with it, under Python's lock, Gloo
            # would wait for a thread that waits for the lock; by itself it ends without.
            if device.type == "cpu":
                _held[:] = [dist.group.WORLD]
            dist.destroy_process_group()


class _WholeBatchNorm(TorchFunctionMode):
    """Within it, batch norm in training is over the images of all processes."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (_batch_norm if func is F.batch_norm else func)(*args, **(kwargs or {}))


def _batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return what `torch.nn.functional.batch_norm` does, with the statistics of all processes' images."""
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    places = [i for i in range(x.ndim) if i != 1]
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    n = _Sum.apply(wide.new_tensor(x.numel() // x.shape[1]))
    mean = _Sum.apply(wide.sum(places)) / n
    shape = [1, -1, *[1] * (x.ndim - 2)]
    apart = wide - mean.view(shape)
    var = _Sum.apply(apart.square().sum(places)) / n
    if running_mean is not None and running_var is not None:
        running_mean.lerp_(mean.detach(), momentum)
        running_var.lerp_(var.detach() * n / (n - 1), momentum)
    y = apart * (var + eps).rsqrt().view(shape)
    if weight is not None and bias is not None:
        y = y * weight.view(shape) + bias.view(shape)
    return y.to(x.dtype)


class _Sum(torch.autograd.Function):
    """The sum of all processes' tensors; its gradient is that of the sum of their losses."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total
