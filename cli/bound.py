"""`trustcache bound`: the paper's Theorem 3.1 for given numbers."""

from __future__ import annotations

from trustcache.metrics.bound import BoundOptions

from .program import Place, command, print_table


@command("bound")
def bound(place: Place, options: BoundOptions) -> None:
    """Theorem 3.1: bound the gap between the steep slope loss on new data and its mean on the training data.

    Say how many oracles there were to choose from with one of --hypotheses, --log-hypotheses and --numbers.
    """
    rows = []
    for pos, neg, size, samples, most, found in options.bounds():
        remark = "vacuous: no less than the largest loss" if found >= most else ""
        rows.append((f"{pos:g}", f"{neg:g}", f"{size:.5g}", f"{samples:,}", f"{most:.4g}", f"{found:.4g}", remark))
    print_table(("α⁺", "α⁻", "log |F|", "|D|", "largest loss", "bound", ""), rows)
