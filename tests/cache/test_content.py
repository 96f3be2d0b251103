"""Images changed under a cache are named and refused, whatever way they changed; untouched ones are not read again."""

from __future__ import annotations

import json
import os
import shutil
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from tests.documented_tables import DocumentedTable
from tests.pictures import picture
from tests.refusals import tells
from trustcache.cache import open_cache
from trustcache.cache.content import class_differences
from trustcache.cache.index import read_index
from trustcache.data.content import content_of
from trustcache.data.samples import ArraySamples, FileSamples

Cli = Callable[..., Result]
CACHE = Path("trustcache-workspace/cache/m/photos")
EARLY, LATE = "cat/000.ppm", "dog/002.ppm"
TABLE = DocumentedTable("data.md", "What if images change after they were extracted?")


def save(path: Path, seed: int) -> None:
    """An image of a format whose files are all of one size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(seed, 8, 8)).save(path)


def same_times(root: Path) -> None:
    """As an archive leaves files when it is unpacked."""
    for path in root.rglob("*"):
        os.utime(path, (1e9, 1e9))


@pytest.fixture
def photos(in_tmp_path: Path) -> Path:
    """A folder with 4 cats and 4 dogs: files of equal size and time."""
    root = in_tmp_path / "photos"
    for label, name in enumerate(("cat", "dog")):
        for number in range(4):
            save(root / name / f"{number:03d}.ppm", label * 4 + number)
    same_times(root)
    return root


@pytest.fixture
def extract(run_cli: Cli, own_model: Callable[..., str]) -> Callable[..., Result]:
    """`extract(data)`: its cache, of four samples a shard."""
    model = ("--classifier", own_model(), "--model-arg", "classes=2", "--as", "m")

    def run(data: object = "photos", *options: object) -> Result:
        return run_cli("extract", *model, "--data", data, "--workers", 0, "--shard-rows", 4, *options)

    return run


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of images whose bytes are read."""
    found: list[str] = []
    read = FileSamples.raw
    monkeypatch.setattr(FileSamples, "raw", lambda self, i: found.append(self.ids[i]) or read(self, i))
    return found


def refused(result: Result, *facts: str) -> None:
    assert result.exit_code == 2, result.output
    assert len([line for line in result.stderr.splitlines() if not line.startswith("note:")]) == 1
    assert tells(result.stderr, *facts), result.stderr


# --- each way to change images, and the facts of its refusal ----------------------------------------------------


def other_content(root: Path) -> None:
    save(root / LATE, 99)


def other_content_with_the_old_time(root: Path) -> None:
    save(root / LATE, 99)
    same_times(root)


def another_moved_over_it(root: Path) -> None:
    save(root.parent / "new.ppm", 99)
    os.utime(root.parent / "new.ppm", (1e9, 1e9))
    os.replace(root.parent / "new.ppm", root / LATE)


def all_replaced(root: Path) -> None:
    for number, path in enumerate(sorted(root.rglob("*.ppm"))):
        save(path, 50 + number)


def swapped_classes(root: Path) -> None:
    for here, there in (("cat", "x"), ("dog", "cat"), ("x", "dog")):
        (root / here).rename(root / there)


def swapped_images(root: Path) -> None:
    for here, there in (("cat/000", "x"), ("dog/000", "cat/000"), ("x", "dog/000")):
        (root / f"{here}.ppm").rename(root / f"{there}.ppm")


def renamed(root: Path) -> None:
    (root / LATE).rename(root / "dog/009.ppm")


def reencoded(root: Path) -> None:
    image = Image.open(root / LATE)
    image.save(root / LATE, format="BMP")


def deleted(root: Path) -> None:
    (root / LATE).unlink()


def added(root: Path) -> None:
    save(root / "dog/004.ppm", 99)


def relabelled(root: Path) -> None:
    (root / LATE).rename(root / "cat/100.ppm")


def link_retargeted(root: Path) -> None:
    save(root.parent / "elsewhere.ppm", 99)
    (root / LATE).unlink()
    (root / LATE).symlink_to(root.parent / "elsewhere.ppm")
    os.utime(root.parent / "elsewhere.ppm", (1e9, 1e9))


def another_class_folder(root: Path) -> None:
    (root / "dog").rename(root / "ape")


def broken(root: Path) -> None:
    size = (root / LATE).stat().st_size
    (root / LATE).write_bytes(bytes(size))


def gone_dangling(root: Path) -> None:
    (root / LATE).unlink()
    (root / LATE).symlink_to(root.parent / "nowhere")


