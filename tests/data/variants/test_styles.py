"""Promises of the style folder: which files count, how one is drawn, and the message where there are none."""

from __future__ import annotations

import os
import pickle
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.refusals import refusal_of
from trustcache.data.samples import IMAGE_SUFFIXES, BadImage
from trustcache.data.variants.corruptions import sample_rng
from trustcache.data.variants.styles import StyleFolder


def paint(file: Path, colour: tuple[int, int, int] = (10, 20, 30), size: tuple[int, int] = (4, 3)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(file, "PNG")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten images in the order of their red, some in folders of their own; and files that are none."""
    names = ["B.png", "a.png", "old/2/x.JPG", "old/a.png", "old/b.jpeg", "u.webp", "v.tiff", "w.bmp", "x.gif", "y.PPM"]
    root = tmp_path / "paintings"
    for number in (7, 3, 9, 0, 1, 8, 2, 6, 5, 4):
        paint(root / names[number], (number, 0, 0))
    for name in ("notes.txt", ".hidden.png", ".thumbnails/a.png", "old/list.csv"):
        paint(root / name)
    (root / "png").write_text("words")
    return root


def red(image: Image.Image) -> int:
    return np.asarray(image)[0, 0, 0].item()


def drawn(styles: StyleFolder, samples: int, seed: int = 0) -> list[int]:
    return [red(styles.pick(sample_rng(seed, "style", 0, index))) for index in range(samples)]


# --- which files -----------------------------------------------------------------------------------------------


def test_the_images_below_the_folder_count_in_the_order_of_their_names(folder: Path) -> None:
    styles = StyleFolder(folder)
    assert len(styles.files) == 10
    assert styles.files == sorted(styles.files)
    assert [red(image) for image in styles.images()] == list(range(10))


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_image_suffix_counts_in_either_case(tmp_path: Path, suffix: str) -> None:
    paint(tmp_path / f"a{suffix}")
    paint(tmp_path / f"b{suffix.upper()}")
    assert StyleFolder(tmp_path).files == [f"a{suffix}", f"b{suffix.upper()}"]


def test_links_are_followed(folder: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "more").symlink_to(folder)
    assert len(StyleFolder(linked).files) == 10


def test_a_tar_file_of_images_draws_as_the_folder_does(folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "paintings.tar", "w") as tar:
        tar.add(folder, arcname="")
    assert drawn(StyleFolder(tmp_path / "paintings.tar"), 20) == drawn(StyleFolder(folder), 20)


# --- the draw --------------------------------------------------------------------------------------------------


def test_the_generator_alone_decides_which_image_is_drawn(folder: Path) -> None:
    once = drawn(StyleFolder(folder), 50)
    assert drawn(StyleFolder(folder), 50) == once
    assert drawn(StyleFolder(folder), 50, seed=1) != once


def test_every_image_is_as_likely_as_any_other(folder: Path) -> None:
    styles, rng = StyleFolder(folder), np.random.default_rng(0)
    counts = np.bincount([red(styles.pick(rng)) for _ in range(2000)], minlength=10)
    assert counts.min() > 150
    assert counts.max() < 250


def test_one_image_is_enough(tmp_path: Path) -> None:
    paint(tmp_path / "only.png", (77, 0, 0))
    assert drawn(StyleFolder(tmp_path), 3) == [77, 77, 77]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16"])
def test_images_of_any_mode_come_as_rgb(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (5, 4)).save(tmp_path / "a.tif")
    picked = StyleFolder(tmp_path).pick(np.random.default_rng(0))
    assert picked.mode == "RGB"
    assert picked.size == (5, 4)


def test_a_broken_image_is_named_when_it_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    styles = StyleFolder(tmp_path)
    with pytest.raises(BadImage, match=f"^{re.escape(str(tmp_path))}/torn.jpg: cannot be read"):
        styles.pick(np.random.default_rng(0))
    with pytest.raises(BadImage, match=r"torn\.jpg"):
        list(styles.images())


def test_it_draws_the_same_in_a_process_that_it_was_sent_to(folder: Path) -> None:
    styles = StyleFolder(folder)
    sent = pickle.loads(pickle.dumps(styles))
    assert drawn(sent, 20) == drawn(styles, 20)
    assert sent.contents == styles.contents


# --- its identity ----------------------------------------------------------------------------------------------


def test_the_contents_are_the_same_whenever_the_files_are(folder: Path) -> None:
    before = StyleFolder(folder).contents
    os.utime(folder / "a.png", (0, 0))
    paint(folder / "new.txt")
    assert StyleFolder(folder).contents == before


def test_the_contents_see_files_that_come_go_change_their_name_or_their_size(folder: Path) -> None:
    seen = {StyleFolder(folder).contents}
    paint(folder / "new.png", (5, 5, 5))
    seen.add(StyleFolder(folder).contents)
    (folder / "new.png").rename(folder / "newer.png")
    seen.add(StyleFolder(folder).contents)
    (folder / "newer.png").write_bytes((folder / "newer.png").read_bytes() + b"\0")
    seen.add(StyleFolder(folder).contents)
    (folder / "a.png").unlink()
    seen.add(StyleFolder(folder).contents)
    assert len(seen) == 5


def test_the_contents_see_other_bytes_of_equal_size_and_files_that_cannot_be_read(folder: Path) -> None:
    seen = {StyleFolder(folder).contents}
    data = bytearray((folder / "a.png").read_bytes())
    data[-1] ^= 1
    (folder / "a.png").write_bytes(data)
    seen.add(StyleFolder(folder).contents)
    (folder / "a.png").unlink()
    (folder / "a.png").symlink_to("nowhere")
    seen.add(StyleFolder(folder).contents)
    assert len(seen) == 3


# --- what is refused -------------------------------------------------------------------------------------------


def refusal(folder: Path) -> str:
    message = refusal_of(lambda: StyleFolder(folder), f"{folder}: ")
    assert "put some there" in message
    return message


def test_a_missing_folder_is_named_with_the_remedy(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "none")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    paint(tmp_path / "one.png")
    assert "no such folder" in refusal(tmp_path / "one.png")


def test_a_folder_without_images_is_named_with_what_would_count(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "readme.txt").write_text("nothing")
    assert ".jpg" in refusal(tmp_path)
    assert "holds no images" in refusal(tmp_path)
