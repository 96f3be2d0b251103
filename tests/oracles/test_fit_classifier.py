"""Fitting a classifier: it learns, a killed one ends where the uninterrupted one ends, and the next command is told."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import Result

from tests.command_process import CommandProcess
from tests.damage import damaged
from tests.refusals import tells
from trustcache.cache import open_cache
from trustcache.data import in_memory as decoded
from trustcache.data.dataset import Dataset, open_dataset
from trustcache.data.known_data import find_manifests
from trustcache.data.samples import ArraySamples
from trustcache.errors import TrustcacheError
from trustcache.models.building import ModelSpec, new_model
from trustcache.models.checkpoints import load_into
from trustcache.models.classifiers import load_classifier
from trustcache.models.fitted_weights import fitted_preprocessing
from trustcache.oracles import fit_classifier as module
from trustcache.oracles.fit_classifier import Fitted, fit_classifier
from trustcache.oracles.optim import RECIPES, FitSettings, Machine
from trustcache.registry.permission import allow_code

Cli = Callable[..., Result]
RESNET = ModelSpec("cifar-resnet8", preprocessing={"input_size": (8, 8)})
SHORT = FitSettings(epochs=2, batch_size=64, lr=3e-3)
MACHINE = Machine("cpu", workers=0)
DIGITS = ("fit-classifier", "--data", "digits-fit", "--workers", 0)
SMALL = ("--classifier", "cifar-resnet8", "--preprocess", "input_size=8")


@pytest.fixture
def digits() -> Dataset:
    return open_dataset(find_manifests("digits-fit")[0], Path())


@pytest.fixture
def dropping(in_tmp_path: Path) -> ModelSpec:
    """A small network of a user's own with batch norm and dropout: all that a checkpoint must bring back."""
    name = f"small_{in_tmp_path.name}".replace("-", "_")
    (in_tmp_path / f"{name}.py").write_text(
        """
from torch import nn

def build(classes=10):
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten())
    model = nn.Sequential(body, nn.Linear(144, classes))
    model.pretrained_cfg = {"input_size": (3, 8, 8), "crop_pct": 1.0}
    return model.eval()
""",
        encoding="utf-8",
    )
    allow_code(f"{name}:build")
    return ModelSpec(f"{name}:build")


