"""What a classifier's output is, is found before the work: logits of its last layer, or something to be told of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import Result

from tests.documented_tables import DocumentedTable
from tests.models.test_programs import allowed, exported, scripted
from tests.refusals import refusal_of, tells
from trustcache.cache import open_cache
from trustcache.extract.settings import ExtractSettings
from trustcache.models.building import ModelSpec
from trustcache.models.classifiers import Classifier, load_classifier
from trustcache.models.identity import Reading
from trustcache.models.probing import probed

Cli = Callable[..., Result]


TABLE = DocumentedTable("classifiers.md", "Is it really a classifier?")


class Net(nn.Module):
    """Features of 8 x 8 images, a last layer, and what follows it."""

    pretrained_cfg = {"input_size": (3, 8, 8), "mean": (0.5,) * 3, "std": (0.5,) * 3}  # noqa: RUF012

    def __init__(self, after: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.fc, self.after = nn.Linear(192, 16), nn.Linear(16, 5), after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.fc(self.body(x.flatten(1)).relu()))


def lines(after: Callable[[torch.Tensor], torch.Tensor], outputs: str = "logits") -> list[str]:
    return list(probed(Classifier(ModelSpec("net", reading=Reading(outputs=outputs)), Net(after))))


def test_how_images_are_seen_is_one_line() -> None:
    (line,) = lines(lambda x: x)
    assert tells(line, "input_size=8,8", "mean=0.5,0.5,0.5", "std=0.5,0.5,0.5")
    assert "assumed" not in line


@TABLE.row("output = last layer's (or its log-softmax)")
def test_logits_up_to_a_constant_are_logits() -> None:
    assert len(lines(lambda x: x.log_softmax(1))) == 1


@TABLE.row("rows that sum to 1", "sigmoids of the last layer")
def test_probabilities_and_sigmoids_are_refused() -> None:
    said = refusal_of(lambda: lines(lambda x: x.softmax(1)))
    assert tells(said, "net", "probabilities", "--outputs probabilities")
    assert "sigmoid" in refusal_of(lambda: lines(torch.sigmoid))
    assert "--outputs probabilities" in refusal_of(lambda: lines(lambda x: x, outputs="probabilities"))
    assert len(lines(lambda x: x.softmax(1), outputs="probabilities")) == 1


@TABLE.row("the last layer's times a number, as after a temperature")
def test_a_temperature_is_told_with_what_it_changes() -> None:
    shown: list[torch.Tensor] = []

    def cooled(logits: torch.Tensor) -> torch.Tensor:
        shown.append(logits)
        return logits / 3

    said = lines(cooled)
    assert len(said) == 2
    assert tells(said[1], "net", "last layer", f"up to {(shown[-1] * 2 / 3).abs().max():.3g}")


@TABLE.row("another output of the same width, as of another head")
def test_features_that_do_not_give_the_output_are_refused() -> None:
    classifier = Classifier(ModelSpec("net"), Net(lambda x: x.flip(1)))
    said = refusal_of(lambda: list(probed(classifier)))
    assert tells(said, "net", "'fc'", "'classifier'", "--features none")
    assert len(list(probed(classifier, features=False))) == 2


@TABLE.row("a last layer that is a convolution (SqueezeNet)")
@pytest.mark.parametrize("layers", [(nn.Conv2d(3, 5, 1), nn.ReLU()), (nn.Conv2d(3, 5, 3),)])
def test_more_than_a_mean_may_be_made_of_a_last_convolution(layers: tuple[nn.Module, ...]) -> None:
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    classifier = Classifier(ModelSpec("net", preprocessing={"input_size": (8, 8)}), model)
    assert len(list(probed(classifier))) == 1
    pixels = torch.randint(0, 256, (2, 3, 8, 8))
    seen = classifier.preprocessing.normalise(pixels).mean((2, 3))
    torch.testing.assert_close(classifier(pixels)[1], seen, rtol=1e-5, atol=1e-5)


def test_probabilities_are_kept_as_their_logarithms() -> None:
    pixels = torch.randint(0, 256, (4, 3, 8, 8))
    reading = Reading(outputs="probabilities")
    logits, _ = Classifier(ModelSpec("net", reading=reading), Net(lambda x: x.softmax(1)))(pixels)
    expected, _ = Classifier(ModelSpec("net"), Net(lambda x: x.log_softmax(1)))(pixels)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    certain, _ = Classifier(ModelSpec("net", reading=reading), Net(lambda x: (x * 1e6).softmax(1)))(pixels)
    assert certain.isfinite().all()


PROBABLE = """
from torch import nn


