"""Training steps as CUDA graphs: a GPU is told once what a step does, and then only to do it again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Steps taken as usual first, in which libraries and the optimiser make the memory that they keep.
_FIRST = 3


def on_graphs(step: Callable[[Tensor], None], size: int, generator: torch.Generator) -> Callable[[Tensor], None]:
    """Return a step on row numbers that replays a graph of `step` for minibatches of `size` rows.

    generator: the one that the step draws from. A minibatch of another size, and all of them where the step cannot be
    captured (a loss from outside may look at its numbers), goes through `step` itself.
    """
    rows = torch.zeros(size, dtype=torch.long, device=generator.device)
    graph: torch.cuda.CUDAGraph | None = None
    left = _FIRST

    def advance(some: Tensor) -> None:
        nonlocal graph, left
        if len(some) != size or left < 0:
            step(some)
            return
        if left:
            left -= 1
            _aside(step, some)
            return
        if graph is None:
            graph = _captured(step, rows, generator)
        if graph is None:
            left = -1
            step(some)
            return
        rows.copy_(some)
        graph.replay()

    return advance


def _aside(step: Callable[[Tensor], None], rows: Tensor) -> None:
    """Take a step on a stream of its own, as a capture will."""
    stream, usual = torch.cuda.Stream(rows.device), torch.cuda.current_stream(rows.device)
    stream.wait_stream(usual)
    with torch.cuda.stream(stream):
        step(rows)
    usual.wait_stream(stream)


def _captured(step: Callable[[Tensor], None], rows: Tensor, generator: torch.Generator) -> torch.cuda.CUDAGraph | None:
    """Return the graph of a step on what `rows` holds at each replay; None where it waits for the GPU's numbers."""
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(generator)
    try:
        # By default it would hold what is done on the current device, which may be another one than the rows'.
        with torch.cuda.device(rows.device), torch.cuda.graph(graph, stream=torch.cuda.Stream(rows.device)):
            step(rows)
    except RuntimeError:
        return None
    return graph
