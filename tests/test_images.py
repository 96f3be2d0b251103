"""Promises of the readers: which samples a layout gives, in which order, and what becomes of damaged files."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import random
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trustcache.errors import UsageError
from trustcache.images import Dataset, available, open_dataset
from trustcache.manifest import Files, Manifest, Variant, find_manifests, folder_manifest
from trustcache.samples import BadImage, decode_rgb

CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def picture(seed: int, height: int = 12, width: int = 16) -> np.ndarray:
    """A smooth random RGB image that survives JPEG."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def read_rgb(path: Path) -> Image.Image:
    return decode_rgb(path.read_bytes(), str(path))


def put(folder: Path, *names: str) -> None:
    """Write a small image under each of the names."""
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(i)).save(path, format="PNG")


def refusal(manifest: Manifest, root: Path) -> str:
    with pytest.raises(UsageError) as caught:
        open_dataset(manifest, root)
    said = str(caught.value)
    assert "\n" not in said
    return said


# --- class folders ---------------------------------------------------------------------------------------------


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


def test_folders_named_by_numbers_are_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    put(tmp_path, *(f"{number}/x.png" for number in (10, 9, 100, 0, 2)))
    data = open_dataset(folder_manifest(tmp_path), tmp_path)
    assert data.classes == ("0", "2", "9", "10", "100")
    assert data.ids == ["0/x.png", "2/x.png", "9/x.png", "10/x.png", "100/x.png"]
    assert data.labels.tolist() == [0, 1, 2, 3, 4]


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
    said = refusal(manifest, tmp_path)
    assert said.startswith(f"{tmp_path}: folder 'dove' is none of the 2 classes")
    assert "move it away" in said


def test_an_empty_class_folder_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "wren/a.png")
    (tmp_path / "robin").mkdir()
    (tmp_path / "robin" / "notes.txt").write_text("none yet")
    assert refusal(folder_manifest(tmp_path), tmp_path).startswith(f"{tmp_path / 'robin'}: class folder without images")


def test_images_without_class_folders_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.png", ".cache/a.png")
    assert refusal(folder_manifest(tmp_path), tmp_path).startswith(f"{tmp_path}: holds no class folders")


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
    with pytest.raises(BadImage, match=r"gone\.png: cannot be read as an image"):
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
    said = refusal(manifest, tmp_path)
    for place in ("cifar10/test/<class>/*.jpg", "cifar-10-batches-py/{test_batch}", "cifar-10-batches-bin/"):
        assert f"{tmp_path}/{place}" in said
    assert manifest.source in said
    assert "--data-root" in said
    assert available(manifest, tmp_path) is None


def test_rows_keep_a_part_and_end_within_the_data(tmp_path: Path) -> None:
    put(tmp_path, *(f"{c}/{i}.png" for c in "ab" for i in range(3)))
    manifest = folder_manifest(tmp_path)
    part = open_dataset(replace(manifest, rows=(2, 5)), tmp_path)
    assert part.ids == ["a/2.png", "b/0.png", "b/1.png"]
    assert part.labels.tolist() == [0, 1, 1]
    assert part.classes == ("a", "b")
    np.testing.assert_array_equal(np.asarray(part.read(0)), np.asarray(open_dataset(manifest, tmp_path).read(2)))
    said = refusal(replace(manifest, rows=(2, 7)), tmp_path)
    assert "'rows' end at 7, but there are only 6 images" in said


# --- CIFAR-10 in its three layouts -----------------------------------------------------------------------------


