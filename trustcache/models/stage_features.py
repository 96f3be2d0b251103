"""Features of a model's stages: the choice of modules, and the pooling of their outputs over positions.

The rule holds for any module. Blocks are the members of the model's outermost lists of modules (`nn.Sequential`,
`nn.ModuleList`) that have parameters, as timm's models and most others are built; where there are fewer than two, they
are its convolutions and linear layers. The last layer is none of them. A stage ends after each block whose successor
gives another shape; a model with fewer than three ends, as a ViT, whose blocks are all of one shape, has four stages,
evenly spaced.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")

POOLINGS = ("mean", "max", "std")
FEWEST_STAGES = 3
EVENLY_SPACED = 4
_WITH_CHANNELS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def stage_places(model: nn.Module, last: Collection[nn.Module], ask: Callable[[], object]) -> tuple[str, ...]:
    """Return the names of the modules that end stages, in the order of computation; () if there are none.

    last: the model's last layers. ask: runs the model once on any images, to find the blocks that compute.
    """
    is_last = channels_last(model)
    with noted(
        dict(_blocks(model, last)), lambda inputs, output: (_shape(output, is_last), _shape(_main(output), is_last))
    ) as found:
        ask()
    single = {name: shape for name, (shape, _) in found.items() if shape is not None}
    # All blocks of a PiT give a map and a class token.
    shapes = single or {name: shape for name, (_, shape) in found.items() if shape is not None}
    names = list(shapes)
    ends = [a for a, b in zip(names, [*names[1:], None], strict=False) if b is None or shapes[a] != shapes[b]]
    if len(ends) < FEWEST_STAGES < len(names):
        number = min(EVENLY_SPACED, len(names))
        ends = [names[len(names) * (i + 1) // number - 1] for i in range(number)]
    return tuple(ends)


@contextmanager
def noted(modules: Mapping[str, nn.Module], value: Callable[[Any, Any], T]) -> Iterator[dict[str, T]]:
    """Context in which each module's forward pass puts value(inputs, output) into the dictionary, by its name."""
    seen: dict[str, T] = {}

    def note(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        seen[name] = value(inputs, output)

    hooks = [module.register_forward_hook(partial(note, name)) for name, module in modules.items()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def pooled_outputs(model: nn.Module, places: Sequence[str]) -> AbstractContextManager[dict[str, Tensor]]:
    """Context in which a forward pass of the model puts the pooled output of each place into the dictionary."""
    last = channels_last(model)
    modules = {name: model.get_submodule(name) for name in places}
    return noted(modules, lambda inputs, output: pooled(_main(output), last))


def pooled(output: Tensor, last: bool = False) -> Tensor:
    """Return mean, maximum and standard deviation over positions, side by side, float32 (N, 3 C).

    output: (N, C, H, W), or (N, H, W, C) if the channels are `last`; or tokens (N, T, C). An output without positions
    (N, C) is returned as float32.
    """
    x = _by_position(output, last)
    if x is None:
        return output.float()
    x = x.float()
    mean = x.mean(1)
    deviation = (x - mean[:, None]).square().mean(1).sqrt()
    return torch.cat([mean, x.amax(1), deviation], 1)


def _main(output: Any) -> Any:
    """Return the first of several outputs."""
    return output[0] if isinstance(output, tuple | list) and output else output


def channels_last(model: nn.Module) -> bool:
    """Return True if a model's blocks give (N, H, W, C), as timm's Swin does by its attribute `output_fmt`."""
    return str(getattr(model, "output_fmt", "NCHW")).endswith("NHWC")


def _by_position(output: Tensor, last: bool) -> Tensor | None:
    """Return the output as (N, P, C), None if it has no positions."""
    if output.ndim == 3:
        return output
    if output.ndim == 4:
        return output.flatten(1, 2) if last else output.flatten(2).transpose(1, 2)
    return None


def _blocks(model: nn.Module, last: Collection[nn.Module]) -> list[tuple[str, nn.Module]]:
    kinds = nn.Sequential | nn.ModuleList
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, kinds)]
    names = [name for name, _ in lists]
    outermost = [
        (name, module)
        for name, module in lists
        if not any(name != other and (not other or name.startswith(f"{other}.")) for other in names)
    ]
    members = [
        (f"{name}.{child}" if name else child, block)
        for name, module in outermost
        for child, block in module.named_children()
        if next(block.parameters(), None) is not None and not any(m in last for m in block.modules())
    ]
    if len(members) > 1:
        return members
    return [(n, m) for n, m in model.named_modules() if isinstance(m, _WITH_CHANNELS) and m not in last]


def _shape(output: object, last: bool) -> tuple[int, ...] | None:
    """Return the shape of an output without its first axis, as (P, C) if it has positions; None if it is no batch."""
    if not isinstance(output, Tensor) or output.ndim not in (2, 3, 4):
        return None
    x = _by_position(output, last)
    return tuple((output if x is None else x).shape[1:])