def fails(result: Result, exit_code: int) -> str:
    assert result.exit_code == exit_code, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def same_weights(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- what it learns, and what it says --------------------------------------------------------------------------


def test_a_fitted_classifier_is_extracted_by_the_line_that_it_ends_with(run_cli: Cli) -> None:
    result = run_cli(*DIGITS, *SMALL, "--out", "made/net.safetensors", "--epochs", 6, "--batch-size", 32)
    assert result.exit_code == 0, result.output
    told, go_on, line = result.stdout.splitlines()
    assert told.startswith("made/net.safetensors: right on ")
    assert "405 images" in told
    assert " % of 45 held out" in told
    assert go_on == "go on with:"
    assert line == (
        "trustcache extract --classifier cifar-resnet8 --weights made/net.safetensors --as net "
        "--preprocess input_size=8 --data digits-fit"
    )
    assert run_cli(*shlex.split(line)[1:], "--data", "digits-test", "--workers", 0).exit_code == 0
    share = [open_cache(f"trustcache-workspace/cache/net/digits-{part}").correct.mean() for part in ("fit", "test")]
    assert share[0] > 0.9
    assert share[1] > 0.85
    percent = [float(number) for number in re.findall(r"([\d.]+) %", told)]
    assert (405 * percent[0] + 45 * percent[1]) / 450 == pytest.approx(100 * share[0], abs=0.01)
    assert not list(Path("made").glob("*.checkpoint"))


@pytest.mark.parametrize("optimiser", RECIPES)
def test_every_optimiser_learns_with_its_own_numbers(digits: Dataset, tmp_path: Path, optimiser: str) -> None:
    settings = FitSettings(epochs=6, batch_size=32, optimiser=optimiser)
    fitted = fit_classifier(RESNET, digits, tmp_path / "w", settings, MACHINE)
    assert fitted.val_accuracy is not None
    assert fitted.val_accuracy > 0.75
    assert (fitted.learnt_from, fitted.measured, fitted.held_out) == (405, 405, 45)


def test_a_small_vit_fits_small_images(run_cli: Cli, image_folder: Callable[..., Path]) -> None:
    data = image_folder({"dark": 12, "light": 12}, size=(20, 16))
    size = ("img_size=16", "patch_size=8", "depth=1", "embed_dim=12", "num_heads=2")
    arguments = [word for text in size for word in ("--model-arg", text)]
    command = ("fit-classifier", "--data", data, "--classifier", "vit_tiny_patch16_224", *arguments)
    result = run_cli(*command, "--epochs", 2, "--batch-size", 8, "--out", "vit.safetensors", "--workers", 0)
    assert result.exit_code == 0, result.output
    line = result.stdout.splitlines()[-1]
    assert line.endswith(f"--model-arg num_heads=2 --data {data} --role train")
    assert run_cli(*shlex.split(line)[1:], "--workers", 0).exit_code == 0
    cache = open_cache("trustcache-workspace/cache/vit/photos")
    assert cache.index.role == "train"
    assert cache.features.shape == (24, 12)
    assert cache.index.identity.preprocessing.input_size == (16, 16)


def test_the_seed_decides_what_it_becomes(digits: Dataset, tmp_path: Path) -> None:
    made = {name: tmp_path / name for name in ("first", "again", "other")}
    before = torch.get_rng_state()
    for name, path in made.items():
        fit_classifier(RESNET, digits, path, replace(SHORT, seed=int(name == "other")), MACHINE)
    assert same_weights(made["first"], made["again"])
    assert not same_weights(made["first"], made["other"])
    assert torch.equal(torch.get_rng_state(), before), "the caller's random numbers are its own"


def test_gpus_that_it_is_not_fitted_on_are_left_alone(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: pytest.fail(f"started {device}"))
    fit_classifier(RESNET, digits, tmp_path / "w", SHORT, MACHINE)
    assert (tmp_path / "w").is_file()


def test_held_out_images_are_not_learnt_from(digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []
    batches = decoded.Images.batches

    def spy(self: decoded.Images, parts: list[np.ndarray]) -> object:
        asked.append(np.concatenate(parts).tolist())
        return batches(self, parts)

    monkeypatch.setattr(decoded.Images, "batches", spy)
    fitted = fit_classifier(RESNET, digits, tmp_path / "w", replace(SHORT, val_fraction=0.2), MACHINE)
    learnt, _, held_out = asked
    assert len(set(held_out)) == fitted.held_out == 90
    assert not set(learnt) & set(held_out)
    assert len(learnt) == 2 * (360 // 64) * 64, "whole batches, two epochs"
    assert len(set(learnt[: len(learnt) // 2])) == len(learnt) // 2, "each image once an epoch"


def test_it_learns_with_dropout_and_batch_norm_at_work_and_is_measured_without(
    digits: Dataset, dropping: ModelSpec, tmp_path: Path
) -> None:
    fitted = fit_classifier(dropping, digits, tmp_path / "w", SHORT, MACHINE)
    weights = load_file(tmp_path / "w")
    assert weights["0.1.running_mean"].any()
    classifier = load_classifier(replace(dropping, weights=str(tmp_path / "w")))
    transform = classifier.preprocessing.transform()
    logits, _ = classifier(torch.stack([transform(digits.read(i)) for i in range(len(digits))]))
    right = int((logits.argmax(1).numpy() == digits.labels).sum())
    assert fitted.val_accuracy is not None
    assert right == round(405 * fitted.accuracy + 45 * fitted.val_accuracy)


def test_augmentation_varies_what_is_learnt_but_not_what_is_tested(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    def flipped(pixels: torch.Tensor, rng: np.random.Generator, first: int, batch: int) -> torch.Tensor:
        seen.append((len(pixels), int(rng.integers(2**60))))
        return pixels.flip(-1)

    monkeypatch.setitem(module.AUGMENTATIONS, "flip-crop", flipped)
    fit_classifier(RESNET, digits, tmp_path / "flipped", replace(SHORT, augment="flip-crop"), MACHINE)
    fit_classifier(RESNET, digits, tmp_path / "plain", SHORT, MACHINE)
    assert [images for images, _ in seen] == [64] * 12
    assert len({drawn for _, drawn in seen}) == 12, "each step by numbers of its own"
    assert not same_weights(tmp_path / "flipped", tmp_path / "plain")


def test_large_data_are_streamed_to_the_same_end(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = fit_classifier(RESNET, digits, tmp_path / "kept", SHORT, MACHINE)
    reads: list[int] = []
    read = ArraySamples.raw
    monkeypatch.setattr(ArraySamples, "raw", lambda self, index: reads.append(index) or read(self, index))
    monkeypatch.setattr(decoded, "IN_MEMORY_BYTES", 0)
    assert fit_classifier(RESNET, digits, tmp_path / "streamed", SHORT, MACHINE) == kept
    assert same_weights(tmp_path / "kept", tmp_path / "streamed")
    assert len(reads) > 3 * len(digits), "decoded again in every epoch"


# --- stopped and resumed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 6, 9])  # in the first epoch, at its end, in the second
def test_an_interrupted_fitting_ends_where_the_uninterrupted_one_ends(
    digits: Dataset, dropping: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    settings = replace(SHORT, augment="flip-crop")
    expected = fit_classifier(dropping, digits, tmp_path / "whole", settings, MACHINE)
    loss = module._Fitting._loss

    def stopping(self: module._Fitting, batch: tuple) -> torch.Tensor:
        if self.loop.step == steps:
            raise KeyboardInterrupt
        return loss(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(module._Fitting, "_loss", stopping)
        with pytest.raises(KeyboardInterrupt):
            fit_classifier(dropping, digits, tmp_path / "w", settings, Machine("cpu", 0, checkpoint_every_s=0))
    (checkpoint,) = tmp_path.glob("w.*.checkpoint")
    done: list[int] = []
    monkeypatch.setattr(module._Fitting, "_loss", lambda self, *args: done.append(self.loop.step) or loss(self, *args))
    assert fit_classifier(dropping, digits, tmp_path / "w", settings, MACHINE) == expected
    assert done == list(range(steps, 12))
    assert same_weights(tmp_path / "w", tmp_path / "whole")
    assert not checkpoint.exists()


def test_a_killed_command_goes_on_from_its_checkpoint(
    start_cli: Callable[..., CommandProcess], run_cli: Cli, own_model: Callable[..., str], tmp_path: Path
) -> None:
    command = (*DIGITS, "--classifier", own_model(), "--epochs", 3, "--batch-size", 32, "--checkpoint-every", 0)
    process = start_cli(*command, "--out", "w", SECONDS_A_BATCH="0.2")
    deadline = time.monotonic() + 100
    while not list(tmp_path.glob("w.*.checkpoint")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=60)
    assert not (tmp_path / "w").exists()
    assert run_cli(*command, "--out", "w").exit_code == 0
    assert run_cli(*command, "--out", "whole").exit_code == 0
    for name, tensor in load_file(tmp_path / "whole").items():  # another process may round otherwise
        torch.testing.assert_close(load_file(tmp_path / "w")[name], tensor, rtol=1e-4, atol=1e-5)


def test_a_checkpoint_of_other_settings_is_not_taken(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit_classifier(RESNET, digits, tmp_path / "whole", SHORT, MACHINE)
    measured = module._Fitting.measured
    monkeypatch.setattr(module._Fitting, "measured", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        fit_classifier(RESNET, digits, tmp_path / "w", replace(SHORT, lr=1e-3), Machine("cpu", 0, 0))
    assert len(list(tmp_path.glob("w.*.checkpoint"))) == 1
    monkeypatch.setattr(module._Fitting, "measured", measured)
    fit_classifier(RESNET, digits, tmp_path / "w", SHORT, MACHINE)
    assert same_weights(tmp_path / "w", tmp_path / "whole")
    assert not list(tmp_path.glob("w.*.checkpoint"))


def test_a_damaged_checkpoint_is_named(digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._Fitting, "measured", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        fit_classifier(RESNET, digits, tmp_path / "w", SHORT, Machine("cpu", 0, 0))
    (checkpoint,) = tmp_path.glob("w.*.checkpoint")
    checkpoint.write_bytes(b"PK not really")
    with pytest.raises(TrustcacheError, match=r"w\.\w+\.checkpoint: .*; remove it"):
        fit_classifier(RESNET, digits, tmp_path / "w", SHORT, MACHINE)


# --- a file that is there already ------------------------------------------------------------------------------


def test_a_finished_fitting_is_only_reported_and_other_settings_are_refused(
    run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (*DIGITS, *SMALL, "--out", "w.safetensors", "--epochs", 1)
    first = run_cli(*command)
    assert first.exit_code == 0, first.output
    written = Path("w.safetensors").stat()  # its time of access changes by reading
    monkeypatch.setattr(module, "_Fitting", lambda *_: pytest.fail("it was fitted again"))
    left = Path("w.safetensors.12345678.checkpoint")  # as a disk leaves it that fails at the last moment
    left.touch()
    assert run_cli(*command).stdout == first.stdout
    assert not left.exists()
    said = fails(run_cli(*command, "--seed", 1, "--augment", "flip-crop"), 2)
    assert all(fact in said for fact in ("--out w.safetensors", "--augment, --seed"))
    now = Path("w.safetensors").stat()
    assert (now.st_ino, now.st_mtime_ns) == (written.st_ino, written.st_mtime_ns)


def test_a_file_of_something_else_is_not_overwritten(run_cli: Cli, classifier_file: Path, tmp_path: Path) -> None:
    save_file(load_file(classifier_file), tmp_path / "plain")
    (tmp_path / "text").write_text("mine")
    (tmp_path / "folder").mkdir()
    for name in ("plain", "text", "folder"):
        said = fails(run_cli(*DIGITS, *SMALL, "--out", name), 2)
        assert f"--out {name}: there already" in said
    assert (tmp_path / "text").read_text() == "mine"


def test_a_damaged_file_is_no_classifier_to_extract_with(run_cli: Cli, classifier_file: Path, tmp_path: Path) -> None:
    """Of its tensors alone no flipped bit could be told."""
    for number, data in enumerate(damaged(classifier_file.read_bytes(), 8, 0)):
        (tmp_path / "net.safetensors").write_bytes(data)
        words = ("--weights", "net.safetensors", "--data", "digits-test", "--as", f"net{number}", "--subset", 2)
        done = run_cli("extract", *SMALL, *words, "--workers", 0)
        assert done.exit_code, number
        assert "net.safetensors" in done.stderr
        assert not (tmp_path / "trustcache-workspace" / "cache" / f"net{number}" / "digits-test" / "00000.h5").exists()


# --- weights to begin with -------------------------------------------------------------------------------------


def test_it_begins_with_given_weights(digits: Dataset, classifier_file: Path, tmp_path: Path) -> None:
    spec = replace(RESNET, weights=str(classifier_file))
    fit_classifier(spec, digits, tmp_path / "w", replace(SHORT, lr=0.0), MACHINE)
    begun, made = load_file(classifier_file), load_file(tmp_path / "w")
    learnt = [name for name in begun if "running" not in name and "tracked" not in name]
    assert all(torch.equal(begun[name], made[name]) for name in learnt)


def test_averaged_weights_to_begin_with_are_a_choice(run_cli: Cli, classifier_file: Path) -> None:
    plain = load_file(classifier_file)
    averaged = {name: tensor * 2 if tensor.is_floating_point() else tensor for name, tensor in plain.items()}
    torch.save({"state_dict": plain, "state_dict_ema": averaged}, "both.pth.tar")
    still = (*DIGITS, *SMALL, "--start", "both.pth.tar", "--epochs", 1, "--lr", 0, "--weight-decay", 0)
    for option, wanted in ((("--no-ema",), plain), ((), averaged)):
        done = run_cli(*still, *option, "--out", f"{len(option)}.safetensors")
        assert done.exit_code == 0, done.output
        assert tells(done.stdout, "--start", "'state_dict_ema' is taken", "--no-ema") is not bool(option)
        made = load_file(f"{len(option)}.safetensors")
        assert torch.equal(made["linear.weight"], wanted["linear.weight"])
    assert tells(fails(run_cli(*still, "--out", "1.safetensors"), 2), "--use-ema")


def test_weights_bring_the_preprocessing_that_they_were_fitted_with(run_cli: Cli) -> None:
    fit = ("--preprocess", "mean=0.1,0.2,0.3", "--preprocess", "crop_pct=1", "--epochs", 1)
    assert run_cli(*DIGITS, *SMALL, *fit, "--out", "w.safetensors").exit_code == 0
    words = ("--weights", "w.safetensors", "--data", "digits-test", "--subset", 20, "--workers", 0)
    done = run_cli("extract", "--classifier", "cifar-resnet8", *words, "--as", "same")
    assert done.exit_code == 0, done.output
    assert tells(done.stdout, "input_size=8,8 crop_pct=1 ", "mean=0.1,0.2,0.3")
    assert "not known" not in done.stdout
    done = run_cli("extract", *SMALL, "--preprocess", "mean=0.5,0.5,0.5", *words, "--as", "other")
    assert tells(done.stdout, "--preprocess mean", "w.safetensors", "mean=0.1,0.2,0.3", "mean=0.5,0.5,0.5")
    assert "--preprocess input_size" not in done.stdout.replace("by --preprocess", "")
    seen = [
        open_cache(f"trustcache-workspace/cache/{name}/digits-test").index.identity.images for name in ("same", "other")
    ]
    assert [images.mean for images in seen] == [(0.1, 0.2, 0.3), (0.5, 0.5, 0.5)]


def test_weights_to_begin_with_show_images_as_they_were_fitted(run_cli: Cli, tmp_path: Path) -> None:
    fit_classifier(RESNET, open_dataset(find_manifests("digits-fit")[0], Path()), tmp_path / "w", SHORT, MACHINE)
    again = (*DIGITS, "--classifier", "cifar-resnet8", "--start", tmp_path / "w", "--epochs", 1)
    assert run_cli(*again, "--out", "v").exit_code == 0
    assert fitted_preprocessing(Path("v")) == fitted_preprocessing(tmp_path / "w") != {}
    assert load_classifier(replace(RESNET, weights="v", preprocessing={})).preprocessing.input_size == (8, 8)
    other = run_cli(*again, "--preprocess", "mean=0.1,0.1,0.1", "--out", "u")
    assert tells(other.stdout, "mean", "w", "fitted with")
    assert fitted_preprocessing(Path("u"))["mean"] == (0.1, 0.1, 0.1)


def test_a_last_layer_for_other_classes_begins_anew(classifier_file: Path, tmp_path: Path) -> None:
    model = new_model(replace(RESNET, weights=str(classifier_file)), 4)
    begun = load_file(classifier_file)
    assert model.state_dict()["linear.weight"].shape == (4, 64)
    kept = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("linear.")}
    assert all(torch.equal(begun[name], tensor) for name, tensor in kept.items())


def test_weights_that_do_not_fit_are_named(run_cli: Cli, classifier_file: Path) -> None:
    command = (*DIGITS, "--classifier", "cifar-resnet14", "--preprocess", "input_size=8", "--out", "w")
    said = fails(run_cli(*command, "--start", classifier_file), 2)
    assert all(fact in said for fact in (f"--start {classifier_file}", "architecture"))
    assert "--start" in fails(run_cli(*command, "--start", "nowhere"), 2)


# --- what cannot be done ---------------------------------------------------------------------------------------


def test_a_loss_that_runs_away_is_named_with_the_remedy(run_cli: Cli) -> None:
    said = fails(run_cli(*DIGITS, *SMALL, "--out", "w", "--optimiser", "sgd", "--lr", "1e20"), 1)
    assert all(fact in said for fact in ("cifar-resnet8", "at step ", "smaller --lr"))
    assert not Path("w").exists()


def test_test_data_are_not_learnt_from(run_cli: Cli) -> None:
    said = fails(run_cli("fit-classifier", "--data", "digits-test", *SMALL, "--out", "w"), 2)
    assert all(fact in said for fact in ("digits-test", "role is 'test'"))


def test_several_data_sets_are_refused(run_cli: Cli) -> None:
    command = ("fit-classifier", "--data", "digits-c/*/5", *SMALL, "--out", "w")
    assert "--data digits-c/*/5: names 5 " in fails(run_cli(*command), 2)


def test_a_model_of_other_classes_is_refused(run_cli: Cli, own_model: Callable[..., str]) -> None:
    own = ("--classifier", own_model(), "--model-arg", "classes=3")
    for model in (own, (*SMALL, "--model-arg", "num_classes=3")):
        said = fails(run_cli(*DIGITS, *model, "--out", "w"), 2)
        assert all(fact in said for fact in ("3 classes", "have 10"))


def test_a_model_that_fails_on_the_images_is_one_sentence(run_cli: Cli, own_model: Callable[..., str]) -> None:
    command = (*DIGITS, "--out", "w", "--classifier")
    said = fails(run_cli(*command, own_model("x @ x")), 1)
    assert all(fact in said for fact in ("images of 8 x 8", "RuntimeError"))
    said = fails(run_cli(*command, "vit_tiny_patch16_224", "--preprocess", "input_size=8"), 1)
    assert "check --preprocess input_size" in said


def test_an_unreadable_image_is_named(run_cli: Cli, image_folder: Callable[..., Path]) -> None:
    data = image_folder({"a": 3, "b": 3})
    (data / "b" / "001.png").write_bytes(b"no image")
    said = fails(run_cli("fit-classifier", "--data", data, *SMALL, "--out", "w", "--workers", 0), 1)
    assert "b/001.png: cannot be read" in said


def test_nothing_left_to_learn_from_is_told(run_cli: Cli, image_folder: Callable[..., Path]) -> None:
    data = image_folder({"a": 1})
    command = ("fit-classifier", "--data", data, *SMALL, "--out", "w", "--val-fraction", 0.9)
    assert "smaller --val-fraction" in fails(run_cli(*command), 2)


def test_what_was_made_can_be_loaded_into_the_same_network(digits: Dataset, tmp_path: Path) -> None:
    fitted = fit_classifier(RESNET, digits, tmp_path / "w", replace(SHORT, val_fraction=0.0), MACHINE)
    assert fitted == Fitted(450, 450, fitted.accuracy, 0, None)
    load_into(new_model(RESNET, 10), load_file(tmp_path / "w"), "w")


def test_a_fitted_classifier_is_not_that_of_other_images_of_equal_size(
    run_cli: Cli, in_tmp_path: Path, manifest_file: Callable[..., Path]
) -> None:
    for number in range(4):
        path = in_tmp_path / f"photos/{number % 2}/{number}.ppm"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number * 20, 0, 0)).save(path)
    manifest = manifest_file("photos", in_tmp_path / "photos", role="train")
    fit = ("fit-classifier", "--classifier", "cifar-resnet8", "--data", manifest, "--preprocess", "input_size=8")
    fit += ("--epochs", 1, "--val-fraction", 0, "--workers", 0, "--device", "cpu", "--out", "fitted.safetensors")
    for _ in range(2):
        assert run_cli(*fit).exit_code == 0
    Image.new("RGB", (8, 8), (0, 99, 0)).save(path)
    assert tells(fails(run_cli(*fit), 2), "--out fitted.safetensors", "--data")
