"""Views of an image: as documented, at any size, alone or in a batch, before or after normalising."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms import v2

from trustcache.errors import UsageError
from trustcache.models.views import VIEWS, parse_views, view_column, views_in

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 255


def test_each_view_is_what_its_meaning_says() -> None:
    def by_torchvision(images: torch.Tensor, degrees: float, shift: int, scale: float) -> torch.Tensor:
        bordered = v2.functional.pad(images, [32], padding_mode="edge")
        moved = v2.functional.affine(
            bordered, degrees, [shift, shift], scale, [0.0, 0.0], interpolation=v2.InterpolationMode.BILINEAR
        )
        return moved[:, :, 32:-32, 32:-32]

    expected = {
        "mirrored": IMAGES.flip(-1),
        "shrunk": by_torchvision(IMAGES, 0, -2 * 0.85, 0.85),
        "tilted": by_torchvision(IMAGES, 8, 0, 0.88).flip(-1),
    }
    assert expected.keys() == VIEWS.keys()
    for name, view in VIEWS.items():
        torch.testing.assert_close(view.make(IMAGES), expected[name], atol=2e-2, rtol=0, msg=name)


@pytest.mark.parametrize("view", VIEWS.values(), ids=list(VIEWS))
def test_a_view_commutes_with_normalising_and_knows_no_neighbours(view) -> None:
    seen = view.make(IMAGES)
    assert seen.shape == IMAGES.shape
    assert (seen - IMAGES).abs().mean() > 1
    assert 0 <= seen.min() <= seen.max() <= 255
    torch.testing.assert_close(view.make(IMAGES[1:2])[0], seen[1], rtol=0, atol=0)
    mean, std = torch.tensor([0.4, 0.5, 0.3]).view(3, 1, 1) * 255, torch.tensor([50.0, 60.0, 70.0]).view(3, 1, 1)
    torch.testing.assert_close(view.make((IMAGES - mean) / std), (seen - mean) / std, rtol=0, atol=1e-5)


def test_views_are_asked_for_by_name_and_known_by_their_columns() -> None:
    assert parse_views(["all"]) == tuple(VIEWS)
    assert parse_views(["tilted", "mirrored", "tilted"]) == ("mirrored", "tilted")
    assert parse_views([]) == ()
    assert views_in(["logits", *map(view_column, ("tilted", "mirrored"))]) == ("mirrored", "tilted")
    with pytest.raises(UsageError, match=r"--views rotated: .*all, .*mirrored"):
        parse_views(["rotated"])
