"""Promises of decoding: what each kind of image file becomes, and that damage is named."""

from __future__ import annotations

import ast
import io
import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pictures import picture, read_rgb
from trustcache.data.dataset import Dataset, open_dataset
from trustcache.data.known_data import folder_manifest
from trustcache.data.samples import IMAGE_FORMATS, IMAGE_SUFFIXES, BadImage, decode_rgb


def orange(mode: str = "RGB", size: tuple[int, int] = (6, 4)) -> Image.Image:
    return Image.new("RGB", size, (250, 130, 20)).convert(mode)


def decode(path: Path) -> np.ndarray:
    image = read_rgb(path)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


GREY_OF_ORANGE = 153


def test_grayscale_becomes_three_equal_channels(tmp_path: Path) -> None:
    for name, mode in (("l.png", "L"), ("la.png", "LA"), ("l.jpg", "L")):
        orange(mode).save(tmp_path / name)
        assert np.abs(decode(tmp_path / name) - GREY_OF_ORANGE).max() <= 1, name


def test_transparency_is_dropped_and_the_colours_below_it_stay(tmp_path: Path) -> None:
    clear = orange("RGBA")
    clear.putalpha(0)
    clear.save(tmp_path / "rgba.png")
    palette = orange("RGB").quantize(4)
    palette.save(tmp_path / "p.png")
    palette.save(tmp_path / "p-one.png", transparency=0)
    palette.save(tmp_path / "p-all.png", transparency=bytes([0, 128, 255]))
    palette.save(tmp_path / "p.gif")
    for path in tmp_path.iterdir():
        assert np.abs(decode(path) - (250, 130, 20)).max() <= 4, path


def test_cmyk_jpegs_come_out_in_their_colours(tmp_path: Path) -> None:
    orange("CMYK", (16, 16)).save(tmp_path / "cmyk.jpg", quality=95)
    assert np.abs(decode(tmp_path / "cmyk.jpg") - (250, 130, 20)).max() <= 6


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    steps = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    for name in ("16.png", "16.tif", "16.pgm"):
        if name.endswith("pgm"):
            (tmp_path / name).write_bytes(b"P5 16 16 65535\n" + steps.astype(">u2").tobytes())
        else:
            Image.fromarray(steps).save(tmp_path / name)
        np.testing.assert_array_equal(decode(tmp_path / name)[..., 1].ravel(), np.arange(256), err_msg=name)
    few = np.array([[0, 255, 256, 511, 512]], dtype=np.uint16)
    for columns in (slice(0, 2), slice(0, 5)):
        Image.fromarray(few[:, columns]).save(tmp_path / "few.png")
        found = decode(tmp_path / "few.png")[0, :, 0].tolist()
        assert found == [0, 0, 1, 1, 2][columns], "one rule, whatever other values are there"
    huge = np.array([[-5, 0, 70_000, 2**31 - 1]], dtype=np.int32)
    Image.fromarray(huge).save(tmp_path / "32.tif")
    assert decode(tmp_path / "32.tif")[0, :, 2].tolist() == [0, 0, 255, 255]


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[True, False], [False, True]])).save(tmp_path / "1.png")
    assert decode(tmp_path / "1.png")[..., 0].tolist() == [[255, 0], [0, 255]]


def test_exif_orientation_is_left_alone(tmp_path: Path) -> None:
    for orientation in (0, 3, 6):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(picture(0)).save(tmp_path / "exif.jpg", exif=exif, quality=100, subsampling=0)
        assert decode(tmp_path / "exif.jpg").shape == (12, 16, 3)
        assert np.abs(decode(tmp_path / "exif.jpg") - picture(0)).max() < 8


def test_what_counts_is_the_content_not_the_name(tmp_path: Path) -> None:
    Image.fromarray(picture(0)).save(tmp_path / "really-a-png.JPEG", format="PNG")
    np.testing.assert_array_equal(decode(tmp_path / "really-a-png.JPEG"), picture(0))
    frames = [Image.new("L", (4, 4), value) for value in (200, 50)]
    frames[0].save(tmp_path / "animated.gif", save_all=True, append_images=frames[1:])
    assert (decode(tmp_path / "animated.gif") == 200).all(), "an animation's first frame"


def encoded(format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(0, 40, 40)).save(buffer, format)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"this is no image\n" * 9,
        encoded("JPEG")[:-300],
        encoded("PNG")[:-300],
        encoded("GIF")[:200],
        encoded("BMP")[:90],
    ],
    ids=["empty", "text", "jpeg", "png", "gif", "bmp"],
)
def test_a_broken_image_is_named_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "wren" / "broken.jpg"
    path.parent.mkdir()
    path.write_bytes(content)
    data = open_dataset(folder_manifest(tmp_path), tmp_path)
    for read in (lambda: data.read(0), lambda: read_rgb(path)):
        with pytest.raises(BadImage) as caught:
            read()
        assert str(caught.value).startswith(f"{path}: cannot be read")
        assert "--on-bad-image skip" in str(caught.value)


