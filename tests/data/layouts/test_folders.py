"""Promises of class folders: which samples they give, in which order, and what is refused."""

from __future__ import annotations

import os
import random
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import ImageFolder

from tests.pictures import picture, put, refusal
from tests.refusals import tells
from trustcache.data.dataset import available, open_dataset
from trustcache.data.known_data import find_manifests, folder_manifest
from trustcache.data.manifest import parse_manifest
from trustcache.data.samples import BadImage


def test_folders_give_sorted_ids_labels_and_classes(tmp_path: Path) -> None:
    put(tmp_path, "wren/b.png", "wren/a.jpg", "robin/z.JPEG", "robin/10.png", "robin/9.png", "robin/deep/er/1.webp")
    data = open_dataset(folder_manifest(tmp_path), Path("elsewhere"))
    assert data.classes == ("robin", "wren")
    assert data.ids == [
        "robin/10.png",
        "robin/9.png",
        "robin/deep/er/1.webp",
        "robin/z.JPEG",
        "wren/a.jpg",
        "wren/b.png",
    ]
    assert data.labels.dtype == np.int64
    assert data.labels.tolist() == [0, 0, 0, 0, 1, 1]
    assert len(data) == 6
    np.testing.assert_array_equal(np.asarray(data.read(4)), picture(1))


def test_folders_named_by_numbers_are_in_the_order_of_text_as_torchvision_has_them(tmp_path: Path) -> None:
    put(tmp_path, *(f"{number}/x.png" for number in (10, 9, 100, 0, 2)))
    data = open_dataset(folder_manifest(tmp_path), tmp_path)
    assert list(data.classes) == ImageFolder(tmp_path).classes == ["0", "10", "100", "2", "9"]
    assert data.ids == ["0/x.png", "10/x.png", "100/x.png", "2/x.png", "9/x.png"]
    assert data.labels.tolist() == [0, 1, 2, 3, 4]
    assert tells(*data.notes(), "0, 10, 100, 2, …", "'classes'")
    assert not [*open_dataset(replace(data.manifest, classes=data.classes), tmp_path).notes()]


def test_200_of_imagenet_s_1000_folders_keep_their_labels(tmp_path: Path) -> None:
    (manifest,) = find_manifests("imagenet-val")
    assert manifest.classes is not None
    chosen = random.Random(0).sample(range(1000), 200)
    put(tmp_path / "imagenet" / "val", *(f"{manifest.classes[label]}/x.JPEG" for label in chosen))
    data = open_dataset(manifest, tmp_path)
    assert len(data.classes) == 1000
    assert data.labels.tolist() == sorted(chosen)
    assert [data.classes[label] for label in data.labels] == [name.split("/")[0] for name in data.ids]


def test_a_manifest_s_class_order_goes_before_the_alphabet(tmp_path: Path) -> None:
    put(tmp_path, "wren/a.png", "robin/a.png")
    manifest = replace(folder_manifest(tmp_path), classes=("wren", "owl", "robin"))
    data = open_dataset(manifest, tmp_path)
    assert data.ids == ["wren/a.png", "robin/a.png"]
    assert data.labels.tolist() == [0, 2]
    assert data.classes == ("wren", "owl", "robin")


def test_a_folder_that_is_none_of_the_classes_is_refused(tmp_path: Path) -> None:
    put(
        tmp_path, "wren/a.png", *(f"{name}/a.png" for name in ("kite", "eagle", "owl", "dove", "hawk", "stork", "rook"))
    )
    manifest = replace(folder_manifest(tmp_path), classes=("robin", "wren"))
    message = refusal(manifest, tmp_path)
    assert message.startswith(f"{tmp_path}: folder 'dove'")
    assert "2 classes" in message


def test_an_empty_class_folder_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "wren/a.png")
    (tmp_path / "robin").mkdir()
    (tmp_path / "robin" / "notes.txt").write_text("none yet")
    assert refusal(folder_manifest(tmp_path), tmp_path).startswith(f"{tmp_path / 'robin'}: class folder without images")


def test_images_without_class_folders_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.png", ".cache/a.png")
    said = refusal(folder_manifest(tmp_path), tmp_path)
    assert tells(said, f"{tmp_path}: holds no class folders", "without labels", "trustcache predict")


def test_folders_of_splits_are_not_taken_for_classes(tmp_path: Path) -> None:
    splits = ("train", "test", "fit")
    put(tmp_path, *(f"{split}/{name}/a.png" for split in splits for name in ("wren", "owl")))
    assert tells(refusal(folder_manifest(tmp_path), tmp_path), "test, train", "splits", str(tmp_path / "test"))
    given = replace(folder_manifest(tmp_path), classes=splits)
    assert len(open_dataset(given, tmp_path)) == 6, "a manifest may call its classes so"
    put(tmp_path, *(f"{split}/a.png" for split in splits))
    assert open_dataset(folder_manifest(tmp_path), tmp_path).classes == ("fit", "test", "train")