CHANGES: dict[Callable[[Path], None], tuple[str, ...]] = {
    other_content: (LATE,),
    other_content_with_the_old_time: (LATE,),
    another_moved_over_it: (LATE,),
    all_replaced: ("4 of the 4 images", EARLY),
    swapped_classes: ("4 of the 4 images", EARLY),
    swapped_images: ("1 of the 4 images", EARLY),
    renamed: ("1 gone", LATE, "1 new", "dog/009.ppm"),
    reencoded: ("1 changed", LATE),
    deleted: ("1 gone", LATE),
    added: ("1 new", "dog/004.ppm"),
    relabelled: ("1 gone", LATE, "1 new", "cat/100.ppm"),
    link_retargeted: (LATE,),
    another_class_folder: ("gone", "dog/000.ppm", "new", "ape/000.ppm"),
    broken: (LATE,),
    gone_dangling: ("1 changed", LATE),
}


@TABLE.row("an image was changed, replaced, renamed, moved to another class, added or removed, or an archive replaced")
@pytest.mark.parametrize("change", CHANGES)
def test_images_changed_under_a_finished_cache_are_refused_and_named(
    photos: Path, extract: Cli, change: Callable[[Path], None]
) -> None:
    assert extract().exit_code == 0
    before = {path: path.read_bytes() for path in CACHE.iterdir()}
    change(photos)
    refused(extract(), str(CACHE), *CHANGES[change], "--as NAME")
    assert {path: path.read_bytes() for path in CACHE.iterdir()} == before


@TABLE.row("an image was changed, replaced, renamed, moved to another class, added or removed, or an archive replaced")
@pytest.mark.parametrize("change", [other_content, all_replaced, swapped_classes, swapped_images, deleted])
def test_images_changed_half_way_through_a_cache_are_refused(
    photos: Path, extract: Cli, change: Callable[[Path], None]
) -> None:
    assert extract().exit_code == 0
    for file in CACHE.glob("00000.*"):  # as if the other shard had been extracted first
        file.unlink()
    change(photos)
    refused(extract(), str(CACHE))
    assert not read_index(CACHE).finished()


def test_images_that_were_not_reached_yet_may_change(photos: Path, extract: Cli) -> None:
    assert extract().exit_code == 0
    for file in CACHE.glob("00001.*"):
        file.unlink()
    other_content(photos)
    assert extract().exit_code == 0
    cache = open_cache(CACHE)
    assert cache.content.tolist() == [content_of((photos / name).read_bytes()) for name in cache.sample_ids]


def test_a_damaged_shard_is_not_rebuilt_from_other_images(photos: Path, extract: Cli) -> None:
    assert extract().exit_code == 0
    other_content(photos)
    (CACHE / "00001.h5").unlink()
    refused(extract(), "00001.h5", "--as NAME")
    save(photos / LATE, 6)
    assert extract().exit_code == 0


def test_a_mended_image_that_was_skipped_is_noticed(photos: Path, extract: Cli) -> None:
    whole = (photos / LATE).read_bytes()
    broken(photos)
    assert extract("photos", "--on-bad-image", "skip").exit_code == 0
    assert extract("photos", "--on-bad-image", "skip").exit_code == 0
    (photos / LATE).write_bytes(whole)
    refused(extract("photos", "--on-bad-image", "skip"), LATE)


# --- images that only look changed -------------------------------------------------------------------------------


@TABLE.row("nothing")
def test_images_whose_files_are_as_they_were_are_not_read(photos: Path, extract: Cli, reads: list[str]) -> None:
    assert extract().exit_code == 0
    assert len(reads) == 8
    assert extract().exit_code == 0
    assert len(reads) == 8


@TABLE.row("files were touched or copied, and their bytes are the same")
def test_a_touched_file_is_read_once_more_and_accepted(photos: Path, extract: Cli, reads: list[str]) -> None:
    assert extract().exit_code == 0
    printed = extract().stdout
    del reads[:]
    os.utime(photos / LATE)
    again = extract()
    assert (again.exit_code, again.stdout) == (0, printed)
    assert sorted(reads) == [f"dog/{number:03d}.ppm" for number in range(4)]  # its shard
    del reads[:]
    assert extract().exit_code == 0
    assert not reads


@TABLE.row("files were touched or copied, and their bytes are the same")
def test_copied_images_are_the_same(photos: Path, extract: Cli, in_tmp_path: Path) -> None:
    assert extract().exit_code == 0
    shards = {path: path.read_bytes() for path in CACHE.glob("*.h5")}
    shutil.copytree(photos, in_tmp_path / "copy")
    shutil.rmtree(photos)
    (in_tmp_path / "copy").rename(photos)
    assert extract().exit_code == 0
    assert {path: path.read_bytes() for path in CACHE.glob("*.h5")} == shards


