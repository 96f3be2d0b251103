"""Promises of the classifiers: what they compute, which weights they take, and how each obstacle is named."""

from __future__ import annotations

import functools
import http.server
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from timm.data import create_transform, resolve_model_data_config
from torch import nn
from torch.nn import functional as F

from tests.documented_tables import DocumentedTable
from tests.refusals import refusal_of, tells
from trustcache.data.dataset import open_dataset
from trustcache.data.known_data import find_manifests, folder_manifest
from trustcache.errors import UsageError
from trustcache.models.building import ModelSpec, backbone, load_model, new_model
from trustcache.models.classifiers import Classifier, load_classifier
from trustcache.models.preprocessing import Preprocessing, parse_preprocessing, preprocessing_of
from trustcache.models.timm_models import PAPER_MODELS, architecture
from trustcache.models.zoo.cifar_resnet import CifarResNet
from trustcache.models.zoo.registry import BUILT_IN, MODELS, built_in
from trustcache.registry.permission import allow_code

TEST_DATA = Path(os.environ.get("TRUSTCACHE_TEST_DATA", "/nowhere"))


def needs(*names: str) -> pytest.MarkDecorator:
    missing = [name for name in names if not (TEST_DATA / name).exists()]
    return pytest.mark.skipif(bool(missing), reason=f"TRUSTCACHE_TEST_DATA has no {', '.join(missing)}")


