"""The losses an oracle learns by, each with its settings: their defaults, meanings, ranges and symbols.

Notation, as in "Learning to Predict Trustworthiness with Steep Slope Loss" (Luo et al., NeurIPS 2021): z is the
oracle's output for a sample, p = sigmoid(z) its trust confidence, o in {0, 1} says whether the classifier is right.
The functions of labels take one sample a row and refuse any other shape: (N, 1) against (N,) would broadcast every
prediction over every label, the fault in the paper's released code, whose ce and focal are the two functions that begin
with `broadcast_` and take the mean label. The registries' formulas serve many heads at once: z and o (B, H), settings
(H,).
Everything takes torch tensors or NumPy arrays; the command line and the report read this file without torch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from inspect import getdoc, signature, unwrap
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from trustcache.errors import UsageError
from trustcache.registry import Registry, Setting

if TYPE_CHECKING:
    from torch import Tensor

    Number = float | Tensor

Values = TypeVar("Values", "Tensor", np.ndarray)


def _functions(z: Values) -> SimpleNamespace:
    """Return the elementwise functions for arrays of z's kind."""
    if isinstance(z, np.ndarray):
        from scipy.special import expit

        own = {"softplus": lambda x: np.logaddexp(0, x), "softsign": lambda x: x / (1 + np.abs(x))}
        return SimpleNamespace(exp=np.exp, finfo=np.finfo, sigmoid=expit, **own)
    import torch
    from torch.nn import functional as F

    own = {"softplus": F.softplus, "softsign": F.softsign}
    return SimpleNamespace(exp=torch.exp, finfo=torch.finfo, sigmoid=torch.sigmoid, **own)


# With s = z for wrong samples and -z for right ones, every loss of z and o is one function of s: fewer operations,
# and no 0 * inf where a side that does not count overflows.
def _against(z: Any, correct: Any) -> Any:
    return (1 - 2 * correct) * z


def _paired(z: Values, target: Values) -> Any:
    if z.ndim != 1 or z.shape != target.shape:
        raise ValueError(f"expected two arrays of one shape (N,), not {tuple(z.shape)} and {tuple(target.shape)}")
    return target.astype(z.dtype) if isinstance(target, np.ndarray) else target.to(z.dtype)


Formula = TypeVar("Formula", bound=Callable[..., Any])


def _per_sample(formula: Formula) -> Formula:
    """Make a public function of an elementwise formula: z and target must be (N,)."""

    @functools.wraps(formula)
    def loss(z: Any, target: Any, *args: float, **settings: float) -> Any:
        return formula(z, _paired(z, target), *args, **settings)

    return cast(Formula, loss)


@_per_sample
def cross_entropy(z: Values, correct: Values) -> Values:
    """Return the cross entropy -o log p - (1-o) log(1-p) (Eq. 4).

    z, correct: float (N,), correct in {0, 1}; returns (N,). Raises ValueError for any other shape.

    >>> cross_entropy(np.array([2.0, 2.0]), np.array([1.0, 0.0])).round(4)
    array([0.1269, 2.1269])
    """
    return _functions(z).softplus(_against(z, correct))


@_per_sample
def focal(z: Values, correct: Values, gamma: Number = 2.0) -> Values:
    """Return the focal loss -o (1-p)^gamma log p - (1-o) p^gamma log(1-p) (Eq. 5; Lin et al. 2017).

    Shapes as in `cross_entropy`.

    >>> focal(np.array([2.0, 2.0]), np.array([1.0, 0.0]), gamma=2.0).round(4)
    array([0.0018, 1.6501])
    """
    return _focal(z, correct, gamma)


def _focal(z: Any, correct: Any, gamma: Number) -> Any:
    f, s = _functions(z), _against(z, correct)
    return f.exp(-gamma * f.softplus(-s)) * f.softplus(s)


