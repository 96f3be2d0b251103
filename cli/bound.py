"""`trustcache bound`: the paper's Theorem 3.1 for given numbers."""

from __future__ import annotations

from trustcache.metrics.bound import BoundOptions

from .program import Place, command, terminal


@command("bound")
def bound(place: Place, options: BoundOptions) -> None:
    """Theorem 3.1: bound the gap between the steep slope loss on new data and its mean on the training data.

    Say how many oracles there were to choose from with one of --hypotheses, --log-hypotheses and --numbers.
    """
    from rich.table import Table

    table = Table("α⁺", "α⁻", "log |F|", "|D|", "largest loss", "bound", "", box=None)
    for pos, neg, size, samples, most, found in options.bounds():
        remark = "vacuous: no less than the largest loss" if found >= most else ""
        table.add_row(f"{pos:g}", f"{neg:g}", f"{size:.5g}", f"{samples:,}", f"{most:.4g}", f"{found:.4g}", remark)
    terminal().print(table)
