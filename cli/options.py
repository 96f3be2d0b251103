"""Options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

from trustcache.data.default_selection import SUBSET_HELP
from trustcache.oracles.optim import Machine

from .from_dataclass import Without

Subset = Annotated[int | None, typer.Option(min=1, help=SUBSET_HELP)]
ScoringMachine = Annotated[Machine, Without("checkpoint_every_s", "memory")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
