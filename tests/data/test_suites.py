"""Suites: the data sets that play the parts of the paper's experiments, those that are here before others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from trustcache.data import known_data
from trustcache.data.manifest import PLAYS
from trustcache.data.suites import find_suite, suite_of
from trustcache.errors import UsageError


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path, "PNG")


def test_without_any_files_they_are_the_paper_s(tmp_path: Path) -> None:
    suite = find_suite("imagenet", tmp_path)
    assert {part: suite.one(part) for part in ("train", "test", "stylized", "adversarial")} == {
        "train": "imagenet-train",
        "test": "imagenet-val",
        "stylized": "imagenet-stylized",
        "adversarial": "imagenet-recolor",
    }
    assert suite.corrupted("fog", 3) == "imagenet-c/fog/3"


def test_what_is_not_here_gives_way_to_what_can_be_made(tmp_path: Path) -> None:
    put(tmp_path / "imagenet" / "val" / "n01440764" / "1.JPEG")
    put(tmp_path / "imagenet-c" / "defocus_blur" / "1" / "n01440764" / "1.JPEG")  # one of 75, so not all of them
    suite = find_suite("imagenet", tmp_path)
    assert suite.one("stylized") == "imagenet-fourier"  # neither files nor AdaIN's weights
    assert suite.corrupted("fog", 3) == "imagenet-c-made/fog/3"
    put(tmp_path / "imagenet-stylized" / "val" / "n01440764" / "1.JPEG")
    assert find_suite("imagenet", tmp_path).one("stylized") == "imagenet-stylized"


def test_only_the_fifteen_common_corruptions_count(tmp_path: Path) -> None:
    patterns = find_suite("cifar10", tmp_path).every_corruption()
    assert len(patterns) == 15
    assert "cifar10-c/fog/*" in patterns
    assert not {"cifar10-c/spatter/*", "cifar10-c/saturate/*"} & set(patterns)


def test_the_digits_have_every_part() -> None:
    suite = find_suite("digits", Path())
    assert all(suite.parts[part] for part in PLAYS if part != "natural")
    assert suite.one("train") == "digits-train"
    with pytest.raises(UsageError, match=r"--data digits: .*fog/5"):
        suite.corrupted("fog", 5)
    with pytest.raises(UsageError, match=r"--data digits: .*'natural'"):
        suite.one("natural")


def test_a_name_that_is_no_suite_is_refused_with_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"--data birds: .*cifar10, digits, imagenet, mnist"):
        find_suite("birds", Path())


CARTOON = """
name = "cifar10-cartoon"
variant_of = "cifar10-test"
shows = "stylized"

[[files]]
layout = "folders"
path = "cifar10-cartoon"
"""


@pytest.fixture
def more_manifests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the known manifests, to add to."""
    folder = tmp_path / "data_manifests"
    shutil.copytree(known_data._manifest_folder(), folder)
    monkeypatch.setattr(known_data, "_manifest_folder", lambda: folder)
    return folder


def test_a_name_that_begins_like_a_suite_s_means_nothing(more_manifests: Path) -> None:
    before = find_suite("cifar10", Path())
    (more_manifests / "cifar10-cartoon.toml").write_text(CARTOON, encoding="utf-8")
    assert find_suite("cifar10", Path()) == before
    assert suite_of("cifar10-cartoon") == ""


def test_a_suite_is_what_manifests_declare_whatever_their_names(more_manifests: Path, tmp_path: Path) -> None:
    files = '[[files]]\nlayout = "folders"\npath = "PLAYS"\n'
    for name, plays in {"robins": "train", "wrens": "test", "owls-at-night": "natural"}.items():
        text = f'name = "{name}"\nrole = "test"\nsuite = "birds"\nplays = "{plays}"\n{files}'
        (more_manifests / f"{name}.toml").write_text(text, encoding="utf-8")
    hazy = (
        'name = "haze/{s}-{c}"\nvariant_of = "wrens"\nplays = "corrupted"\n[family]\nc = ["fog", "snow"]\ns = [1, 2]\n'
    )
    hazy += '[variant]\nkind = "corruption"\nname = "{c}"\nseverity = "{s}"\n'
    (more_manifests / "haze.toml").write_text(hazy, encoding="utf-8")
    suite = find_suite("birds", tmp_path)
    assert [suite.one(part) for part in ("train", "test", "natural")] == ["robins", "wrens", "owls-at-night"]
    assert suite.corrupted("fog", 2) == "haze/2-fog"
    every = ["haze/1-fog", "haze/2-fog", "haze/1-snow", "haze/2-snow"]
    assert suite.every_corruption() == every, "no pattern names one corruption alone"
    assert (suite_of("wrens"), suite_of("robins")) == ("birds", "")