def shaken(model: nn.Module) -> nn.Module:
    """Give every parameter and statistic a value that is not its default, so that none can be left out unseen."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=generator)
            tensor.mul_(0.9).add_(noise if name.endswith("running_var") else (noise - 0.5) / 5)
    return model


def images(size: int, count: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def cifar_weights(path: Path, depth: int = 8, classes: int = 10) -> dict[str, torch.Tensor]:
    state = shaken(CifarResNet(depth, num_classes=classes)).state_dict()
    save_file(state, path)
    return state


# --- logits and features ---------------------------------------------------------------------------------------

# Model, its last layers, the input's side: the built-in one; token, pooled and convolutional heads; two heads; weights
# of five dimensions.
CASES = [
    ("cifar-resnet8", ["linear"], 32),
    ("cifar-resnet20", ["linear"], 32),
    ("test_vit", ["head"], 160),
    ("test_resnet", ["fc"], 64),
    ("dpn48b", ["classifier"], 64),
    ("efficientformerv2_s0", ["head", "head_dist"], 224),
    ("lambda_resnet26t", ["head.fc"], 64),
]


def saved(name: str, classes: int, side: int, folder: Path) -> tuple[nn.Module, ModelSpec]:
    """A model with weights unlike its defaults, in a file that the specification names."""
    own = built_in(name)
    model = shaken((own.build if own else functools.partial(timm.create_model, name))(num_classes=classes)).eval()
    save_file(model.state_dict(), folder / "w.safetensors")
    return model, ModelSpec(name, str(folder / "w.safetensors"), preprocessing={"input_size": (side, side)})


@pytest.mark.parametrize(("name", "last", "side"), CASES, ids=[m[0] for m in CASES])
def test_logits_are_the_last_layer_applied_to_the_features(
    name: str, last: list[str], side: int, tmp_path: Path
) -> None:
    model, spec = saved(name, 7, side, tmp_path)
    classifier = load_classifier(spec)
    assert classifier.num_classes == 7, "as many as the weights have"

    pixels = images(side)
    logits, features = classifier(pixels)
    assert logits.dtype == features.dtype == torch.float32
    heads = [model.get_submodule(n) for n in last]
    W = torch.cat([h.weight.detach().flatten(1) for h in heads], 1) / len(heads)
    b = sum(h.bias.detach() for h in heads) / len(heads)
    assert features.shape == (3, W.shape[1])
    torch.testing.assert_close(logits, features @ W.T + b, rtol=1e-5, atol=1e-5)

    p = classifier.preprocessing
    x = (pixels / 255 - torch.tensor(p.mean).view(3, 1, 1)) / torch.tensor(p.std).view(3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(logits, model(x), rtol=1e-4, atol=1e-4)
    assert logits.std() > 1e-3, "no two images look the same to it"

    again, _ = classifier(pixels[1:2])
    torch.testing.assert_close(again, logits[1:2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "last", "side"), CASES, ids=[m[0] for m in CASES])
def test_a_backbone_gives_the_features_and_keeps_the_gradient(
    name: str, last: list[str], side: int, tmp_path: Path
) -> None:
    _, spec = saved(name, 5, side, tmp_path)
    classifier = load_classifier(spec)
    body, width = backbone(spec)
    x = classifier.preprocessing.normalise(images(side))
    given = body.eval()(x)
    assert given.shape == (3, width)
    assert all(p.requires_grad for p in body.parameters())
    _, features = classifier(images(side))
    halves = features.unflatten(1, (len(last), width)).mean(1)  # of two heads' inputs a backbone gives the mean
    torch.testing.assert_close(given.detach(), halves, rtol=1e-4, atol=1e-4)


def test_a_classifier_is_frozen_and_does_not_depend_on_its_batch(tmp_path: Path) -> None:
    cifar_weights(tmp_path / "w")
    classifier = load_classifier(ModelSpec("cifar-resnet8", str(tmp_path / "w")))
    before = classifier.identity()
    logits, _ = classifier(images(32, 5))
    assert not logits.requires_grad
    assert not any(p.requires_grad for p in classifier.model.parameters())
    torch.testing.assert_close(classifier(images(32, 5)[2:3])[0], logits[2:3], rtol=1e-5, atol=1e-5)
    assert classifier.identity() == before


# --- weights ---------------------------------------------------------------------------------------------------


def test_weights_of_every_kind_of_file_give_the_same_classifier(tmp_path: Path) -> None:
    state = cifar_weights(tmp_path / "plain.safetensors")
    torch.save(state, tmp_path / "plain.pth")
    torch.save({"epoch": 1, "state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "nested.pth")
    save_file({k: v for k, v in state.items() if "num_batches" not in k}, tmp_path / "uncounted.safetensors")
    logits = [load_classifier(ModelSpec("cifar-resnet8", str(path)))(images(32))[0] for path in tmp_path.iterdir()]
    assert len(logits) == 4
    for other in logits[1:]:
        torch.testing.assert_close(other, logits[0], rtol=0, atol=0)
    save_file({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, tmp_path / "half.safetensors")
    half = load_classifier(ModelSpec("cifar-resnet8", str(tmp_path / "half.safetensors")))(images(32))[0]
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, logits[0], rtol=0.02, atol=0.02)


def test_the_number_of_classes_comes_from_the_weights_unless_it_is_set(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    cifar_weights(path, classes=23)
    assert load_classifier(ModelSpec("cifar-resnet8", str(path))).num_classes == 23
    assert load_classifier(ModelSpec("cifar-resnet8", str(path), {"num_classes": 23})).num_classes == 23
    message = refusal_of(lambda: load_classifier(ModelSpec("cifar-resnet8", str(path), {"num_classes": 10})))
    assert tells(message, f"--weights {path}", "23 classes", "--model-arg num_classes=10", "leave")


def test_weights_of_another_architecture_are_refused_by_their_tensors(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    cifar_weights(path, depth=8)
    message = refusal_of(lambda: load_classifier(ModelSpec("cifar-resnet14", str(path))))
    assert message.startswith(f"--weights {path}: ")
    assert "(first 'layer1.1.bn1.bias')" in message
    assert "unknown" not in message
    assert "unknown" in refusal_of(lambda: load_classifier(ModelSpec("test_resnet", str(path))))


def test_a_file_that_is_missing_or_no_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    assert refusal_of(lambda: load_classifier(ModelSpec("cifar-resnet8", str(path)))).startswith(f"--weights {path}: ")
    path.write_text("weights")
    assert "not a checkpoint" in refusal_of(lambda: load_classifier(ModelSpec("test_resnet", str(path))))


def test_the_identity_pins_weights_architecture_and_preprocessing(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    state = cifar_weights(path)
    first = load_classifier(ModelSpec("cifar-resnet8", str(path))).identity()
    assert first.architecture == "cifar-resnet8"
    assert first.preprocessing.mean == (0.485, 0.456, 0.406)

    torch.save(state, tmp_path / "again.pth")
    assert load_classifier(ModelSpec("cifar-resnet8", str(tmp_path / "again.pth"))).identity() == first
    changed = load_classifier(ModelSpec("cifar-resnet8", str(path), preprocessing={"mean": (0.5, 0.5, 0.5)}))
    assert changed.identity() != first
    state["linear.bias"][0] += 1e-3
    save_file(state, path)
    assert load_classifier(ModelSpec("cifar-resnet8", str(path))).identity() != first


def test_vit_and_resnet_are_the_paper_s_models() -> None:
    assert architecture("vit") == "vit_base_patch16_384.orig_in21k_ft_in1k"
    assert architecture("resnet") == "resnet50.tv_in1k"
    assert architecture("test_vit") == "test_vit"
    assert all(timm.is_model_pretrained(name) for name in PAPER_MODELS.values())


# --- weights that would have to be fetched ---------------------------------------------------------------------


@pytest.fixture
def empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has fetched nothing yet and knows no proxy."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(params=[socket.gaierror(-3, "no name service"), ConnectionRefusedError(111, "refused"), TimeoutError()])
def no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, empty_hub: None) -> list[Any]:
    """A machine whose every way out fails; gives the list of what was tried."""
    tried: list[Any] = []

    def fail(*args: Any, **kwargs: Any) -> None:
        tried.append(args)
        raise request.param

    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, fail)
    monkeypatch.setattr(socket.socket, "connect", fail)
    return tried


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("resnet10t", "model.safetensors from https://huggingface.co/timm/resnet10t.c3_in1k "),
        ("resnet", "model.safetensors from https://huggingface.co/timm/resnet50.tv_in1k "),
        ("hf-hub:someone/birds", "model.safetensors from https://huggingface.co/someone/birds "),
        ("legacy_seresnet18", "https://github.com/"),
    ],
)
def test_without_a_network_the_remedy_comes_at_once(name: str, at: str, no_network: list[Any]) -> None:
    start = time.perf_counter()
    message = refusal_of(lambda: load_classifier(ModelSpec(name)))
    assert time.perf_counter() - start < 10
    assert message.startswith(f"--classifier {architecture(name)}: ")
    assert "https://huggingface.co cannot be reached" in message
    assert f"fetch {at}" in message
    assert "--weights FILE" in message
    assert no_network, "it did try"


class Refusing(http.server.BaseHTTPRequestHandler):
    """Answers every request with the status code of its server."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        if not self.server.status:  # type: ignore[attr-defined]
            self.wfile.write(b"this is not the web\r\n\r\n")
            return
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def hub(empty_hub: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[http.server.ThreadingHTTPServer]:
    """A hub on this very machine that refuses everything; any other address fails."""
    from huggingface_hub import constants

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    server.asked = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    look_up = socket.getaddrinfo

    def only_here(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in ("127.0.0.1", b"127.0.0.1"):
            raise socket.gaierror(-2, f"no test may ask for {host}")
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", only_here)
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("status", "reason"), [(403, "403 Forbidden"), (404, "404 Not Found"), (503, "be reached"), (0, "be reached")]
)
def test_a_hub_that_refuses_gives_the_same_remedy(
    status: int, reason: str, hub: http.server.ThreadingHTTPServer
) -> None:
    hub.status = status  # type: ignore[attr-defined]
    start = time.perf_counter()
    message = refusal_of(lambda: load_classifier(ModelSpec("resnet10t")))
    assert time.perf_counter() - start < 10
    assert reason in message
    assert "--weights FILE" in message
    asked = any("resnet10t" in path for path in hub.asked)  # type: ignore[attr-defined]
    assert asked == (status in (403, 404)), "a server out of order is not asked again and again"


@pytest.mark.parametrize("name", ["cifar-resnet20", "seresnet18"])
def test_a_model_without_published_weights_needs_a_file(name: str, no_network: list[Any]) -> None:
    message = refusal_of(lambda: load_classifier(ModelSpec(name)))
    assert message.startswith(f"--classifier {name}: ")
    assert "--weights FILE" in message
    assert not no_network


# --- names and arguments ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("resnet5O", "resnet50"),
        ("cifar-resnet33", "cifar-resnet32"),
        ("resnet32", "cifar-resnet32"),
        ("vitt", "vit"),
        ("mobilenetv2_10", "mobilenetv2_100"),
        ("resnet50.tv_in1", "resnet50.tv_in1k"),
        ("ResNet50", "resnet50"),
    ],
)
def test_an_unknown_name_suggests_the_near_ones(typo: str, meant: str, no_network: list[Any]) -> None:
    message = refusal_of(lambda: load_classifier(ModelSpec(typo)))
    assert message.startswith(f"--classifier {typo}: ")
    assert all(name in message for name in (*PAPER_MODELS, *BUILT_IN, "package.module:function"))
    assert meant in message.split("did you mean ")[1].rstrip("?").split(", ")
    assert not no_network


