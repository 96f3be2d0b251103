"""AdaIN style transfer: a content image repainted with the feature statistics of a style image.

Paper: Huang & Belongie, "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization", ICCV 2017.
Stylized-ImageNet (Geirhos et al., ICLR 2019) is ImageNet in the style of paintings made this way. The networks are laid
out as in github.com/naoto0804/pytorch-AdaIN, so that its published weights fit; the code is our own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

from trustcache.errors import UsageError
from trustcache.models.checkpoints import load_into, read_weights

WEIGHTS_SOURCE = "https://github.com/naoto0804/pytorch-AdaIN/releases/tag/v0.0.0"
STRIDE = 8
"""Side in pixels of one position of relu4_1."""
SMALLEST_SIDE = STRIDE + 1
"""Reflection padding needs two positions a side at relu4_1, where pooling rounds up."""

_EPS = 1e-5  # added to the variance, as in the port
# The widths of the 3x3 convolutions; None is a pooling in the encoder and an upsampling in the decoder.
_ENCODER = (64, 64, None, 128, 128, None, 256, 256, 256, 256, None, 512)
_DECODER = (256, None, 256, 256, 256, 128, None, 128, 64, None, 64)
# conv4_2 to conv5_4: vgg_normalised.pth holds the whole VGG-19.
_BEYOND_RELU4_1 = {f"{layer}.{part}" for layer in (32, 35, 38, 42, 45, 48, 51) for part in ("weight", "bias")}


class StyleTransfer(nn.Module):
    """VGG-19 up to relu4_1, and the decoder that mirrors it; randomly initialised until weights are loaded."""

    def __init__(self) -> None:
        super().__init__()
        pooling, upsampling = partial(nn.MaxPool2d, 2, ceil_mode=True), partial(nn.Upsample, scale_factor=2)
        self.encoder = nn.Sequential(nn.Conv2d(3, 3, 1), *_layers(3, _ENCODER, pooling))
        self.decoder = nn.Sequential(*_layers(512, _DECODER, upsampling), *_convolution(64, 3))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Map RGB images, float32 (N, 3, H, W) in [0, 1], to features at relu4_1 (N, 512, ceil(H / 8), ceil(W / 8)).

        Raises ValueError for another dtype or shape, and for a side below `SMALLEST_SIDE`.
        """
        if x.dtype != torch.float32 or x.ndim != 4 or x.shape[1] != 3 or min(x.shape[2:]) < SMALLEST_SIDE:
            raise ValueError(
                f"style transfer takes float32 images (N, 3, H, W) of at least {SMALLEST_SIDE} pixels a side, "
                f"not {x.dtype} {tuple(x.shape)}"
            )
        return self.encoder(x)

    def decode(self, t: torch.Tensor) -> torch.Tensor:
        """Map features of relu4_1 (N, 512, h, w) to images in [0, 1], float32 (N, 3, 8h, 8w)."""
        return self.decoder(t).clamp(0, 1)

    def forward(self, content: torch.Tensor, style: torch.Tensor, alpha: float = 1.0) -> torch.Tensor:
        """Repaint the content in the style: g((1 - alpha) f(c) + alpha AdaIN(f(c), f(s))), Eq. 14.

        Content and result are float32 (N, 3, H, W) in [0, 1]; style too, of any size (N, 3, h, w). alpha: from 0, the
        content as the decoder reconstructs it, to 1, the whole style. Raises ValueError as `encode`.
        """
        features = self.encode(content)
        stylised = adaptive_instance_norm(features, self.encode(style))
        height, width = content.shape[2:]
        # Pooling rounds up and keeps the upper left corner in place: what the decoder adds lies right and below.
        return self.decode((1 - alpha) * features + alpha * stylised)[..., :height, :width]


def adaptive_instance_norm(content_features: torch.Tensor, style_features: torch.Tensor) -> torch.Tensor:
    """Give content features the mean and standard deviation of style features: s_s (x - m_c) / s_c + m_s, Eq. 8.

    Both are float (N, C, h, w) with two positions or more, of any h and w; the result has the content's shape. Mean m
    and deviation s are over the positions of each sample and channel, s = sqrt(unbiased variance + 1e-5).
    """
    content_mean, content_std = _mean_and_std(content_features)
    style_mean, style_std = _mean_and_std(style_features)
    return (content_features - content_mean) / content_std * style_std + style_mean


def load_style_transfer(vgg: Path, decoder: Path) -> StyleTransfer:
    """Return the style transfer with published weights, in evaluation mode and without gradients.

    vgg: `vgg_normalised.pth`, the state of a Sequential that holds the whole VGG-19 behind a 1x1 convolution from RGB
    in [0, 1] to the channels that VGG was trained on; a file that ends at relu4_1 will do. decoder: `decoder.pth`, the
    state of a Sequential. Neither runs code. Raises UsageError for a file that is missing or holds something else.
    """
    model = StyleTransfer()
    _fill(model.encoder, vgg, "the encoder's normalised VGG-19", "vgg_normalised.pth")
    _fill(model.decoder, decoder, "the decoder's weights", "decoder.pth")
    return model.eval().requires_grad_(False)


def _fill(network: nn.Sequential, path: Path, what: str, published_as: str) -> None:
    where = f"fetch {published_as} from {WEIGHTS_SOURCE}"
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file, where AdaIN's style transfer expects {what}; {where}")
    try:
        weights = {name: tensor for name, tensor in read_weights(path).items() if name not in _BEYOND_RELU4_1}
        load_into(network, weights, str(path))
    except UsageError as error:
        raise UsageError(f"{path}: does not hold {what} for AdaIN's style transfer; {where}") from error


def _mean_and_std(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    variance, mean = torch.var_mean(features, dim=(2, 3), correction=1, keepdim=True)
    return mean, (variance + _EPS).sqrt()


def _layers(channels: int, widths: Sequence[int | None], resize: Callable[[], nn.Module]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for width in widths:
        if width is None:
            layers.append(resize())
        else:
            layers += [*_convolution(channels, width), nn.ReLU()]
            channels = width
    return layers


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.ReflectionPad2d(1), nn.Conv2d(inputs, outputs, 3)]
