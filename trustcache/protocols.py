"""The protocols and all that they decide: the paper's equations, or the definitions of the authors' released code."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from trustcache.losses import LOSSES, RELEASED_LOSSES, Loss
from trustcache.metrics.bootstrap import Definitions, metrics_of
from trustcache.metrics.calibration import fitted_temperature
from trustcache.metrics.ranking import trust_metrics
from trustcache.metrics.released import released_metrics_of, released_trust_metrics
from trustcache.models.identity import Identity
from trustcache.models.preprocessing import RELEASED_PREPROCESSING
from trustcache.registry import REQUIRED, option

OPTIMISERS = ("adam", "sgd")


@dataclass(frozen=True)
class Optimiser:
    """An oracle's optimiser: `name` is "adam" (constant rate) or "sgd" (OneCycle up to `lr` and down again).

    warmup_steps: the number of steps OneCycle goes up, at most and by default 30 % of all. cycle_momentum: OneCycle
    moves the momentum from 0.95 to 0.85 and back, whatever `momentum` is; torch's default, and so the released
    scripts'.
    """

    name: str
    epochs: int = option(
        REQUIRED, "Passes over the data (1; frozen: 20; small data: more); mlp: at most.", min=1, panel="Training"
    )
    batch_size: int = option(REQUIRED, "Samples a step (128; frozen: 512).", min=2, panel="Training")
    lr: float = option(
        REQUIRED, "Highest rate of OneCycle SGD (0.02); frozen: Adam's (0.001).", min=0, panel="Training"
    )
    momentum: float = option(0.0, "SGD's momentum (0.9); not for --frozen.", min=0, max=1, panel="Training")
    warmup_steps: int | None = None
    cycle_momentum: bool = False


# Epochs of a default optimiser, where the data are many enough to make these many steps; else more epochs.
LEAST_STEPS = {"adam": 1000, "sgd": 100}

HEAD_OPTIMISER = Optimiser("adam", epochs=20, batch_size=512, lr=1e-3)
MLP_OPTIMISER = Optimiser("adam", epochs=30, batch_size=512, lr=1e-3)
NETWORK_OPTIMISER = Optimiser("sgd", epochs=1, batch_size=128, lr=0.02, momentum=0.9)


def default_optimiser(frozen: bool, rows: int, heads: Optimiser = HEAD_OPTIMISER) -> Optimiser:
    """Return the default optimiser: `heads` on `rows` cached features, or that of whole networks.

    Small data are passed over more often, until the steps suffice.
    """
    usual = heads if frozen else NETWORK_OPTIMISER
    # Fine-tuning drops an epoch's last, incomplete batch.
    steps = math.ceil(rows / usual.batch_size) if frozen else rows // usual.batch_size
    return replace(usual, epochs=max(usual.epochs, math.ceil(LEAST_STEPS[usual.name] / max(steps, 1))))


@dataclass(frozen=True)
class Protocol:
    """One set of definitions; figures of different ones are never averaged nor shown in one table.

    meaning: one sentence for people. losses: the losses by name. metrics: from scores (N,) and correct (N,) to figures.
    resampled: the same on resamples of the bootstrap. preprocessing: entries that replace those of every model that
    sees images. heads: the optimiser on cached features. fine_tuning: that on images, None for the default. flip: True
    if fine-tuning mirrors images at random. through_judged_size: True if an oracle with another input size than the
    judged classifier's gets that one's images, interpolated, rather than images of its own size. lower_is_better:
    metrics whose good direction is not the usual one.
    """

    meaning: str
    losses: Mapping[str, Loss]
    metrics: Callable[..., dict[str, float]]
    resampled: Definitions
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    heads: Optimiser = HEAD_OPTIMISER
    fine_tuning: Optimiser | None = None
    flip: bool = False
    through_judged_size: bool = False
    lower_is_better: frozenset[str] = frozenset()

    def optimiser(self, frozen: bool, rows: int) -> Optimiser:
        """Return the default optimiser of oracles that learn from so many rows."""
        if self.fine_tuning and not frozen:
            return self.fine_tuning
        return default_optimiser(frozen, rows, self.heads)


PROTOCOLS: dict[str, Protocol] = {
    "equations": Protocol(
        "the paper's equations; AUPR-Error ranks errors first, as it should, so higher is better",
        LOSSES,
        trust_metrics,
        metrics_of,
    ),
    "released": Protocol(
        "the released code's definitions: AUPR-Error ranks errors last, so there lower is better; FPR@95 is read off a "
        "grid and may be missing; ce and focal compare every prediction with every label, and learn a constant",
        RELEASED_LOSSES,
        released_trust_metrics,
        released_metrics_of,
        RELEASED_PREPROCESSING,
        # The scripts' batch: of its 40 x 40 comparisons 40 are right ones, and that much of the truth is learnt. At
        # their rate a head on fixed features would stay where it began.
        replace(HEAD_OPTIMISER, epochs=1, batch_size=40),
        # The scripts' figures. Their --momentum 0.05 never acts: torch's OneCycle moves the momentum by itself.
        Optimiser("sgd", 1, batch_size=40, lr=1e-5, momentum=0.05, warmup_steps=100, cycle_momentum=True),
        flip=True,
        through_judged_size=True,
        lower_is_better=frozenset({"aupr_error"}),
    ),
}


def negative_threshold(loss: str | None, classes: int) -> float | None:
    """Return the trust confidence below which a loss's oracles call a sample untrustworthy; None where that is 0.5.

    An oracle that regresses the true class's probability does so below chance level, 1/K (Corbiere et al. 2019).
    loss: None for a post-hoc score.
    """
    found = LOSSES.get(loss) if loss else None
    return 1 / classes if found and found.target == "true_class_prob" else None


def validation_entry(
    z: np.ndarray, correct: np.ndarray, protocol: str, negative: float | None
) -> dict[str, float | None]:
    """Return the metrics of a log entry by a protocol's definitions, None for those that are undefined.

    Beside them stands the temperature that would calibrate such scores. negative: the loss's `negative_threshold`.
    """
    if correct.all() or not correct.any():
        return {}
    metrics = PROTOCOLS[protocol].metrics(z, correct, negative_threshold=negative)
    metrics["temperature"] = fitted_temperature(z, correct)
    return {key: value if np.isfinite(value) else None for key, value in metrics.items()}


def shows_as_released(model: Identity) -> bool:
    """Return True if a model's images are prepared as the released code does it."""
    seen = model.preprocessing
    return seen is not None and RELEASED_PREPROCESSING.items() <= vars(seen).items()
