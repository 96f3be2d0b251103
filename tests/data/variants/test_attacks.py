"""Promises of the attacks: what they accept, how far they go, what they depend on, and that they work."""

from __future__ import annotations

import inspect
import pkgutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from sklearn.datasets import load_digits

from trustcache.data.variants.attacks import ATTACKS, Attack, attack, checked_settings
from trustcache.data.variants.cieluv import rgb_to_luv

if TYPE_CHECKING:
    from trustcache.models.classifiers import Classifier

# Strong enough for digits of 8 x 8 pixels, in few iterations.
QUICK: dict[str, dict[str, float]] = {
    "recolor": {"bound": 0.4, "iterations": 30, "learning_rate": 0.05},
    "pgd-linf": {"bound": 0.2, "step": 0.05},
    "pgd-l2": {"bound": 2.0, "step": 0.5},
}
ROUNDING = 1e-5
every_attack = pytest.mark.parametrize("name", ATTACKS)


def luv_change(images: torch.Tensor, changed: torch.Tensor) -> torch.Tensor:
    return (rgb_to_luv(changed.double()) - rgb_to_luv(images.double())).abs().amax((1, 2, 3))


# What each attack's bound bounds, an image.
SIZES = {
    "recolor": luv_change,
    "pgd-linf": lambda images, changed: (changed - images).abs().amax((1, 2, 3)),
    "pgd-l2": lambda images, changed: (changed - images).flatten(1).norm(dim=1),
}


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """48 digits, float32 (48, 3, 8, 8) in [0, 1], and their labels."""
    data = load_digits()
    images = torch.from_numpy(data.images[-48:] / 16).float()
    return images.unsqueeze(1).repeat(1, 3, 1, 1), torch.from_numpy(data.target[-48:]).long()


def one_by_one(classifier: Classifier) -> Any:
    """The classifier with no batches, so that its rounding is the same in any company."""
    return lambda images: torch.cat([classifier.logits_of(image) for image in images.split(1)])


def settings_of(name: str) -> dict[str, float]:
    return checked_settings(name, QUICK[name])


@every_attack
def test_every_attack_is_tested_and_explains_each_setting_that_it_takes(name: str) -> None:
    assert name in QUICK
    assert name in SIZES
    entry = ATTACKS[name]
    run = pkgutil.resolve_name(entry.run)
    taken = [p.name for p in inspect.signature(run).parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert sorted(taken) == sorted(entry.settings)
    assert run.__doc__
    assert all(setting.meaning for setting in entry.settings.values())
    assert checked_settings(name, {}) == {key: setting.default for key, setting in entry.settings.items()}


@every_attack
def test_nobody_can_change_an_attacks_defaults(name: str) -> None:
    with pytest.raises(TypeError):
        ATTACKS[name].settings["bound"] = 1.0  # type: ignore[index]


def test_recolors_defaults_are_the_papers() -> None:
    assert checked_settings("recolor", {}) == {
        "bound": 0.06,
        "iterations": 100,
        "learning_rate": 0.001,
        "smoothness": 0.05,
    }


@every_attack
def test_the_classifier_errs_and_no_image_leaves_the_bound(
    name: str, digits: tuple[torch.Tensor, torch.Tensor], digits_classifier: Classifier
) -> None:
    images, labels = digits
    changed = attack(name, digits_classifier.logits_of, images, labels, range(len(images)), QUICK[name])
    assert changed.dtype == torch.float32
    assert changed.min() >= 0
    assert changed.max() <= 1
    sizes = SIZES[name](images, changed)
    bound = settings_of(name)["bound"]
    assert sizes.max() <= bound + ROUNDING
    # A map of colours moves grey digits as far as it pays; a step of PGD moves every image.
    assert (sizes.median() if name == "recolor" else sizes.min()) > bound / 2
    with torch.no_grad():
        before, after = (digits_classifier.logits_of(x) for x in (images, changed))
    assert (before.argmax(1) == labels).float().mean() > 0.8
    assert (after.argmax(1) == labels).float().mean() < 0.3
    loss_before, loss_after = (torch.nn.functional.cross_entropy(x, labels, reduction="none") for x in (before, after))
    assert (loss_after > loss_before).float().mean() > 0.95


@every_attack
def test_more_bound_leaves_fewer_right(
    name: str, digits: tuple[torch.Tensor, torch.Tensor], digits_classifier: Classifier
) -> None:
    images, labels = digits
    weak = {**QUICK[name], "bound": settings_of(name)["bound"] / 10}
    loss = []
    for settings in (weak, QUICK[name]):
        changed = attack(name, digits_classifier.logits_of, images, labels, range(len(images)), settings)
        loss.append(torch.nn.functional.cross_entropy(digits_classifier.logits_of(changed), labels))
    assert loss[1] > (1.5 if name == "recolor" else 2) * loss[0]


@every_attack
def test_an_image_is_attacked_alike_in_any_company(
    name: str, digits: tuple[torch.Tensor, torch.Tensor], digits_classifier: Classifier
) -> None:
    images, labels = digits[0][:5], digits[1][:5]
    settings = {**QUICK[name], "iterations": 4}
    logits = one_by_one(digits_classifier)
    together = attack(name, logits, images, labels, [7, 8, 9, 10, 11], settings)
    pair = attack(name, logits, images[[3, 1]], labels[[3, 1]], [10, 8], settings)
    torch.testing.assert_close(pair, together[[3, 1]], atol=1e-5, rtol=0)


@every_attack
def test_the_same_seeds_give_the_same_images(
    name: str, digits: tuple[torch.Tensor, torch.Tensor], digits_classifier: Classifier
) -> None:
    images, labels = digits[0][:4], digits[1][:4]
    first, again, other = (
        attack(name, digits_classifier.logits_of, images, labels, seeds, {**QUICK[name], "iterations": 3})
        for seeds in ([1, 2, 3, 4], [1, 2, 3, 4], [5, 6, 7, 8])
    )
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name == "recolor")