@_per_sample
def true_class_probability(z: Values, true_class_prob: Values) -> Values:
    """Return (p - p_y)^2, p_y being the classifier's softmax probability of the true class (Eq. 6; Corbiere 2019).

    Shapes as in `cross_entropy`.

    >>> true_class_probability(np.array([0.0, 0.0]), np.array([0.9, 0.5])).round(2)
    array([0.16, 0.  ])
    """
    return (_functions(z).sigmoid(z) - true_class_prob) ** 2


@_per_sample
def steep_slope(z: Values, correct: Values, alpha_pos: Number = 1.0, alpha_neg: Number = 3.0) -> Values:
    """Return the steep slope loss (Eq. 8). Shapes as in `cross_entropy`.

    o (exp(-alpha_pos z/(1+|z|)) - exp(-alpha_pos)) + (1-o) (exp(alpha_neg z/(1+|z|)) - exp(-alpha_neg)),
    between 0 far on the right side and exp(alpha) - exp(-alpha) far on the wrong one (`steep_slope_max`).
    The equation as printed has the opposite signs, which would push right answers towards minus infinity,
    against the paper's text, its Fig. 2 and its code; these are the code's.

    >>> steep_slope(np.array([2.0, 2.0]), np.array([1.0, 0.0])).round(4)
    array([0.1455, 7.3393])
    """
    f = _functions(z)
    finite = float(f.finfo(z.dtype).max) / 2  # softsign(inf) would be inf / inf
    slope = f.softsign(_against(z, correct).clip(-finite, finite))
    alpha = alpha_neg + (alpha_pos - alpha_neg) * correct
    return f.exp(alpha * slope) - f.exp(-alpha)


def steep_slope_max(alpha_pos: float, alpha_neg: float) -> float:
    """Return ss_max, the least upper bound of the steep slope loss (section 3.2).

    >>> round(steep_slope_max(1.0, 3.0), 4)
    20.0357
    """
    return max(2 * math.sinh(alpha_pos), 2 * math.sinh(alpha_neg))


def broadcast_cross_entropy(z: Values, mean_correct: Any) -> Values:
    """Return cross entropy as the released code computes it: each prediction against every label of the batch.

    There z of shape (N, 1) meets o of shape (N,), and the loss is the mean over (N, N); this is the mean of each row,
    (N,). The loss is linear in o, so a row's mean is its loss against the mean label: which sample is which never
    enters, and all there is to learn is one constant, the accuracy. (The code adds 1e-7 inside its logarithms, which
    shows from |z| = 10 on; this does without.) z: float (N,); mean_correct: the mean label of the batch.

    >>> broadcast_cross_entropy(np.array([2.0, 2.0]), 0.5).round(4)
    array([1.1269, 1.1269])
    """
    f = _functions(z)
    return mean_correct * f.softplus(-z) + (1 - mean_correct) * f.softplus(z)


def broadcast_focal(z: Values, mean_correct: Any, gamma: Number = 2.0) -> Values:
    """Return the focal loss as the released code computes it; see `broadcast_cross_entropy`.

    >>> broadcast_focal(np.array([2.0, 2.0]), 0.5).round(4)
    array([0.8259, 0.8259])
    """
    return mean_correct * _focal(z, 1.0, gamma) + (1 - mean_correct) * _focal(z, 0.0, gamma)


def class_balanced(
    z: Values, correct: Values, *, counts: tuple[int, int], beta: float = 0.9999, base: str = "ce", **settings: float
) -> Values:
    """Return another loss re-weighted by the effective number of samples (Cui et al. 2019, Eq. 9). Shapes as there.

    counts: number of training samples the classifier got (wrong, right). The weight of a class of n samples is
    proportional to (1-beta)/(1-beta^n), and the two sum to 2. base: the name of the other loss, `settings` its own.

    >>> class_balanced(np.array([2.0, 2.0]), np.array([1.0, 0.0]), counts=(10, 90), beta=0.99).round(4)
    array([0.0351, 3.6651])
    """
    formula, numbers = _bind_balanced(counts, beta, base, **settings)
    return formula(z, _paired(z, correct), **numbers)