def test_a_name_like_no_other_is_refused_without_a_guess() -> None:
    assert "did you mean" not in refusal_of(lambda: load_model(ModelSpec("qqqqqqqq")))


def test_arguments_reach_the_builder(tmp_path: Path) -> None:
    model = timm.create_model("test_resnet", global_pool="max", num_classes=4).eval()
    save_file(model.state_dict(), tmp_path / "w")
    classifier = load_classifier(ModelSpec("test_resnet", str(tmp_path / "w"), {"global_pool": "max"}))
    x = classifier.preprocessing.normalise(images(64))
    with torch.no_grad():
        torch.testing.assert_close(classifier(images(64))[0], model(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("test_resnet", {"wheels": 4}),
        ("test_resnet", {"num_classes": "many"}),
        ("test_resnet", {"global_pool": "nope"}),
        ("test_vit", {"patch_size": 0}),
        ("cifar-resnet8", {"wheels": 4}),
        ("cifar-resnet8", {"num_classes": -1}),
    ],
)
def test_arguments_that_do_not_fit_are_named(name: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    cifar_weights(tmp_path / "w")
    message = refusal_of(lambda: load_model(ModelSpec(name, str(tmp_path / "w"), arguments)))
    ((key, value),) = arguments.items()
    assert message.startswith(f"--classifier {name}: ")
    assert f"--model-arg {key}={value}" in message


# --- an architecture of one's own ------------------------------------------------------------------------------

OWN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=6, classes=4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.fc = nn.Linear(width, classes)

    def forward(self, x):
        return self.fc(self.conv(x).relu().mean((2, 3)))

def net(width=6):
    torch.manual_seed(0)
    return Net(width)

def configured():
    model = net()
    model.pretrained_cfg = {"input_size": (3, 20, 24), "crop_pct": 1.0, "mean": (0.1, 0.2, 0.3), "classifier": "fc"}
    return model

def headless():
    return nn.Flatten()

def maps():
    return nn.Conv2d(3, 4, 3)

def misleading():  # its last linear layer is not what gives the logits
    model = net()
    model.auxiliary = nn.Linear(6, 3)
    return model

def detour():  # it is used, but on the way
    class Detour(Net):
        def __init__(self):
            super().__init__()
            self.attention = nn.Linear(6, 6)

        def forward(self, x):
            return self.fc(self.attention(self.conv(x).relu().mean((2, 3))))
    return Detour()

def pair():
    class Pair(Net):
        def forward(self, x):
            return super().forward(x), x
    return Pair()

def nothing():
    return {"state": "dict"}

def broken():
    raise KeyError("lost")

number = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with a user's file; what it left in this process is cleared away."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    allow_code("my_models.nets:net", "my_models.nets:configured")
    (tmp_path / "my_models").mkdir()
    (tmp_path / "my_models" / "nets.py").write_text(OWN)
    (tmp_path / "my_broken_net.py").write_text("def net(:\n    pass\n")
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("my_"):
            del sys.modules[name]


def test_a_function_in_a_file_of_the_current_folder_is_a_classifier(own: Path) -> None:
    classifier = load_classifier(ModelSpec("my_models.nets:net", arguments={"width": 9}))
    assert classifier.num_classes == 4
    logits, features = classifier(images(20))
    assert features.shape == (3, 9)
    fc = classifier.model.get_submodule("fc")
    torch.testing.assert_close(logits, features @ fc.weight.T + fc.bias, rtol=1e-5, atol=1e-5)
    body, width = backbone(ModelSpec("my_models.nets:net"))
    assert (width, body(torch.zeros(2, 3, 9, 9)).shape) == (6, (2, 6))


def test_a_function_of_one_s_own_takes_weights_too(own: Path) -> None:
    model = load_model(ModelSpec("my_models.nets:net"))
    torch.save({"net": shaken(model).state_dict()}, own / "w.pt")
    loaded = load_model(ModelSpec("my_models.nets:net", "w.pt"))
    torch.testing.assert_close(loaded.state_dict(), model.state_dict(), rtol=0, atol=0)
    message = refusal_of(lambda: load_model(ModelSpec("my_models.nets:net", "w.pt", {"width": 7})))
    assert "(6, 3, 3, 3)" in message
    assert "(7, 3, 3, 3)" in message
    assert message.startswith(f"--weights {own / 'w.pt'}: "), "named in full"


def test_a_function_of_one_s_own_is_not_asked_for_another_number_of_classes(own: Path) -> None:
    state = load_model(ModelSpec("my_models.nets:net")).state_dict()
    torch.save({**state, "fc.weight": torch.zeros(9, 6), "fc.bias": torch.zeros(9)}, own / "w.pt")
    message = refusal_of(lambda: load_model(ModelSpec("my_models.nets:net", "w.pt")))
    assert all(fact in message for fact in (f"--weights {own / 'w.pt'}: 'fc.weight'", "(9, 6)", "(4, 6)"))


def test_a_module_of_one_s_own_may_say_its_preprocessing(own: Path) -> None:
    p = load_classifier(ModelSpec("my_models.nets:configured")).preprocessing
    assert (p.input_size, p.crop_pct, p.mean) == ((20, 24), 1.0, (0.1, 0.2, 0.3))
    p = load_classifier(ModelSpec("my_models.nets:net")).preprocessing
    assert (p.input_size, p.crop_pct, p.mean) == ((224, 224), 0.875, (0.485, 0.456, 0.406))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("my_models.nets:nett", "AttributeError: "),
        ("my_models.nettts:net", "ModuleNotFoundError: "),
        ("my_absent_module:net", "ModuleNotFoundError: "),
        ("my_broken_net:net", "SyntaxError: "),
        ("my_models.nets:", "package.module:function"),
        ("my_models.nets:number", "TypeError: "),
        ("my_models.nets:broken", "KeyError: 'lost'"),
        ("my_models.nets:nothing", "torch.nn.Module, not dict"),
        ("my_models.nets:headless", "has no linear or convolutional layer"),
    ],
)
def test_a_function_that_cannot_serve_is_named_with_the_reason(name: str, words: str, own: Path) -> None:
    allow_code(name)
    message = refusal_of(lambda: load_classifier(ModelSpec(name)))
    assert message.startswith(f"--classifier {name}: ")
    assert words in message


