"""Promises of ReColorAdv: one smooth map of colours an image, and no pixel past the bound."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator
from torch import nn

from trustcache.data.variants import recolor as module
from trustcache.data.variants.cieluv import luv_to_rgb, rgb_to_luv
from trustcache.data.variants.recolor import GRID, moved, recolor, roughness_gradient, within_bound

QUICK: dict[str, Any] = {"bound": 0.06, "iterations": 12, "learning_rate": 0.01, "smoothness": 0.05}


@pytest.fixture
def images() -> torch.Tensor:
    """Four images of noise, and one each of black, white, and the display's most saturated colours."""
    noise = torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    corners = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3))).repeat(5, 1)[:36].T.reshape(1, 3, 6, 6)
    return torch.cat([noise, torch.zeros(1, 3, 6, 6), torch.ones(1, 3, 6, 6), corners])


@pytest.fixture
def logits() -> Callable[[torch.Tensor], torch.Tensor]:
    """A small network with random weights, from images (N, 3, 6, 6) to three classes, sure of what it says."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU(), nn.Flatten(), nn.Linear(8 * 16, 3))
    net.requires_grad_(False)
    return lambda images: 50 * net(images)


def random_shifts(count: int, size: float) -> torch.Tensor:
    return size * (2 * torch.rand(count, 3, *GRID, generator=torch.Generator().manual_seed(2)) - 1)


def at(shifts: torch.Tensor, node: Sequence[int]) -> torch.Tensor:
    along_l, along_u, along_v = node
    return shifts[:, :, along_l, along_u, along_v]


def distance(rgb: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return (rgb_to_luv(rgb.double()) - rgb_to_luv(other.double())).abs().amax(1)


def test_the_grid_is_the_papers() -> None:
    assert GRID == (16, 32, 32)


def test_no_iterations_change_nothing(logits: Any, images: torch.Tensor) -> None:
    labels = torch.zeros(len(images), dtype=torch.int64)
    same = recolor(logits, images, labels, [], **{**QUICK, "iterations": 0})
    torch.testing.assert_close(same, images, atol=1e-5, rtol=0)


def test_the_map_interpolates_between_the_nodes_around_a_colour() -> None:
    shifts = random_shifts(1, 0.05)
    luv = torch.rand(1, 3, 7, 9, generator=torch.Generator().manual_seed(3))
    axes = [np.linspace(0, 1, nodes) for nodes in GRID]
    by_scipy = RegularGridInterpolator(axes, shifts[0].movedim(0, -1).numpy())(luv[0].movedim(0, -1).numpy())
    expected = luv[0] + torch.from_numpy(by_scipy).float().movedim(-1, 0)
    torch.testing.assert_close(moved(luv, shifts)[0], expected, atol=1e-6, rtol=0)


def test_a_colour_outside_the_grid_moves_as_the_nearest_on_its_surface() -> None:
    shifts = random_shifts(1, 0.05)
    red = rgb_to_luv(torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1))
    assert red[0, 1] > 1
    torch.testing.assert_close(moved(red, shifts) - red, moved(red.clamp(0, 1), shifts) - red.clamp(0, 1))


def roughness(shifts: torch.Tensor) -> torch.Tensor:
    """Smoothness norm of the paper, shifts (N, 3, *GRID) to (N,), differentiable where nodes are equal."""
    total = shifts.new_zeros(len(shifts))
    for axis in (2, 3, 4):
        total += 2 * (shifts.diff(dim=axis).square().sum(1) + 1e-10).sqrt().sum((1, 2, 3))
    return total


@pytest.mark.parametrize("elements", [1 << 28, 1])
def test_the_gradient_by_a_matrix_product_is_that_of_the_interpolation(
    elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ELEMENTS", elements)
    luv = torch.rand(2, 3, 5, 7) * 1.4 - 0.2  # some outside the grid
    shifts, pull = random_shifts(2, 1.0).requires_grad_(), torch.randn(2, 3, 5, 7)
    (expected,) = torch.autograd.grad(module.interpolated(shifts, luv), shifts, pull)
    torch.testing.assert_close(module.gathered(pull, luv, GRID), expected, atol=1e-5, rtol=1e-5)


def test_the_compiled_map_and_its_gradient_are_those_of_torch_to_the_bit() -> None:
    luv = torch.rand(3, 3, 5, 7) * 1.4 - 0.2
    luv[0, :, 0, 0], luv[0, :, 0, 1] = 0.0, 1.0
    shifts, pull = random_shifts(3, 1.0).requires_grad_(), torch.randn(3, 3, 5, 7)
    expected, found = module.interpolated(shifts, luv), moved(luv, shifts)
    assert torch.equal(found, luv + expected)
    gradients = [torch.autograd.grad(each, shifts, pull)[0] for each in (expected, found)]
    assert torch.equal(*gradients)


def test_roughness_sums_how_differently_neighbours_move() -> None:
    shifts = random_shifts(2, 0.05)[:, :, :3, :4, :2]
    expected = torch.zeros(2)
    for node in itertools.product(range(3), range(4), range(2)):
        for axis, side in itertools.product(range(3), (-1, 1)):
            other = list(node)
            other[axis] += side
            if 0 <= other[axis] < (3, 4, 2)[axis]:
                expected += (at(shifts, node) - at(shifts, other)).norm(dim=1)
    torch.testing.assert_close(roughness(shifts), expected)


def test_the_gradient_of_roughness_is_autograds() -> None:
    shifts = random_shifts(2, 0.05).requires_grad_()
    (expected,) = torch.autograd.grad(roughness(shifts).sum(), shifts)
    torch.testing.assert_close(roughness_gradient(shifts.detach()), expected, atol=1e-5, rtol=1e-5)
    assert not roughness_gradient(torch.zeros(1, 3, *GRID)).any()


@pytest.mark.parametrize("bound", [0.01, 0.06])
def test_no_pixel_leaves_the_bound_whatever_the_gamut_cuts(bound: float, images: torch.Tensor) -> None:
    luv = rgb_to_luv(images)
    cut = torch.cat([luv_to_rgb(moved(luv, random_shifts(len(luv), bound).sign() * bound)) for _ in range(3)])
    before = images.repeat(3, 1, 1, 1)
    assert distance(before, cut).max() > bound + 1e-4
    assert distance(before, within_bound(before, cut, bound)).max() <= bound + 1e-5


def test_only_what_left_the_bound_is_drawn_back_and_no_further_than_it_must(images: torch.Tensor) -> None:
    far = torch.rand(images.shape, generator=torch.Generator().manual_seed(4))
    mixed = torch.lerp(images, far, 0.1)
    outside = distance(images, mixed) > 0.06
    assert outside.any()
    assert not outside.all()
    kept = within_bound(images, mixed, 0.06).movedim(1, -1)
    assert torch.equal(kept[~outside], mixed.movedim(1, -1)[~outside])
    assert distance(images, kept.movedim(-1, 1))[outside].min() > 0.05


def test_the_attack_stays_within_the_bound_for_every_pixel(logits: Any, images: torch.Tensor) -> None:
    labels = logits(images).argmax(1)
    changed = recolor(logits, images, labels, [], **QUICK)
    assert changed.min() >= 0
    assert changed.max() <= 1
    moves = distance(images, changed)
    assert moves.max() <= 0.06 + 1e-5
    assert moves.max() > 0.05


def test_each_step_ends_within_the_bound_so_that_every_channel_can_use_it_up(logits: Any) -> None:
    colours = 0.4 + 0.2 * torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(5))  # far from the gamut's end
    seen: list[torch.Tensor] = []

    def watched(images: torch.Tensor) -> torch.Tensor:
        seen.append(images.detach())
        return logits(images)

    recolor(watched, colours, logits(colours).argmax(1), [], **{**QUICK, "bound": 0.02})
    assert max(float(distance(colours, images).max()) for images in seen) <= 0.02 + 1e-5


def test_pixels_of_one_colour_keep_one_colour(logits: Any, images: torch.Tensor) -> None:
    patched = images[:4].clone()
    patched[:, :, 3:] = patched[:, :, :3]
    changed = recolor(logits, patched, logits(patched).argmax(1), [], **QUICK)
    assert distance(patched, changed).amax((1, 2)).min() > 0.01
    torch.testing.assert_close(changed[:, :, 3:], changed[:, :, :3])


def test_the_margin_keeps_falling_where_the_image_is_misclassified_already(logits: Any, images: torch.Tensor) -> None:
    wrong = (logits(images).argmax(1) + 1) % 3
    before, after = (
        logits(x).gather(1, wrong.unsqueeze(1)).squeeze(1) - logits(x).amax(1)
        for x in (images, recolor(logits, images, wrong, [], **QUICK))
    )
    assert (after[:4] < before[:4]).all()


def test_smoothness_makes_neighbouring_colours_move_together(logits: Any) -> None:
    greys = torch.linspace(0.2, 0.8, 36).view(1, 1, 6, 6).expand(4, 3, 6, 6).contiguous()
    labels = logits(greys).argmax(1)
    rough, smooth = (
        rgb_to_luv(recolor(logits, greys, labels, [], **{**QUICK, "smoothness": weight})) - rgb_to_luv(greys)
        for weight in (0.0, 5.0)
    )
    assert smooth.flatten(2).diff().abs().mean() < 0.5 * rough.flatten(2).diff().abs().mean()
