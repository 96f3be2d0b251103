"""The processes that work together, as torchrun and Slurm tell each of them: the one file that knows about ranks."""

from __future__ import annotations

import os
from dataclasses import dataclass

# The environment's names for rank, number of processes, and both on this machine. Those of a Slurm array count jobs.
_LAUNCHERS = (
    ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "", ""),  # from 0, or from SLURM_ARRAY_TASK_MIN
    ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"),
)


@dataclass(frozen=True)
class Ranks:
    """This process among those that work together: its rank, from 0, and their number; the same on this machine.

    meet: they run at the same time and can reach one another at MASTER_ADDR. Others, as the tasks of a Slurm array,
    only share a disk.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    meet: bool = False

    @property
    def first(self) -> bool:
        """True for the process that tells of the work, and writes what all have made together."""
        return self.rank == 0


def ranks() -> Ranks:
    """Return the place of this process among those of torchrun, a Slurm array or a Slurm step; alone without them."""
    for rank, count, local_rank, local_count in _LAUNCHERS:
        if _number(count, 1) > 1:
            array = rank.startswith("SLURM_ARRAY")
            number = _number(rank, 0) - (_number("SLURM_ARRAY_TASK_MIN", 0) if array else 0)
            here = _number(local_rank, 0), max(_number(local_count, 1), 1)
            return Ranks(number, _number(count, 1), *here, meet="MASTER_ADDR" in os.environ and not array)
    return Ranks()


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else default
