"""The losses an oracle learns by, and the registries that name them: the paper's, and the released code's.

Notation, as in "Learning to Predict Trustworthiness with Steep Slope Loss" (Luo et al., NeurIPS 2021): z is the
oracle's output for a sample, p = sigmoid(z) its trust confidence, o in {0, 1} whether the classifier is right.
The public functions take one sample a row and refuse any other shape: (N, 1) against (N,) would broadcast every
prediction over every label, the fault in the paper's released code, whose ce and focal are the two functions that begin
with `broadcast_`. Many heads at once use the registries' formulas, which broadcast on purpose: z (B, H), o (B, 1),
settings (H,).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from trustcache.training_settings import LOSS_SETTINGS

Setting = float | Tensor


def cross_entropy(z: Tensor, correct: Tensor) -> Tensor:
    """-o log p - (1-o) log(1-p) (Eq. 4). z, correct: float (N,), correct in {0, 1}; returns (N,).

    Raises ValueError for any other shape.
    """
    return _cross_entropy(z, _paired(z, correct))


def focal(z: Tensor, correct: Tensor, gamma: float = 2.0) -> Tensor:
    """-o (1-p)^gamma log p - (1-o) p^gamma log(1-p) (Eq. 5; Lin et al. 2017). Shapes as in `cross_entropy`."""
    return _focal(z, _paired(z, correct), gamma)


def true_class_probability(z: Tensor, true_class_prob: Tensor) -> Tensor:
    """(p - p_y)^2 (Eq. 6; Corbiere et al. 2019), p_y the classifier's softmax probability of the true class, (N,)."""
    return _true_class_probability(z, _paired(z, true_class_prob))


def steep_slope(z: Tensor, correct: Tensor, alpha_pos: float = 1.0, alpha_neg: float = 3.0) -> Tensor:
    """The steep slope loss (Eq. 8). Shapes as in `cross_entropy`.

    o (exp(-alpha_pos z/(1+|z|)) - exp(-alpha_pos)) + (1-o) (exp(alpha_neg z/(1+|z|)) - exp(-alpha_neg)),
    between 0 far on the right side and exp(alpha) - exp(-alpha) far on the wrong one (`steep_slope_max`).
    The equation as printed has the opposite signs, which would push right answers towards minus infinity,
    against the paper's text, its Fig. 2 and its code; these are the code's.
    """
    return _steep_slope(z, _paired(z, correct), alpha_pos, alpha_neg)


def steep_slope_max(alpha_pos: float, alpha_neg: float) -> float:
    """ss_max, the least upper bound of the steep slope loss (section 3.2)."""
    return max(2 * math.sinh(alpha_pos), 2 * math.sinh(alpha_neg))


def broadcast_cross_entropy(z: Tensor, correct: Tensor) -> Tensor:
    """Cross entropy as the released code computes it: each prediction against every label of the batch.

    There z of shape (N, 1) meets o of shape (N,), and the loss is the mean over (N, N); this is the mean of each row,
    (N,). The loss is linear in o, so a row's mean is its loss against the mean label: which sample is which never
    enters, and all there is to learn is one constant, the accuracy. (The code adds 1e-7 inside its logarithms, which
    tells from |z| = 10 on; this does without.) Shapes as in `cross_entropy`.
    """
    return _broadcast_cross_entropy(z, _paired(z, correct).mean())


def broadcast_focal(z: Tensor, correct: Tensor, gamma: float = 2.0) -> Tensor:
    """The focal loss as the released code computes it: as `broadcast_cross_entropy`, and linear in o as well."""
    return _broadcast_focal(z, _paired(z, correct).mean(), gamma)


def class_balanced(
    z: Tensor,
    correct: Tensor,
    *,
    counts: tuple[int, int],
    beta: float = 0.9999,
    base: str = "ce",
    **settings: float,
) -> Tensor:
    """Another loss re-weighted by the effective number of samples (Cui et al. 2019, Eq. 9). Shapes as there.

    `counts` are how many training samples the classifier got (wrong, right); the weight of a class of n samples is
    proportional to (1-beta)/(1-beta^n), and the two sum to 2. `base` is ce, focal or ss, `settings` its own.
    """
    wrong, right = class_weights(counts, beta)
    return _class_balanced(z, _paired(z, correct), wrong, right, base, **settings)


def class_weights(counts: tuple[int, int], beta: float) -> tuple[float, float]:
    """The weights of wrong and right samples by the effective number (Cui et al. 2019), which sum to 2.

    Raises ValueError where a count is below 1 or beta outside [0, 1).
    """
    if min(counts) < 1 or not 0 <= beta < 1:
        raise ValueError(f"class balancing needs both right and wrong samples and 0 <= beta < 1, not {counts}, {beta}")
    inverse = [(1 - beta) / -math.expm1(n * math.log(beta)) if beta else 1.0 for n in counts]
    return 2 * inverse[0] / sum(inverse), 2 * inverse[1] / sum(inverse)