class Cifar:
    """Ten images a batch, the same in every layout."""

    def __init__(self, root: Path, batches: int = 2) -> None:
        self.root = root
        self.pixels = np.stack([picture(i, 32, 32) for i in range(10 * batches)])
        self.labels = np.random.default_rng(1).permutation(np.arange(10 * batches) % 10)
        self.members = [f"data_batch_{b}" for b in range(batches)]

    def manifest(self, layout: str) -> Manifest:
        members = tuple(self.members) if layout == "cifar-python" else tuple(f"{m}.bin" for m in self.members)
        files = Files(layout, path=layout, members=() if layout == "folders" else members)
        return Manifest("cifar", "train", (files,), classes=CIFAR_CLASSES)

    def flat(self) -> np.ndarray:
        return self.pixels.transpose(0, 3, 1, 2).reshape(len(self.pixels), 3072)

    def as_folders(self) -> None:
        for row, (pixels, label) in enumerate(zip(self.pixels, self.labels, strict=True)):
            folder = self.root / "folders" / CIFAR_CLASSES[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{row:04d}.png")

    def as_python(self, protocol: int = 2, home: bytes = b"numpy.core") -> None:
        (self.root / "cifar-python").mkdir(exist_ok=True)
        for b, member in enumerate(self.members):
            rows = slice(10 * b, 10 * b + 10)
            batch = {
                b"batch_label": b"training batch",
                b"labels": self.labels[rows].tolist(),
                b"data": np.ascontiguousarray(self.flat()[rows]),
                b"filenames": [b"x.png"] * 10,
            }
            raw = pickle.dumps(batch, protocol)
            if protocol == 2:  # the original files name NumPy's modules as they were in 2009
                raw = raw.replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", home)
            (self.root / "cifar-python" / member).write_bytes(raw)

    def as_binary(self) -> None:
        (self.root / "cifar-binary").mkdir()
        rows = np.concatenate([self.labels[:, None].astype(np.uint8), self.flat()], axis=1)
        for b, member in enumerate(self.members):
            (self.root / "cifar-binary" / f"{member}.bin").write_bytes(rows[10 * b : 10 * b + 10].tobytes())


@pytest.fixture
def cifar(tmp_path: Path) -> Cifar:
    return Cifar(tmp_path)


def samples(data: Dataset) -> list[tuple[bytes, int]]:
    return [(data.read(i).tobytes(), int(data.labels[i])) for i in range(len(data))]


def test_the_same_cifar_images_come_out_of_folders_python_and_binary_batches(cifar: Cifar) -> None:
    cifar.as_folders()
    cifar.as_python()
    cifar.as_binary()
    python, binary, folders = (
        open_dataset(cifar.manifest(layout), cifar.root) for layout in ("cifar-python", "cifar-binary", "folders")
    )
    written = [(p.tobytes(), int(y)) for p, y in zip(cifar.pixels, cifar.labels, strict=True)]
    assert samples(python) == samples(binary) == written
    assert sorted(samples(folders)) == sorted(written)
    assert python.classes == binary.classes == folders.classes == CIFAR_CLASSES
    assert python.ids[:2] == ["data_batch_0/00000", "data_batch_0/00001"]
    assert binary.ids[10] == "data_batch_1.bin/00000"
    assert python.labels.dtype == binary.labels.dtype == np.int64


@pytest.mark.parametrize(("protocol", "home"), [(2, b"numpy.core"), (2, b"numpy._core"), (4, b""), (5, b"")])
def test_batches_pickled_by_any_numpy_in_any_protocol_are_read(cifar: Cifar, protocol: int, home: bytes) -> None:
    cifar.as_python(protocol, home)
    data = open_dataset(cifar.manifest("cifar-python"), cifar.root)
    np.testing.assert_array_equal(np.asarray(data.read(13)), cifar.pixels[13])


def test_the_first_place_that_is_there_is_used(cifar: Cifar) -> None:
    places = tuple(cifar.manifest(layout).files[0] for layout in ("folders", "cifar-python", "cifar-binary"))
    manifest = replace(cifar.manifest("folders"), files=places)
    cifar.as_binary()
    assert available(manifest, cifar.root) == places[2]
    assert len(open_dataset(manifest, cifar.root)) == 20
    cifar.as_python()
    assert available(manifest, cifar.root) == places[1]
    cifar.as_folders()
    assert available(manifest, cifar.root) == places[0]


class Bomb:
    """Unpickling it leaves a file behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.trace),)


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(cifar: Cifar) -> None:
    cifar.as_python()
    trace = cifar.root / "it ran"
    bomb = pickle.dumps({b"data": Bomb(trace), b"labels": []}, 2)
    victim = cifar.root / "cifar-python" / "data_batch_1"
    victim.write_bytes(bomb)
    said = refusal(cifar.manifest("cifar-python"), cifar.root)
    assert said.startswith(f"{victim}: not a CIFAR-10 python batch")
    assert "mkdir" in said
    assert not trace.exists()
    pickle.loads(bomb)
    assert trace.exists(), "the bomb is one"


@pytest.mark.parametrize(
    "batch",
    [
        b"",
        b"no pickle at all",
        pickle.dumps([1, 2]),
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8)}),
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 2, 3]}),
        pickle.dumps({b"data": np.zeros((2, 100), np.uint8), b"labels": [1, 2]}),
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [[1], [2]]}),
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 2]}, 2)[:-3000],
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 10]}),
    ],
    ids=[
        "empty",
        "text",
        "list",
        "no labels",
        "label too many",
        "narrow",
        "labels in columns",
        "truncated",
        "label 10",
    ],
)
def test_a_file_that_is_no_python_batch_is_named(cifar: Cifar, batch: bytes) -> None:
    cifar.as_python()
    victim = cifar.root / "cifar-python" / "data_batch_1"
    victim.write_bytes(batch)
    assert refusal(cifar.manifest("cifar-python"), cifar.root).startswith(f"{victim}: ")


@pytest.mark.parametrize(("word", "typo"), [(b"latin1", b"lat1n1"), (b"multiarray", b"multiarrey"), (b"u1", b"q9")])
def test_a_python_batch_with_a_damaged_word_is_named(cifar: Cifar, word: bytes, typo: bytes) -> None:
    cifar.as_python()
    victim = cifar.root / "cifar-python" / "data_batch_1"
    assert word in victim.read_bytes()
    victim.write_bytes(victim.read_bytes().replace(word, typo))
    assert refusal(cifar.manifest("cifar-python"), cifar.root).startswith(f"{victim}: not a CIFAR-10 python batch")


@pytest.mark.parametrize("kept", [0, 3072, 3073 * 10 - 1])
def test_a_truncated_binary_batch_is_named(cifar: Cifar, kept: int) -> None:
    cifar.as_binary()
    victim = cifar.root / "cifar-binary" / "data_batch_1.bin"
    victim.write_bytes(victim.read_bytes()[:kept])
    said = refusal(cifar.manifest("cifar-binary"), cifar.root)
    assert said.startswith(f"{victim}: its {kept} bytes are no whole number of 3073-byte records")


def test_a_missing_batch_is_named(cifar: Cifar) -> None:
    cifar.as_python()
    (cifar.root / "cifar-python" / "data_batch_1").unlink()
    said = refusal(cifar.manifest("cifar-python"), cifar.root)
    assert said.startswith(f"{cifar.root / 'cifar-python' / 'data_batch_1'}: missing beside its sister files")


# --- idx files -------------------------------------------------------------------------------------------------


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">{1 + values.ndim}i", 2048 + values.ndim, *values.shape) + values.tobytes()


class Mnist:
    """Twelve images and labels, their idx files as given or whole."""

    images = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
    labels = (np.arange(12) % 10).astype(np.uint8)
    manifest = Manifest("mnist", "test", (Files("idx", images="images", labels="labels"),))

    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self, images: bytes | None = None, labels: bytes | None = None, suffix: str = "") -> Dataset:
        (self.root / f"images{suffix}").write_bytes(idx(self.images) if images is None else images)
        (self.root / f"labels{suffix}").write_bytes(idx(self.labels) if labels is None else labels)
        return open_dataset(self.manifest, self.root)

    def refusal(self, images: bytes | None = None, labels: bytes | None = None, suffix: str = "") -> str:
        with pytest.raises(UsageError) as caught:
            self.open(images, labels, suffix)
        return str(caught.value)


@pytest.fixture
def mnist(tmp_path: Path) -> Mnist:
    return Mnist(tmp_path)


def test_idx_files_are_read_gzipped_or_not(mnist: Mnist, tmp_path: Path) -> None:
    plain = mnist.open()
    (tmp_path / "z").mkdir()
    zipped = Mnist(tmp_path / "z").open(gzip.compress(idx(mnist.images)), gzip.compress(idx(mnist.labels)), ".gz")
    (tmp_path / "u").mkdir()
    unzipped = Mnist(tmp_path / "u").open(suffix=".gz")
    for data in (plain, zipped, unzipped):
        assert data.labels.tolist() == mnist.labels.tolist()
        assert data.classes == tuple("0123456789")
        image = data.read(5)
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), np.repeat(mnist.images[5][..., None], 3, axis=2))
    assert plain.ids == zipped.ids == unzipped.ids
    assert plain.ids[3] == "images/00003"
    assert plain.fingerprint() == zipped.fingerprint()


def test_an_idx_file_that_is_not_one_is_named(mnist: Mnist) -> None:
    whole = idx(mnist.images)
    images, labels = mnist.root / "images", mnist.root / "labels"
    assert mnist.refusal(idx(mnist.labels)).startswith(f"{images}: not an idx file with magic number 2051")
    assert mnist.refusal(labels=whole).startswith(f"{labels}: not an idx file with magic number 2049")
    assert mnist.refusal(b"").startswith(f"{images}: not an idx file")
    assert mnist.refusal(whole[:7]).startswith(f"{images}: not an idx file")
    assert mnist.refusal(whole[:-1]).startswith(f"{images}: holds 9407 bytes where its header promises 9408")
    assert mnist.refusal(whole + b"x").startswith(f"{images}: holds 9409 bytes")
    negative = struct.pack(">4i", 2051, -12, -28, 28) + mnist.images.tobytes()
    assert mnist.refusal(negative).startswith(f"{images}: holds 9408 bytes")


def test_labels_of_another_number_or_range_are_named(mnist: Mnist) -> None:
    said = mnist.refusal(labels=idx(mnist.labels[:-1]))
    assert said.startswith(f"{mnist.root / 'labels'}: 11 labels for the 12 images in {mnist.root / 'images'}")
    said = mnist.refusal(labels=idx(mnist.labels + np.uint8(1)))
    assert said.startswith(f"{mnist.root / 'labels'}: has labels from 1 to 10 where there are 10 classes")
    assert "'classes'" in said


def test_a_manifest_s_classes_allow_more_labels_than_ten(mnist: Mnist) -> None:
    mnist.manifest = replace(mnist.manifest, classes=tuple("abcdefghijkl"))
    data = mnist.open(labels=idx(np.arange(12, dtype=np.uint8)))
    assert data.classes[data.labels[11]] == "l"


def test_a_missing_sister_is_named(mnist: Mnist) -> None:
    (mnist.root / "images").write_bytes(idx(mnist.images))
    assert refusal(mnist.manifest, mnist.root).startswith(f"{mnist.root / 'labels'}[.gz]: missing beside its sister")


def test_damaged_gzip_is_named(mnist: Mnist) -> None:
    zipped = gzip.compress(idx(mnist.images))
    path = mnist.root / "images.gz"
    labels = gzip.compress(idx(mnist.labels))
    assert mnist.refusal(zipped[:-100], labels, ".gz").startswith(f"{path}: cannot be unpacked")
    for place in (2, 12, len(zipped) // 2, len(zipped) - 6):
        damaged = bytearray(zipped)
        damaged[place] ^= 0xFF
        assert mnist.refusal(bytes(damaged), labels, ".gz").startswith(f"{path}: ")


# --- digits and variants ---------------------------------------------------------------------------------------


def test_the_digits_are_scikit_learn_s() -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    names = ("digits-fit", "digits-train", "digits-test")
    parts = [open_dataset(find_manifests(name)[0], Path("nowhere")) for name in names]
    assert [len(p) for p in parts] == [450, 700, 647]
    assert np.concatenate([p.labels for p in parts]).tolist() == digits.target.tolist()
    assert len({i for p in parts for i in p.ids}) == 1797, "no sample is in two parts"
    grey = np.stack([np.asarray(p.read(i))[..., 0] for p in parts for i in range(len(p))])
    np.testing.assert_array_equal(grey, np.round(digits.images * 255 / 16))
    assert (grey.min(), grey.max()) == (0, 255)


def test_a_variant_s_images_do_not_depend_on_the_order() -> None:
    (manifest,) = find_manifests("digits-c/shot_noise/3")
    forward, backward = open_dataset(manifest, Path()), open_dataset(manifest, Path())
    rows = range(0, 60, 3)
    first = {i: forward.read(i).tobytes() for i in rows}
    assert {i: backward.read(i).tobytes() for i in reversed(rows)} == first
    assert {i: forward.read(i).tobytes() for i in rows} == first, "nor on how often"
    clean = open_dataset(find_manifests("digits-test")[0], Path())
    assert all(first[i] != clean.read(i).tobytes() for i in rows)
    assert clean.ids == forward.ids


def test_each_image_has_noise_of_its_own() -> None:
    noisy = open_dataset(find_manifests("digits-c/gaussian_noise/5")[0], Path())
    clean = open_dataset(find_manifests("digits-test")[0], Path())
    black = (np.asarray(clean.read(0)) == 0) & (np.asarray(clean.read(1)) == 0)
    assert black.sum() > 30
    assert (np.asarray(noisy.read(0))[black] != np.asarray(noisy.read(1))[black]).any()


def test_seed_and_severity_change_a_variant() -> None:
    (manifest,) = find_manifests("digits-c/gaussian_noise/3")
    made = {
        open_dataset(replace(manifest, variant=Variant("corruption", "gaussian_noise", severity, seed)), Path())
        .read(0)
        .tobytes()
        for severity, seed in [(3, 0), (3, 1), (4, 0)]
    }
    assert len(made) == 3


def test_an_unknown_corruption_is_refused_before_any_image_is_read() -> None:
    (manifest,) = find_manifests("digits-test")
    said = refusal(replace(manifest, variant=Variant("corruption", "fogg", 3)), Path())
    assert said.startswith("digits-test: there is no corruption 'fogg'")
    assert " fog," in said


# --- image files of every kind ---------------------------------------------------------------------------------


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
    few = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(few).save(tmp_path / "few.png")
    np.testing.assert_array_equal(decode(tmp_path / "few.png")[..., 0], few, err_msg="8 bits in 16 stay")
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
        assert str(caught.value).startswith(f"{path}: cannot be read as an image (")
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
    whole = [encoded(format) for format in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "PPM")]
    bad = 0
    for _ in range(600):
        raw = bytearray(rng.choice(whole))
        for _ in range(rng.choice([1, 3, 10])):
            raw[rng.randrange(min(len(raw), rng.choice([40, 200, 10**6])))] = rng.randrange(256)
        path = tmp_path / "damaged"
        path.write_bytes(raw[: rng.choice([len(raw), rng.randrange(len(raw))])])
        try:
            assert read_rgb(path).mode == "RGB"
        except BadImage:
            bad += 1
    assert 100 < bad < 600


# --- fingerprints ----------------------------------------------------------------------------------------------


def fingerprint(root: Path, **changes: object) -> str:
    return open_dataset(replace(folder_manifest(root), **changes), root).fingerprint()  # type: ignore[arg-type]


def test_a_fingerprint_changes_with_a_label_a_name_or_a_size_and_with_nothing_else(tmp_path: Path) -> None:
    data = tmp_path / "data"
    put(data, "a/1.png", "a/2.png", "b/1.png")
    classes = ("a", "b", "c")
    before = fingerprint(data, classes=classes)
    assert len(before) == 64

    os.utime(data / "a" / "1.png", (0, 0))
    (data / "a" / "notes.txt").write_text("x")
    assert fingerprint(data, classes=classes) == before, "dates and other files"
    moved = data.rename(tmp_path / "moved")
    assert fingerprint(moved, classes=classes) == before, "where it lies"
    assert fingerprint(moved, classes=classes, role="train", title="another", name="x") == before, "what it is called"

    assert fingerprint(moved, classes=("b", "a", "c")) != before, "labels"
    assert fingerprint(moved, classes=("a", "b", "d")) != before, "class names"
    assert fingerprint(moved, classes=classes, rows=(0, 2)) != before, "rows"
    seen = {before}
    (moved / "a" / "1.png").rename(moved / "a" / "0.png")
    seen.add(fingerprint(moved, classes=classes))
    (moved / "a" / "0.png").rename(moved / "b" / "0.png")
    seen.add(fingerprint(moved, classes=classes))
    with (moved / "b" / "0.png").open("ab") as file:
        file.write(b"\0")
    seen.add(fingerprint(moved, classes=classes))
    put(moved, "c/1.png")
    seen.add(fingerprint(moved, classes=classes))
    assert len(seen) == 5, "a name, a class, a size, one image more"


def test_a_fingerprint_of_arrays_sees_every_pixel_and_label(mnist: Mnist) -> None:
    before = mnist.open().fingerprint()
    assert mnist.open().fingerprint() == before
    images = mnist.images.copy()
    images[7, 3, 3] ^= 1
    assert mnist.open(idx(images)).fingerprint() != before
    assert mnist.open(labels=idx(mnist.labels[::-1].copy())).fingerprint() != before


# --- ImageNet's size -------------------------------------------------------------------------------------------


def test_a_thousand_class_folders_are_listed_in_a_moment(tmp_path: Path) -> None:
    import time

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