@every_attack
def test_an_attack_leaves_the_world_as_it_was(
    name: str, digits: tuple[torch.Tensor, torch.Tensor], digits_classifier: Classifier
) -> None:
    images, labels = digits[0][:3].clone(), digits[1][:3]
    weights = [weight.requires_grad_() for weight in digits_classifier.model.parameters()]
    state = torch.random.get_rng_state()
    try:
        with torch.no_grad():
            changed = attack(name, digits_classifier.logits_of, images, labels, [1, 2, 3], {"iterations": 2})
        assert not [weight for weight in weights if weight.grad is not None]
    finally:
        digits_classifier.model.requires_grad_(False)
    assert not changed.requires_grad
    assert torch.equal(images, digits[0][:3])
    assert torch.equal(torch.random.get_rng_state(), state)


@every_attack
def test_black_white_and_grey_images_are_attacked_too(name: str, digits_classifier: Classifier) -> None:
    images = torch.tensor([0.0, 1.0, 0.5]).view(3, 1, 1, 1).expand(3, 3, 8, 8)
    labels = digits_classifier.logits_of(images).argmax(1)
    changed = attack(name, digits_classifier.logits_of, images, labels, [1, 2, 3], QUICK[name])
    assert changed.isfinite().all()
    assert (changed[2] != images[2]).any()  # black and white may be the best there is already
    assert SIZES[name](images, changed).max() <= settings_of(name)["bound"] + ROUNDING


def test_pgd_starts_anywhere_in_its_ball(digits_classifier: Classifier) -> None:
    grey = torch.full((64, 3, 8, 8), 0.5)
    labels = torch.zeros(64, dtype=torch.int64)
    start = {
        name: attack(name, digits_classifier.logits_of, grey, labels, range(64), {"bound": 0.3, "iterations": 0}) - 0.5
        for name in ("pgd-linf", "pgd-l2")
    }
    values = start["pgd-linf"].flatten()
    assert values.min() < -0.295
    assert values.max() > 0.295
    assert values.mean().abs() < 0.01
    assert (values.abs().mean() - 0.15).abs() < 0.01
    # In 192 dimensions all but a hundredth of a ball's volume lies within a fortieth of its surface.
    norms = start["pgd-l2"].flatten(1).norm(dim=1)
    assert norms.max() <= 0.3 + ROUNDING
    assert norms.mean() > 0.29
    assert len({round(float(norm), 6) for norm in norms}) > 50