# --- archives and arrays -----------------------------------------------------------------------------------------


def pack(photos: Path, tar: Path) -> None:
    with tarfile.open(tar, "w") as archive:
        archive.add(photos, arcname="")


@pytest.mark.parametrize("change", [other_content_with_the_old_time, swapped_classes, swapped_images, all_replaced])
def test_a_replaced_archive_is_compared(
    photos: Path, extract: Cli, in_tmp_path: Path, change: Callable[[Path], None]
) -> None:
    tar = in_tmp_path / "photos.tar"
    pack(photos, tar)
    assert extract(tar).exit_code == 0
    pack(photos, tar)
    assert extract(tar).exit_code == 0
    change(photos)
    pack(photos, tar)
    os.utime(tar, (1e9, 1e9))
    refused(extract(tar), str(CACHE), "images of 0000")


def idx(path: Path, array: np.ndarray) -> None:
    path.write_bytes(
        struct.pack(f">{array.ndim + 1}I", 0x800 + array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    )


@pytest.fixture
def idx_files(in_tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """A manifest of idx files, with their pixels and labels."""
    pixels, labels = np.stack([picture(i, 8, 8)[..., 0] for i in range(8)]), np.arange(8) % 2
    (in_tmp_path / "data").mkdir()
    idx(in_tmp_path / "data/images", pixels)
    idx(in_tmp_path / "data/labels", labels)
    manifest = in_tmp_path / "photos.toml"
    manifest.write_text(
        'name = "photos"\nrole = "test"\nclasses = ["cat", "dog"]\n'
        '[[files]]\nlayout = "idx"\nimages = "images"\nlabels = "labels"\n'
    )
    return manifest, pixels, labels


def test_changed_bytes_in_an_array_file_are_noticed(
    extract: Cli, in_tmp_path: Path, idx_files: tuple[Path, np.ndarray, np.ndarray]
) -> None:
    manifest, pixels, labels = idx_files
    assert extract(manifest).exit_code == 0
    pixels[5, 0, 0] ^= 1
    idx(in_tmp_path / "data/images", pixels)
    refused(extract(manifest), str(CACHE), "1 changed", "images/00005")
    pixels[5, 0, 0] ^= 1
    idx(in_tmp_path / "data/images", pixels)
    assert extract(manifest).exit_code == 0
    labels[2] = 1
    idx(in_tmp_path / "data/labels", labels)
    refused(extract(manifest), str(CACHE), "1 relabelled", "images/00002")


def test_array_images_of_another_shape_are_others(extract: Cli, idx_files: tuple[Path, np.ndarray, np.ndarray]) -> None:
    manifest, pixels, _ = idx_files
    assert extract(manifest).exit_code == 0
    idx(manifest.parent / "data/images", pixels.reshape(8, 16, 4))
    refused(extract(manifest), str(CACHE))


def test_batches_of_cifar_that_changed_are_noticed(extract: Cli, in_tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (8, 3073), dtype=np.uint8)
    rows[:, 0] = np.arange(8) % 2
    (in_tmp_path / "data").mkdir()
    rows.tofile(in_tmp_path / "data/batch.bin")
    manifest = in_tmp_path / "photos.toml"
    manifest.write_text(
        'name = "photos"\nrole = "test"\nclasses = ["cat", "dog"]\n'
        '[[files]]\nlayout = "cifar-binary"\npath = "."\nmembers = ["batch.bin"]\n'
    )
    assert extract(manifest).exit_code == 0
    rows[[2, 4], 1:] = rows[[4, 2], 1:]
    rows.tofile(in_tmp_path / "data/batch.bin")
    refused(extract(manifest), "2 changed (batch.bin/00002, batch.bin/00004)")


# --- content in the cache ----------------------------------------------------------------------------------------


def test_a_variant_keeps_the_content_of_its_source(photos: Path, extract: Cli, in_tmp_path: Path) -> None:
    lines = ["role = 'test'", "[[files]]", "layout = 'folders'", f"path = '{photos}'"]
    for name, more in (("plain", []), ("fog", ["[variant]", "kind = 'corruption'", "name = 'fog'", "severity = 3"])):
        (in_tmp_path / f"{name}.toml").write_text("\n".join([f"name = '{name}'", *lines, *more]))
        assert extract(f"{name}.toml").exit_code == 0
    plain, fog = (open_cache(CACHE.with_name(name)) for name in ("plain", "fog"))
    assert plain.content.dtype == np.uint64
    np.testing.assert_array_equal(plain.content, fog.content)
    assert (plain.logits != fog.logits).any()


def test_equal_arrays_and_files_of_an_archive_have_the_content_of_their_bytes(photos: Path, in_tmp_path: Path) -> None:
    pixels = np.zeros((2, 4, 4), np.uint8)
    samples = ArraySamples(pixels, ["0", "1"], np.zeros(2), ("a",))
    assert samples.raw(0) == samples.raw(1) == bytes(16)


def test_a_cache_of_other_content_has_another_fingerprint(photos: Path, extract: Cli) -> None:
    assert extract().exit_code == 0
    before = read_index(CACHE)
    fingerprint = before.fingerprint()
    shutil.rmtree(CACHE)
    other_content(photos)
    assert extract().exit_code == 0
    after = read_index(CACHE)
    assert after.meaning == before.meaning
    assert after.fingerprint() != fingerprint


# --- commands that read the images of a cache --------------------------------------------------------------------


@pytest.fixture
def both(photos: Path, extract: Cli, manifest_file: Callable[..., Path], in_tmp_path: Path) -> Path:
    """A cache of `photos`, and one of a copy to train on."""
    shutil.copytree(photos, in_tmp_path / "learnt")
    (in_tmp_path / "learnt/cat/000.ppm").unlink()
    save(in_tmp_path / "learnt/cat/100.ppm", 77)
    assert extract(manifest_file("learnt", in_tmp_path / "learnt", role="train")).exit_code == 0
    assert extract().exit_code == 0
    return in_tmp_path / "learnt"


TUNE = (
    *("train", "--loss", "ce", "--epochs", 1, "--workers", 0, "--device", "cpu", "--val-fraction", 0),
    *("--oracle", "cifar-resnet8", "--oracle-preprocess", "input_size=8", "--oracle-weights"),
)


@TABLE.row("fine-tuning or `evaluate` meets an image that is not the cached one")
def test_fine_tuning_refuses_images_that_are_not_the_cached_ones(
    both: Path, run_cli: Cli, classifier_file: Path
) -> None:
    other_content(both)
    refused(run_cli(*TUNE, classifier_file), "cache/m/learnt", f"({LATE})", "extract anew")
    assert not Path("trustcache-workspace/runs").exists()
    save(both / LATE, 6)
    assert run_cli(*TUNE, classifier_file).exit_code == 0


@TABLE.row("fine-tuning or `evaluate` meets an image that is not the cached one")
def test_evaluation_refuses_images_that_are_not_the_cached_ones(
    both: Path, photos: Path, run_cli: Cli, classifier_file: Path
) -> None:
    other_content(photos)
    failed = run_cli(*TUNE, classifier_file)  # the run is trained, and what needs no image is scored
    assert failed.exit_code == 1
    assert tells(failed.stderr, f"photos: {LATE} has changed", str(CACHE))
    assert not list(Path("trustcache-workspace/runs").glob("*/scores/*"))
    save(photos / LATE, 6)
    assert run_cli("evaluate", "--workers", 0, "--device", "cpu").exit_code == 0


def test_heads_refuse_features_of_other_images_of_equal_size(both: Path, extract: Cli, run_cli: Cli) -> None:
    save(both / "cat/100.ppm", 78)
    assert extract("learnt.toml", "--as", "other").exit_code == 0
    failed = run_cli("train", "--frozen", "--loss", "ce", "--classifier", "m", "--oracle", "other")
    refused(failed, "cache/other/learnt", "1 of its 8 images", "cache/m/learnt")


@TABLE.row("the cache was removed and made anew of other images")
def test_scores_of_a_cache_are_made_anew_when_its_images_were_replaced(both: Path, extract: Cli, run_cli: Cli) -> None:
    assert run_cli("evaluate").exit_code == 0
    scores = Path("trustcache-workspace/scores/m/photos/mcp.safetensors")
    before = scores.stat().st_mtime_ns
    shutil.rmtree(CACHE)
    all_replaced(Path("photos"))
    assert extract().exit_code == 0
    assert run_cli("evaluate").exit_code == 0
    assert scores.stat().st_mtime_ns != before


def test_data_check_compares_with_a_cache_and_needs_no_model(both: Path, photos: Path, run_cli: Cli) -> None:
    check = ("data", "check", photos, "--against", "m/photos")
    same = run_cli(*check)
    assert (same.exit_code, same.stdout.splitlines()[0]) == (0, "photos: the images of m/photos")
    relabelled(photos)
    save(photos / EARLY, 98)
    failed = run_cli(*check)
    assert failed.exit_code == 1
    assert tells(failed.stderr, "m/photos", f"1 changed ({EARLY})", f"1 gone ({LATE})", "1 new (cat/100.ppm)")
    missing = run_cli("data", "check", photos, "--against", "m/nothing")
    assert missing.exit_code == 2
    assert "m/nothing" in missing.stderr
    several = run_cli("data", "check", "cifar10-c", "--against", "m/photos")
    assert several.exit_code == 2


def test_data_check_takes_the_part_that_was_extracted(photos: Path, extract: Cli, run_cli: Cli) -> None:
    assert extract("photos", "--subset", 4).exit_code == 0
    assert run_cli("data", "check", photos, "--against", "m/photos").exit_code == 0


def test_the_report_counts_test_images_that_are_training_images(both: Path, run_cli: Cli) -> None:
    run_cli("evaluate")
    done = run_cli("report")
    assert done.exit_code == 0
    assert tells(done.stdout + done.stderr, "7 of 8 images of photos", "learnt")
    assert tells(Path("trustcache-workspace/report/report.md").read_text(), "7 of 8 images of photos")
    records = json.loads(Path("trustcache-workspace/report/results.json").read_text())
    assert {(record["n"], record["duplicates"]) for record in records} == {(8, 7)}


def test_of_several_training_sets_those_that_share_images_are_named_and_only_the_classifiers_own(
    both: Path, extract: Cli, manifest_file: Callable[..., Path], in_tmp_path: Path, run_cli: Cli
) -> None:
    (in_tmp_path / "apart/cat").mkdir(parents=True)
    (in_tmp_path / "apart/dog").mkdir()
    for number, folder in enumerate(("cat", "dog")):
        save(in_tmp_path / f"apart/{folder}/0.ppm", 90 + number)
    apart = manifest_file("apart", in_tmp_path / "apart", role="train")
    assert extract(apart).exit_code == 0
    assert extract("photos", "--as", "other").exit_code == 0
    assert extract(apart, "--as", "other").exit_code == 0
    run_cli("evaluate")
    (told,) = [line for line in run_cli("report").stderr.splitlines() if "byte for byte" in line]
    assert tells(told, "7 of 8 images of photos", "learnt")
    assert "apart" not in told
    records = json.loads(Path("trustcache-workspace/report/results.json").read_text())
    assert {(record["classifier"], record["duplicates"]) for record in records} == {("m", 7), ("other", 0)}


# --- classes -----------------------------------------------------------------------------------------------------


def test_differences_of_classes_name_the_first_ten() -> None:
    letters = [chr(97 + i) for i in range(26)]
    assert class_differences(letters, letters) == ""
    said = class_differences(letters, letters[::-1])
    assert tells(said, "26 of 26", "label 0: 'a' here, 'z' there", "label 9:", "and 16 more")
    assert tells(class_differences(["a"], ["a", "b"]), "1 of 2", "label 1: none here, 'b' there")


def test_a_folder_whose_classes_are_not_those_of_the_classifiers_other_caches_is_refused(
    both: Path, photos: Path, extract: Cli, manifest_file: Callable[..., Path]
) -> None:
    renamed = photos.with_name("renamed")
    shutil.copytree(photos, renamed)
    (renamed / "dog").rename(renamed / "ape")
    refused(extract(renamed), "renamed: ", "m/", "2 of 2", "label 0: 'ape' here, 'cat' there", "'classes'")
    refused(extract(renamed, "--as", "same-weights"), "m/", "label 1")
    named = manifest_file("named", renamed, classes=["cat", "ape"])
    assert extract(named).exit_code == 0


def test_the_case_of_a_class_counts_and_numbers_are_no_names(both: Path, photos: Path, extract: Cli) -> None:
    for name, folders in (("upper", ("Cat", "dog")), ("numbers", ("0", "1"))):
        shutil.copytree(photos, photos.with_name(name))
        for old, new in zip(("cat", "dog"), folders, strict=True):
            (photos.with_name(name) / old).rename(photos.with_name(name) / new)
    refused(extract("upper"), "1 of 2", "label 0: 'Cat' here, 'cat' there")
    assert extract("numbers").exit_code == 0


def test_each_row_of_the_document_has_its_test() -> None:
    TABLE.require_tests()