def test_a_model_s_arguments_run_no_code_from_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "it-ran",)

    evil = tmp_path / "evil.pth"
    torch.save({"state_dict": Evil()}, evil)
    spec = ModelSpec("test_resnet", None, {"checkpoint_path": str(evil)})
    with pytest.raises(UsageError):
        new_model(spec, 3)
    # As a release of timm would that does not ask for weights only.
    monkeypatch.setattr(timm, "create_model", lambda *args, **settings: torch.load(evil, weights_only=False))
    with pytest.raises(UsageError):
        new_model(spec, 3)
    assert not (tmp_path / "it-ran").exists()


@pytest.mark.parametrize("function", ["misleading", "detour", "pair", "maps"])
def test_a_model_whose_output_is_not_its_last_layer_s_is_refused(function: str, own: Path) -> None:
    allow_code(f"my_models.nets:{function}")
    classifier = load_classifier(ModelSpec(f"my_models.nets:{function}"))
    message = refusal_of(lambda: classifier(images(20, count=1)))
    assert message.startswith(f"my_models.nets:{function}: ")
    assert "pretrained_cfg = {'classifier': NAME}" in message


# --- preprocessing ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    """Two real photographs, wide and tall, and a small image that has to be enlarged."""
    flower, china = (Image.fromarray(load_sample_image(name)) for name in ("flower.jpg", "china.jpg"))
    return [china, flower.transpose(Image.Transpose.ROTATE_90).crop((0, 0, 300, 601)), flower.resize((50, 33))]


