"""Heads: their kinds, settings and inputs, and the scores of trained ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trustcache.cache import CacheView
from trustcache.errors import UsageError
from trustcache.oracles.head_inputs import INPUTS, NAMED, head_inputs, inputs_label, read_columns
from trustcache.oracles.mlp_heads import MlpHead
from trustcache.registry import option

_PANEL = "Heads on cached outputs"


@dataclass(frozen=True)
class HeadSpec:
    """A head's kind and inputs; by default the paper's: linear, on the input of the classifier's last layer.

    inputs are as `head_inputs.parse_inputs` returns them. Members have first weights of their own, and their z are
    averaged. With patience, the weights of the epoch with the best validation AUC are kept.
    """

    kind: str = option(
        "linear",
        "A linear head, or one with a hidden layer (linear).",
        choices=("linear", "mlp"),
        name="--head",
        panel=_PANEL,
    )
    inputs: tuple[str, ...] = option(
        ("features",), f"Its inputs: {', '.join(NAMED)}, or a list of {', '.join(INPUTS)} (last).", panel=_PANEL
    )
    members: int = option(
        1, "mlp: so many networks, their scores averaged (1).", min=1, name="--ensemble", panel=_PANEL
    )
    hidden: int = option(0, "mlp: units of the hidden layer.", min=1, panel=_PANEL)
    dropout: float = option(0.0, "mlp: share of them left out at each step.", min=0, max=0.95, panel=_PANEL)
    input_dropout: float = option(0.0, "mlp: share of the inputs left out at each step.", min=0, max=0.95, panel=_PANEL)
    weight_decay: float = option(0.0, "mlp: AdamW's.", min=0, panel=_PANEL)
    patience: int = option(
        0,
        "mlp: keep the epoch of best validation AUC, sought until so many are no better; 0: the last one.",
        min=0,
        panel=_PANEL,
    )

    @property
    def label(self) -> str:
        """A short name that tells it from other heads: "mlp on all, 5 members"; "linear" for the default."""
        seen = "" if self.inputs == LINEAR.inputs else f" on {inputs_label(self.inputs)}"
        return self.kind + seen + (f", {self.members} members" if self.members > 1 else "")


LINEAR = HeadSpec()
HEADS = {
    "linear": LINEAR,
    "mlp": HeadSpec("mlp", hidden=256, dropout=0.5, weight_decay=0.01, patience=6),
}
"""The kinds of heads with their defaults."""


@dataclass(frozen=True)
class LinearHead:
    """A trained head on raw features: z = ((x - mean)/std . w + b), over |w| where it is a signed distance."""

    weight: np.ndarray
    bias: np.ndarray  # of no dimension
    mean: np.ndarray
    std: np.ndarray
    signed_distance: bool

    def folded(self) -> tuple[np.ndarray, float]:
        """Return w (D,) and b, float64, with z = x . w + b: one product scores many heads, whatever their scaling."""
        w = self.weight.astype(np.float64)
        norm = np.linalg.norm(w) if self.signed_distance else 1.0
        slope = w / self.std / norm
        return slope, float(self.bias / norm - self.mean.astype(np.float64) @ slope)


AnyHead = LinearHead | MlpHead


def score_cache(heads: Sequence[AnyHead], inputs: Sequence[str], cache: CacheView) -> np.ndarray:
    """Return z of heads that read the same inputs on every row of a cache, float64 (N, H), in slices of bounded memory.

    Raises UsageError where the cache lacks a column that they read, or has it in another width.
    """
    z, done = np.empty((len(cache), len(heads))), 0
    for rows in cache.chunks():
        x = head_inputs(inputs, read_columns(inputs, rows)).numpy()
        if heads and x.shape[1] != (width := heads[0].mean.shape[-1]):
            raise UsageError(
                f"{cache.index.data}: {', '.join(inputs)} are {x.shape[1]:,} numbers a row, and the oracle has learnt "
                f"from {width:,}; give outputs of the same model"
            )
        z[done : done + len(rows)] = score_heads(heads, x)
        done += len(rows)
    return z


_ROWS = 1024  # stay in the processor's cache while heads are scored one after the other


def score_heads(heads: Sequence[AnyHead], x: np.ndarray) -> np.ndarray:
    """Return z of many heads on raw inputs (N, D), float64 (N, H): each head's to the bit whoever is scored beside."""
    z = np.empty((len(x), len(heads)))
    linear = [(i, *head.folded()) for i, head in enumerate(heads) if isinstance(head, LinearHead)]
    for start in range(0, len(x) if linear else 0, _ROWS):
        rows = x[start : start + _ROWS].astype(np.float64)
        for i, weight, bias in linear:  # one product of all would round by how many there are
            z[start : start + _ROWS, i] = rows @ weight + bias
    for i, head in enumerate(heads):
        if isinstance(head, MlpHead):
            z[:, i] = head.scores(x)
    return z
