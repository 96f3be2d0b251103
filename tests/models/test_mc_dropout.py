"""MC dropout: the entropy of what a classifier says with dropout on, by sample and seed alone."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import timm
import torch
from torch import nn
from typer.testing import Result

from tests.fake_gpu import watched
from tests.refusals import tells
from trustcache.cache import CacheView, open_cache
from trustcache.errors import UsageError
from trustcache.models.building import ModelSpec
from trustcache.models.classifiers import Classifier
from trustcache.models.identity import McDropout
from trustcache.models.mc_dropout import negative_predictive_entropy, require_dropout

Cli = Callable[..., Result]
CACHE = Path("trustcache-workspace/cache/m/digits-test")

DROPPING = """
import torch


class Model(torch.nn.Module):
    pretrained_cfg = {"input_size": (3, 8, 8), "mean": (0, 0, 0), "std": (1, 1, 1), "crop_pct": 1.0}

    def __init__(self, rate):
        super().__init__()
        self.dropout = torch.nn.Dropout(rate)
        self.norm = torch.nn.BatchNorm1d(10)
        self.last = torch.nn.Linear(10, 10, bias=False)
        torch.nn.init.eye_(self.last.weight)

    def forward(self, pixels):
        return self.last(4 * self.norm(self.dropout(pixels.flatten(1)[:, 16:186:17])))


def build(rate=0.5):
    return Model(rate)