def assert_as_timm(classifier: Classifier, model: nn.Module, photographs: list[Image.Image]) -> None:
    theirs = create_transform(**resolve_model_data_config(model), is_training=False)
    ours = classifier.preprocessing
    for photograph in photographs:
        pixels = ours.transform()(photograph)
        assert pixels.dtype == torch.uint8
        torch.testing.assert_close(ours.normalise(pixels[None])[0], theirs(photograph), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "dpn48b", "efficientformerv2_s0", "mobilenetv3_small_050"])
def test_a_timm_model_s_images_are_prepared_as_timm_does(name: str, photographs: list[Image.Image]) -> None:
    model = timm.create_model(name, num_classes=2)
    assert_as_timm(Classifier(ModelSpec(name), model), model, photographs)


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize(
    ("size", "interpolation"), [((40, 40), "bicubic"), ((48, 32), "bilinear"), ((30, 50), "lanczos")]
)
def test_every_way_to_crop_is_timm_s(
    mode: str, size: tuple[int, int], interpolation: str, photographs: list[Image.Image]
) -> None:
    model = timm.create_model("test_resnet", num_classes=2)
    settings = {"crop_mode": mode, "crop_pct": 0.8, "interpolation": interpolation, "mean": (0.2, 0.3, 0.4)}
    by_hand = Classifier(ModelSpec("test_resnet", preprocessing={**settings, "input_size": size}), model)
    model.pretrained_cfg.update(settings, input_size=(3, *size))
    assert_as_timm(by_hand, model, photographs)


