"""The commands that fill gaps: trainings, extractions and scorings, in as few lines as possible."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

EVALUATE = "trustcache evaluate"


@dataclass(frozen=True)
class Training:
    """Runs to train: those that share `words`, seeds and what comes `after` become one command with a list of losses.

    bases: of class-balanced, the losses it weighs.
    """

    words: tuple[str, ...]
    losses: tuple[str, ...]
    seeds: tuple[int, ...]
    after: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()

    def command(self) -> str:
        seeds = ",".join(map(str, self.seeds))
        base = ["--base", ",".join(self.bases)] if set(self.bases) - {"ce"} else []
        return shlex.join([*self.words, "--loss", ",".join(self.losses), *base, *self.after, "--seed", seeds])


@dataclass(frozen=True)
class Extraction:
    """Data sets to extract: those of one classifier become one command."""

    words: tuple[str, ...]
    data: tuple[str, ...]

    def command(self) -> str:
        return shlex.join([*self.words, *(word for name in self.data for word in ("--data", name))])


@dataclass(frozen=True)
class Evaluation:
    """Runs that are trained already, to be scored."""

    def command(self) -> str:
        return EVALUATE


Need = Training | Extraction | Evaluation


def commands(needs: Iterable[Need], place: Sequence[str] = ()) -> tuple[str, ...]:
    """The commands for all needs, merged, in the order they are to be run: extractions, trainings, then the scoring.

    place: the options that make each of them work where the report was made.
    """
    extractions: dict[tuple[str, ...], Extraction] = {}
    trainings: dict[tuple[Any, ...], Training] = {}
    unscored = False
    for need in needs:
        if isinstance(need, Extraction):
            known = extractions.get(need.words, replace(need, data=()))
            extractions[need.words] = replace(need, data=tuple(dict.fromkeys(known.data + need.data)))
        elif isinstance(need, Training):
            key = (need.words, need.seeds, need.after)
            planned = trainings.get(key, replace(need, losses=(), bases=()))
            losses, bases = planned.losses + need.losses, planned.bases + need.bases
            trainings[key] = replace(need, losses=tuple(dict.fromkeys(losses)), bases=tuple(dict.fromkeys(bases)))
        # A training scores its own runs; those that are there already have not seen what is extracted.
        unscored = unscored or not isinstance(need, Training)
    made = [*(e.command() for e in extractions.values()), *(t.command() for t in trainings.values())]
    return tuple(" ".join([line, *map(shlex.quote, place)]) for line in (*made, *([EVALUATE] if unscored else ())))
