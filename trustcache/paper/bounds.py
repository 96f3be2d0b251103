"""Theorem 3.1 for the workspace's own ss heads: how far their loss on new data may lie from that in training."""

from __future__ import annotations

from safetensors.numpy import load

from trustcache.data.splits import validation_rows
from trustcache.errors import percent
from trustcache.losses import steep_slope_max
from trustcache.metrics.bound import generalisation_bound, log_settings
from trustcache.oracles.runs import weights_bytes
from trustcache.paper.paper_index import PaperIndex, pair_name, papers_head
from trustcache.report.records import Scored
from trustcache.report.table import Cell, Row, Table, grouped_table

DELTA = 0.05
_HEADS = ("numbers D + 1", "log |F|", "|D|", "largest loss", "training loss", "bound on |R − R̂|")


def bound_tables(paper: PaperIndex) -> tuple[Table, ...]:
    """Return a table of the ss heads on cached features; fine-tuned oracles have far more numbers."""
    heads: dict[tuple[str, ...], Scored] = {}
    for one in paper.trained:
        config = one.config
        if (config.loss.name, config.training) == ("ss", "frozen") and papers_head(config) and one.learnt_from:
            alphas = f"α⁺{config.loss.settings['alpha_pos']:g} α⁻{config.loss.settings['alpha_neg']:g}"
            heads.setdefault((pair_name((config.oracle, config.classifier)), config.protocol, alphas), one)
    if not heads:
        return ()
    rows, vacuous = zip(*(_row(labels, one) for labels, one in sorted(heads.items())), strict=True)
    notes = [
        f"With probability {percent(1 - DELTA, 0)} over the training samples, for all heads at once: |F| = 2^(32 (D "
        "+ 1)), the settings of a linear head's float32 numbers; |D| the samples it learnt from, validation part left "
        "out."
    ]
    if any(vacuous):
        notes.append(
            f"{sum(vacuous)} of {len(rows)} bounds are vacuous: no smaller than the largest loss there is, so they say "
            "nothing. Fewer features, more samples or a coarser |F| would make them smaller: trustcache bound --help."
        )
    return (grouped_table(f"δ {DELTA:g}", ("⟨oracle, classifier⟩", "protocol", "ss"), _HEADS, rows, notes),)


def _row(labels: tuple[str, ...], one: Scored) -> tuple[Row, bool]:
    """Return the row of a head, and whether its bound is vacuous."""
    run, rows = one.run, one.learnt_from
    assert run is not None
    config = run.config
    numbers = load(weights_bytes(run.folder))["weight"].shape[-1] + 1
    size = log_settings(numbers)
    samples = rows - int(validation_rows(rows, config.val_fraction, config.seed).sum())
    alphas = float(config.loss.settings["alpha_pos"]), float(config.loss.settings["alpha_neg"])
    most = steep_slope_max(*alphas)
    bound = generalisation_bound(most, size, samples, DELTA)
    vacuous = bound >= most
    cells = (
        Cell(numbers, text=f"{numbers:,}"),
        Cell(size, text=f"{size:,.0f}"),
        Cell(samples, text=f"{samples:,}"),
        Cell(most, scale=1),
        Cell(run.log()[-1].loss, scale=1),
        Cell(bound, text=f"{bound:.2f}{' (vacuous)' if vacuous else ''}"),
    )
    return Row(labels, cells), vacuous