def test_hidden_files_and_folders_and_other_files_do_not_count(tmp_path: Path) -> None:
    put(tmp_path, "wren/a.png", "wren/._a.png", "wren/.thumbs/a.png", ".git/b.png")
    (tmp_path / "wren" / "notes.txt").write_text("x")
    (tmp_path / "README").write_text("x")
    data = open_dataset(folder_manifest(tmp_path), tmp_path)
    assert data.ids == ["wren/a.png"]
    assert data.classes == ("wren",)


def test_linked_class_folders_and_files_count_and_a_dangling_link_is_a_bad_image(tmp_path: Path) -> None:
    put(tmp_path / "store", "a.png", "b.png")
    put(tmp_path / "data", "robin/c.png")
    (tmp_path / "data" / "wren").symlink_to(tmp_path / "store")
    (tmp_path / "data" / "robin" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    data = open_dataset(folder_manifest(tmp_path / "data"), tmp_path)
    assert data.ids == ["robin/c.png", "robin/gone.png", "wren/a.png", "wren/b.png"]
    assert data.fingerprint()
    with pytest.raises(BadImage, match=r"gone\.png: cannot be read"):
        data.read(1)


def test_names_that_are_not_utf8_are_samples_too(tmp_path: Path) -> None:
    put(tmp_path, "wren/a.png")
    try:
        os.rename(tmp_path / "wren" / "a.png", os.fsencode(tmp_path / "wren") + b"/\xff.png")
    except OSError:
        pytest.skip("this file system has only UTF-8 names")
    data = open_dataset(folder_manifest(tmp_path), tmp_path)
    assert data.fingerprint()
    assert data.read(0).size == (16, 12)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    put(tmp_path, "wren/a.png")
    (tmp_path / "wren").chmod(0)
    try:
        if os.access(tmp_path / "wren", os.R_OK):
            pytest.skip("this user may read everything")
        assert refusal(folder_manifest(tmp_path), tmp_path).startswith(f"{tmp_path / 'wren'}: cannot be listed")
    finally:
        (tmp_path / "wren").chmod(0o700)


def test_missing_files_are_refused_with_every_place_and_the_source(tmp_path: Path) -> None:
    (manifest,) = find_manifests("cifar10-test")
    message = refusal(manifest, tmp_path)
    for place in ("cifar10/test/<class>/*.jpg", "cifar-10-batches-py/{test_batch}", "cifar-10-batches-bin/"):
        assert f"{tmp_path}/{place}" in message
    assert manifest.source in message
    assert "--data-root" in message
    assert available(manifest, tmp_path) is None


def test_rows_keep_a_part_and_end_within_the_data(tmp_path: Path) -> None:
    put(tmp_path, *(f"{c}/{i}.png" for c in "ab" for i in range(3)))
    manifest = folder_manifest(tmp_path)
    part = open_dataset(replace(manifest, rows=(2, 5)), tmp_path)
    assert part.ids == ["a/2.png", "b/0.png", "b/1.png"]
    assert part.labels.tolist() == [0, 1, 1]
    assert part.classes == ("a", "b")
    np.testing.assert_array_equal(np.asarray(part.read(0)), np.asarray(open_dataset(manifest, tmp_path).read(2)))
    message = refusal(replace(manifest, rows=(2, 7)), tmp_path)
    assert "'rows' end at 7" in message
    assert "6 images" in message


def test_a_thousand_class_folders_are_listed_in_a_moment(tmp_path: Path) -> None:

    (manifest,) = find_manifests("imagenet-val")
    assert manifest.classes is not None
    for wnid in manifest.classes:
        folder = tmp_path / "imagenet" / "val" / wnid
        folder.mkdir(parents=True)
        for i in range(10):
            (folder / f"{i}.JPEG").touch()
    start = time.perf_counter()
    data = open_dataset(manifest, tmp_path)
    data.fingerprint()
    assert time.perf_counter() - start < 3, "10,000 files; ImageNet has 128 times as many"
    assert np.bincount(data.labels).tolist() == [10] * 1000


def test_a_folder_of_a_mac_is_the_class_that_others_write_in_composed_form(tmp_path: Path) -> None:
    composed, decomposed = "v\u00f6gel", "vo\u0308gel"
    put(tmp_path / "mac", f"{decomposed}/a.png", "ant/a.png")
    data = open_dataset(folder_manifest(tmp_path / "mac"), tmp_path)
    assert data.classes == ("ant", composed)
    assert data.ids == ["ant/a.png", f"{decomposed}/a.png"]
    np.testing.assert_array_equal(np.asarray(data.read(1)), picture(0))
    for name in (composed, decomposed):
        table = {"name": "x", "role": "test", "classes": ["ant", name]}
        manifest = parse_manifest(table | {"files": [{"layout": "folders", "path": "mac"}]}, "x.toml")
        assert manifest.classes == ("ant", composed)
        assert open_dataset(manifest, tmp_path).labels.tolist() == [0, 1]


def test_two_folders_of_one_class_name_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "v\u00f6gel/a.png", "vo\u0308gel/b.png", "ant/a.png")
    assert "v\u00f6gel" in refusal(folder_manifest(tmp_path), tmp_path)
