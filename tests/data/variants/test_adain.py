"""Promises of AdaIN style transfer: the networks, the normalisation, the published files, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from tests.refusals import refusal_of
from trustcache.data.variants.adain import StyleTransfer, adaptive_instance_norm, load_style_transfer

State = dict[str, torch.Tensor]
Layers = dict[int, tuple[int, int] | str]

# The convolutions of the published files by their number in the Sequential: channels in, channels out. "pool" and "up"
# are what stands between them; all are 3x3 but the first of the encoder.
ENCODER: Layers = {
    0: (3, 3),
    2: (3, 64),
    5: (64, 64),
    7: "pool",
    9: (64, 128),
    12: (128, 128),
    14: "pool",
    16: (128, 256),
    19: (256, 256),
    22: (256, 256),
    25: (256, 256),
    27: "pool",
    29: (256, 512),
}
BEYOND = (32, 35, 38, 42, 45, 48, 51)
DECODER: Layers = {
    1: (512, 256),
    3: "up",
    5: (256, 256),
    8: (256, 256),
    11: (256, 256),
    14: (256, 128),
    16: "up",
    18: (128, 128),
    21: (128, 64),
    23: "up",
    25: (64, 64),
    28: (64, 3),
}


def random_weights(layers: Layers, seed: int) -> State:
    """Weights that keep the size of activations from layer to layer, and images somewhere around grey."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for number, layer in layers.items():
        if isinstance(layer, tuple):
            inputs, outputs = layer
            side = 1 if number == 0 else 3
            scale = (2 / (inputs * side**2)) ** 0.5
            state[f"{number}.weight"] = scale * torch.randn(outputs, inputs, side, side, generator=generator)
            state[f"{number}.bias"] = 0.3 * torch.rand(outputs, generator=generator)
    if 0 in layers:  # as in the published file, from [0, 1] to a wide range around 0
        state["0.weight"] *= 30
        state["0.bias"] = -state["0.weight"].sum((1, 2, 3)) / 2
    else:
        state["28.weight"] *= 0.1
        state["28.bias"] += 0.5
    return state


def whole_vgg() -> State:
    """The encoder's random weights, and zeros for the layers beyond relu4_1."""
    state = random_weights(ENCODER, seed=1)
    for number in BEYOND:
        state[f"{number}.weight"] = torch.zeros(512, 512, 3, 3)
        state[f"{number}.bias"] = torch.zeros(512)
    return state


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """`vgg_normalised.pth` and `decoder.pth` in the published layout."""
    folder = tmp_path_factory.mktemp("adain")
    torch.save(whole_vgg(), folder / "vgg_normalised.pth")
    torch.save(random_weights(DECODER, seed=2), folder / "decoder.pth")
    return folder / "vgg_normalised.pth", folder / "decoder.pth"