def class_weights(counts: tuple[int, int], beta: float) -> tuple[float, float]:
    """Return the weights of wrong and right samples by the effective number (Cui et al. 2019), which sum to 2.

    Raises ValueError where a count is below 1 or beta outside [0, 1).

    >>> class_weights((10, 90), beta=0.0)
    (1.0, 1.0)
    """
    if min(counts) < 1 or not 0 <= beta < 1:
        raise ValueError(f"class balancing needs both right and wrong samples and 0 <= beta < 1, not {counts}, {beta}")
    inverse = [(1 - beta) / -math.expm1(n * math.log(beta)) if beta else 1.0 for n in counts]
    return 2 * inverse[0] / sum(inverse), 2 * inverse[1] / sum(inverse)


@functools.cache  # one function a base, so that heads of the same formula are found by identity and computed together
def _balanced(base: str) -> Callable[..., Any]:
    formula = LOSSES[base].formula

    def balanced(z: Any, correct: Any, weight_wrong: Number, weight_right: Number, **settings: Number) -> Any:
        weight = weight_wrong + (weight_right - weight_wrong) * correct
        return weight * formula(z, correct, **settings)

    return balanced


def _bind_balanced(counts: tuple[int, int], beta: float, base: str, **settings: float) -> Bound:
    wrong, right = class_weights(counts, beta)
    return _balanced(base), {"weight_wrong": wrong, "weight_right": right, **settings}


# --- the registries --------------------------------------------------------------------------------------------

Bound = tuple[Callable[..., Any], dict[str, float]]
"""A formula f(z, target, **numbers) and its numbers."""


@dataclass(frozen=True)
class Loss:
    """One loss: its formula f(z, target, **settings), its meaning, and the settings it takes.

    target: what it compares z with: the cache's column "correct" or "true_class_prob", or "mean_correct", the mean of
    the first over the batch. signed_distance: True if its head by default gives the signed distance (w.x + b)/|w|
    (Eq. 7) rather than w.x + b. bind: for a loss that depends on its training samples, turns their counts (wrong,
    right) and the settings into a formula and its numbers. A loss with a setting "base" weights the loss of that name,
    whose settings it takes as well.
    """

    formula: Callable[..., Any]
    meaning: str
    settings: Mapping[str, Setting] = field(default_factory=dict)
    target: str = "correct"
    signed_distance: bool = False
    bind: Callable[..., Bound] | None = None

    @property
    def defaults(self) -> dict[str, float | str]:
        """The settings' defaults by name."""
        return {key: setting.default for key, setting in self.settings.items()}

    @property
    def weightable(self) -> bool:
        """True if right and wrong samples can be weighted apart, as its target says which is which."""
        return self.target == "correct" and self.bind is None


def _loss_from_outside(name: str, found: Any) -> Loss:
    """Return what an entry point or `package.module:function` leads to as a `Loss`.

    Of a function, the second parameter's name is the target, the others' numeric defaults are settings, and the
    docstring's first line is the meaning. Raises UsageError for anything else.
    """
    if isinstance(found, Loss):
        return found
    parameters = [*signature(found).parameters.values()] if callable(found) else []
    target = parameters[1].name if len(parameters) > 1 else ""
    settings = {p.name: p.default for p in parameters[2:]}
    lacking = [key for key, default in settings.items() if not isinstance(default, int | float)]
    if target not in ("correct", "true_class_prob") or lacking:
        why = f"its parameter {lacking[0]} has no number as default" if lacking else "it takes other parameters"
        raise UsageError(
            f"--loss {name}: {why}; a loss is a function f(z, correct, **settings) or f(z, true_class_prob, "
            "**settings) whose settings have default numbers, or a trustcache.losses.Loss"
        )
    meaning = (getdoc(found) or f"the function {name}").splitlines()[0].rstrip(".")
    numbers = {key: Setting(float(v), f"setting of {name}", lowest=-math.inf) for key, v in settings.items()}
    return Loss(found, meaning, numbers, target)