class Net(nn.Module):
    pretrained_cfg = {"input_size": (3, 8, 8), "mean": (0, 0, 0), "std": (1, 1, 1)}

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(192, 3)
        nn.init.sparse_(self.fc.weight, 0.5)

    def forward(self, x):
        return self.fc(x.flatten(1)).softmax(1)
"""


def test_the_command_refuses_probabilities_until_told(run_cli: Cli, image_folder: Callable[..., Path]) -> None:
    image_folder({"cat": 2, "dog": 2, "owl": 2})
    Path("net.py").write_text(PROBABLE)
    words = ("extract", "--classifier", "net.py:Net", "--data", "photos", "--workers", 0)
    refused = run_cli(*words)
    assert refused.exit_code == 2
    assert tells(refused.stderr, "probabilities", "--outputs probabilities")
    assert run_cli(*words, "--outputs", "probabilities").exit_code == 0
    cache = open_cache(Path("trustcache-workspace/cache/net.py%3ANet/photos"))
    np.testing.assert_allclose(np.exp(cache.logits.astype(np.float64)).sum(1), 1, rtol=0.01)


# --- models without a classifier, and those of torchvision -----------------------------------------------------


@TABLE.row("no last layer (`num_classes=0`; towers of CLIP, SigLIP, DINOv2)")
def test_a_model_of_features_is_offered_a_classifier(tmp_path: Path) -> None:
    import timm

    model = timm.create_model("test_vit", num_classes=0)
    said = refusal_of(lambda: Classifier(ModelSpec("test_vit"), model))
    assert tells(said, "--classifier test_vit", "no classifier", "fit-classifier", "--start")


def torchvision_file(name: str, folder: Path) -> tuple[nn.Module, ModelSpec]:
    from torchvision import models

    torch.manual_seed(0)
    model = models.get_model(name, weights=None, num_classes=5).eval()
    torch.save(model.state_dict(), folder / "w.pth")
    return model, ModelSpec(f"torchvision.models:{name}", str(folder / "w.pth"))


@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18", "mobilenet_v3_small"])
def test_torchvision_s_functions_are_classifiers(name: str, tmp_path: Path) -> None:
    from trustcache.registry.permission import allow_code

    allow_code(f"torchvision.models:{name}")
    model, spec = torchvision_file(name, tmp_path)
    classifier = load_classifier(spec)
    pixels = torch.randint(0, 256, (1, 3, 224, 224))
    logits, features = classifier(pixels)
    with torch.no_grad():
        torch.testing.assert_close(logits, model(classifier.preprocessing.normalise(pixels)), rtol=1e-3, atol=1e-4)
    assert logits.shape == (1, 5)
    assert features.shape[1] == classifier.last_layer()[0].shape[1]  # type: ignore[index]
    assert "assumed" in next(iter(probed(classifier))), "nobody knows how these weights were trained"


@pytest.mark.parametrize(
    ("name", "weights"), [("resnet18", "DEFAULT"), ("resnet50", "IMAGENET1K_V1"), ("resnet50", "IMAGENET1K_V2")]
)
def test_torchvision_s_weights_bring_their_own_preprocessing(
    name: str, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image
    from torchvision import models
    from torchvision.models import ResNet

    from trustcache.registry.permission import allow_code

    allow_code(f"torchvision.models:{name}")
    monkeypatch.setattr(ResNet, "load_state_dict", lambda self, state, **settings: None)  # what would be downloaded
    monkeypatch.setattr(models._api.WeightsEnum, "get_state_dict", lambda self, *args, **settings: {})
    classifier = load_classifier(ModelSpec(f"torchvision.models:{name}", arguments={"weights": weights}))
    theirs = models.get_model_weights(name)[weights].transforms()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 401, 3), dtype=np.uint8))
    ours = classifier.preprocessing.normalise(classifier.preprocessing.transform()(image)[None])
    assert ours.shape == (1, 3, 224, 224)
    torch.testing.assert_close(ours[0], theirs(image), rtol=0, atol=0.02)
    assert "assumed" not in next(iter(probed(classifier)))


@TABLE.row("a TorchScript program")
def test_only_a_program_of_torch_export_shows_its_features(tmp_path: Path) -> None:
    ExtractSettings().require_ready(allowed(exported(tmp_path / "open.pt2")))
    closed = allowed(scripted(tmp_path / "closed.pt"))
    ExtractSettings(features="none").require_ready(closed)
    assert tells(refusal_of(lambda: ExtractSettings().require_ready(closed)), "closed.pt", "--features none")


def test_each_row_of_the_document_has_its_test() -> None:
    TABLE.require_tests()