@pytest.fixture(scope="module")
def transfer(files: tuple[Path, Path]) -> StyleTransfer:
    return load_style_transfer(*files)


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random images with coarse and fine structure."""
    generator = torch.Generator().manual_seed(seed)
    coarse = F.interpolate(torch.rand(shape[0], 3, 4, 4, generator=generator), shape[2:], mode="bilinear")
    return 0.7 * coarse + 0.3 * torch.rand(shape, generator=generator)


def convolved(x: torch.Tensor, state: State, number: int) -> torch.Tensor:
    weight = state[f"{number}.weight"]
    margin = weight.shape[-1] // 2
    return F.conv2d(F.pad(x, (margin,) * 4, mode="reflect"), weight, state[f"{number}.bias"])


# --- the networks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [32, 37])
def test_the_encoder_is_the_published_networks_up_to_relu4_1(transfer: StyleTransfer, side: int) -> None:
    state = whole_vgg()
    wanted = x = images(2, 3, side, side)
    for number, layer in ENCODER.items():
        if layer == "pool":
            wanted = F.max_pool2d(wanted, 2, ceil_mode=True)
        else:
            wanted = convolved(wanted, state, number)
            wanted = wanted if number == 0 else wanted.relu()
    assert wanted.shape == (2, 512, -(-side // 8), -(-side // 8))
    torch.testing.assert_close(transfer.encode(x), wanted, rtol=1e-4, atol=1e-4)


def test_the_decoder_is_the_published_one_and_gives_images(transfer: StyleTransfer) -> None:
    state = random_weights(DECODER, seed=2)
    wanted = t = transfer.encode(images(1, 3, 40, 24))
    for number, layer in DECODER.items():
        if layer == "up":
            wanted = wanted.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        else:
            wanted = convolved(wanted, state, number)
            wanted = wanted if number == 28 else wanted.relu()
    assert wanted.min() < 0, "something is there to be clipped"
    assert wanted.max() > 1
    torch.testing.assert_close(transfer.decode(t), wanted.clamp(0, 1), rtol=1e-4, atol=1e-4)


# --- the normalisation -----------------------------------------------------------------------------------------


def test_the_content_takes_on_the_mean_and_standard_deviation_of_the_style(transfer: StyleTransfer) -> None:
    content, style = transfer.encode(images(2, 3, 96, 96)), transfer.encode(images(2, 3, 80, 112, seed=1) ** 2)
    alive = (content.var(dim=(2, 3)) > 0.2) & (style.var(dim=(2, 3)) > 0.2)  # the 1e-5 in the variance is not felt
    assert alive.float().mean() > 0.3
    stylised = adaptive_instance_norm(content, style)
    assert stylised.shape == content.shape
    assert not torch.allclose(content.mean(dim=(2, 3))[alive], style.mean(dim=(2, 3))[alive], rtol=0.1)
    for statistic in (torch.mean, torch.std):
        found, wanted = statistic(stylised, dim=(2, 3)), statistic(style, dim=(2, 3))
        torch.testing.assert_close(found[alive], wanted[alive], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 3e-3], ids=["plain", "variance near the epsilon"])
def test_it_is_torchs_instance_norm_with_the_styles_statistics_and_an_unbiased_variance(scale: float) -> None:
    torch.manual_seed(0)
    content, style = scale * torch.randn(2, 5, 7, 6).double() + 1, scale * torch.randn(2, 5, 4, 9).double() - 2
    n = 7 * 6
    # F.instance_norm divides by the biased variance, which is (n - 1) / n of the other.
    normalised = F.instance_norm(content, eps=1e-5 * (n - 1) / n) * ((n - 1) / n) ** 0.5
    spread = (style.var(dim=(2, 3), correction=1, keepdim=True) + 1e-5).sqrt()
    wanted = normalised * spread + style.mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(adaptive_instance_norm(content, style), wanted, rtol=1e-9, atol=1e-9)


def test_a_channel_in_which_the_content_is_flat_becomes_the_styles_mean() -> None:
    content, style = torch.full((1, 2, 3, 3), 4.0), torch.arange(18.0).reshape(1, 2, 3, 3)
    wanted = style.mean(dim=(2, 3), keepdim=True).expand(1, 2, 3, 3)
    torch.testing.assert_close(adaptive_instance_norm(content, style), wanted)


# --- the transfer ----------------------------------------------------------------------------------------------


def test_the_whole_style_is_the_decoded_normalisation(transfer: StyleTransfer) -> None:
    content, style = images(2, 3, 32, 32), images(2, 3, 48, 40, seed=1)
    wanted = transfer.decode(adaptive_instance_norm(transfer.encode(content), transfer.encode(style)))
    assert ((wanted > 0) & (wanted < 1)).float().mean() > 0.1, "not all of it is clipped"
    torch.testing.assert_close(transfer(content, style), wanted)
    assert not torch.allclose(transfer(content, style.flip(0)), wanted, atol=1e-2)


def test_without_style_the_content_is_only_reconstructed(transfer: StyleTransfer) -> None:
    content = images(1, 3, 32, 40)
    wanted = transfer.decode(transfer.encode(content))
    for seed in (1, 2):
        torch.testing.assert_close(transfer(content, images(1, 3, 32, 32, seed=seed), alpha=0.0), wanted)


def test_between_the_two_features_are_mixed_in_proportion(transfer: StyleTransfer) -> None:
    content, style = images(1, 3, 32, 32), images(1, 3, 32, 32, seed=1)
    plain = transfer.encode(content)
    stylised = adaptive_instance_norm(plain, transfer.encode(style))
    torch.testing.assert_close(
        transfer(content, style, alpha=0.25), transfer.decode(0.75 * plain + 0.25 * stylised), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("size", [(9, 9), (16, 16), (17, 31), (33, 24), (40, 9)], ids=str)
def test_the_result_has_the_contents_size_and_its_upper_left_corner(
    transfer: StyleTransfer, size: tuple[int, int]
) -> None:
    content, style = images(1, 3, *size), images(1, 3, 29, 10, seed=1)
    stylised = transfer(content, style)
    assert stylised.shape == content.shape
    assert stylised.dtype == torch.float32
    assert stylised.min() >= 0
    assert stylised.max() <= 1
    whole = transfer.decode(adaptive_instance_norm(transfer.encode(content), transfer.encode(style)))
    torch.testing.assert_close(stylised, whole[..., : size[0], : size[1]])


def test_each_sample_is_stylised_by_itself(transfer: StyleTransfer) -> None:
    content, style = images(3, 3, 24, 24), images(3, 3, 24, 24, seed=1)
    alone = [transfer(content[i : i + 1], style[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(transfer(content, style), torch.cat(alone), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(1, 3, 16, 16, dtype=torch.uint8),
        torch.zeros(1, 3, 16, 16, dtype=torch.float64),
        torch.zeros(1, 4, 16, 16),
        torch.zeros(3, 16, 16),
        torch.zeros(1, 3, 8, 16),
        torch.zeros(1, 3, 16, 8),
    ],
    ids=lambda x: f"{x.dtype} {tuple(x.shape)}",
)
def test_what_is_no_batch_of_images_is_a_value_error(transfer: StyleTransfer, wrong: torch.Tensor) -> None:
    right = torch.zeros(1, 3, 16, 16)
    for pair in ((wrong, right), (right, wrong)):
        with pytest.raises(ValueError, match=r"float32 images .* at least 9 pixels a side, not torch"):
            transfer(*pair)


# --- the files -------------------------------------------------------------------------------------------------


def test_files_in_the_published_layout_fill_both_networks(transfer: StyleTransfer) -> None:
    for network, state in ((transfer.encoder, whole_vgg()), (transfer.decoder, random_weights(DECODER, seed=2))):
        loaded = network.state_dict()
        assert loaded.keys() == state.keys() - {f"{n}.{part}" for n in BEYOND for part in ("weight", "bias")}
        for name, tensor in loaded.items():
            torch.testing.assert_close(tensor, state[name], rtol=0, atol=0)


def test_a_loaded_transfer_is_frozen(transfer: StyleTransfer) -> None:
    assert not transfer.training
    assert not any(parameter.requires_grad for parameter in transfer.parameters())


def test_an_encoder_that_ends_at_relu4_1_and_safetensors_are_taken_too(tmp_path: Path, transfer: StyleTransfer) -> None:
    save_file(random_weights(ENCODER, seed=1), tmp_path / "vgg.safetensors")
    save_file(random_weights(DECODER, seed=2), tmp_path / "decoder.safetensors")
    same = load_style_transfer(tmp_path / "vgg.safetensors", tmp_path / "decoder.safetensors")
    x = images(1, 3, 16, 16)
    torch.testing.assert_close(same(x, x), transfer(x, x))


def refusal(vgg: Path, decoder: Path, at_fault: Path) -> str:
    message = refusal_of(lambda: load_style_transfer(vgg, decoder), f"{at_fault}: ")
    assert "https://github.com/naoto0804/pytorch-AdaIN" in message
    return message


def test_files_the_wrong_way_round_are_refused_in_a_sentence(files: tuple[Path, Path]) -> None:
    vgg, decoder = files
    for message in (refusal(decoder, decoder, decoder), refusal(decoder, vgg, decoder)):
        assert "normalised VGG-19" in message
        assert "fetch vgg_normalised.pth from" in message
    message = refusal(vgg, vgg, vgg)
    assert "decoder's weights" in message
    assert "fetch decoder.pth from" in message


def test_missing_files_are_named(files: tuple[Path, Path], tmp_path: Path) -> None:
    vgg, decoder = files
    missing = tmp_path / "no.pth"
    assert "no such file" in refusal(missing, decoder, missing)
    assert "fetch decoder.pth" in refusal(vgg, missing, missing)


def torchvisions_names(state: State) -> State:
    return {f"features.{name}": tensor for name, tensor in state.items()}


def without_a_layer(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if not name.startswith("29.")}


def with_another_shape(state: State) -> State:
    return {**state, "0.weight": torch.zeros(64, 3, 3, 3)}


def with_one_more(state: State) -> State:
    return {**state, "classifier.weight": torch.zeros(1)}


@pytest.mark.parametrize("spoil", [torchvisions_names, without_a_layer, with_another_shape, with_one_more])
def test_another_network_than_the_published_is_refused(
    files: tuple[Path, Path], tmp_path: Path, spoil: Callable[[State], State]
) -> None:
    path = tmp_path / "other.pth"
    torch.save(spoil(whole_vgg()), path)
    assert "normalised VGG-19" in refusal(path, files[1], path)


class Bomb:
    """Unpickling it leaves a folder behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.trace),)


def test_a_file_that_would_run_code_is_refused_and_does_not_run(files: tuple[Path, Path], tmp_path: Path) -> None:
    path, trace = tmp_path / "bomb.pth", tmp_path / "it ran"
    torch.save({**random_weights(DECODER, seed=2), "extra": Bomb(trace)}, path)
    refusal(files[0], path, path)
    assert not trace.exists()