def test_the_paper_s_models_squash_nothing_unless_told_to() -> None:
    vit = timm.get_pretrained_cfg(architecture("vit"))
    resnet = timm.get_pretrained_cfg(architecture("resnet"))
    assert vit is not None
    assert resnet is not None
    assert (vit.input_size, vit.mean, vit.crop_pct) == ((3, 384, 384), (0.5, 0.5, 0.5), 1.0)
    assert (resnet.input_size, resnet.mean, resnet.crop_pct) == ((3, 224, 224), (0.485, 0.456, 0.406), 0.875)


def test_single_entries_can_be_replaced_and_an_index_s_lists_are_as_good() -> None:
    model = timm.create_model("test_resnet", num_classes=2)
    own = preprocessing_of(model, {})
    assert own == Preprocessing((160, 160), 0.95, "center", "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert preprocessing_of(model, {"std": (1.0, 1.0, 1.0)}) == replace(own, std=(1.0, 1.0, 1.0))
    assert preprocessing_of(model, json.loads(json.dumps(asdict(own)))) == own


def test_settings_are_read_from_text() -> None:
    assert parse_preprocessing([]) == {}
    given = ["input_size=96", "crop_pct=1", "crop_mode=squash", "interpolation=bilinear", "mean=0.5,0.4,0", "std=1,2,3"]
    assert parse_preprocessing(given) == {
        "input_size": (96, 96),
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "interpolation": "bilinear",
        "mean": (0.5, 0.4, 0.0),
        "std": (1.0, 2.0, 3.0),
    }
    assert parse_preprocessing(["input_size=96,64"]) == {"input_size": (96, 64)}


@pytest.mark.parametrize(
    "setting",
    [
        "size=96",
        "mean",
        "",
        "=3",
        "input_size=0",
        "input_size=-3",
        "input_size=1,2,3",
        "input_size=big",
        "crop_pct=0",
        "crop_pct=1.1",
        "crop_pct=nan",
        "crop_mode=fill",
        "interpolation=fast",
        "mean=0.5,0.5",
        "mean=0.5,0.5,x",
        "mean=nan,0,0",
        "std=1,2",
        "std=1,0,1",
        "std=1,1,inf",
    ],
)
def test_a_setting_that_says_nothing_is_refused_with_what_is_expected(setting: str) -> None:
    message = refusal_of(lambda: parse_preprocessing(["crop_pct=1", setting]))
    assert message.startswith(f"--preprocess {setting}: ")
    assert all(entry.name in message for entry in fields(Preprocessing))


# --- CIFAR's ResNets -------------------------------------------------------------------------------------------


def reference_logits(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The network of He et al. (2016), section 4.2, from its weights alone; shortcuts filled in value by value."""

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        w, b, mean, var = (
            state[f"{name}.{k}"].view(-1, 1, 1) for k in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / (var + 1e-5).sqrt() * w + b

    x = norm("bn1", F.conv2d(x, state["conv1.weight"], padding=1)).relu()
    blocks = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("layer1."))
    for stage in (1, 2, 3):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            out = norm(f"{name}.bn1", F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1)).relu()
            out = norm(f"{name}.bn2", F.conv2d(out, state[f"{name}.conv2.weight"], padding=1))
            shortcut = np.zeros(tuple(out.shape), dtype=np.float32)
            before = (out.shape[1] - x.shape[1]) // 2
            for channel in range(x.shape[1]):
                for row in range(out.shape[2]):
                    for column in range(out.shape[3]):
                        shortcut[:, before + channel, row, column] = x[:, channel, row * stride, column * stride]
            x = (out + torch.from_numpy(shortcut)).relu()
    return x.sum((2, 3)) / (x.shape[2] * x.shape[3]) @ state["linear.weight"].T + state["linear.bias"]


@pytest.mark.parametrize(("depth", "side"), [(8, 8), (14, 9)])
def test_the_cifar_resnet_is_the_paper_s_with_option_a_shortcuts(depth: int, side: int) -> None:
    model = shaken(CifarResNet(depth)).eval()
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model(x), reference_logits(model.state_dict(), x), rtol=1e-4, atol=1e-4)


def test_resnet_32_has_as_many_parameters_as_the_paper_says() -> None:
    counts = {d: sum(p.numel() for p in CifarResNet(d).parameters()) for d in (20, 32, 44, 56, 110)}
    assert counts[32] == 464_154
    assert {d: round(n / 1e6, 2) for d, n in counts.items()} == {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.73}
    assert set(CifarResNet(8).state_dict()) >= {"conv1.weight", "bn1.bias", "layer1.0.conv1.weight", "linear.bias"}


def test_depths_are_6n_plus_2() -> None:
    assert [d for d in range(60) if built_in(f"cifar-resnet{d}")] == [8, 14, 20, 26, 32, 38, 44, 50, 56]
    for name in ("resnet32", "cifar-resnet", "cifar-resnetN", "cifar-resnet32x", "my-cifar-resnet32"):
        assert built_in(name) is None


# --- built-in models and those of installed packages -----------------------------------------------------------


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_model_is_documented_as_it_is(name: str) -> None:
    entry = BUILT_IN[name]
    example = f"{name[:-1]}{entry.usual[1]}" if entry.usual else name
    found = built_in(example)
    assert found is not None
    model = found.build(num_classes=10)
    text = (Path(__file__).parents[2] / "docs" / "classifiers.md").read_text(encoding="utf-8")
    (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}`")]
    side = Classifier(ModelSpec(example), model).preprocessing.input_size[0]
    rates = {module.p for module in model.modules() if isinstance(module, nn.Dropout)}
    assert f"{side} x {side}" in row
    assert f"{sum(p.numel() for p in model.parameters()):,}" in row
    assert all(str(rate) in row for rate in rates)
    assert bool(rates) == entry.dropout == ("| none |" not in row)


def test_each_kind_of_name_in_the_document_has_its_test() -> None:
    own, loading, programs = (f"tests/models/test_{name}.py::test_" for name in ("classifiers", "loading", "programs"))
    kinds = {
        "`vit`, `resnet`": (f"{own}vit_and_resnet_are_the_paper_s_models",),
        "`resnet18`, `convnext_tiny.in12k` …": (f"{loading}a_saved_classifier_has_the_weights_that_timm_gives_it",),
        "`local-dir:FOLDER`": (
            f"{loading}a_saved_classifier_has_the_weights_that_timm_gives_it",
            "tests/models/test_hub_folders.py::test_a_folder_of_the_trainer_is_a_classifier_with_named_classes",
        ),
        "`torchvision.models:resnet50`": (
            "tests/models/test_probing.py::test_torchvision_s_functions_are_classifiers",
            "tests/models/test_probing.py::test_torchvision_s_weights_bring_their_own_preprocessing",
        ),
        "`model.py:build`, `package.module:build`": (
            f"{programs}a_function_in_a_file_runs_with_the_files_beside_it",
            f"{own}a_function_in_a_file_of_the_current_folder_is_a_classifier",
        ),
        "`pets.pt2`, `pets.pt`": (f"{programs}a_program_gives_the_model_s_logits",),
        "`cifar-resnet32` …": (f"{own}every_built_in_model_is_documented_as_it_is",),
    }
    DocumentedTable("classifiers.md", "Which classifiers can be used?", elsewhere=kinds).require_tests()


def test_a_model_of_an_installed_package_is_extracted_by_its_name(
    own_model: Callable[..., str], run_cli: Callable[..., Any], install_entry_point: Callable[..., None]
) -> None:
    assert built_in("pixel-model") is None
    install_entry_point(MODELS, "pixel-model", own_model())
    extracted = run_cli("extract", "--classifier", "pixel-model", "--data", "digits-test", "--workers", 0)
    assert extracted.exit_code == 0
    assert "\ndigits-test: pixel-model " in extracted.stdout
    assert "pixel-model" in refusal_of(lambda: load_model(ModelSpec("pixel-modal"))), "among the known ones"


def test_a_model_of_a_broken_package_is_named(in_tmp_path: Path, install_entry_point: Callable[..., None]) -> None:
    install_entry_point(MODELS, "lost-model", "no_such_module:build")
    message = refusal_of(lambda: load_model(ModelSpec("lost-model")))
    assert message.startswith("--classifier lost-model: ")
    assert "no_such_module:build" in message


# --- real data, where it is ------------------------------------------------------------------------------------


def accuracy(classifier: Classifier, data: Any, rows: range) -> float:
    transform = classifier.preprocessing.transform()
    right = 0
    for first in range(0, len(rows), 50):
        part = list(rows[first : first + 50])
        logits, _ = classifier(torch.stack([transform(data.read(i)) for i in part]))
        right += int((logits.argmax(1).numpy() == data.labels[part]).sum())
    return right / len(rows)


@needs("cifar10/resnet32.safetensors", "cifar10/train", "cifar10/test")
def test_the_published_resnet_32_is_as_good_on_real_images_as_it_should_be() -> None:
    classifier = load_classifier(ModelSpec("cifar-resnet32", str(TEST_DATA / "cifar10" / "resnet32.safetensors")))
    for part, expected in (("train", 0.881), ("test", 0.826)):
        data = open_dataset(find_manifests(f"cifar10-{part}")[0], TEST_DATA)
        rows = range(0, len(data), len(data) // 500)
        assert abs(accuracy(classifier, data, rows) - expected) < 0.05
    with torch.no_grad():
        x = classifier.preprocessing.normalise(classifier.preprocessing.transform()(data.read(0))[None])
        expected_logits = reference_logits(classifier.model.state_dict(), x)
    torch.testing.assert_close(
        classifier(classifier.preprocessing.transform()(data.read(0))[None])[0], expected_logits, rtol=1e-4, atol=1e-4
    )


@needs("imagenet/mobilenetv2_100_imagenet.safetensors", "imagenet/val")
def test_a_real_imagenet_classifier_is_right_on_real_images() -> None:
    spec = ModelSpec(
        "mobilenetv2_100",
        str(TEST_DATA / "imagenet" / "mobilenetv2_100_imagenet.safetensors"),
        {"pad_type": "same"},
        {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
    )
    data = open_dataset(find_manifests("imagenet-val")[0], TEST_DATA)
    assert accuracy(load_classifier(spec), data, range(len(data))) > 0.86


@needs("cifar10/test")
def test_a_bare_folder_and_its_manifest_have_the_same_fingerprint() -> None:
    (manifest,) = find_manifests("cifar10-test")
    bare = folder_manifest(TEST_DATA / "cifar10" / "test")
    assert open_dataset(bare, TEST_DATA).fingerprint() == open_dataset(manifest, TEST_DATA).fingerprint()


def test_a_model_without_published_weights_says_how_they_are_given() -> None:
    said = refusal_of(lambda: load_classifier(ModelSpec("cifar-resnet8")))
    assert tells(
        said,
        "cifar-resnet8",
        "--weights FILE",
        "trustcache reproduce",
        "'cifar-resnet8 --weights",
    )