def test_floating_point_images_are_refused_since_nobody_knows_their_range(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).random((4, 4)).astype(np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(BadImage, match="floating-point"):
        read_rgb(tmp_path / "f.tif")


def test_an_image_that_would_fill_the_memory_is_a_bad_one(tmp_path: Path) -> None:
    header = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 60_000, 60_000) + b"\x08\x02\x00\x00\x00"
    (tmp_path / "bomb.png").write_bytes(header + b"\x00" * 40)
    with pytest.raises(BadImage, match=r"bomb\.png"):
        read_rgb(tmp_path / "bomb.png")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning")
def test_random_damage_never_escapes_as_another_error(tmp_path: Path) -> None:
    rng = random.Random(0)
    whole = [encoded(format) for format in IMAGE_FORMATS]
    bad = 0
    for _ in range(1200):
        raw = bytearray(rng.choice(whole))
        for _ in range(rng.choice([1, 3, 10])):
            raw[rng.randrange(min(len(raw), rng.choice([40, 200, 10**6])))] = rng.randrange(256)
        path = tmp_path / "damaged"
        path.write_bytes(raw[: rng.choice([len(raw), rng.randrange(len(raw))])])
        try:
            assert read_rgb(path).mode == "RGB"
        except BadImage:
            bad += 1
    assert 200 < bad < 1200


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%Page: 1 1\nshowpage\n%%EOF\n"


def test_no_other_program_is_started_for_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def ghostscript(*args: object, **settings: object) -> Image.Image:
        pytest.fail("Ghostscript was started")

    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", ghostscript)
    with pytest.raises(BadImage, match=r"photo\.jpg"):
        decode_rgb(POSTSCRIPT, "photo.jpg")


def test_a_format_that_images_do_not_come_in_is_refused_with_those_they_do() -> None:
    buffer = io.BytesIO()
    Image.new("F", (8, 8)).save(buffer, "SPIDER")
    with pytest.raises(BadImage) as caught:
        decode_rgb(buffer.getvalue(), "scan.png")
    assert all(fact in str(caught.value) for fact in ("scan.png", *IMAGE_FORMATS))


def test_every_suffix_is_of_a_format_that_is_read(tmp_path: Path) -> None:
    for suffix in IMAGE_SUFFIXES:
        Image.new("L", (4, 3), 7).save(tmp_path / f"x{suffix}")
        assert decode_rgb((tmp_path / f"x{suffix}").read_bytes(), "x").size == (4, 3)


def test_images_are_opened_with_the_formats_that_are_read_and_no_others() -> None:
    calls = [
        (path.name, node)
        for path in Path("trustcache").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Image.open"
    ]
    assert calls
    assert not [name for name, node in calls if "formats" not in {word.arg for word in node.keywords}]


def test_what_pillow_says_about_an_odd_image_stays_off_the_terminal() -> None:
    code = """
import io, logging
from PIL import Image
from trustcache.data.samples import decode_rgb
for image, options in ((Image.new("1", (9500, 9500)), {}), (Image.new("P", (4, 4)), {"transparency": b"\\0\\1"})):
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    decode_rgb(buffer.getvalue(), "odd.png")
logging.getLogger("PIL.TiffImagePlugin").error("odd")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_surveyed_files_are_those_that_were_there_whatever_changes_since(
    image_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = image_folder({"cat": 3, "dog": 2})
    (root / "dog" / "gone.png").symlink_to(root / "nowhere")
    dataset = open_dataset(folder_manifest(root), Path())
    reports: list[tuple[str, int, int]] = []

    @contextmanager
    def heard(label: str, total: int) -> Iterator[Callable[[int], None]]:
        yield lambda done: reports.append((label, total, done))

    monkeypatch.setattr("trustcache.data.samples.FEW", 5)
    survey = dataset.surveyed(heard)
    before = dataset.fingerprint(), dataset.fingerprint(2, 4), dataset.stamp(0, 6), dataset.stamp(3, 6)

    def now(of: Dataset) -> tuple[str, ...]:
        return of.fingerprint(), of.fingerprint(2, 4), of.stamp(0, 6), of.stamp(3, 6)

    assert now(survey) == before
    assert reports == [(f"looking at the files of {root}", 6, 6)]
    (root / "cat" / "002.png").write_bytes(b"another size")
    assert now(survey) == before
    assert now(dataset) != before
    assert now(dataset.surveyed()) == now(dataset)
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lambda *arguments: pytest.fail("a file is looked at again"))
        assert now(survey) == before
