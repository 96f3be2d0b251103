"""Losses against closed forms in NumPy float64, finite differences, and their limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trustcache import losses
from trustcache.losses import LOSSES, LossChoice
from trustcache.registry import option_name

Z = np.concatenate([np.linspace(-30, 30, 241), [1e-9, -1e-9, 1e4, -1e4]])


def sigmoid(z: np.ndarray) -> np.ndarray:
    return np.where(z >= 0, 1 / (1 + np.exp(-np.abs(z))), np.exp(-np.abs(z)) / (1 + np.exp(-np.abs(z))))


def log_sigmoid(z: np.ndarray) -> np.ndarray:
    return np.minimum(z, 0) - np.log1p(np.exp(-np.abs(z)))


def ce(z: np.ndarray, o: np.ndarray) -> np.ndarray:
    return -o * log_sigmoid(z) - (1 - o) * log_sigmoid(-z)


def focal(z: np.ndarray, o: np.ndarray, gamma: float) -> np.ndarray:
    p, q = sigmoid(z), sigmoid(-z)
    return -o * q**gamma * log_sigmoid(z) - (1 - o) * p**gamma * log_sigmoid(-z)


def ss(z: np.ndarray, o: np.ndarray, a: float, b: float) -> np.ndarray:
    slope = z / (1 + np.abs(z))
    return o * (np.exp(-a * slope) - np.exp(-a)) + (1 - o) * (np.exp(b * slope) - np.exp(-b))


Pair = tuple[Callable[..., torch.Tensor], Callable[[np.ndarray, np.ndarray], np.ndarray]]
CLOSED_FORMS: dict[str, Pair] = {
    "ce": (losses.cross_entropy, ce),
    "focal": (losses.focal, lambda z, o: focal(z, o, 2.0)),
    "focal, gamma 0.5": (lambda z, o: losses.focal(z, o, gamma=0.5), lambda z, o: focal(z, o, 0.5)),
    "ss": (losses.steep_slope, lambda z, o: ss(z, o, 1.0, 3.0)),
    "ss 2 5": (lambda z, o: losses.steep_slope(z, o, 2.0, 5.0), lambda z, o: ss(z, o, 2.0, 5.0)),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
@pytest.mark.parametrize("right", [0.0, 1.0])
def test_a_loss_equals_its_closed_form_in_float64(name: str, right: float) -> None:
    ours, theirs = CLOSED_FORMS[name]
    o = np.full_like(Z, right)
    expected = theirs(Z, o)
    for dtype in (torch.float64, torch.float32):
        found = ours(torch.tensor(Z, dtype=dtype), torch.tensor(o, dtype=dtype)).double().numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 20.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_focal_has_its_limits_at_infinity_and_is_cross_entropy_at_gamma_0(gamma: float, dtype: torch.dtype) -> None:
    z = torch.tensor([math.inf, -math.inf, math.inf, -math.inf], dtype=dtype)
    o = torch.tensor([1.0, 1.0, 0.0, 0.0])
    for kind in (lambda x: x, lambda x: x.numpy()):
        assert losses.focal(kind(z), kind(o), gamma).tolist() == [0, math.inf, math.inf, 0]
    finite = torch.tensor(Z, dtype=dtype)
    assert torch.equal(losses.focal(finite, (finite > 0).to(dtype), 0.0), losses.cross_entropy(finite, finite > 0))


def test_tcp_is_the_squared_distance_to_the_true_class_probability() -> None:
    target = np.random.default_rng(0).random(len(Z))
    found = losses.true_class_probability(torch.tensor(Z), torch.tensor(target)).numpy()
    np.testing.assert_allclose(found, (sigmoid(Z) - target) ** 2, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("base", [name for name, loss in LOSSES.items() if loss.weightable])
@pytest.mark.parametrize("beta", [0.0, 0.9, 0.9999])
def test_class_balanced_weighs_its_base_by_the_effective_number(base: str, beta: float) -> None:
    z, o = torch.tensor(Z), torch.tensor((np.arange(len(Z)) % 3 > 0).astype(float))
    settings = {k: float(v) for k, v in LOSSES[base].defaults.items()}
    plain = LOSSES[base].formula(z, o, **settings).numpy()
    effective = [(1 - beta**n) / (1 - beta) for n in (30, 470)]
    weights = np.array([1 / e for e in effective])
    weights *= 2 / weights.sum()
    found = losses.class_balanced(z, o, counts=(30, 470), beta=beta, base=base, **settings).numpy()
    np.testing.assert_allclose(found, np.where(o.numpy() == 1, weights[1], weights[0]) * plain, rtol=1e-9)


def test_class_balancing_goes_from_none_to_inverse_frequency() -> None:
    assert losses.class_weights((10, 990), 0.0) == (1.0, 1.0)
    wrong, right = losses.class_weights((10, 990), 1 - 1e-12)
    assert wrong / right == pytest.approx(99, rel=1e-3)


@pytest.mark.parametrize("counts", [(0, 5), (5, 0)])
def test_class_balancing_without_one_of_the_classes_is_refused(counts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="both right and wrong"):
        losses.class_weights(counts, 0.9)


@pytest.mark.parametrize("name", LOSSES)
def test_every_registered_gradient_equals_finite_differences(name: str) -> None:
    formula, settings = LossChoice(name, dict(LOSSES[name].defaults)).bind((20, 80))
    z = torch.tensor([-8.0, -2.5, -0.3, 0.0, 0.4, 1.7, 9.0] * 2, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([1.0] * 7 + [0.0] * 7, dtype=torch.float64)
    target = target * 0.8 + 0.1 if LOSSES[name].target == "true_class_prob" else target
    assert torch.autograd.gradcheck(lambda x: formula(x, target, **settings), (z,), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_every_registered_loss_stays_finite_with_finite_gradients_in_float32(name: str) -> None:
    formula, settings = LossChoice(name, dict(LOSSES[name].defaults)).bind((20, 80))
    for right in (0.0, 1.0):
        z = torch.tensor([-1e5, -100.0, 0.0, 100.0, 1e5], requires_grad=True)
        loss = formula(z, torch.full_like(z, right), **settings)
        loss.sum().backward()
        assert z.grad is not None
        assert torch.isfinite(loss).all()
        assert torch.isfinite(z.grad).all()
        assert (loss >= 0).all()


@given(st.floats(0.1, 6), st.floats(0.1, 6))
def test_the_steep_slope_loss_runs_from_0_on_the_right_side_to_its_maximum_on_the_wrong_one(a: float, b: float) -> None:
    ends = torch.tensor([-math.inf, math.inf], dtype=torch.float64)
    right = losses.steep_slope(ends, torch.ones(2), a, b)
    wrong = losses.steep_slope(ends, torch.zeros(2), a, b)
    assert right[1] == pytest.approx(0, abs=1e-12)
    assert wrong[0] == pytest.approx(0, abs=1e-12)
    assert max(float(right[0]), float(wrong[1])) == pytest.approx(losses.steep_slope_max(a, b), rel=1e-9)
    assert float(right[0]) == pytest.approx(math.exp(a) - math.exp(-a), rel=1e-9)
    assert float(wrong[1]) == pytest.approx(math.exp(b) - math.exp(-b), rel=1e-9)


@given(st.floats(-50, 50), st.floats(-50, 50))
def test_the_steep_slope_loss_falls_towards_the_right_side(first: float, second: float) -> None:
    low, high = sorted((first, second))
    z = torch.tensor([low, high], dtype=torch.float64)
    right, wrong = losses.steep_slope(z, torch.ones(2)), losses.steep_slope(z, torch.zeros(2))
    assert right[0] >= right[1]
    assert wrong[0] <= wrong[1]


@pytest.mark.parametrize(
    "loss",
    [
        losses.cross_entropy,
        losses.focal,
        losses.true_class_probability,
        losses.steep_slope,
        lambda z, o: losses.class_balanced(z, o, counts=(1, 1)),
    ],
)
@pytest.mark.parametrize(("z", "o"), [((4, 1), (4,)), ((4,), (4, 1)), ((4, 1), (4, 1)), ((4,), (3,)), ((), ())])
def test_any_shape_but_one_sample_a_row_is_refused(loss: Callable[..., torch.Tensor], z: tuple, o: tuple) -> None:
    with pytest.raises(ValueError, match="shape"):
        loss(torch.zeros(z), torch.zeros(o))


def test_each_sample_is_compared_with_its_own_label_only() -> None:
    z, o = torch.randn(50), (torch.rand(50) > 0.3).float()
    for loss in (losses.cross_entropy, losses.focal, losses.steep_slope):
        together = loss(z, o)
        alone = torch.stack([loss(z[i : i + 1], o[i : i + 1])[0] for i in range(50)])
        torch.testing.assert_close(together, alone)
        # Shuffled labels give another loss: in the paper's released code they gave the same.
        assert not torch.isclose(loss(z, o).mean(), loss(z, o.roll(1)).mean())


@pytest.mark.parametrize("name", LOSSES)
def test_formulas_over_many_heads_equal_one_head_at_a_time(name: str) -> None:
    formula, settings = LossChoice(name, dict(LOSSES[name].defaults)).bind((20, 80))
    z, target = torch.randn(30, 4), (torch.rand(30) > 0.3).float()
    rows = {key: torch.tensor([value, value + 0.5, value + 1, value]) for key, value in settings.items()}
    together = formula(z, target[:, None], **rows)
    for column in range(4):
        alone = formula(z[:, column], target, **{key: row[column] for key, row in rows.items()})
        torch.testing.assert_close(together[:, column], alone)


@pytest.mark.parametrize("name", LOSSES.built_in)
def test_the_documentation_names_every_loss_with_its_settings_and_defaults(name: str) -> None:
    page = (Path(__file__).parent.parent / "docs" / "methods.md").read_text(encoding="utf-8")
    (line,) = (line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
    for key, setting in LOSSES[name].settings.items():
        default = setting.default if isinstance(setting.default, str) else f"{setting.default:g}"
        assert f"`{option_name(key)}` {default}" in line
        assert setting.meaning
        assert setting.names or (setting.symbol and setting.sweep)


def test_numpy_arrays_give_what_tensors_give() -> None:
    o = (np.arange(len(Z)) % 3 > 0).astype(float)
    for loss in (losses.cross_entropy, losses.focal, losses.true_class_probability, losses.steep_slope):
        np.testing.assert_allclose(loss(Z, o), loss(torch.tensor(Z), torch.tensor(o)).numpy(), rtol=1e-8, atol=1e-8)