"""


@pytest.fixture
def extract_dropping(run_cli: Cli, in_tmp_path: Path) -> Cli:
    """`extract_dropping("--mc-dropout", 5)`: digits-test, four shards, by a model with dropout."""
    name = f"dropping_{in_tmp_path.name}".replace("-", "_")
    (in_tmp_path / f"{name}.py").write_text(DROPPING, encoding="utf-8")
    sys.modules.pop(name, None)
    model = ("--classifier", f"{name}:build", "--as", "m", "--data", "digits-test", "--workers", 0, "--shard-rows", 200)
    return lambda *options: run_cli("extract", *model, *options)


def extracted(result: Result, folder: Path = CACHE) -> CacheView:
    assert result.exit_code == 0, result.output
    return open_cache(folder)


class OneUnit(nn.Module):
    """Two classes with logits (3, 0) where its one unit stays (doubled by dropout), else (0, 0)."""

    def __init__(self, dropout: nn.Module) -> None:
        super().__init__()
        self.dropout = dropout
        self.last = nn.Linear(1, 2)
        self.last.weight.data = torch.tensor([[1.5], [0.0]])
        self.last.bias.data.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.dropout(torch.ones(len(x), 1, *[2] * self.spatial, dtype=x.dtype)).flatten(1)[:, :1])

    spatial = 0


@pytest.mark.parametrize(("layer", "spatial"), [(nn.Dropout(0.5), 0), (nn.Dropout2d(0.5), 2)])
def test_it_is_the_negative_entropy_of_the_mean_softmax(layer: nn.Module, spatial: int) -> None:
    model = OneUnit(layer)
    model.spatial = spatial
    classifier = Classifier(ModelSpec("one-unit"), model)
    pixels = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)
    found = negative_predictive_entropy(classifier, pixels, np.arange(3), McDropout(passes=4000))
    p = (1 / (1 + math.exp(-3)) + 0.5) / 2
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, p * math.log(p) + (1 - p) * math.log(1 - p), atol=0.01)


def test_alike_images_of_other_numbers_drop_other_units() -> None:
    classifier = Classifier(ModelSpec("one-unit"), OneUnit(nn.Dropout(0.5)))
    pixels = torch.zeros(40, 3, 4, 4, dtype=torch.uint8)
    found = negative_predictive_entropy(classifier, pixels, np.arange(40), McDropout(passes=9))
    assert len(found.unique()) > 3
    again = negative_predictive_entropy(classifier, pixels[:2], np.array([7, 3]), McDropout(passes=9))
    torch.testing.assert_close(again, found[[7, 3]])


def test_it_asks_no_double_precision_of_apples_gpus() -> None:
    def classifier(pixels: torch.Tensor) -> tuple[torch.Tensor]:
        return (nn.functional.dropout(pixels.mean((2, 3)), 0.5),)

    classifier.num_classes = 3  # type: ignore[attr-defined]
    with watched() as watch:
        pixels = torch.empty(2, 3, 8, 8, device="mps")
        found = negative_predictive_entropy(classifier, pixels, np.arange(2), McDropout(2, 0))  # type: ignore[arg-type]
    assert (found.device.type, watch.doubles) == ("mps", [])


def test_a_channel_is_dropped_as_a_whole_and_an_activation_alone() -> None:
    zeros = {}
    for layer in (nn.Dropout(0.5), nn.Dropout2d(0.5)):
        model = nn.Sequential(nn.Conv2d(3, 8, 1), layer, nn.Flatten(), nn.Linear(8 * 4 * 4, 2))
        model[0].weight.data.zero_()
        model[0].bias.data.fill_(1)
        model.pretrained_cfg = {"input_size": (3, 4, 4)}
        seen = []
        model[2].register_forward_pre_hook(lambda module, inputs, seen=seen: seen.append(inputs[0]))
        classifier = Classifier(ModelSpec("conv"), model)
        negative_predictive_entropy(
            classifier, torch.zeros(50, 3, 4, 4, dtype=torch.uint8), np.arange(50), McDropout(1)
        )
        assert set(seen[0].unique().tolist()) == {0.0, 2.0}
        zeros[type(layer)] = (seen[0] == 0).float().mean((2, 3))
    assert set(zeros[nn.Dropout2d].unique().tolist()) == {0.0, 1.0}
    assert len(zeros[nn.Dropout].unique()) > 2


def test_a_sample_s_score_does_not_depend_on_what_is_scored_with_it(extract_dropping: Cli) -> None:
    made = [
        extracted(
            extract_dropping("--mc-dropout", 7, "--batch-size", size, "--workspace", f"{size}"),
            Path(f"{size}/cache/m/digits-test"),
        ).mc_dropout
        for size in (1, 30, 200)
    ]
    assert made[0] is not None
    assert made[0].shape == (647,)
    assert made[0].dtype == np.float32
    assert np.unique(made[0]).size > 600
    for other in made[1:]:
        np.testing.assert_allclose(other, made[0], atol=1e-6)


def test_only_the_new_column_differs_and_dropout_is_off_again(extract_dropping: Cli) -> None:
    plain = extracted(extract_dropping("--workspace", "plain"), Path("plain/cache/m/digits-test"))
    asked = extracted(extract_dropping("--mc-dropout", 3))
    with pytest.raises(UsageError, match=r"without mc_dropout.*--mc-dropout"):
        _ = plain.mc_dropout
    np.testing.assert_array_equal(plain.logits, asked.logits)
    np.testing.assert_array_equal(plain.true_class_prob, asked.true_class_prob)
    assert (asked.mc_dropout <= 0).all()
    assert plain.index.meaning.mc_dropout is None


def test_the_seed_decides_and_is_pinned_with_the_passes(extract_dropping: Cli) -> None:
    first = extracted(extract_dropping("--mc-dropout", 3)).mc_dropout
    again = extracted(extract_dropping("--mc-dropout", 3, "--workspace", "2"), Path("2/cache/m/digits-test")).mc_dropout
    other = extracted(
        extract_dropping("--mc-dropout", 3, "--mc-seed", 1, "--workspace", "3"), Path("3/cache/m/digits-test")
    ).mc_dropout
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert tells(extract_dropping("--mc-dropout", 4).stderr, "mc_dropout.passes", "3", "4")
    assert tells(extract_dropping("--mc-dropout", 3, "--mc-seed", 1).stderr, "mc_dropout.seed", "0", "1")
    refused = extract_dropping()
    assert refused.exit_code == 2
    assert tells(refused.stderr, "mc_dropout", "{'passes': 3, 'seed': 0}", "None")


def test_a_shard_that_is_made_again_is_the_same(extract_dropping: Cli) -> None:
    extracted(extract_dropping("--mc-dropout", 3))
    before = (CACHE / "00001.h5").read_bytes()
    (CACHE / "00001.h5").unlink()
    extracted(extract_dropping("--mc-dropout", 3))
    assert (CACHE / "00001.h5").read_bytes() == before


def test_a_classifier_without_dropout_is_refused(extract_dropping: Cli, extract_digits: Cli) -> None:
    for result in (extract_digits("--mc-dropout", 3), extract_dropping("--mc-dropout", 3, "--model-arg", "rate=0")):
        assert result.exit_code == 2
        assert "no dropout" in result.stderr
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    linear.pretrained_cfg = {"input_size": (3, 1, 1)}  # type: ignore[assignment]
    with pytest.raises(UsageError, match="no dropout"):
        require_dropout(Classifier(ModelSpec("linear"), linear))


class OverTokens(nn.Module):
    """Drops from (tokens, images, 3), or from a position embedding (1, tokens, 3)."""

    pretrained_cfg: ClassVar = {"input_size": (3, 4, 4)}

    def __init__(self, embedding: bool) -> None:
        super().__init__()
        self.embedding, self.dropout, self.last = embedding, nn.Dropout(0.5), nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(2).permute(2, 0, 1)
        dropped = tokens + self.dropout(torch.ones(1, 1, 3)) if self.embedding else self.dropout(tokens)
        return self.last(dropped.mean(0))


@pytest.mark.parametrize("embedding", [False, True])
def test_dropout_along_another_axis_than_the_images_is_refused(embedding: bool) -> None:
    classifier = Classifier(ModelSpec("over-tokens"), OverTokens(embedding))
    with pytest.raises(UsageError, match=r"--mc-dropout: .*first axis"):
        require_dropout(classifier)


def test_dropout_that_a_network_calls_as_a_function_drops_too() -> None:
    """timm's EfficientNet and MobileNet have no layer for it."""
    torch.manual_seed(0)
    model = timm.create_model("mobilenetv2_035", drop_rate=0.5, num_classes=3)
    classifier = Classifier(ModelSpec("m", preprocessing={"input_size": (32, 32)}), model)
    require_dropout(classifier)
    pixels = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    features = classifier(pixels)[1]
    seen: list[torch.Tensor] = []
    hook = classifier.model.classifier.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    negative_predictive_entropy(classifier, pixels, np.arange(4), McDropout(200))
    hook.remove()
    dropped = torch.stack(seen)
    assert ((dropped == 0) | torch.isclose(dropped, 2 * features, atol=1e-6)).all()
    alive = features.abs() > 1e-3
    assert ((dropped == 0).float().mean(0)[alive] - 0.5).abs().max() < 0.2
    torch.testing.assert_close(classifier(pixels)[1], features)


