"""`trustcache bound`: the paper's Theorem 3.1 for given numbers."""

from __future__ import annotations

import itertools
import math
from typing import Annotated

import typer

from trustcache.errors import UsageError

from .from_dataclass import listed
from .program import Place, app, command

_STEEPEST = 700.0  # e^700 is about the largest number that float64 holds


@command(app, "bound")
def bound(
    place: Place,
    samples: Annotated[str, typer.Option(help="|D|: how many samples the oracle learns from, or a list.")],
    alpha_pos: Annotated[str, typer.Option(help="The loss's steepness for right answers, or a list.")] = "1",
    alpha_neg: Annotated[str, typer.Option(help="The loss's steepness for wrong answers, or a list.")] = "3",
    hypotheses: Annotated[
        float | None, typer.Option(min=1, help="|F|: among how many oracles the learnt one was chosen.")
    ] = None,
    log_hypotheses: Annotated[
        float | None, typer.Option(min=0, help="log |F|, where that number is too large to write.")
    ] = None,
    numbers: Annotated[
        int | None, typer.Option(min=1, help="Of how many float32 numbers the oracle consists: |F| = 2^(32 numbers).")
    ] = None,
    delta: Annotated[float, typer.Option(help="The chance that the bound does not hold.")] = 0.05,
) -> None:
    """Theorem 3.1: bound the gap between the steep slope loss on new data and its mean on the training data.

    Say how many oracles there were to choose from with one of --hypotheses, --log-hypotheses and --numbers.
    """
    from rich.console import Console
    from rich.table import Table

    from trustcache.losses import steep_slope_max
    from trustcache.metrics.bound import is_vacuous, log_settings, steep_slope_bound

    given = [value for value in (hypotheses, log_hypotheses, numbers) if value is not None]
    if len(given) != 1:
        raise UsageError("bound: takes exactly one of --hypotheses, --log-hypotheses and --numbers")
    if not 0 < delta < 1:
        raise UsageError(f"--delta {delta}: must lie between 0 and 1")
    if hypotheses is not None:
        size = math.log(hypotheses)
    else:
        size = log_hypotheses if log_hypotheses is not None else log_settings(numbers or 0)
    if math.isinf(size):
        raise UsageError("--hypotheses: is too large a number; give its logarithm with --log-hypotheses")
    counts = _within("--samples", listed("--samples", samples, int), math.inf)
    given_slopes = (("--alpha-pos", alpha_pos), ("--alpha-neg", alpha_neg))
    slopes = [_within(o, listed(o, v, float), _STEEPEST) for o, v in given_slopes]
    table = Table("α⁺", "α⁻", "log |F|", "|D|", "largest loss", "bound", "", box=None)
    for pos, neg, rows in itertools.product(*slopes, counts):
        found = steep_slope_bound(pos, neg, size, int(rows), delta)
        most = steep_slope_max(pos, neg)
        said = "vacuous: no less than the largest loss" if is_vacuous(found, most) else ""
        table.add_row(f"{pos:g}", f"{neg:g}", f"{size:.5g}", f"{int(rows):,}", f"{most:.4g}", f"{found:.4g}", said)
    Console().print(table)


def _within(option: str, values: list[float] | list[int], limit: float) -> list[float]:
    if wrong := [value for value in values if not 0 < value <= limit]:
        raise UsageError(f"{option} {wrong[0]}: must be above 0" + (f", at most {limit:g}" if limit < math.inf else ""))
    return [float(value) for value in values]
