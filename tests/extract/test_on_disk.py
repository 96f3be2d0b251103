"""Stage one: the cache holds what the classifier said, whatever happened on the way."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from torch.utils.data import get_worker_info
from typer.testing import Result

from tests.command_process import CommandProcess
from tests.refusals import tells
from tests.running import inherited
from tests.small_networks import BOTH, classifier_of, in_threads_of_their_own, layers, noise, outputs_one_by_one
from trustcache.cache import open_cache
from trustcache.cache.index import read_index
from trustcache.cache.provenance import original_dataset
from trustcache.cache.workspace import Workspace
from trustcache.data.archives import FolderTree
from trustcache.data.dataset import open_dataset
from trustcache.data.known_data import find_manifests
from trustcache.data.samples import ArraySamples
from trustcache.errors import TrustcacheError, UsageError, percent
from trustcache.extract.on_disk import extract
from trustcache.extract.settings import ExtractSettings
from trustcache.models.classifiers import Classifier
from trustcache.models.zoo.cifar_resnet import CifarResNet

Cli = Callable[..., Result]
OwnModel = Callable[..., str]
Folder = Callable[..., Path]
CACHE = Path("trustcache-workspace/cache")
TEN = {str(digit): 3 for digit in range(10)}


def shards(folder: Path) -> dict[str, bytes]:
    """The bytes of all shards and records, by file name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "index.json"}


def versions(folder: Path) -> dict[str, tuple[int, int]]:
    """What changes when a file is published anew, by file name."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


def fails(result: Result, exit_code: int) -> str:
    """The one line that a failed command printed."""
    assert result.exit_code == exit_code, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def extracted(result: Result) -> list[str]:
    """The data sets that `extract` told the outcome of."""
    return [line.split(":")[0] for line in result.stdout.splitlines() if "→" in line]


def direct_answers(weights: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, features and labels of digits-test, by the network's layers one after the other."""
    dataset = open_dataset(find_manifests("digits-test")[0], Path())
    pixels = np.stack([np.asarray(dataset.read(i)) for i in range(len(dataset))]).astype(np.float32) / 255
    mean, std = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], dtype=np.float32)
    x = (pixels - mean) / std
    model = CifarResNet(8).eval()
    model.load_state_dict(load_file(weights))
    with torch.inference_mode():
        inner = F.relu(model.bn1(model.conv1(torch.from_numpy(x).permute(0, 3, 1, 2))))
        features = model.layer3(model.layer2(model.layer1(inner))).mean(dim=(2, 3))
        return model.linear(features).numpy(), features.numpy(), dataset.labels


# --- what the columns hold -------------------------------------------------------------------------------------


