"""Commands by several processes that work together, as torchrun or Slurm start them."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

from tests.faults.forks import COMMAND, Forks, Job, Outcome


def together(
    forks: Forks, folder: Path, words: Sequence[object], count: int = 2, meet: bool = True, function: str = COMMAND
) -> list[Outcome]:
    """Run a command by so many processes, which can reach one another or only share the folder; in order of rank."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port())} if meet else {}
    place = {"WORLD_SIZE": str(count), "TRUSTCACHE_PRECISION": "float32", **address}
    said = [str(word) for word in words]
    ranks = [{**place, "RANK": str(rank)} for rank in range(count)]
    return forks.run(*(Job(said, str(folder), function, environment=rank, timeout=200.0) for rank in ranks))


def port() -> int:
    """Return a port that is free."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def dying_trainer(steps: str, *words: str) -> None:
    """Run a command; the process of rank 1 ends without a word when it has taken so many steps."""
    from tests.faults.forks import command
    from trustcache.oracles.training_loop import TrainingLoop

    take, left = TrainingLoop.take, iter(range(int(steps)))

    def dying(self: TrainingLoop, *args: object) -> None:
        if os.environ["RANK"] == "1" and next(left, None) is None:
            os._exit(9)
        take(self, *args)  # type: ignore[arg-type]

    TrainingLoop.take = dying  # type: ignore[assignment, method-assign]
    command(*words)


def noting_scorer(*words: str) -> None:
    """Run a command that notes each run's scores in a file `made`; rank 2 ends before it keeps its first ones."""
    import time

    from tests.faults.forks import command
    from trustcache.oracles.runs import Run

    save = Run.save_scores

    def noting(self: Run, index: object, *args: object) -> None:
        if os.environ["RANK"] == "2":
            os._exit(9)
        with Path("made").open("a") as file:
            print(os.environ["RANK"], self.scores_path(index), file=file)  # type: ignore[arg-type]
        save(self, index, *args)  # type: ignore[arg-type]
        time.sleep(0.2)  # that no process makes all before another has begun

    Run.save_scores = noting  # type: ignore[assignment, method-assign]
    command(*words)


def train_in_double(out: str) -> None:
    """Take steps of a network with batch norm on images of noise; write the losses and all it has become to a file."""
    import torch
    from safetensors.torch import save_file
    from torch.nn import functional as F

    from trustcache.models.building import ModelSpec
    from trustcache.oracles.network import Oracle
    from trustcache.oracles.process_group import ProcessGroup, process_group
    from trustcache.oracles.training_loop import TrainingLoop

    torch.manual_seed(0)
    batches = [(torch.rand(17, 3, 8, 8).double(), torch.rand(17).double()) for _ in range(8)]
    oracle = Oracle(ModelSpec("cifar-resnet8", preprocessing={"input_size": (8, 8)}), False, 0, pretrained=False)
    sgd = torch.optim.SGD(oracle.double().parameters(), 0.02, momentum=0.9)

    def steps(group: ProcessGroup) -> list[float]:
        loop = TrainingLoop("noise", oracle, sgd, None, len(batches), Path("none"), 1e9, group=group)

        def loss_of(batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
            own = group.share(17)
            z = loop.network(batch[0][own])
            return F.binary_cross_entropy_with_logits(z, batch[1][own], reduction="sum") / 17

        loop.run(batches, loss_of, lambda: None)
        return loop.history["losses"]

    # A network that averages its gradients must not outlive the group: torch may then wait for ever.
    with process_group(torch.device("cpu")) as group:
        losses = torch.tensor(steps(group), dtype=torch.float64)
    if group.rank == 0:
        save_file({"losses": losses, **{name: t.contiguous() for name, t in oracle.state_dict().items()}}, out)
