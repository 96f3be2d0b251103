"""Exported files: one graph that says what the run says, for any number of images, and what belongs to it beside it."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image

from tests.refusals import tells
from trustcache import TrustedClassifier
from trustcache.cache.records import read_record
from trustcache.cache.workspace import Workspace
from trustcache.deploy import export as exporting
from trustcache.deploy.description import Description
from trustcache.deploy.scorers import find_scorer
from trustcache.models.preprocessing import Preprocessing

RunCli = Callable[..., Result]
Run = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
FROZEN, TUNED = "digits-net-ce-frozen", "digits-net-ce-fine-tuned"


def run_torch(path: Path) -> Run:
    module = torch.export.load(path).module()
    return lambda images: tuple(out.numpy() for out in module(torch.from_numpy(images)))


def run_onnx(path: Path) -> Run:
    session = pytest.importorskip("onnxruntime").InferenceSession(path)
    return lambda images: tuple(session.run(["logits", "score"], {"images": images}))


@pytest.mark.parametrize("name", [FROZEN, TUNED])
@pytest.mark.parametrize(("format", "suffix", "run"), [("torch", "pt2", run_torch), ("onnx", "onnx", run_onnx)])
def test_the_file_alone_says_what_the_run_says(
    with_runs: Workspace, run_cli: RunCli, digit_files: Path, name: str, format: str, suffix: str, run: Callable
) -> None:
    if format == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    run_cli("calibrate", name, "--data", "digits-test", "--coverage", 0.7)
    done = run_cli("export", name, "--format", format)
    assert done.exit_code == 0, done.stderr
    path, beside = map(Path, done.stdout.split())
    assert path.name.startswith(name)
    assert (path.suffix, beside.name) == (f".{suffix}", f"{path.name}.json")

    files = sorted(digit_files.iterdir())[:40]
    answers = list(TrustedClassifier.load(with_runs.root, name, device="cpu")(files))
    described = json.loads(beside.read_text())
    images = np.stack([np.asarray(Image.open(file).convert("RGB")).transpose(2, 0, 1) for file in files])
    assert (images.dtype.name, ["N", *images.shape[1:]]) == (described["input"]["dtype"], described["input"]["shape"])
    graph = run(path)
    if format == "torch":  # onnxruntime refuses a batch of no images before its release 1.32
        assert [outputs.shape for outputs in graph(images[:0])] == [(0, 10), (0,)]
    for batch in (1, 7, 40):
        logits, score = graph(images[:batch])
        assert (logits.dtype, score.dtype) == (np.float32, np.float32)
        # Predictions round the classifier's outputs to float16, as the cache does; a graph does not.
        np.testing.assert_allclose(score, [a.score for a in answers[:batch]], atol=5e-3)
        named = [described["classes"][number] for number in logits.argmax(axis=1)]
        assert named == [a.class_name for a in answers[:batch]]
        assert (score > described["threshold"]).tolist() == [a.trusted for a in answers[:batch]]
        odds = np.exp(logits.astype(float))
        np.testing.assert_allclose((odds.max(1) / odds.sum(1)), [a.probability for a in answers[:batch]], atol=1e-4)


def test_what_belongs_to_the_file_lies_beside_it(with_runs: Workspace, run_cli: RunCli, tmp_path: Path) -> None:
    assert run_cli("export", FROZEN, "--format", "torch", "--output", tmp_path / "out" / "x.pt2").exit_code == 0
    first = json.loads((tmp_path / "out" / "x.pt2.json").read_text())
    assert first["classes"] == list("0123456789")
    assert (first["threshold"], first["trusted"], first["calibration"]) == (0, "score > threshold", None)
    assert "8 x 8 pixels are just covered" in first["resize"]["rule"]
    assert first["checked"]["images"] == "16 of digits-train"
    assert first["checked"]["largest_difference"] <= 1e-4
    assert first["graph_sha256"] == hashlib.sha256((tmp_path / "out" / "x.pt2").read_bytes()).hexdigest()
    run_cli("calibrate", FROZEN, "--data", "digits-test", "--max-risk", 0.2, "--delta", 0.1)
    run_cli("export", FROZEN, "--format", "torch", "--output", tmp_path / "out" / "x.pt2")
    second = json.loads((tmp_path / "out" / "x.pt2.json").read_text())
    assert second["threshold"] == second["calibration"]["point"]["threshold"] != 0
    described = read_record(tmp_path / "out" / "x.pt2.json", Description, "export again")
    assert described.calibration == find_scorer(with_runs, FROZEN).threshold()
    assert second["schema"] == Description.SCHEMA
    assert "with confidence 0.9 at most 20 %" in second["calibration"]["guarantee"]


@pytest.mark.parametrize("output", ["logits", "score"])
def test_a_graph_that_says_something_else_is_not_written(
    with_runs: Workspace, run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    right = exporting.FORMATS["torch"]

    def wrong_in_batches(data: bytes) -> exporting.Graph:
        graph = right.open(data)

        def run(images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
            logits, score = graph(images)
            shift = 0.002 * (np.arange(len(score)) > 0).astype(np.float32)  # the first image is right
            return (logits + shift[:, None], score) if output == "logits" else (logits, score + shift)

        return run

    monkeypatch.setitem(exporting.FORMATS, "torch", replace(right, open=wrong_in_batches))
    refused = run_cli("export", FROZEN, "--format", "torch", "--output", tmp_path / "x.pt2")
    assert refused.exit_code == 1
    assert tells(refused.stderr, f"its {output} differ", "0.002")
    assert not list(tmp_path.glob("x*"))


@pytest.fixture
def run_of(run_cli: RunCli, own_model: Callable[..., str], image_folder: Callable[..., Path]) -> Callable[[str], Path]:
    """`run_of("torch.arange(10.0)")`: trains `own-ce-…`, which judges an own model of such logits; gives its images."""

    def make(logits: str) -> Path:
        photos = image_folder({str(label): 4 for label in range(10)})
        images = ("--data", photos, "--role", "train", "--workers", 0)
        assert run_cli("extract", "--classifier", own_model(logits), "--as", "own", *images).exit_code == 0
        assert run_cli("train", "--frozen", "--loss", "ce", "--classifier", "own", "--epochs", 1).exit_code == 0
        return photos

    return make


def test_images_that_are_gone_leave_random_ones_to_check_with(
    with_runs: Workspace, run_cli: RunCli, run_of: Callable[[str], Path], tmp_path: Path
) -> None:
    shutil.rmtree(run_of("x * 0.1 + torch.arange(10.0, device=x.device)"))
    done = run_cli("export", "own-ce", "--format", "torch", "--output", tmp_path / "x.pt2")
    assert done.exit_code == 0, done.stderr
    described = json.loads((tmp_path / "x.pt2.json").read_text())
    assert described["checked"]["images"] == "16 random ones"
    assert described["classes"] == list("0123456789")  # the folders' names, which the cache kept


def test_a_model_that_cannot_be_traced_is_named(
    with_runs: Workspace, run_cli: RunCli, run_of: Callable[[str], Path]
) -> None:
    run_of("x * (1 if float(x.sum()) > 0 else 2) + torch.arange(10.0, device=x.device)")
    refused = run_cli("export", "own-ce", "--format", "torch")
    assert refused.exit_code == 1
    assert tells(refused.stderr, "own-ce", "exported as torch", "--format")
    assert len(refused.stderr.strip().splitlines()) == 1


def test_what_is_missing_or_meaningless_is_said(
    with_runs: Workspace, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = run_cli("export", "mcp")
    assert refused.exit_code == 2
    assert "mcp: needs no export" in refused.stderr
    assert "knn: is computed outside" in run_cli("export", "knn").stderr
    for module in ("onnx", "onnxscript", "onnxruntime"):
        monkeypatch.setitem(sys.modules, module, None)
    refused = run_cli("export", FROZEN, "--format", "onnx")
    assert refused.exit_code == 2
    assert tells(refused.stderr, "--format onnx", "pip install 'trustcache[export]'", "--format torch")


@pytest.mark.parametrize(
    ("mode", "pct", "said"),
    [
        (
            "center",
            0.875,
            "resize so that 73 x 54 pixels are just covered, proportions kept (bicubic, antialiased); then crop",
        ),
        ("squash", 1.0, "resize to 64 x 48 pixels (height x width) whatever the proportions"),
        (
            "border",
            0.5,
            "resize to fit into 128 x 96 pixels (bicubic, antialiased), add borders in the mean colour; then",
        ),
    ],
)
def test_the_rule_in_words_is_what_the_transform_does(mode: str, pct: float, said: str) -> None:
    preprocessing = Preprocessing((64, 48), pct, mode, "bicubic", (0.5,) * 3, (0.5,) * 3)
    rule = exporting.resize_rule(preprocessing)
    assert rule.startswith(said)
    assert rule.endswith("crop the central 64 x 48")
