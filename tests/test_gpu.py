"""On a CUDA device: float32 is float32, and whatever is made again is the same to the bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from typer.testing import Result

from tests.conftest import LABEL, ROOT
from tests.data.test_gpu_decoding import encoded, smooth
from trustcache.cache import open_cache
from trustcache.cache.index import read_index
from trustcache.cache.provenance import original_dataset, original_model
from trustcache.cache.workspace import Workspace
from trustcache.data.dataset import open_dataset
from trustcache.data.gpu_decoding import prepared, require_gpu_decoding
from trustcache.data.known_data import folder_manifest
from trustcache.data.loader import Viewer, viewed_batches
from trustcache.data.pipeline import Waits, fetched
from trustcache.data.variants import recolor
from trustcache.data.variants.attacks import ATTACKS, attack
from trustcache.deploy.trusted import TrustedClassifier
from trustcache.extract.batch_size import USUAL, found_batch_size
from trustcache.extract.in_memory import extract_in_memory
from trustcache.losses import LOSSES, LossChoice
from trustcache.models.building import ModelSpec
from trustcache.models.classifiers import Classifier
from trustcache.models.precision import Repeatable, arithmetic
from trustcache.models.preprocessing import Preprocessing
from trustcache.oracles.backbones import tuned_oracle
from trustcache.oracles.finetune import CHECKPOINT, finetune
from trustcache.oracles.network import Oracle
from trustcache.oracles.optim import Machine
from trustcache.oracles.plan import TrainSettings, plan
from trustcache.oracles.process_group import ALONE, ProcessGroup
from trustcache.oracles.runs import Run, finished_runs, open_run
from trustcache.oracles.training_loop import READ_EVERY
from trustcache.protocols import Optimiser

DEVICE = "cuda"

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

Cli = Callable[..., Result]
CACHE = Path("trustcache-workspace/cache") / LABEL


def shards(data: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (CACHE / data).glob("0*")}


def test_float32_rounds_as_on_the_cpu_and_tf32_does_not() -> None:
    x, convolution = torch.randn(8, 64, 32, 32), torch.nn.Conv2d(64, 64, 3).requires_grad_(False)
    expected, here = convolution(x), x.to(DEVICE)
    convolution.to(DEVICE)
    with arithmetic("float32", here.device):
        torch.testing.assert_close(convolution(here).cpu(), expected, rtol=1e-5, atol=1e-5)
    with arithmetic("tf32", here.device):
        assert (convolution(here).cpu() - expected).abs().max() > 1e-5


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_shards_made_again_have_the_same_bytes(extract_digits: Cli, precision: str) -> None:
    options = ("--device", DEVICE, "--precision", precision, "--features", "stages", "--views", "all", "--workers", 2)
    assert extract_digits(*options).exit_code == 0
    whole = shards("digits-test")
    (CACHE / "digits-test" / "00002.h5").write_bytes(b"damaged")
    assert extract_digits(*options).exit_code == 0
    assert shards("digits-test") == whole


def test_a_gpu_extracts_what_the_cpu_does(workspace: Workspace, extract_digits: Cli) -> None:
    assert extract_digits("--device", DEVICE, name="gpu").exit_code == 0
    ours, theirs = (open_cache(CACHE.parent / name / "digits-test") for name in ("gpu", LABEL))
    np.testing.assert_allclose(ours.logits.astype(float), theirs.logits.astype(float), rtol=2e-3, atol=2e-3)
    np.testing.assert_array_equal(ours.sample_indices, theirs.sample_indices)


@pytest.mark.parametrize("place", ["cpu", DEVICE])
def test_an_extraction_in_memory_says_what_it_says_on_the_cpu(digits_classifier: Classifier, place: str) -> None:
    data = [(image, number % 10) for number, image in enumerate(torch.randn(50, 3, 8, 8, device=place))]
    settings = {"batch_size": 16, "precision": "float32"}
    try:
        ours, theirs = (extract_in_memory(digits_classifier, data, device=each, **settings) for each in (DEVICE, "cpu"))
    finally:
        digits_classifier.model.cpu()
    np.testing.assert_allclose(ours.logits.astype(float), theirs.logits.astype(float), rtol=2e-3, atol=2e-3)
    np.testing.assert_array_equal(ours.labels, theirs.labels)


def test_the_default_precision_is_recorded(extract_digits: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRUSTCACHE_PRECISION")
    native = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    assert f"): {native}, batches of 100" in extract_digits("--device", DEVICE).stdout
    assert read_index(CACHE / "digits-test").meaning.precision == native


def test_batches_come_from_pinned_memory(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[bool] = []
    move = "trustcache.data.loader.Mover.__call__"
    monkeypatch.setattr(move, lambda self, pieces: pinned.extend(p.pixels.is_pinned() for p in pieces) or pieces[0])
    index = workspace.find_cache("test")
    viewer = Viewer(index.identity.preprocessing, torch.device(DEVICE), 1)
    list(viewed_batches(original_dataset(index, Path()), viewer, [np.arange(10), np.arange(10, 20)]))
    assert pinned == [True, True]


def test_no_image_is_overwritten_while_it_is_copied(
    image_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = image_folder({"a": 100, "b": 100}, size=(200, 200))
    dataset = open_dataset(folder_manifest(photos), photos.parent)
    view = Preprocessing((200, 200), 1.0, "center", "bilinear", (0.5,) * 3, (0.5,) * 3)
    monkeypatch.setattr("trustcache.data.decoders._AHEAD", 1)  # as few buffers as may be
    batches = [np.arange(first, first + 40) % 200 for first in range(0, 4000, 40)]
    found = viewed_batches(dataset, Viewer(view, torch.device(DEVICE), 4), batches)
    colours = torch.cat([batch.pixels[:, :, -1, -1].clone() for batch in found])
    spread = torch.cat(
        [batch.pixels for batch in viewed_batches(dataset, Viewer(view, torch.device("cpu"), 0), [np.arange(200)])]
    )
    assert torch.equal(colours.cpu(), spread[:, :, -1, -1].repeat(20, 1))


def test_results_come_in_order_with_their_items_though_a_batch_late() -> None:
    device = torch.device(DEVICE)
    results = ((number, {"x": torch.full((1000, 1000), float(number), device=device)}) for number in range(5))
    found = [(number, set(arrays["x"].flat)) for number, arrays in fetched(results, device, Waits())]
    assert found == [(number, {float(number)}) for number in range(5)]


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_made_again_is_the_same(name: str, digits_classifier: Classifier) -> None:
    images = torch.rand(16, 3, 8, 8, device=DEVICE)
    labels = torch.arange(16, device=DEVICE) % 10
    digits_classifier.model.to(DEVICE)
    try:
        repeat = Repeatable(images.device)

        def made() -> torch.Tensor:
            with arithmetic("float32", images.device):
                return repeat(
                    lambda: attack(name, digits_classifier.logits_of, images, labels, range(16), {"iterations": 20})
                )

        first = made()
        assert all(torch.equal(made(), first) for _ in range(3))
        assert repeat.possible
    finally:
        digits_classifier.model.cpu()


def test_the_gradient_of_recolors_map_is_the_cpus() -> None:
    luv, shifts, pull = torch.rand(4, 3, 40, 40), torch.randn(4, 3, *recolor.GRID), torch.randn(4, 3, 40, 40)
    found = []
    for device in ("cpu", DEVICE, DEVICE):
        x = shifts.to(device).requires_grad_()
        with arithmetic("float32", x.device):
            found.append(torch.autograd.grad(recolor.moved(luv.to(device), x), x, pull.to(device))[0].cpu())
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-4)
    assert torch.equal(found[1], found[2])


@pytest.mark.parametrize("name", ["pgd-linf", "recolor"])
def test_a_tuned_oracle_scores_images_attacked_on_the_same_gpu(
    workspace: Workspace, run_cli: Cli, extract_digits: Cli, tmp_path: Path, name: str
) -> None:
    known = (ROOT / "data_manifests" / "digits-pgd.toml").read_text(encoding="utf-8")
    data = tmp_path / "attacked.toml"
    data.write_text(known.replace("digits-pgd", "attacked").replace("pgd-linf", name), encoding="utf-8")
    assert extract_digits("--data", data, "--device", DEVICE, name="gpu").exit_code == 0
    assert extract_digits("--data", "digits-train", "--device", DEVICE, name="gpu").exit_code == 0
    options = ("--epochs", 1, "--workers", 0, "--device", DEVICE, "--classifier", "gpu")
    done = run_cli("train", "--loss", "ce", *options)
    assert done.exit_code == 0, done.stderr
    (run,) = finished_runs(workspace)
    (index,) = (index for index in workspace.caches() if index.data == "attacked")
    assert np.isfinite(run.scores(index)).all()


def tuned_on_gpu(run_cli: Cli, extract_digits: Cli, *data: object) -> None:
    """Extract digits-train and other data on the GPU as `gpu`, and tune an oracle for it there."""
    options = ("--device", DEVICE, "--data", "digits-train", "--subset", 200)
    extracted = extract_digits(*options, *data, name="gpu")
    assert extracted.exit_code == 0, extracted.stderr
    tune = ("--epochs", 1, "--workers", 0, "--device", DEVICE, "--classifier", "gpu")
    trained = run_cli("train", "--loss", "ce", *tune)
    assert trained.exit_code == 0, trained.stderr


def test_kept_images_made_on_a_gpu_are_scored_on_the_cpu_without_an_attack(
    workspace: Workspace, run_cli: Cli, extract_digits: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned_on_gpu(run_cli, extract_digits, "--data", "digits-pgd", "--keep-images")
    (run,) = finished_runs(workspace)
    index = workspace.find_cache("test", "gpu", "digits-pgd")
    on_gpu = run.scores(index)
    run.scores_path(index).unlink()
    monkeypatch.setattr("trustcache.data.variants.attacks.attack", None)
    done = run_cli("evaluate", "--workers", 0, "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    np.testing.assert_allclose(run.scores(index), on_gpu, rtol=1e-3, atol=1e-3)


def test_a_damaged_shard_and_damaged_images_of_an_attack_are_mended_to_the_same_bytes(
    run_cli: Cli, extract_digits: Cli
) -> None:
    options = ("--data", "digits-pgd", "--keep-images", "--subset", 200, "--device", DEVICE)
    assert extract_digits(*options).exit_code == 0
    whole = {path.name: path.read_bytes() for path in (CACHE / "digits-pgd").glob("*0*")}
    (CACHE / "digits-pgd" / "00000.h5").write_bytes(b"damaged")
    (CACHE / "digits-pgd" / "images-00000100.safetensors").unlink()
    mended = extract_digits(*options)
    assert mended.exit_code == 0, mended.stderr
    assert {path.name: path.read_bytes() for path in (CACHE / "digits-pgd").glob("*0*")} == whole


def test_scores_made_again_are_the_same(workspace: Workspace, run_cli: Cli, extract_digits: Cli) -> None:
    tuned_on_gpu(run_cli, extract_digits)
    frozen = run_cli("train", "--frozen", "--loss", "ce", "--epochs", 2, "--device", DEVICE, "--classifier", "gpu")
    assert frozen.exit_code == 0, frozen.stderr
    index, runs = workspace.find_cache("test", "gpu"), finished_runs(workspace)
    assert {run.config.training for run in runs} == {"frozen", "fine-tuned"}
    first = [run.scores(index) for run in runs]
    for run in runs:
        run.scores_path(index).unlink()
    done = run_cli("evaluate", "--workers", 0, "--device", DEVICE)
    assert done.exit_code == 0, done.stderr
    for run, z in zip(runs, first, strict=True):
        np.testing.assert_array_equal(run.scores(index), z)


def test_heads_trained_again_are_the_same(workspace: Workspace, run_cli: Cli) -> None:
    request = ("train", "--frozen", "--loss", "ce,ss", "--epochs", 3, "--device", DEVICE)
    weights = []
    for _ in range(2):
        done = run_cli(*request)
        assert done.exit_code == 0, done.stderr
        weights.append([run.weights() for run in finished_runs(workspace)])
        shutil.rmtree(workspace.runs)
    for first, again in zip(*weights, strict=True):
        assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("training", ["frozen", "fine-tuned"])
def test_predict_on_a_gpu_says_what_it_says_on_the_cpu(
    with_runs: Workspace, run_cli: Cli, digit_files: Path, training: str
) -> None:
    (run,) = (run for run in finished_runs(with_runs) if run.config.training == training)
    answers = []
    for device in (DEVICE, "cpu"):
        done = run_cli("predict", run.name, digit_files, "--device", device)
        assert done.exit_code == 0, done.stderr
        answers.append([json.loads(line) for line in done.stdout.splitlines()])
    on_gpu, on_cpu = answers
    assert [answer["path"] for answer in on_gpu] == [answer["path"] for answer in on_cpu]
    np.testing.assert_allclose(*([a["score"] for a in those] for those in answers), rtol=1e-3, atol=1e-3)


def tuned(workspace: Workspace, every_s: float = 60.0, precision: str = "float32") -> Run:
    index = workspace.find_cache("train")
    oracle = tuned_oracle(workspace, index, None, "equations")
    settings = TrainSettings(False, Optimiser("sgd", epochs=2, batch_size=64, lr=0.02, momentum=0.9), (0,))
    (config,) = plan(index, oracle, [LossChoice("ss", dict(LOSSES["ss"].defaults))], settings).configs
    run, machine = open_run(workspace, replace(config, precision=precision)), Machine(DEVICE, 0, every_s)
    finetune([run], original_model(index), original_dataset(index, Path()), open_cache(index.folder), machine)
    return run


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_resumed_fine_tuning_ends_where_the_uninterrupted_one_ends(
    workspace: Workspace, in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    whole = tuned(workspace, precision=precision)
    expected, log = whole.weights(), whole.log()
    (whole.folder / "weights.safetensors").unlink()
    original, left = Oracle.forward, iter(range(READ_EVERY + 1))  # a checkpoint follows a look at the losses

    def forward(oracle: Oracle, x: torch.Tensor) -> torch.Tensor:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return original(oracle, x)

    with monkeypatch.context() as stopped:
        stopped.setattr(Oracle, "forward", forward)
        with pytest.raises(KeyboardInterrupt):
            tuned(workspace, 0, precision)
    assert (whole.folder / CHECKPOINT).is_file()
    resumed = tuned(workspace, precision=precision)
    assert resumed.log() == log
    for name, tensor in resumed.weights().items():
        assert torch.equal(tensor, expected[name]), name


def test_a_network_that_processes_share_takes_the_steps_of_one_alone(tmp_path: Path) -> None:
    def stepped(group: ProcessGroup) -> tuple[nn.Module, dict[str, torch.Tensor]]:
        torch.manual_seed(0)
        spec = ModelSpec("cifar-resnet8", preprocessing={"input_size": (8, 8)})
        oracle = Oracle(spec, False, 0, pretrained=False).to(DEVICE)
        network, sgd = group.shared(oracle), torch.optim.SGD(oracle.parameters(), 0.02, momentum=0.9)
        with arithmetic("float32", torch.device(DEVICE)):
            for images in torch.rand(4, 17, 3, 8, 8, device=DEVICE):
                sgd.zero_grad()
                F.softplus(network(images)).mean().backward()
                sgd.step()
        return network, {name: tensor.cpu() for name, tensor in oracle.state_dict().items()}

    _, alone = stepped(ALONE)
    dist.init_process_group("nccl", init_method=(tmp_path / "meet").as_uri(), rank=0, world_size=1)
    try:  # one of two, as far as it knows; NCCL takes a GPU for one process only
        network, shared = stepped(ProcessGroup(0, 2))
        assert isinstance(network, DistributedDataParallel)
        assert any(isinstance(module, nn.SyncBatchNorm) for module in network.modules())
        del network  # must not outlive the group
    finally:
        dist.destroy_process_group()
    for name, tensor in alone.items():
        torch.testing.assert_close(shared[name], tensor, rtol=1e-4, atol=1e-5)


def test_an_images_score_does_not_depend_on_the_images_beside_it(runs_workspace: Workspace, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(20)]
    files = [tmp_path / f"{number}.png" for number in range(20)]
    for file, image in zip(files, images, strict=True):
        image.save(file)
    trusted = TrustedClassifier.load(runs_workspace.root, f"{LABEL}-ce-frozen", device=DEVICE)
    together = [answer.score for answer in trusted(images)]
    assert [answer.score for answer in trusted(images[::-1])][::-1] == together
    assert [answer.score for image in images for answer in trusted([image])] == together
    assert [answer.score for answer in trusted(iter(images), ahead=2)] == together
    for workers in (0, 2):
        assert [answer.score for answer in trusted.of_files(files * 7, workers=workers)] == together * 7
    small = [answer.score for answer in trusted(images, batch_size=3, ahead=1)]
    np.testing.assert_allclose(small, together, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("format", "file", "package"), [("torch", "net.pt2", "torch"), ("onnx", "net.onnx", "onnxscript")]
)
def test_a_run_of_a_gpu_is_exported(
    workspace: Workspace, run_cli: Cli, extract_digits: Cli, format: str, file: str, package: str
) -> None:
    pytest.importorskip(package)
    assert extract_digits("--data", "digits-train", "--device", DEVICE, name="gpu").exit_code == 0
    trained = run_cli("train", "--loss", "ce", "--frozen", "--epochs", 1, "--device", DEVICE, "--classifier", "gpu")
    assert trained.exit_code == 0, trained.stderr
    (run,) = finished_runs(workspace)
    done = run_cli("export", run.name, "--format", format, "--output", file)
    assert done.exit_code == 0, done.stderr


def test_jpegs_decoded_on_the_gpu_are_pillows_but_for_rounding(tmp_path: Path) -> None:
    for number, options in enumerate([{}, {"progressive": True}, {"quality": 95}]):
        (tmp_path / "photos" / "a").mkdir(parents=True, exist_ok=True)
        smooth(300, 400, number).save(tmp_path / "photos" / "a" / f"{number}.jpg", **options)
    (tmp_path / "photos" / "a" / "3.jpg").write_bytes(encoded(smooth(300, 300))[:900])
    dataset = open_dataset(folder_manifest(tmp_path / "photos"), tmp_path)
    view = Preprocessing((96, 96), 0.9, "center", "bicubic", (0.5,) * 3, (0.5,) * 3)
    require_gpu_decoding(torch.device(DEVICE), view)
    found = {
        decode: next(viewed_batches(dataset, Viewer(view, torch.device(DEVICE), 0, decode=decode), [np.arange(4)]))
        for decode in ("pil", "gpu", "gpu")
    }
    assert found["gpu"].bad.keys() == found["pil"].bad.keys() == {3}
    assert found["gpu"].pixels.device.type == DEVICE
    apart = (found["gpu"].pixels.int() - found["pil"].pixels.int()).abs().float()
    assert apart.mean() < 2


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_images_are_resized_together_as_they_are_alone(interpolation: str) -> None:
    view = Preprocessing((96, 96), 0.9, "center", interpolation, (0.5,) * 3, (0.5,) * 3)
    images = torch.randint(0, 256, (5, 3, 130, 151), dtype=torch.uint8, device=DEVICE)
    alone = torch.cat([prepared(image[None], view) for image in images])
    assert torch.equal(prepared(images, view), alone)


def test_a_cache_of_images_decoded_on_the_gpu_is_the_same_when_made_again(
    run_cli: Cli, own_model: Callable[..., str], tmp_path: Path
) -> None:
    for label in range(10):
        (tmp_path / "large" / str(label)).mkdir(parents=True)
        smooth(300, 300, label).save(tmp_path / "large" / str(label) / "0.jpg")
    args = ("extract", "--classifier", own_model(), "--data", tmp_path / "large", "--as", "m", "--device", DEVICE)
    for place in ("first", "second"):
        done = run_cli(*args, "--decode", "gpu", "--workspace", place)
        assert done.exit_code == 0, done.stderr
    first, second = (Path(place, "cache", "m", "large", "00000.h5").read_bytes() for place in ("first", "second"))
    assert first == second


def test_a_batch_size_is_found_and_kept(digits_classifier: Classifier) -> None:
    def forward(size: int) -> None:
        torch.zeros(size, 1 << 20, device=DEVICE).sum()

    assert found_batch_size(forward, 10**6, torch.device(DEVICE)) >= USUAL
