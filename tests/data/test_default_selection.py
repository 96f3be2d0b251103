"""Promises of an extraction that names no data: ImageNet and its variants, in the paper's order, from files or made."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from trustcache.data.default_selection import DataOptions, everything
from trustcache.data.known_data import find_manifests, folder_manifest
from trustcache.errors import UsageError


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path, "PNG")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    put(tmp_path / "imagenet" / "val" / "n01440764" / "1.JPEG")
    return tmp_path


def taken(root: Path) -> list[str]:
    return [manifest.name for manifest in everything(root).taken]


def test_with_val_alone_every_variant_is_made_on_the_fly(root: Path) -> None:
    names = taken(root)
    made = [m.name for m in find_manifests("imagenet-c-made")]
    assert len(made) == 95
    assert names[:3] == ["imagenet-val", "imagenet-fourier", "imagenet-recolor"]
    assert sorted(names[3:]) == sorted(made)


def test_order_is_the_papers(root: Path) -> None:
    put(root / "imagenet" / "train" / "n01440764" / "1.JPEG")
    for name in ("imagenet-a", "imagenet-r", "sketch", "imagenet-stylized/val", "imagenet-c/fog/3"):
        put(root / name / "n01440764" / "1.png")
    put(root / "imagenetv2-top-images-format-val" / "0" / "1.jpeg")
    names = taken(root)
    order = [n for n in dict.fromkeys(name.split("/")[0] for name in names) if n != "imagenet-c-made"]
    assert order == [
        "imagenet-train",
        "imagenet-val",
        "imagenet-stylized",
        "imagenet-recolor",
        "imagenet-c",
        "imagenet-a",
        "imagenet-r",
        "imagenet-sketch",
        "imagenet-v2",
    ]


def test_what_lies_there_as_files_is_not_made_and_its_sisters_are(root: Path) -> None:
    put(root / "imagenet-c" / "fog" / "3" / "n01440764" / "1.JPEG")
    put(root / "imagenet-stylized" / "val" / "n01440764" / "1.png")
    names = taken(root)
    assert "imagenet-c/fog/3" in names
    assert "imagenet-c-made/fog/3" not in names
    assert "imagenet-c-made/fog/4" in names
    assert "imagenet-stylized" in names
    assert not {"imagenet-fourier", "imagenet-adain"} & set(names)


def test_style_transfer_goes_before_its_stand_in_where_its_weights_and_styles_are_there(root: Path) -> None:
    put(root / "adain" / "styles" / "1.png")
    (root / "adain" / "vgg_normalised.pth").touch()
    assert "imagenet-fourier" in taken(root)
    assert "imagenet-adain" not in taken(root)
    (root / "adain" / "decoder.pth").touch()
    assert "imagenet-adain" in taken(root)
    assert "imagenet-fourier" not in taken(root)


def test_what_is_passed_over_is_told_a_sentence_a_family_with_what_is_made_instead(root: Path) -> None:
    told = everything(root).told()
    families = [line.split(":")[0] for line in told]
    assert len(set(families)) == len(families)
    by_family = dict(zip(families, told, strict=True))
    assert by_family["imagenet-train"].startswith("imagenet-train: passed over, ")
    assert by_family["imagenet-c"].startswith("imagenet-c: 95 ")
    assert by_family["imagenet-c"].endswith(" instead: imagenet-c-made")
    assert str(root / "adain" / "decoder.pth") in by_family["imagenet-adain"]
    assert by_family["imagenet-adain"].endswith(" instead: imagenet-fourier")
    assert "imagenet-val" not in by_family


def test_where_there_is_no_imagenet_there_is_nothing_to_take(tmp_path: Path) -> None:
    assert taken(tmp_path) == []
    assert everything(tmp_path).told()[0].startswith("imagenet-train: passed over")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("photos", "photos"), ("photos/test", "photos-test"), ("photos/Validation", "photos-Validation"),
        ("photos/test/images", "photos-test-images"), ("photos/birds", "birds"), ("photos/test.tar", "photos-test"),
    ],
)  # fmt: skip
def test_a_folder_of_a_part_is_named_after_the_folder_above_too(in_tmp_path: Path, path: str, name: str) -> None:
    for form in (path, in_tmp_path / path, f"../{in_tmp_path.name}/{path}"):
        assert folder_manifest(Path(form)).name == name


def test_each_folder_can_say_what_it_is_for(in_tmp_path: Path) -> None:
    for part in ("train", "test"):
        Path("photos", part).mkdir(parents=True)
    manifests, _ = DataOptions(["photos/train:train", "photos/test"]).manifests(Path())
    assert [(one.name, one.role) for one in manifests] == [("photos-train", "train"), ("photos-test", "test")]
    assert DataOptions(["photos/train", "photos/test:test"], role="train").manifests(Path())[0][1].role == "test"


@pytest.mark.parametrize("request_", ["digits-test:train", "nowhere:train"])
def test_a_role_is_refused_where_no_folder_is_named(in_tmp_path: Path, request_: str) -> None:
    with pytest.raises(UsageError, match=request_):
        DataOptions([request_]).manifests(Path())


def test_a_folder_whose_name_ends_as_a_role_does_is_itself(in_tmp_path: Path) -> None:
    Path("odd:train").mkdir()
    (manifest,) = DataOptions(["odd:train"]).manifests(Path())[0]
    assert (manifest.name, manifest.role) == ("odd:train", "test")


def test_two_folders_of_one_name_are_refused_and_one_named_twice_is_taken_once(in_tmp_path: Path) -> None:
    for path in ("a/birds", "b/birds"):
        Path(path).mkdir(parents=True)
    with pytest.raises(UsageError) as refused:
        DataOptions(["a/birds", "b/birds"]).manifests(Path())
    assert all(fact in str(refused.value) for fact in ("a/birds", "b/birds", "named birds"))
    assert len(DataOptions(["a/birds", "./a/birds", "digits-test", "digits-*"]).manifests(Path())[0]) > 1
    assert [one.name for one in DataOptions(["a/birds", "./a/birds"]).manifests(Path())[0]] == ["birds"]
