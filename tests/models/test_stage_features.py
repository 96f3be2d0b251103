"""Features of stages: where they are taken, for any module, and how they are pooled."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from trustcache.errors import UsageError
from trustcache.models.building import ModelSpec
from trustcache.models.classifiers import Classifier, load_classifier
from trustcache.models.stage_features import pooled, pooled_outputs, stage_places
from trustcache.registry.permission import allow_code


def places_of(model: nn.Module, *shape: int, last: tuple[nn.Module, ...] = ()) -> tuple[str, ...]:
    return stage_places(model.eval(), last, lambda: model(torch.zeros(1, *shape)))


def test_pooling_gives_mean_largest_and_deviation_of_each_channel_over_positions() -> None:
    maps = torch.randn(2, 5, 3, 4)
    expected = np.concatenate([f(maps.numpy(), axis=(2, 3)) for f in (np.mean, np.max, np.std)], axis=1)
    np.testing.assert_allclose(pooled(maps), expected, rtol=1e-5, atol=1e-6)
    tokens = maps.flatten(2).transpose(1, 2)
    np.testing.assert_allclose(pooled(tokens), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(pooled(maps.permute(0, 2, 3, 1), last=True), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(pooled(maps[:, :, 0, 0]), maps[:, :, 0, 0])  # no positions, nothing to pool


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("resnet18", ("layer1.1", "layer2.1", "layer3.1", "layer4.1")),
        ("vit_tiny_patch16_224", ("blocks.2", "blocks.5", "blocks.8", "blocks.11")),
        ("swin_tiny_patch4_window7_224", ("layers.0", "layers.1", "layers.2", "layers.3")),
        ("mobilenetv2_100", tuple(f"blocks.{i}" for i in range(7))),
        ("pit_ti_224", ("transformers.0", "transformers.1", "transformers.2")),
    ],
)
def test_stages_of_timms_models_end_where_the_shape_changes_or_are_evenly_spaced(
    name: str, places: tuple[str, ...]
) -> None:
    import timm

    model = timm.create_model(name)
    assert places_of(model, 3, 224, 224, last=(model.get_classifier(),)) == places


def test_stages_of_the_built_in_models() -> None:
    resnet = load_classifier_of("cifar-resnet8")
    assert resnet.stage_places() == ("layer1.0", "layer2.0", "layer3.0")
    assert load_classifier_of("mnist-convnet").stage_places() == ("conv1", "conv2", "fc1")


def load_classifier_of(name: str) -> Classifier:
    from trustcache.models.zoo.registry import built_in

    return Classifier(ModelSpec(name), built_in(name).build())


def test_without_lists_of_blocks_convolutions_and_linear_layers_are_the_blocks() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3)
            self.c, self.last = nn.Linear(6, 5), nn.Linear(5, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.c(self.b(self.a(x)).mean((2, 3))))

    net = Net()
    assert places_of(net, 3, 8, 8, last=(net.last,)) == ("a", "b", "c")


def test_what_is_not_called_or_gives_no_single_tensor_is_no_stage() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.layer(x), x

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([nn.Linear(4, 4), Two(), nn.Linear(4, 3)])
            self.unused = nn.ModuleList([nn.Linear(4, 4)])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.blocks[2](self.blocks[1](self.blocks[0](x))[0])

    assert places_of(Net(), 4) == ("blocks.0", "blocks.2")


def test_a_model_that_has_no_stages_is_refused_in_words(own_model) -> None:
    allow_code(name := own_model("x"))
    classifier = load_classifier(ModelSpec(name))
    with pytest.raises(UsageError, match=r"--features last"):
        classifier.stage_places()


def test_a_later_change_in_place_does_not_reach_what_was_pooled() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True))
    x = torch.randn(2, 3, 5, 5)
    with torch.no_grad(), pooled_outputs(model, ["0"]) as seen:
        model(x)
    np.testing.assert_allclose(seen["0"], pooled(model[0](x).detach()), rtol=1e-5, atol=1e-6)
    assert not model[0]._forward_hooks


def test_what_a_classifier_says_of_stages_is_the_pooled_output_of_its_modules(digits_classifier: Classifier) -> None:
    x = torch.randn(4, 3, 8, 8)
    caught: list[torch.Tensor] = []
    places = digits_classifier.stage_places()
    layer = digits_classifier.model.get_submodule("layer2.0")
    hook = layer.register_forward_hook(lambda module, inputs, output: caught.append(output.clone()))
    with torch.no_grad():
        message = digits_classifier.outputs(x, places)
    hook.remove()
    assert message["stages"].shape == (4, 3 * (16 + 32 + 64))
    np.testing.assert_allclose(message["stages"][:, 48 : 48 + 96], pooled(caught[0]), rtol=1e-5, atol=1e-6)
    assert message.keys() == {"logits", "features", "stages"}
    assert digits_classifier.outputs(x).keys() == {"logits", "features"}