def test_the_columns_are_those_of_a_direct_forward_pass(
    run_cli: Cli, extract_digits: Cli, classifier_file: Path
) -> None:
    printed = extract_digits("--store", "float32")
    cache = open_cache(CACHE / "digits-net" / "digits-test")
    logits, features, labels = direct_answers(classifier_file)
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    np.testing.assert_allclose(cache.logits, logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(cache.features, features, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(cache.true_class_prob, probabilities[np.arange(647), labels], rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(cache.predictions, logits.argmax(1))
    np.testing.assert_array_equal(cache.labels, labels)
    np.testing.assert_array_equal(cache.correct, logits.argmax(1) == labels)
    np.testing.assert_array_equal(cache.sample_indices, np.arange(647))
    assert cache.sample_ids == [f"{row:04d}" for row in range(1150, 1797)]
    assert 0.8 < cache.correct.mean() < 0.97
    assert tells(printed.stdout, "digits-test", "digits-net", f"{percent(cache.correct.mean())} of 647")


def test_columns_have_the_dtypes_they_promise(workspace: Workspace) -> None:
    cache = open_cache(workspace.cache_folder("digits-net", "digits-test"))
    assert cache.logits.dtype == cache.features.dtype == np.float16
    assert cache.labels.dtype == cache.predictions.dtype == cache.sample_indices.dtype == np.int64
    assert cache.correct.dtype == np.bool_
    assert cache.true_class_prob.dtype == np.float32


def test_float16_storage_only_rounds_the_logits_and_features(workspace: Workspace, extract_digits: Cli) -> None:
    assert extract_digits("--store", "float32", name="exact").exit_code == 0
    rounded = open_cache(workspace.cache_folder("digits-net", "digits-test"))
    exact = open_cache(workspace.cache_folder("exact", "digits-test"))
    np.testing.assert_array_equal(rounded.logits, exact.logits.astype(np.float16))
    np.testing.assert_array_equal(rounded.features, exact.features.astype(np.float16))
    for name in ("predictions", "correct", "true_class_prob", "labels"):
        np.testing.assert_array_equal(getattr(rounded, name), getattr(exact, name))


def test_predictions_and_probabilities_come_before_the_rounding(
    run_cli: Cli, own_model: OwnModel, image_folder: Folder
) -> None:
    # 2000 and 2000.25 are the same number in float16, where the first of them would win.
    model = own_model("2000 + 0.25 * torch.arange(2.0, device=x.device).expand(len(x), 2)")
    data = image_folder({"a": 2, "b": 2})
    assert (
        run_cli("extract", "--classifier", model, "--model-arg", "classes=2", "--data", data, "--as", "m").exit_code
        == 0
    )
    cache = open_cache(CACHE / "m" / "photos")
    assert (cache.logits == 2000).all()
    assert cache.predictions.tolist() == [1, 1, 1, 1]
    likely = 1 / (1 + np.exp(-0.25))
    np.testing.assert_allclose(cache.true_class_prob, [1 - likely, 1 - likely, likely, likely], rtol=1e-6)


@pytest.mark.parametrize(("store", "dtype"), [("float16", np.float16), ("float32", np.float32)])
def test_autocast_changes_the_numbers_but_not_how_they_are_stored(extract_digits: Cli, store: str, dtype: Any) -> None:
    assert extract_digits("--store", store, "--precision", "bf16", name="bf16").exit_code == 0
    assert extract_digits("--store", store, name="plain").exit_code == 0
    half, full = (open_cache(CACHE / name / "digits-test") for name in ("bf16", "plain"))
    assert half.logits.dtype == half.features.dtype == dtype
    assert half.index.meaning.precision == "bf16"
    assert (half.logits != full.logits).any()
    assert np.abs(half.logits.astype(float) - full.logits).mean() < 0.05 * np.abs(full.logits.astype(float)).mean()
    assert (half.predictions == full.predictions).mean() > 0.97


def test_the_precision_is_told_recorded_and_kept_for_the_classifiers_other_caches(
    extract_digits: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRUSTCACHE_PRECISION", raising=False)
    assert "on cpu: float32, batches of 100, 0 decoding processes" in extract_digits("--device", "cpu").stdout
    assert read_index(CACHE / "digits-net" / "digits-test").meaning.precision == "float32"
    assert "on cpu: bf16" in extract_digits("--device", "cpu", "--precision", "bf16", name="half").stdout
    again = extract_digits("--data", "digits-fourier", name="half")
    assert again.exit_code == 0
    assert read_index(CACHE / "half" / "digits-fourier").meaning.precision == "bf16"


def test_where_the_time_went_is_told_with_what_would_help(extract_digits: Cli) -> None:
    last = extract_digits("--device", "cpu").stdout.splitlines()[-1]
    assert tells(last, "% images", "% model", "to be faster: ")
    assert extracted(extract_digits("--device", "cpu")) == ["digits-test"]
    assert "to be faster" not in extract_digits("--device", "cpu").stdout  # nothing was done


def test_it_tells_how_images_are_prepared_in_words_that_preprocess_takes(
    extract_digits: Cli,
) -> None:
    told = extract_digits("--device", "cpu").stdout
    (line,) = [line for line in told.splitlines() if "--preprocess" in line]
    words = re.findall(r"\w+=[^\s;]+", line)
    assert "input_size=8,8" in words
    given = (part for word in words if not word.startswith("input_size") for part in ("--preprocess", word))
    assert extract_digits(*given).exit_code == 0  # it is the same cache
    assert extract_digits("--preprocess", "mean=0.1,0.1,0.1").exit_code != 0


def test_tf32_is_refused_where_there_is_none(extract_digits: Cli) -> None:
    assert "--precision tf32" in fails(extract_digits("--device", "cpu", "--precision", "tf32"), 2)


# --- shards ----------------------------------------------------------------------------------------------------


def test_shards_hold_their_ranges_of_samples(run_cli: Cli, own_model: OwnModel) -> None:
    args = ("--classifier", own_model(), "--data", "digits-test", "--as", "m", "--workers", 0)
    assert run_cli("extract", *args, "--shard-rows", 300).exit_code == 0
    index = read_index(CACHE / "m" / "digits-test")
    assert [(r.file, r.start, r.stop, r.rows) for r in index.records()] == [
        ("00000.h5", 0, 300, 300),
        ("00001.h5", 300, 600, 300),
        ("00002.h5", 600, 647, 47),
    ]
    assert len(list(index.folder.glob("*.h5"))) == 3


def test_shards_are_the_same_bytes_whatever_the_batch_size_or_the_workers(run_cli: Cli, own_model: OwnModel) -> None:
    # The model's arithmetic is exact; a network's own may depend on the batch in the last bit.
    args = ("--classifier", own_model(), "--data", "digits-test", "--as", "m", "--shard-rows", 150)
    made = []
    for batch_size, workers in ((64, 0), (1, 0), (7, 2), (1000, 1)):
        place = f"{batch_size}-{workers}"
        run = run_cli("extract", *args, "--batch-size", batch_size, "--workers", workers, "--workspace", place)
        assert run.exit_code == 0
        made.append(shards(Path(place) / "cache" / "m" / "digits-test"))
    assert len(made[0]) == 10
    assert all(other == made[0] for other in made[1:])


# --- stopped and resumed ---------------------------------------------------------------------------------------


def test_two_extractions_of_one_cache_do_not_run_at_once(
    run_cli: Cli, start_cli: Callable[..., CommandProcess], own_model: OwnModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ("extract", "--classifier", own_model(), "--data", "digits-test", "--as", "m", "--shard-rows", 50)
    process = start_cli(*args, "--workers", 1, SECONDS_A_BATCH="1")
    while not (CACHE / "m" / "digits-test" / "00000.json").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    with monkeypatch.context() as at_once:
        at_once.setattr("trustcache.cache.publish.LOCK_WAIT_S", 0.1)
        assert f"{CACHE}/m/digits-test: another trustcache extract" in fails(run_cli(*args, "--workers", 0), 1)
    process.kill()
    process.wait()
    # Its decoding process may live on for some seconds.
    assert run_cli(*args, "--workers", 0).exit_code == 0


@pytest.mark.parametrize(
    ("how", "workers"), [(signal.SIGKILL, 0), (signal.SIGTERM, 1), (signal.SIGINT, 2)], ids=["kill", "term", "Ctrl-C"]
)
def test_a_stopped_extraction_goes_on_to_the_same_bytes(
    run_cli: Cli,
    start_cli: Callable[..., CommandProcess],
    own_model: OwnModel,
    how: signal.Signals,
    workers: int,
) -> None:
    sizes = ("--shard-rows", 50, "--batch-size", 10)
    args = ("extract", "--classifier", own_model(), "--data", "digits-test", "--as", "m", *sizes)
    folder = CACHE / "m" / "digits-test"
    process = start_cli(*args, "--workers", workers, SECONDS_A_BATCH="0.05")
    deadline = time.monotonic() + 100
    while not (folder / "00001.json").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    if how == signal.SIGINT:  # from a terminal, Ctrl-C reaches the decoding processes too
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)
    _, said = process.communicate(timeout=60)
    if how == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode in (130, 143)
        assert "Traceback" not in said
        assert said.splitlines()[-1].startswith("interrupted; ")  # a slow machine tells of its progress before
        assert not list(folder.glob("*.partial-*"))
    finished = {path.with_suffix(".h5").name for path in folder.glob("0*.json")}
    assert 2 <= len(finished) < 13
    said = fails(run_cli("cache", "show", "m/digits-test"), 1)
    assert tells(said, f"{13 - len(finished)} of 13 shards", "trustcache extract")

    before = versions(folder)
    assert run_cli(*args, "--workers", 0).exit_code == 0
    after = versions(folder)
    assert all(after[name] == before[name] for name in finished)
    assert not list(folder.glob("*.partial-*"))
    assert run_cli(*args, "--workers", 0, "--workspace", "uninterrupted").exit_code == 0
    assert shards(folder) == shards(Path("uninterrupted/cache/m/digits-test"))


def test_a_finished_extraction_is_only_checked(
    workspace: Workspace, extract_digits: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert extract_digits().exit_code == 0
    before = versions(workspace.cache_folder("digits-net", "digits-test"))
    monkeypatch.setattr(ArraySamples, "raw", lambda *_: pytest.fail("an image was read"))
    again = extract_digits("--batch-size", 3)
    assert again.exit_code == 0
    assert "of 647 images" in again.stdout
    assert versions(workspace.cache_folder("digits-net", "digits-test")) == before


def test_a_full_disk_is_one_sentence_and_loses_nothing(
    run_cli: Cli, extract_digits: Cli, monkeypatch: pytest.MonkeyPatch, workspace: Workspace
) -> None:
    folder = CACHE / "small-disk" / "digits-test"
    sync, room = os.fsync, 6  # the index, one shard and its record; each publication syncs the file and its folder

    def sync_while_there_is_room(descriptor: int) -> None:
        nonlocal room
        room -= 1
        if room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", sync_while_there_is_room)
    said = fails(extract_digits(name="small-disk"), 1)
    assert tells(said, f"{folder / '00001.h5'}: ", os.strerror(errno.ENOSPC))
    assert {path.name for path in folder.iterdir()} == {"index.json", "00000.h5", "00000.json"}
    published = versions(folder)

    monkeypatch.setattr(os, "fsync", sync)
    assert extract_digits(name="small-disk").exit_code == 0
    whole = open_cache(workspace.cache_folder("digits-net", "digits-test"))
    np.testing.assert_array_equal(open_cache(folder).logits, whole.logits)
    assert {name: versions(folder)[name] for name in published if name != "index.json"} == {
        name: version for name, version in published.items() if name != "index.json"
    }


def test_a_workspace_that_cannot_be_written_is_named(extract_digits: Cli) -> None:
    Path("a file").write_text("in the way")
    assert "a file" in fails(extract_digits("--workspace", "a file"), 1)


@inherited
def test_a_decoding_process_that_dies_is_one_sentence(
    extract_digits: Cli, monkeypatch: pytest.MonkeyPatch, workspace: Workspace
) -> None:
    read = ArraySamples.raw

    def killed_in_the_middle(self: ArraySamples, index: int) -> bytes:
        if index == 300 and get_worker_info():
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, index)

    monkeypatch.setattr(ArraySamples, "raw", killed_in_the_middle)
    said = fails(extract_digits("--workers", 1, "--batch-size", 10, name="m"), 1)
    assert tells(said, "decoding process died", "--workers")
    assert (CACHE / "m" / "digits-test" / "00000.json").exists()
    assert extract_digits(name="m").exit_code == 0


# --- caches of something else ----------------------------------------------------------------------------------


@pytest.fixture
def other_weights(classifier_file: Path, tmp_path: Path) -> Path:
    weights = load_file(classifier_file)
    weights["linear.bias"][3] += 1e-3
    save_file(weights, tmp_path / "other.safetensors")
    return tmp_path / "other.safetensors"


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        (("--precision", "bf16"), ("precision", "'float32'", "'bf16'")),
        (("--store", "float32"), ("store", "'float16'", "'float32'")),
        (("--shard-rows", 100), ("shard_rows", "200", "100")),
        (("--preprocess", "mean=0.5,0.5,0.5"), ("preprocessing.mean", "(0.485, 0.456, 0.406)", "(0.5, 0.5, 0.5)")),
        (("--preprocess", "crop_pct=0.5"), ("classifier.preprocessing.crop_pct", "1.0", "0.5")),
    ],
)
def test_a_cache_of_other_settings_is_refused_with_the_difference_named(
    workspace: Workspace, extract_digits: Cli, options: tuple, facts: tuple[str, ...]
) -> None:
    folder = workspace.cache_folder("digits-net", "digits-test")
    before = versions(folder)
    said = fails(extract_digits(*options), 2)
    assert tells(said, "digits-net/digits-test", *facts, "--as NAME")
    assert versions(folder) == before


def test_a_cache_of_other_weights_is_refused_and_another_name_keeps_both(
    workspace: Workspace, extract_digits: Cli, other_weights: Path, run_cli: Cli
) -> None:
    said = fails(extract_digits(weights=other_weights), 2)
    assert tells(said, "SHA-256", "weights", "--as NAME")
    before = shards(workspace.cache_folder("digits-net", "digits-test"))
    assert extract_digits(weights=other_weights, name="other").exit_code == 0
    assert shards(workspace.cache_folder("digits-net", "digits-test")) == before
    listed = run_cli("cache", "list").stdout
    assert [line.split("\t")[0] for line in listed.splitlines()[1:]] == [
        "digits-net/digits-test",
        "digits-net/digits-train",
        "other/digits-test",
    ]


def test_the_same_weights_in_another_file_are_the_same_classifier(
    workspace: Workspace, extract_digits: Cli, classifier_file: Path, tmp_path: Path
) -> None:
    torch.save({"state_dict": load_file(classifier_file)}, tmp_path / "moved.pt")
    assert extract_digits(weights=tmp_path / "moved.pt").exit_code == 0
    index = read_index(workspace.cache_folder("digits-net", "digits-test"))
    assert index.made_from.weights == str(tmp_path / "moved.pt")


def test_a_cache_of_other_images_is_refused(run_cli: Cli, own_model: OwnModel, image_folder: Folder) -> None:
    args = ("extract", "--classifier", own_model(), "--data", image_folder(TEN), "--as", "m", "--workers", 0)
    assert run_cli(*args).exit_code == 0
    Image.effect_noise((8, 8), 90).save("photos/3/001.png")
    assert tells(fails(run_cli(*args), 2), "cache/m/photos", "1 changed (3/001.png)", "--as NAME")
    Path("photos/3/001.png").unlink()
    assert tells(fails(run_cli(*args), 2), "cache/m/photos", "1 gone (3/001.png)")


def test_files_assumed_unchanged_are_looked_at_once_and_their_folders_each_time(
    run_cli: Cli, own_model: OwnModel, image_folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "kept"))
    args = ("extract", "--classifier", own_model(), "--data", image_folder(TEN), "--as", "m", "--workers", 0)
    assert run_cli(*args, "--assume-unchanged").exit_code == 0
    image = Path("photos/3/001.png")
    image.write_bytes(image.read_bytes()[::-1])
    assert run_cli(*args, "--assume-unchanged").exit_code == 0, "the risk that its help names"
    assert tells(fails(run_cli(*args), 2), "cache/m/photos", "3/001.png")
    image.rename("photos/3/elsewhere.png")
    assert tells(fails(run_cli(*args, "--assume-unchanged"), 2), "cache/m/photos", "1 gone (3/001.png)")


# --- bad images ------------------------------------------------------------------------------------------------


@pytest.fixture
def photos(image_folder: Folder) -> Path:
    """30 images of ten classes, of which 3/001.png (the eleventh) is no image and 7/000.png truncated."""
    root = image_folder(TEN)
    (root / "3" / "001.png").write_text("not an image")
    whole = (root / "7" / "000.png").read_bytes()
    (root / "7" / "000.png").write_bytes(whole[: len(whole) // 2])
    return root


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_image_is_an_error_that_names_it_and_keeps_what_was_done(
    run_cli: Cli, own_model: OwnModel, photos: Path, workers: int
) -> None:
    args = ("extract", "--classifier", own_model(), "--data", photos, "--as", "m", "--shard-rows", 4, "--batch-size", 2)
    said = fails(run_cli(*args, "--workers", workers), 1)
    assert said.startswith(f"error: {photos}/3/001.png: ")
    assert "--on-bad-image skip" in said
    folder = CACHE / "m" / "photos"
    assert {path.name for path in folder.glob("*.json")} == {"index.json", "00000.json", "00001.json"}

    before = versions(folder)
    assert run_cli(*args, "--workers", workers, "--on-bad-image", "skip").exit_code == 0
    assert versions(folder)["00000.h5"] == before["00000.h5"]


def test_skipped_images_are_recorded_and_have_no_row(run_cli: Cli, own_model: OwnModel, photos: Path) -> None:
    args = ("extract", "--classifier", own_model(), "--data", photos, "--as", "m", "--shard-rows", 4, "--workers", 0)
    done = run_cli(*args, "--on-bad-image", "skip")
    assert done.exit_code == 0
    assert tells(done.stdout, "28 images", "2 unreadable")
    cache = open_cache(CACHE / "m" / "photos")
    bad = {"3/001.png", "7/000.png"}
    every = [f"{label}/{number:03d}.png" for label in range(10) for number in range(3)]
    assert cache.sample_ids == [sample for sample in every if sample not in bad]
    assert cache.sample_indices.tolist() == [i for i, sample in enumerate(every) if sample not in bad]
    assert cache.labels.tolist() == [int(sample[0]) for sample in every if sample not in bad]
    shown = json.loads(run_cli("cache", "show", "m/photos", "--json").stdout)
    assert shown["rows"] == 28
    assert shown["skipped"].keys() == bad
    assert "cannot be read" in shown["skipped"]["3/001.png"]

    assert tells(run_cli(*args, "--on-bad-image", "skip").stdout, "28 images", "2 unreadable")
    assert tells(fails(run_cli(*args), 1), "2 unreadable images", "3/001.png", "--on-bad-image skip")


def test_a_shard_of_nothing_but_bad_images_has_no_rows(run_cli: Cli, own_model: OwnModel, image_folder: Folder) -> None:
    root = image_folder(TEN)
    for name in ("0/000", "0/001", "0/002", "5/000", "5/001", "5/002"):
        (root / f"{name}.png").write_text("not an image")
    args = ("extract", "--classifier", own_model(), "--data", root, "--as", "m", "--shard-rows", 3, "--workers", 0)
    assert run_cli(*args, "--on-bad-image", "skip").exit_code == 0
    cache = open_cache(CACHE / "m" / "photos")
    assert [record.rows for record in cache.index.records()] == [0, 3, 3, 3, 3, 0, 3, 3, 3, 3]
    assert cache.labels.tolist() == [label for label in range(10) if label not in (0, 5) for _ in range(3)]
    assert cache.logits.shape == cache.features.shape == (24, 10)
    assert (cache[:0].logits.shape, cache[:0].logits.dtype) == ((0, 10), np.float16)
    assert run_cli("cache", "verify").exit_code == 0


def test_a_data_set_of_nothing_but_bad_images_is_an_error(
    run_cli: Cli, own_model: OwnModel, image_folder: Folder
) -> None:
    root = image_folder({str(digit): 1 for digit in range(10)})
    for file in root.rglob("*.png"):
        file.write_text("not an image")
    args = ("extract", "--classifier", own_model(), "--data", root, "--as", "m", "--workers", 0)
    said = fails(run_cli(*args, "--on-bad-image", "skip"), 1)
    assert tells(said, "none of its 10 images", f"{root}/0/000.png")


def test_an_image_that_stopped_an_extraction_may_be_replaced(run_cli: Cli, own_model: OwnModel, photos: Path) -> None:
    args = ("extract", "--classifier", own_model(), "--data", photos, "--as", "m", "--shard-rows", 4, "--workers", 0)
    fails(run_cli(*args), 1)
    folder = CACHE / "m" / "photos"
    before = versions(folder)
    Image.new("RGB", (8, 8)).save(photos / "3" / "001.png")
    (photos / "7" / "000.png").unlink()
    assert run_cli(*args).exit_code == 0
    assert {name: versions(folder)[name] for name in ("00000.h5", "00001.h5")} == {
        name: before[name] for name in ("00000.h5", "00001.h5")
    }
    assert len(open_cache(folder)) == 29
    assert run_cli(*args, "--workspace", "at-once").exit_code == 0
    assert shards(folder) == shards(Path("at-once/cache/m/photos"))


def test_names_with_unicode_and_apostrophes_survive(run_cli: Cli, own_model: OwnModel, image_folder: Folder) -> None:
    names = ["l'été", "鳥 and spaces", "plain"]
    root = image_folder(dict.fromkeys(names, 1))
    odd = os.fsencode(root / "plain") + b"/not UTF-8 \xe9.png"
    try:
        os.rename(root / "plain" / "000.png", odd)
    except OSError:
        pytest.skip("this file system takes no such name")
    with open(os.fsencode(root / "plain") + b"/broken \xe9.png", "w") as file:
        file.write("not an image")
    args = ("extract", "--classifier", own_model(), "--model-arg", "classes=3", "--data", root, "--as", "m")
    assert run_cli(*args, "--workers", 0, "--on-bad-image", "skip").exit_code == 0
    cache = open_cache(CACHE / "m" / "photos")
    assert sorted(cache.sample_ids) == sorted(["l'été/000.png", "鳥 and spaces/000.png", "plain/not UTF-8 \udce9.png"])
    (record,) = cache.index.records()
    assert list(record.skipped) == ["plain/broken \udce9.png"]


# --- what the classifier must be -------------------------------------------------------------------------------


def white_image(root: Path, sample: str) -> None:
    Image.new("RGB", (8, 8), "white").save(root / sample)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_logits_that_are_no_numbers_name_the_sample(
    run_cli: Cli, own_model: OwnModel, image_folder: Folder, value: str
) -> None:
    root = image_folder(TEN)
    white_image(root, "6/002.png")
    model = own_model(f"torch.where(flat.min(1, True).values == 1, float('{value}'), x)")
    args = ("extract", "--classifier", model, "--data", root, "--as", "m", "--workers", 0, "--shard-rows", 6)
    said = fails(run_cli(*args), 1)
    assert said.startswith("error: photos: 6/002.png: ")
    assert "logits are not finite" in said
    assert len(list((CACHE / "m" / "photos").glob("0*.json"))) == 3


def test_logits_too_large_for_float16_name_the_sample_and_the_way_out(
    run_cli: Cli, own_model: OwnModel, image_folder: Folder
) -> None:
    root = image_folder(TEN)
    white_image(root, "6/002.png")
    model = own_model("torch.where(flat.min(1, True).values == 1, 1e6 * x, x)")
    args = ("extract", "--classifier", model, "--data", root, "--as", "m", "--workers", 0)
    said = fails(run_cli(*args), 1)
    assert said.startswith("error: photos: 6/002.png: ")
    assert "--store float32" in said
    assert run_cli(*args, "--store", "float32", "--as", "wide").exit_code == 0
    assert open_cache(CACHE / "wide" / "photos").logits.max() == 1e6


def test_a_classifier_for_another_number_of_classes_is_refused(
    run_cli: Cli, own_model: OwnModel, image_folder: Folder
) -> None:
    data = ("--data", "digits-test", "--data", image_folder({"cat": 2, "dog": 2}))
    said = fails(run_cli("extract", "--classifier", own_model(), "--as", "m", *data), 2)
    assert said.startswith("error: photos: 2 classes, ")
    assert "10" in said
    assert not CACHE.exists()


def test_the_library_refuses_another_number_of_classes_too(
    digits_classifier: Classifier, image_folder: Folder, tmp_path: Path
) -> None:
    (manifest,) = find_manifests(str(image_folder({"cat": 2, "dog": 2})))
    dataset = open_dataset(manifest, Path())
    with pytest.raises(UsageError, match=r"photos: 2 classes, .*net .*10"):
        extract(digits_classifier, "net", dataset, Path(), tmp_path / "cache", ExtractSettings(device="cpu"))
    assert not (tmp_path / "cache").exists()


def test_a_model_that_fails_is_one_sentence(run_cli: Cli, own_model: OwnModel) -> None:
    model = own_model("x @ torch.ones(3, 3)")
    said = fails(run_cli("extract", "--classifier", model, "--data", "digits-test", "--as", "m", "--workers", 0), 1)
    assert tells(said, model, "8 x 8 pixels", "RuntimeError")


def test_a_device_that_is_not_there_is_a_usage_error(extract_digits: Cli) -> None:
    assert "--device cuda:99: " in fails(extract_digits("--device", "cuda:99"), 2)


# --- what data to take -----------------------------------------------------------------------------------------


def test_without_data_it_says_what_it_looked_for_and_where(run_cli: Cli) -> None:
    said = fails(run_cli("extract", "--classifier", "vit"), 2)
    for part in ("imagenet-train", "imagenet-val", "data/imagenet/train/<class>/*.jpg", "--data-root", "--data,"):
        assert part in said
    elsewhere = fails(run_cli("extract", "--classifier", "vit", "--data-root", "/no/where"), 2)
    assert "/no/where/imagenet/val" in elsewhere


def test_data_that_was_asked_for_is_never_passed_over(run_cli: Cli, own_model: OwnModel) -> None:
    args = ("extract", "--classifier", own_model(), "--data", "digits-test", "--data", "imagenet-val")
    said = fails(run_cli(*args), 2)
    assert "imagenet-val: " in said
    assert "data/imagenet/val/ILSVRC2012_val_*.JPEG or " in said
    assert " or data/imagenet/val/<class>/*.jpg or " in said
    assert not CACHE.exists()


def test_damaged_default_data_are_an_error_not_passed_over(run_cli: Cli, own_model: OwnModel) -> None:
    Path("data/imagenet/val/not-a-class").mkdir(parents=True)
    model = ("--classifier", own_model(), "--model-arg", "classes=1000", "--preprocess", "input_size=32")
    failed = run_cli("extract", *model, "--as", "m")
    assert failed.exit_code == 1
    assert tells(failed.stderr, "error: data/imagenet/val: ", "'not-a-class'")
    assert tells(failed.stderr.splitlines()[-1], "failed: imagenet-val, imagenet-")


def test_one_data_set_that_fails_does_not_stop_the_rest(
    run_cli: Cli, own_model: OwnModel, image_folder: Folder
) -> None:
    roots = [image_folder({"cat": 2, "dog": 3}, name=name) for name in ("first", "broken", "last")]
    (roots[1] / "dog" / "001.png").write_text("not an image")
    data = [word for root in roots for word in ("--data", root)]
    args = ("--classifier", own_model(), "--model-arg", "classes=2", "--as", "m", "--workers", 0)
    done = run_cli("extract", *args, *data)
    assert done.exit_code == 1
    assert extracted(done) == ["first", "last"]
    said = done.stderr.splitlines()
    assert said[0].startswith(f"error: {roots[1]}/dog/001.png: ")
    assert tells(said[-1], "error: 1 of 3", "failed: broken")
    assert len(open_cache(CACHE / "m" / "last")) == 5


def test_without_data_what_there_is_of_imagenet_is_extracted_from_files_or_made(
    run_cli: Cli, own_model: OwnModel
) -> None:
    for folder in ("imagenet/val", "imagenet-stylized/val", *(f"imagenet-c/{m.name[11:]}" for m in MADE[1:])):
        path = Path("data") / folder / "n01440764" / "1.JPEG"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (40, 40), (90, 20, 200)).save(path, "PNG")
    val = Path("data/imagenet/val/n01443537/2.JPEG")
    val.parent.mkdir()
    Image.new("RGB", (40, 40), (9, 220, 200)).save(val, "PNG")
    done = run_cli("extract", "--classifier", own_model(), "--model-arg", "classes=1000", "--as", "m",
                   "--workers", 0, "--preprocess", "input_size=32")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert tells(done.stderr.splitlines()[0], "imagenet-train: ", "data/imagenet/train/<class>/")  # passed over
    assert tells(done.stdout, "2 images", "50,000")
    names = extracted(done)
    assert names[:3] == ["imagenet-val", "imagenet-stylized", "imagenet-recolor"]
    assert len(names) == 3 + 95
    assert [name for name in names if name.startswith("imagenet-c-made/")] == [
        MADE[0].name.replace("imagenet-c/", "imagenet-c-made/")
    ]
    made = open_cache(CACHE / "m" / "imagenet-c-made" / MADE[0].name[11:])
    assert len(made) == 2
    assert made.index.meaning.data.crops is True


MADE = find_manifests("imagenet-c")


def test_among_few_classes_both_accuracies_are_told(run_cli: Cli, own_model: OwnModel) -> None:
    (manifest,) = find_manifests("imagenet-a")
    assert manifest.classes is not None
    assert manifest.subset is not None
    for number, wnid in enumerate(manifest.subset[:3]):
        path = Path("data/imagenet-a") / wnid / "1.jpg"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
    label = manifest.classes.index(manifest.subset[0])
    # A class that does not occur is the likeliest always, the first that occurs next.
    assert "n01440764" not in manifest.subset
    model = own_model(f"x * 0 + 2 * torch.eye(1000, device=x.device)[0] + torch.eye(1000, device=x.device)[{label}]")
    done = run_cli("extract", "--classifier", model, "--model-arg", "classes=1000", "--as", "m", "--workers", 0,
                   "--data", "imagenet-a", "--preprocess", "input_size=32")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert tells(done.stdout, "0.00 % of 3 images", "33.33 %", "200 classes")
    shown = json.loads(run_cli("cache", "show", "m/imagenet-a", "--json").stdout)
    assert shown["accuracy"] == 0
    assert shown["accuracy_within_subset"] == pytest.approx(1 / 3)


def test_a_folder_of_class_folders_is_a_data_set_with_a_role(
    run_cli: Cli, own_model: OwnModel, image_folder: Folder
) -> None:
    root = image_folder({"cat": 2, "dog": 3}, name="pets")
    args = ("extract", "--classifier", own_model(), "--model-arg", "classes=2", "--as", "m", "--data", root)
    assert run_cli(*args, "--workers", 0, "--role", "train").exit_code == 0
    assert "m/pets\ttrain\t5\t1/1 shards" in run_cli("cache", "list").stdout.splitlines()
    cache = open_cache(CACHE / "m" / "pets")
    assert cache.labels.tolist() == [0, 0, 1, 1, 1]
    # The role is no part of the meaning: it can be corrected.
    assert run_cli(*args, "--workers", 0).exit_code == 0
    assert "m/pets\ttest\t5\t1/1 shards" in run_cli("cache", "list").stdout.splitlines()


def test_a_manifest_of_ones_own_names_the_classes_in_order(
    run_cli: Cli, own_model: OwnModel, image_folder: Folder, manifest_file: Callable[..., Path]
) -> None:
    root = image_folder({"cat": 2, "dog": 3})
    manifest = manifest_file("pets", root, role="train", classes=["dog", "fox", "cat"])
    args = ("--classifier", own_model(), "--model-arg", "classes=3", "--as", "m", "--workers", 0)
    assert run_cli("extract", *args, "--data", manifest).exit_code == 0
    cache = open_cache(CACHE / "m" / "pets")
    assert cache.labels.tolist() == [0, 0, 0, 2, 2]
    assert cache.index.role == "train"


def test_data_sets_are_listed_shown_and_checked(
    run_cli: Cli, image_folder: Folder, manifest_file: Callable[..., Path]
) -> None:
    listed = dict(line.split("\t", 1) for line in run_cli("data", "list").stdout.splitlines())
    assert listed["digits-test"] == "test\tinside scikit-learn"
    assert listed["imagenet-val"] == "test\tnot here"

    shown = run_cli("data", "show", "imagenet-val").stdout
    assert "looked for: data/imagenet/val/<class>/*.jpg [folders]" in shown
    assert "https://image-net.org" in shown

    manifest = manifest_file("pets", image_folder({"cat": 2, "dog": 3}, size=(9, 7)), count=8)
    checked = run_cli("data", "check", manifest)
    assert checked.exit_code == 1
    assert checked.stderr.startswith("error: 1 of 1 ")
    assert tells(checked.stderr, ": pets", "extract takes")
    first, *images = checked.stdout.splitlines()
    assert tells(first, "pets: ", "5 of 8 images", "2 of 2 classes")
    assert images == [
        "  cat/000.png: 9 x 7, class cat",
        "  dog/000.png: 9 x 7, class dog",
        "  dog/002.png: 9 x 7, class dog",
    ]


def test_checking_a_data_set_finds_a_broken_image(run_cli: Cli, image_folder: Folder) -> None:
    root = image_folder({"cat": 2, "dog": 3})
    (root / "dog" / "002.png").write_text("not an image")
    assert f"{root}/dog/002.png: cannot be read" in fails(run_cli("data", "check", root), 1)


@pytest.mark.parametrize("command", [("data", "show"), ("data", "check"), ("extract", "--classifier", "vit", "--data")])
def test_data_that_nobody_knows_is_a_usage_error_with_the_nearest_name(run_cli: Cli, command: tuple) -> None:
    said = fails(run_cli(*command, "digits-tst"), 2)
    assert tells(said, "--data digits-tst", "trustcache data list", "did you mean digits-test")


def test_debug_shows_where_an_error_comes_from(run_cli: Cli, own_model: OwnModel) -> None:
    model = own_model("x @ torch.ones(3, 3)")
    args = ("extract", "--classifier", model, "--data", "digits-test", "--as", "m", "--workers", 0)
    failed = run_cli(*args, "--debug")
    assert failed.exit_code == 1
    assert tells(failed.stderr, "Traceback", "x @ torch.ones(3, 3)")
    assert "Traceback" not in run_cli(*args).stderr


# --- a part of the data ----------------------------------------------------------------------------------------


def test_a_subset_is_extracted_as_its_rows_of_the_whole(
    workspace: Workspace, extract_digits: Cli, run_cli: Cli
) -> None:
    done = extract_digits("--subset", 100, name="part")
    assert "of 100 images" in done.stdout
    whole = open_cache(workspace.cache_folder("digits-net", "digits-test"))
    part = open_cache(workspace.cache_folder("part", "digits-test"))
    assert len(part) == 100
    rows = [whole.sample_ids.index(name) for name in part.sample_ids]
    np.testing.assert_array_equal(part.labels, whole.labels[rows])
    np.testing.assert_array_equal(part.predictions, whole.predictions[rows])
    listed = run_cli("cache", "list").stdout
    assert [line.split("\t")[2:] for line in listed.splitlines() if "digits-test" in line] == [
        ["647", "4/4 shards"],
        ["100 of 647", "1/1 shards"],
    ]
    assert '"subset": "100 of 647"' in run_cli("cache", "show", "part/digits-test", "--json").stdout
    assert tells(run_cli("report").stderr, "100 of 647 images", "digits-test", "part")


def test_a_part_of_a_part_has_one_size_everywhere(
    run_cli: Cli, image_folder: Folder, manifest_file: Callable[..., Path], own_model: Callable[..., str]
) -> None:
    manifest = manifest_file("pets", image_folder({"cat": 2, "dog": 4}), count=1005)
    words = ("extract", "--classifier", own_model(), "--model-arg", "classes=2", "--data", manifest, "--workers", 0)
    size = "5 of the 6 here (1,005 published)"
    assert f"5 images; these are {size}  →" in run_cli(*words, "--subset", 5, "--as", "m").stdout
    assert "all 6 here (1,005 published)  →" in run_cli(*words, "--as", "whole").stdout
    assert f"m/pets\ttest\t{size}\t" in run_cli("cache", "list").stdout
    assert f"{size} images" in run_cli("report").stderr


def test_a_cache_of_another_subset_is_refused_with_the_difference_alone(extract_digits: Cli) -> None:
    assert extract_digits("--subset", 100).exit_code == 0
    for options, now in ((("--subset", 200), "'200 of 647'"), ((), "None")):
        said = fails(extract_digits(*options), 2)
        assert tells(said, "--subset", "'100 of 647'", now, "trustcache cache rm digits-net/digits-test,", "--as NAME")
        assert said.count("is now") == 1
    assert extract_digits("--subset", 100).exit_code == 0


def test_an_unfinished_extraction_does_not_go_on_with_another_subset(extract_digits: Cli) -> None:
    assert extract_digits("--subset", 300).exit_code == 0  # two shards
    (CACHE / "digits-net" / "digits-test" / "00001.json").unlink()
    assert tells(fails(extract_digits("--subset", 301), 2), "--subset", "'300 of 647'", "'301 of 647'")


def test_what_goes_on_from_a_subset_s_cache_sees_its_very_images(workspace: Workspace, extract_digits: Cli) -> None:
    assert extract_digits("--subset", 100, name="part").exit_code == 0
    index = workspace.find_cache("test", "part")
    assert original_dataset(index, Path()).ids == open_cache(index.folder).sample_ids


def test_a_classifier_of_one_class_is_refused_since_it_is_always_right(
    run_cli: Callable[..., Result], own_model: Callable[..., str], image_folder: Callable[..., Path]
) -> None:
    root = image_folder({"cat": 3})
    said = fails(
        run_cli("extract", "--classifier", own_model(), "--model-arg", "classes=1", "--as", "m", "--data", root), 2
    )
    assert "m: " in said
    assert not Path("trustcache-workspace", "cache").exists()


def test_so_many_shards_are_refused_that_no_list_could_hold_them(
    run_cli: Callable[..., Result],
    own_model: Callable[..., str],
    image_folder: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trustcache.extract.subject.MOST_SHARDS", 2)
    root = image_folder({"cat": 3, "dog": 3})
    model = ("--classifier", own_model(), "--model-arg", "classes=2", "--as", "m")
    said = fails(run_cli("extract", *model, "--data", root, "--shard-rows", 2), 2)
    assert "--shard-rows 2" in said


@pytest.mark.parametrize("files", [11, 22])  # no process starts, one ends
def test_too_few_files_for_decoding_processes_is_an_error_of_one_line(
    start_cli: Callable[..., CommandProcess], own_model: OwnModel, image_folder: Folder, files: int
) -> None:
    pytest.importorskip("resource")
    model = ("--classifier", own_model(), "--model-arg", "classes=2", "--as", "m")
    work = ("--data", image_folder({"cat": 30, "dog": 30}), "--workers", 4, "--batch-size", 4, "--device", "cpu")
    process = start_cli("extract", *model, *work, files=files)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.count("\n")) == (1, 1), said
    assert tells(said, "error: ", "open files", "--workers")


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("network", BOTH)
def test_small_images_in_several_threads_have_the_outputs_of_one_by_one(
    tmp_path: Path, network: Callable[[], torch.nn.Module], workers: int
) -> None:
    images = noise(60)
    for number, image in enumerate(images):
        (tmp_path / "photos" / f"{number % 4}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "photos" / f"{number % 4}" / f"{number:02d}.png")
    (manifest,) = find_manifests(str(tmp_path / "photos"))
    dataset = open_dataset(manifest, tmp_path)
    settings = ExtractSettings(4, workers, "cpu", store="float32", shard_rows=21)
    with in_threads_of_their_own(network):
        cache = extract(classifier_of(network()), "own", dataset, tmp_path, tmp_path / "cache", settings)
    logits, features = outputs_one_by_one(images[[int(Path(name).stem) for name in dataset.ids]])
    np.testing.assert_allclose(cache.logits, logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(cache.features, features, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("three_threads", "medium_products")
def test_an_error_that_is_kept_holds_no_thread_and_no_setting(image_folder: Folder, tmp_path: Path) -> None:
    (manifest,) = find_manifests(str(image_folder({"a": 20, "b": 20, "c": 20, "d": 20})))
    network, dataset = layers(), open_dataset(manifest, tmp_path)
    network[3].bias.data[0] = 1e6
    before = threading.active_count()
    with pytest.raises(TrustcacheError) as kept:
        extract(classifier_of(network), "own", dataset, tmp_path, tmp_path / "cache", ExtractSettings(4, 0, "cpu"))
    assert tells(str(kept.value), "too large", "--store float32")
    assert (threading.active_count(), torch.get_float32_matmul_precision()) == (before, "medium")


def test_each_file_is_looked_at_once_before_the_first_forward_pass(
    digits_classifier: Classifier, digit_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "images"
    for number, file in enumerate(sorted(digit_files.iterdir())[:30]):
        (root / f"{number % 10}").mkdir(parents=True, exist_ok=True)
        (root / f"{number % 10}" / file.name).symlink_to(file)
    looked = Counter[str]()

    def counting(own: Callable[..., Any]) -> Callable[..., Any]:
        def look(self: FolderTree, name: str) -> Any:
            looked[name] += 1
            return own(self, name)

        return look

    class Reached(Exception):
        pass

    def stop(self: object, classifier: object, batch: object) -> None:
        raise Reached

    for method in ("size", "stamp"):
        monkeypatch.setattr(FolderTree, method, counting(getattr(FolderTree, method)))
    monkeypatch.setattr("trustcache.extract.on_disk.Forward.__call__", stop)
    dataset = open_dataset(find_manifests(str(root))[0], tmp_path)
    with pytest.raises(Reached):
        extract(digits_classifier, "net", dataset, tmp_path, tmp_path / "cache", ExtractSettings(8, 0, "cpu"))
    assert looked == dict.fromkeys(dataset.ids, 1)
