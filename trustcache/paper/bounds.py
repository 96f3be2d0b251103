"""Theorem 3.1 for the workspace's own ss heads: how far their loss on new data may lie from that in training."""

from __future__ import annotations

from trustcache.data.splits import validation_rows
from trustcache.losses import steep_slope_max
from trustcache.metrics.bound import is_vacuous, log_settings, steep_slope_bound
from trustcache.paper.evidence import Evidence, pair_name, papers_head
from trustcache.paper.shown import Line, PaperGrid, Value
from trustcache.report.records import Scored

DELTA = 0.05
_HEADS = ("numbers D + 1", "log |F|", "|D|", "largest loss", "training loss", "bound on |R − R̂|")


def bound_grids(evidence: Evidence) -> tuple[PaperGrid, ...]:
    """One grid with a row for each kind of ss head on cached features; fine-tuned oracles have far more numbers."""
    heads: dict[tuple[str, ...], Scored] = {}
    for one in evidence.trained():
        config = one.config
        if (
            config
            and config.loss.name == "ss"
            and config.training == "frozen"
            and papers_head(config)
            and one.origin.learnt_from
        ):
            alphas = f"α⁺{config.loss.settings['alpha_pos']:g} α⁻{config.loss.settings['alpha_neg']:g}"
            heads.setdefault((pair_name((config.oracle, config.classifier)), config.protocol, alphas), one)
    if not heads:
        return ()
    lines, vacuous = [], 0
    for labels, one in sorted(heads.items()):
        line, empty = _line(labels, one)
        lines.append(line)
        vacuous += empty
    notes = [
        f"With probability {1 - DELTA:.0%} over the training samples, for all heads at once: |F| = 2^(32 (D + 1)), the "
        "settings of a linear head's float32 numbers; |D| the samples it learnt from, validation part left out."
    ]
    if vacuous:
        notes.append(
            f"{vacuous} of {len(lines)} bounds are vacuous: no smaller than the largest loss there is, so they say "
            "nothing. Fewer features, more samples or a coarser |F| would make them smaller: trustcache bound --help."
        )
    return (PaperGrid(f"δ {DELTA:g}", ("⟨oracle, classifier⟩", "protocol", "ss"), _HEADS, tuple(lines), tuple(notes)),)


def _line(labels: tuple[str, ...], one: Scored) -> tuple[Line, bool]:
    run, rows = one.origin.run, one.origin.learnt_from
    assert run is not None
    config = run.config
    numbers = run.weights()["weight"].numel() + 1
    size = log_settings(numbers)
    samples = rows - int(validation_rows(rows, config.val_fraction, config.seed).sum())
    alphas = float(config.loss.settings["alpha_pos"]), float(config.loss.settings["alpha_neg"])
    most = steep_slope_max(*alphas)
    bound = steep_slope_bound(*alphas, size, samples, DELTA)
    empty = is_vacuous(bound, most)
    cells = (
        Value(numbers, text=f"{numbers:,}"),
        Value(size, text=f"{size:,.0f}"),
        Value(samples, text=f"{samples:,}"),
        Value(most, scale=1, digits=2),
        Value(run.log()[-1].loss, scale=1, digits=2),
        Value(bound, text=f"{bound:.2f}{' (vacuous)' if empty else ''}"),
    )
    return Line(labels, cells), empty