def _paired(z: Tensor, target: Tensor) -> Tensor:
    if z.ndim != 1 or z.shape != target.shape:
        raise ValueError(f"expected two tensors of one shape (N,), not {tuple(z.shape)} and {tuple(target.shape)}")
    return target.to(z.dtype)


# --- formulas, elementwise -------------------------------------------------------------------------------------
# With s = z for wrong samples and -z for right ones, every loss of z and o is one function of s: fewer operations,
# and no 0 * inf where a side that does not count overflows.


def _against(z: Tensor, correct: Tensor) -> Tensor:
    return (1 - 2 * correct) * z


def _cross_entropy(z: Tensor, correct: Tensor) -> Tensor:
    return F.softplus(_against(z, correct))


def _focal(z: Tensor, correct: Tensor, gamma: Setting) -> Tensor:
    s = _against(z, correct)
    return torch.exp(-gamma * F.softplus(-s)) * F.softplus(s)


def _true_class_probability(z: Tensor, true_class_prob: Tensor) -> Tensor:
    return (torch.sigmoid(z) - true_class_prob).square()


def _steep_slope(z: Tensor, correct: Tensor, alpha_pos: Setting, alpha_neg: Setting) -> Tensor:
    finite = torch.finfo(z.dtype).max / 2  # softsign(inf) would be inf / inf
    slope = F.softsign(_against(z, correct).clamp(-finite, finite))
    alpha = alpha_neg + (alpha_pos - alpha_neg) * correct
    return torch.exp(alpha * slope) - torch.exp(-alpha)


def _broadcast_cross_entropy(z: Tensor, mean_correct: Tensor) -> Tensor:
    return mean_correct * F.softplus(-z) + (1 - mean_correct) * F.softplus(z)


def _broadcast_focal(z: Tensor, mean_correct: Tensor, gamma: Setting) -> Tensor:
    right, wrong = z.new_ones(()), z.new_zeros(())
    return mean_correct * _focal(z, right, gamma) + (1 - mean_correct) * _focal(z, wrong, gamma)


def _class_balanced(
    z: Tensor, correct: Tensor, weight_wrong: Setting, weight_right: Setting, base: str, **settings: Setting
) -> Tensor:
    weight = weight_wrong + (weight_right - weight_wrong) * correct
    return weight * LOSSES[base].formula(z, correct, **settings)


# --- the registries --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Loss:
    """One loss: its formula, the settings it takes with their defaults, and what it means.

    `target` is what it compares with: the cache's column "correct" or "true_class_prob", or "mean_correct", the mean of
    the first over the batch. `signed_distance` says whether its head by default gives the signed distance
    (w.x + b)/|w| (Eq. 7) rather than w.x + b.
    """

    formula: Callable[..., Tensor]
    meaning: str
    settings: dict[str, float | str] = field(default_factory=dict)
    target: str = "correct"
    signed_distance: bool = False


def _defaults(*names: str) -> dict[str, float | str]:
    return {name: LOSS_SETTINGS[name].default for name in names}


LOSSES: dict[str, Loss] = {
    "ce": Loss(_cross_entropy, "cross entropy"),
    "focal": Loss(_focal, "focal loss: cross entropy that dwells on hard samples", _defaults("gamma")),
    "tcp": Loss(_true_class_probability, "squared distance to the true class's probability", target="true_class_prob"),
    "ss": Loss(
        _steep_slope,
        "steep slope loss: two steep slides that part right from wrong",
        _defaults("alpha_pos", "alpha_neg"),
        signed_distance=True,
    ),
    "class-balanced": Loss(
        _class_balanced,
        "another loss, weighted by the effective number of right and wrong samples",
        _defaults("beta") | {"base": "ce"},
    ),
}
BALANCEABLE = ("ce", "focal", "ss")

RELEASED_LOSSES: dict[str, Loss] = {
    "ce": Loss(_broadcast_cross_entropy, LOSSES["ce"].meaning, target="mean_correct"),
    "focal": Loss(_broadcast_focal, LOSSES["focal"].meaning, LOSSES["focal"].settings, target="mean_correct"),
    "tcp": LOSSES["tcp"],
    "ss": LOSSES["ss"],
}
"""The losses of the authors' ImageNet scripts, with what their code computes for them."""


@dataclass(frozen=True)
class LossChoice:
    """A loss with all its settings fixed."""

    name: str
    settings: dict[str, float | str]

    def bind(
        self, counts: tuple[int, int], losses: Mapping[str, Loss] = LOSSES
    ) -> tuple[Callable[..., Tensor], dict[str, float]]:
        """The formula that `losses` has for it, and its numeric settings.

        `counts` are how many training samples are (wrong, right), which class balancing needs.
        """
        numbers: dict[str, Any] = dict(self.settings)
        if self.name != "class-balanced":
            return losses[self.name].formula, numbers
        base = numbers.pop("base")
        wrong, right = class_weights(counts, numbers.pop("beta"))
        return _BALANCED[base], {"weight_wrong": wrong, "weight_right": right, **numbers}


# One function a base, so that heads of the same formula are found by identity and computed together.
_BALANCED = {base: functools.partial(_class_balanced, base=base) for base in BALANCEABLE}