def test_pgd_steps_in_full_where_the_classifier_is_so_sure_that_gradients_almost_vanish() -> None:
    def very_sure(images: torch.Tensor) -> torch.Tensor:
        bright = images.sum((1, 2, 3))
        return torch.stack([bright, -bright], dim=1)

    images = torch.full((1, 3, 4, 4), 0.5)
    changed = attack("pgd-l2", very_sure, images, torch.tensor([0]), [1], {"bound": 1.0, "step": 0.5})
    assert SIZES["pgd-l2"](images, changed) > 0.99
    assert changed.sum() < images.sum() - 6


def test_a_batch_of_none_is_a_batch_of_none() -> None:
    none = torch.zeros(0, 3, 8, 8)
    assert attack("recolor", torch.nn.Identity(), none, torch.zeros(0, dtype=torch.int64), [], {}).shape == none.shape


@every_attack
def test_a_classifier_without_finite_gradients_is_not_passed_off_as_attacked(name: str) -> None:
    def broken(images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, :4] * torch.nan

    with pytest.raises(RuntimeError, match=f"{name}: the classifier's gradients .* not finite"):
        attack(name, broken, torch.rand(1, 3, 8, 8), torch.tensor([0]), [1], {"iterations": 2})


def test_an_unknown_attack_is_named_beside_the_known() -> None:
    with pytest.raises(ValueError, match=r"'deepfool'; .* recolor, pgd-linf, pgd-l2"):
        checked_settings("deepfool", {})


@every_attack
def test_an_unknown_setting_is_named_beside_the_known(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: .*'epsilon'; .* bound, iterations"):
        checked_settings(name, {"epsilon": 0.1})


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("bound", -0.01),
        ("bound", 1.5),
        ("bound", float("nan")),
        ("bound", "0.06"),
        ("bound", True),
        ("iterations", 2.5),
        ("iterations", -1),
        ("iterations", 10**400),
        ("learning_rate", float("inf")),
    ],
)
def test_a_value_out_of_range_is_named_with_what_would_do(setting: str, value: Any) -> None:
    meaning = ATTACKS["recolor"].settings[setting].meaning.split(",")[0]
    with pytest.raises(ValueError, match=rf"recolor: its '{setting}' \({meaning}.* must be a .*number .*, not "):
        checked_settings("recolor", {setting: value})


def test_whole_numbers_do_where_numbers_are_wanted() -> None:
    checked = checked_settings("pgd-l2", {"bound": 2, "iterations": 7})
    assert checked == {"bound": 2.0, "iterations": 7, "step": 0.75}
    assert [type(checked[key]) for key in ("bound", "iterations")] == [float, int]


def darken(logits: Any, images: torch.Tensor, labels: torch.Tensor, generators: Any) -> torch.Tensor:
    return images / 2


def test_a_new_attack_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ATTACKS, "darken", Attack(f"{__name__}:darken", {}))
    changed = attack("darken", torch.nn.Identity(), torch.ones(1, 3, 2, 2), torch.tensor([0]), [1], {})
    assert changed.unique().tolist() == [0.5]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@every_attack
def test_a_gpu_keeps_the_promises_too(
    name: str, digits: tuple[torch.Tensor, torch.Tensor], digits_classifier: Classifier
) -> None:
    images, labels = (tensor.cuda() for tensor in digits)
    model = digits_classifier.model.cuda()
    try:
        changed = attack(name, digits_classifier.logits_of, images, labels, range(len(images)), QUICK[name])
        assert changed.device == images.device
        assert SIZES[name](images, changed).max() <= settings_of(name)["bound"] + ROUNDING
        assert (digits_classifier.logits_of(changed).argmax(1) == labels).float().mean() < 0.3
    finally:
        model.cpu()