def test_a_seed_without_passes_is_refused(extract_dropping: Cli) -> None:
    result = extract_dropping("--mc-seed", 3)
    assert result.exit_code == 2
    assert tells(result.stderr, "error: --mc-seed: ", "--mc-dropout")


def test_a_shard_of_unreadable_images_has_an_empty_column(
    extract_dropping: Cli, image_folder: Callable[..., Path], run_cli: Cli
) -> None:
    photos = image_folder({str(digit): 2 for digit in range(10)})
    for path in (photos / "0").iterdir():
        path.write_bytes(b"no image")
    work = ("--data", photos, "--subset", 20, "--shard-rows", 2, "--on-bad-image", "skip", "--mc-dropout", 2)
    cache = extracted(extract_dropping(*work), Path("trustcache-workspace/cache/m/photos"))
    assert len(cache) == len(cache.mc_dropout) == 18


def test_the_report_shows_it_where_a_cache_has_it(extract_dropping: Cli, extract_digits: Cli, run_cli: Cli) -> None:
    cache = extracted(extract_dropping("--mc-dropout", 5))
    assert extract_digits().exit_code == 0
    assert run_cli("report").exit_code == 0
    records = json.loads(Path("trustcache-workspace/report/results.json").read_text())
    (record,) = [r for r in records if r["method"] == "mc-dropout"]
    assert record["classifier"] == "m"
    assert record["metrics"]["tpr"] is None
    refused = run_cli("predict", "mc-dropout", "x.png", "--classifier", "m")
    assert refused.exit_code == 2
    z = cache.mc_dropout
    right, wrong = z[cache.correct], z[~cache.correct]
    wins = (right[:, None] > wrong).mean() + (right[:, None] == wrong).mean() / 2
    assert record["metrics"]["auc"] == pytest.approx(wins)
    assert {r["classifier"] for r in records if r["method"] == "mcp"} == {"m", "digits-net"}
