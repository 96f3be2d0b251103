"""Which data sets play which part in the paper's experiments: those that are here, else those that would be."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from trustcache.data.families import PARTS, data_family
from trustcache.errors import UsageError


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path, "PNG")


def test_without_any_files_they_are_the_paper_s(tmp_path: Path) -> None:
    family = data_family("imagenet", tmp_path)
    assert {part: family.one(part) for part in ("train", "test", "stylized", "adversarial")} == {
        "train": "imagenet-train",
        "test": "imagenet-val",
        "stylized": "imagenet-stylized",
        "adversarial": "imagenet-recolor",
    }
    assert family.corrupted("fog", 3) == "imagenet-c/fog/3"


def test_what_is_not_here_gives_way_to_what_can_be_made(tmp_path: Path) -> None:
    put(tmp_path / "imagenet" / "val" / "n01440764" / "1.JPEG")
    put(tmp_path / "imagenet-c" / "defocus_blur" / "1" / "n01440764" / "1.JPEG")  # one of 75, so not all of them
    family = data_family("imagenet", tmp_path)
    assert family.one("stylized") == "imagenet-fourier"  # neither files nor AdaIN's weights
    assert family.corrupted("fog", 3) == "imagenet-c-made/fog/3"
    put(tmp_path / "imagenet-stylized" / "val" / "n01440764" / "1.JPEG")
    assert data_family("imagenet", tmp_path).one("stylized") == "imagenet-stylized"


def test_only_the_fifteen_common_corruptions_count(tmp_path: Path) -> None:
    patterns = data_family("cifar10", tmp_path).every_corruption()
    assert len(patterns) == 15
    assert "cifar10-c/fog/*" in patterns
    assert not {"cifar10-c/spatter/*", "cifar10-c/saturate/*"} & set(patterns)


def test_the_digits_have_every_part() -> None:
    family = data_family("digits", Path())
    assert all(family.parts[part] for part in PARTS)
    assert family.one("train") == "digits-train"
    with pytest.raises(UsageError, match="--data digits: has no digits-c/fog/5"):
        family.corrupted("fog", 5)


def test_a_name_that_is_no_family_is_refused_with_those_that_are() -> None:
    with pytest.raises(
        UsageError, match="--data birds: no family of data sets; one of cifar10, digits, imagenet, mnist"
    ):
        data_family("birds", Path())
