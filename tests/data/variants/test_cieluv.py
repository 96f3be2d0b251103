"""Promises of CIELUV: published values, the way back, and finite gradients where formulas divide by nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch

from trustcache.data.variants.cieluv import luv_to_rgb, rgb_to_luv

# L, u, v under D65 as colour calculators publish them.
PUBLISHED = {
    (1, 0, 0): (53.2408, 175.0151, 37.7564),
    (0, 1, 0): (87.7347, -83.0776, 107.3985),
    (0, 0, 1): (32.2970, -9.4054, -130.3423),
    (1, 1, 0): (97.1393, 7.7056, 106.7866),
    (0, 1, 1): (91.1132, -70.4773, -15.2042),
    (1, 0, 1): (60.3242, 84.0714, -108.6834),
    (1, 1, 1): (100, 0, 0),
    (0.5, 0.5, 0.5): (53.3890, 0, 0),
    (0, 0, 0): (0, 0, 0),
}


def lattice(lowest: float, highest: float, steps: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """(steps ** 3, 3): every combination of `steps` evenly spaced values."""
    line = torch.linspace(lowest, highest, steps, dtype=dtype).tolist()
    return torch.tensor(list(itertools.product(line, repeat=3)), dtype=dtype)


@pytest.mark.parametrize("rgb", PUBLISHED, ids=str)
def test_known_colours_lie_where_they_are_published(rgb: tuple[float, float, float]) -> None:
    normalised = rgb_to_luv(torch.tensor([rgb], dtype=torch.float64))[0]
    luv = normalised * torch.tensor([100, 200, 200]) - torch.tensor([0, 100, 100])
    torch.testing.assert_close(luv, torch.tensor(PUBLISHED[rgb], dtype=torch.float64), atol=0.01, rtol=0)


def test_every_grey_is_neutral_and_black_is_a_grey() -> None:
    greys = torch.linspace(0, 1, 256).unsqueeze(1).expand(-1, 3)
    luv = rgb_to_luv(greys)
    assert (luv[:, 1:] - 0.5).abs().max() < 1e-5
    assert luv[0].tolist() == [0, 0.5, 0.5]
    assert (luv[1:, 0] > luv[:-1, 0]).all()


def test_the_way_back_leads_to_the_same_colour() -> None:
    rgb = lattice(0, 1, 18)
    torch.testing.assert_close(luv_to_rgb(rgb_to_luv(rgb)), rgb, atol=1e-5, rtol=0)


def test_the_darkest_bytes_survive_the_way_there_and_back() -> None:
    rgb = lattice(0, 4 / 255, 5)
    torch.testing.assert_close(luv_to_rgb(rgb_to_luv(rgb)), rgb, atol=1e-6, rtol=0)


def test_pixels_of_an_image_are_converted_one_by_one() -> None:
    image = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    for convert in (rgb_to_luv, luv_to_rgb):
        alone = convert(image.movedim(1, -1).reshape(-1, 3)).reshape(2, 4, 5, 3).movedim(-1, 1)
        torch.testing.assert_close(convert(image), alone)


def test_what_no_display_shows_is_cut_to_the_gamut() -> None:
    luv = lattice(-0.3, 1.5, 19)
    rgb = luv_to_rgb(luv)
    assert rgb.min() == 0
    assert rgb.max() == 1
    torch.testing.assert_close(luv_to_rgb(torch.tensor([[1.2, 0.5, 0.5]])), torch.ones(1, 3), atol=1e-6, rtol=0)
    assert not rgb[luv[:, 0] <= 0].any()
    redder_than_red = luv_to_rgb(rgb_to_luv(torch.tensor([[1.0, 0, 0]])) + torch.tensor([[0, 0.05, 0]]))
    assert redder_than_red[0, 0] == 1
    assert redder_than_red[0, 1:].max() < 0.1
    # Far enough past blue, v' falls below 0, where the formulas for X and Z change their signs.
    bluer_than_blue = luv_to_rgb(torch.tensor([[0.2, 0.5, -0.3]]))
    assert bluer_than_blue[0, 2] > bluer_than_blue[0, 1] + 0.5


@pytest.mark.parametrize(("convert", "at"), [(rgb_to_luv, (0.02, 0.9)), (luv_to_rgb, (0.47, 0.53))])
def test_gradients_are_those_of_the_function(
    convert: Callable[[torch.Tensor], torch.Tensor], at: tuple[float, float]
) -> None:
    assert torch.autograd.gradcheck(convert, lattice(*at, 3, torch.float64).requires_grad_())


def test_gradients_from_rgb_are_finite_at_black_white_grey_and_the_corners() -> None:
    for rgb in (lattice(0, 1, 5), lattice(0, 1e-6, 3), torch.full((1, 3), 1e-12), torch.full((1, 3), 0.04045)):
        rgb.requires_grad_()
        (gradient,) = torch.autograd.grad(rgb_to_luv(rgb).sum(), rgb)
        assert gradient.isfinite().all()


def test_gradients_from_luv_are_finite_and_of_ordinary_size_even_where_lightness_vanishes() -> None:
    dark = lattice(0.3, 0.7, 5)
    dark[:, 0] = torch.tensor([0, 1e-12, 1e-8, 1e-5, 1e-3]).repeat(25)
    greys = rgb_to_luv(torch.linspace(0, 1, 256).unsqueeze(1).expand(-1, 3))
    for luv in (lattice(-0.3, 1.5, 19), dark, greys):
        luv.requires_grad_()
        for channel in range(3):
            (gradient,) = torch.autograd.grad(luv_to_rgb(luv)[:, channel].sum(), luv)
            assert gradient.abs().max() < 100


def test_a_grey_pixel_can_be_led_in_any_direction() -> None:
    luv = rgb_to_luv(torch.full((1, 3), 0.5)).requires_grad_()
    slopes = torch.autograd.functional.jacobian(luv_to_rgb, luv).squeeze()
    assert torch.linalg.matrix_rank(slopes) == 3
