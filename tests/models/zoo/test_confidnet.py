"""ConfidNet's two classifiers: as many parameters, under the same names, computing the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from trustcache.models.building import ModelSpec, load_model
from trustcache.models.classifiers import load_classifier
from trustcache.models.zoo.confidnet import CifarVgg16, MnistConvNet

# Of confidnet/models/small_convnet_mnist.py with 1 channel and vgg16.py with 3, 10 classes each.
PARAMETERS = {
    "mnist-convnet": 320 + 18_496 + 1_179_776 + 1_290,
    "cifar-vgg16": 14_714_688 + 2 * 4_224 + 262_656 + 5_130,
}
SIDES = {"mnist-convnet": 28, "cifar-vgg16": 32}


def shaken(model: nn.Module) -> nn.Module:
    """Statistics and biases that are not their defaults, so that none can be left out unseen."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and tensor.ndim == 1:
            noise = torch.rand(tensor.shape, generator=generator)
            tensor.add_(noise if name.endswith(("running_var", "running_mean")) else (noise - 0.5) / 5)
    return model.eval()


def images(side: int) -> torch.Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", PARAMETERS)
def test_it_has_as_many_parameters_as_confidnet_s_and_takes_images_of_its_size(name: str, tmp_path: Path) -> None:
    model = MnistConvNet() if name == "mnist-convnet" else CifarVgg16()
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    save_file(model.state_dict(), tmp_path / "w")
    classifier = load_classifier(ModelSpec(name, str(tmp_path / "w")))
    assert classifier.preprocessing.input_size == (SIDES[name], SIDES[name])
    pixels = torch.randint(0, 256, (2, 3, SIDES[name], SIDES[name]), dtype=torch.uint8)
    logits, features = classifier(pixels)
    assert logits.shape == (2, 10)
    assert features.shape == (2, 128 if name == "mnist-convnet" else 512)
    with torch.inference_mode():
        torch.testing.assert_close(logits, model.fc2(features), rtol=1e-4, atol=1e-5)


def test_parameters_bear_confidnet_s_names() -> None:
    assert list(MnistConvNet().state_dict()) == [
        f"{layer}.{kind}" for layer in ("conv1", "conv2", "fc1", "fc2") for kind in ("weight", "bias")
    ]
    vgg = CifarVgg16().state_dict()
    assert vgg["conv1.net.1.weight"].shape == (64, 3, 3, 3)
    assert vgg["conv13.net.1.bias"].shape == vgg["conv13_bn.running_mean"].shape == (512,)
    assert len(vgg) == 13 * (2 + 5) + 4


def test_the_convnet_computes_what_confidnet_s_does_on_the_grey_of_an_image() -> None:
    model = shaken(MnistConvNet(num_classes=7))
    x, w = images(28), model.state_dict()
    y = F.relu(F.conv2d((x[:, :1] + x[:, 1:2] + x[:, 2:]) / 3, w["conv1.weight"], w["conv1.bias"]))
    y = F.max_pool2d(F.relu(F.conv2d(y, w["conv2.weight"], w["conv2.bias"])), 2).reshape(2, 9216)
    expected = F.relu(y @ w["fc1.weight"].T + w["fc1.bias"]) @ w["fc2.weight"].T + w["fc2.bias"]
    with torch.no_grad():
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


def test_vgg_computes_what_confidnet_s_does() -> None:
    model = shaken(CifarVgg16(num_classes=7))
    x, w = images(32), model.state_dict()
    with torch.no_grad():
        given = model(x)
    for n in range(1, 14):
        x = F.relu(
            F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), w[f"conv{n}.net.1.weight"], w[f"conv{n}.net.1.bias"])
        )
        norm = [w[f"conv{n}_bn.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
        x = F.batch_norm(x, *norm)
        x = F.max_pool2d(x, 2) if n in (2, 4, 7, 10, 13) else x
    hidden = F.relu(x.flatten(1) @ w["fc1.weight"].T + w["fc1.bias"])
    torch.testing.assert_close(given, hidden @ w["fc2.weight"].T + w["fc2.bias"], rtol=1e-3, atol=1e-4)


def test_dropout_stands_where_confidnet_has_it() -> None:
    order: list[float] = []
    for model, side in ((MnistConvNet(), 28), (CifarVgg16(), 32)):
        for layer in model.modules():
            if isinstance(layer, nn.Dropout):
                layer.register_forward_hook(lambda module, inputs, output: order.append(module.p))
        model(images(side))
    assert order == [0.25, 0.5, 0.3, *[0.4] * 7, 0.5, 0.5]


@pytest.mark.parametrize("name", PARAMETERS)
def test_weights_of_other_classes_decide_how_many(name: str, tmp_path: Path) -> None:
    model = (MnistConvNet if name == "mnist-convnet" else CifarVgg16)(num_classes=3)
    save_file(model.state_dict(), tmp_path / "w")
    assert load_classifier(ModelSpec(name, str(tmp_path / "w"))).num_classes == 3


def test_a_checkpoint_as_confidnet_s_learner_saves_it_loads(tmp_path: Path) -> None:
    model = shaken(MnistConvNet())
    saved = {"epoch": 3, "model_state_dict": model.state_dict(), "optimizer_state_dict": {}}
    torch.save(saved, tmp_path / "model_epoch_003.ckpt")
    loaded = load_model(ModelSpec("mnist-convnet", str(tmp_path / "model_epoch_003.ckpt")))
    for key, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[key])