# fmt: off
# The steep slope's gradient reaches 4 e^(alpha - 2) / alpha, and Adam squares it: at 30 that is 4e22, which leaves
# float32 room for inputs far from their mean. At 50 it is infinite, and at 89 so is the loss.
_STEEP: dict[str, Any] = {"highest": 30.0, "excluded": 0.0}
_PULL = "how steeply ss pulls the scores of right answers above zero"
_PUSH = "how steeply ss pushes the scores of wrong answers below zero"
_ALPHA_POS = Setting(1.0, _PULL, "α⁺", sweep=(1.0, 2.0, 3.0), quiet=True, **_STEEP)
_ALPHA_NEG = Setting(3.0, _PUSH, "α⁻", sweep=(1.0, 3.0, 5.0), **_STEEP)
_GAMMA = Setting(
    2.0, "how fast focal forgets samples that it already tells well", "γ", highest=20.0, sweep=(1.0, 2.0, 4.0)
)
_BETA = Setting(
    0.9999, "weighting by class: at 0 all samples weigh alike, towards 1 right and wrong weigh alike in total", "β",
    highest=1.0, excluded=1.0, sweep=(0.999, 0.9999, 0.99999),
)
_WEIGHTED = "weighting by class: the loss weighted"
_BASE = Setting("ce", _WEIGHTED, names=lambda: (k for k, v in LOSSES.items() if v.weightable), quiet=True)

LOSSES: Registry[Loss] = Registry("trustcache.losses", "--loss", {
    "ce": Loss(unwrap(cross_entropy), "cross entropy"),
    "focal": Loss(unwrap(focal), "focal loss: cross entropy that dwells on hard samples", {"gamma": _GAMMA}),
    "tcp": Loss(
        unwrap(true_class_probability), "squared distance to the true class's probability", target="true_class_prob"
    ),
    "ss": Loss(
        unwrap(steep_slope), "steep slope loss: two steep slides that part right from wrong",
        {"alpha_pos": _ALPHA_POS, "alpha_neg": _ALPHA_NEG}, signed_distance=True,
    ),
    "class-balanced": Loss(
        class_balanced, "another loss, weighted by the effective number of right and wrong samples",
        {"beta": _BETA, "base": _BASE}, bind=_bind_balanced,
    ),
}, _loss_from_outside)
# fmt: on

RELEASED_LOSSES: dict[str, Loss] = {
    "ce": Loss(broadcast_cross_entropy, LOSSES["ce"].meaning, target="mean_correct"),
    "focal": Loss(broadcast_focal, LOSSES["focal"].meaning, LOSSES["focal"].settings, target="mean_correct"),
    "tcp": LOSSES["tcp"],
    "ss": LOSSES["ss"],
}
"""The losses of the authors' ImageNet scripts, with what their code computes for them."""


def loss_settings(names: Iterable[str] = LOSSES) -> dict[str, Setting]:
    """Return the settings of some losses, by default all that are listed, by name."""
    return {key: setting for name in names for key, setting in LOSSES[name].settings.items()}


def settings_of(name: str, base: str = "") -> dict[str, Setting]:
    """Return the settings of a loss, and those of the loss `base` where it weights that."""
    return {**LOSSES.find(name).settings, **(LOSSES.find(base).settings if base else {})}


@dataclass(frozen=True)
class LossChoice:
    """A loss with all its settings fixed."""

    name: str
    settings: dict[str, float | str]

    @property
    def core(self) -> Loss:
        """The loss itself, or the one that it weights."""
        return LOSSES.find(str(self.settings.get("base", self.name)))

    def bind(self, counts: tuple[int, int], losses: Mapping[str, Loss] = LOSSES) -> Bound:
        """Return the formula that `losses` has for it, and its numeric settings.

        counts: number of training samples the classifier got (wrong, right).
        """
        loss, settings = losses[self.name], dict[str, Any](self.settings)
        return loss.bind(counts, **settings) if loss.bind else (loss.formula, settings)
