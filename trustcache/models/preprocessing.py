"""Preprocessing from an RGB image to a model's input: each model's own, and the entries that a user may replace."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from trustcache.errors import UsageError
from trustcache.models.matching_torchvision import require_torchvision
from trustcache.models.to_device import to_device

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import nn

RELEASED_PREPROCESSING: Mapping[str, Any] = MappingProxyType(
    {"crop_pct": 1.0, "crop_mode": "squash", "interpolation": "bilinear", "mean": (0.5,) * 3, "std": (0.5,) * 3}
)
"""Preprocessing of the steep-slope paper's released code for every model: no crop, one normalisation."""


LARGEST_SIDE = 1 << 14
"""Pixels a side of images as a model or a variant takes them; more is a mistake that would fill the memory."""
_CHOICES = {
    "crop_mode": ("center", "squash", "border"),
    "interpolation": ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"),
}


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing from an RGB image to a model's input, in the terms of timm's configurations.

    crop_mode: "center" resizes the shorter side to input_size / crop_pct and crops the centre, "squash" resizes both
    sides, "border" resizes the longer one and adds borders. Then follows (pixel / 255 - mean) / std. One mean and std
    instead of three are of a model that takes grey images: the luma of the colours, as Pillow's mode L.
    """

    input_size: tuple[int, int]
    crop_pct: float
    crop_mode: str
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        """Raise ValueError for entries that no image can be prepared by."""
        sides = [side / self.crop_pct for side in self.input_size if 0 < self.crop_pct <= 1]
        if len(sides) != 2 or not all(1 <= side <= LARGEST_SIDE for side in (*self.input_size, *sides)):
            raise ValueError(f"input_size {self.input_size} with crop_pct {self.crop_pct}, of {LARGEST_SIDE} at most")
        for key, names in _CHOICES.items():
            if getattr(self, key) not in names:
                raise ValueError(f"{key} {getattr(self, key)}, which is none of {', '.join(names)}")

    def __str__(self) -> str:
        """Return it in the words of --preprocess.

        >>> str(Preprocessing((32, 32), 1.0, "center", "bicubic", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)))
        'input_size=32,32 crop_pct=1 crop_mode=center interpolation=bicubic mean=0.5,0.5,0.5 std=0.25,0.25,0.25'
        """
        shown = (
            (name, ",".join(f"{one:.4g}" for one in value) if isinstance(value, tuple) else value)
            for name, value in vars(self).items()
        )
        return " ".join(f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in shown)

    def transform(self) -> Callable[[Image.Image], torch.Tensor]:
        """Return the image part: RGB image to a uint8 tensor (3, H, W), by timm's own evaluation transform."""
        require_torchvision()
        from timm.data.transforms_factory import transforms_imagenet_eval

        whole = transforms_imagenet_eval(
            self.input_size,
            crop_pct=self.crop_pct,
            crop_mode=self.crop_mode,
            interpolation=self.interpolation,
            mean=self.mean * (3 // len(self.mean)),  # the colour of borders
            normalize=False,
        )
        return _OfItsSize(whole, self.input_size) if self.crop_pct == 1 else whole

    def resized(self, pixels: torch.Tensor) -> torch.Tensor:
        """Resize a batch (N, 3, H, W) of pixels 0 to 255 to the input size; float32 unless it has that size already."""
        from torch.nn import functional as F

        if tuple(pixels.shape[2:]) == self.input_size:
            return pixels

        resized = F.interpolate(pixels.float(), self.input_size, mode="bicubic", antialias=True, align_corners=False)
        return resized.clamp(0, 255)

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalise a batch on its device: pixels 0 to 255 (N, 3, H, W) to float32, channels last."""
        import torch

        def by_channel(numbers: Sequence[float]) -> torch.Tensor:
            return to_device(torch.tensor(numbers), pixels.device).view(1, -1, 1, 1)

        if len(self.mean) == 1:
            pixels = (pixels.float() * by_channel(_LUMA)).sum(1, keepdim=True)
        x = pixels.to(torch.float32, memory_format=torch.channels_last)
        x = x / 255 if x is pixels else x.div_(255)  # the caller's pixels stay as they are, and a copy is used again
        return x.sub_(by_channel(self.mean)).div_(by_channel(self.std))


@dataclass(frozen=True)
class _OfItsSize:
    """A transform that has nothing to resize or crop in images of its size, height and width: these are copied."""

    whole: Callable[[Image.Image], torch.Tensor]
    size: tuple[int, int]

    def __call__(self, image: Image.Image) -> torch.Tensor:
        import numpy as np
        import torch

        if image.mode != "RGB" or image.size[::-1] != self.size:
            return self.whole(image)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


# Of ITU-R BT.601, as Pillow has them.
_LUMA = (0.299, 0.587, 0.114)


def preprocessing_of(model: nn.Module, overrides: Mapping[str, Any]) -> Preprocessing:
    """Return a model's own preprocessing, with the entries of `overrides` replaced."""
    require_torchvision()
    from timm.data.config import resolve_data_config

    config = resolve_data_config({}, pretrained_cfg={"input_size": (3, 224, 224), **model_config(model)})
    if takes_grey(model):
        config |= {key: (sum(config[key]) / len(config[key]),) for key in ("mean", "std")}
    config["input_size"] = config["input_size"][1:]
    entries: dict[str, Any] = {entry.name: config[entry.name] for entry in fields(Preprocessing)} | dict(overrides)
    for key in ("input_size", "mean", "std"):
        entries[key] = tuple(entries[key])  # from a cache's index they come as lists
    for key in ("mean", "std"):
        if len(entries[key]) == 1 and (channels := _channels(model)) not in (1, None):
            raise UsageError(
                f"--preprocess {key}={entries[key][0]:g}: one value is for a model of grey images, and this one takes "
                f"{channels} channels; give {key}=R,G,B"
            )
    try:
        return Preprocessing(**entries)
    except ValueError as error:
        raise UsageError(f"no images can be prepared with {error}; correct the model's or --preprocess") from None


def _channels(model: nn.Module) -> int | None:
    """Return the number of channels that a model takes, by its first convolution; None without one."""
    from torch.nn import Conv2d

    layer = _first_layer(model) or next((layer for layer in model.modules() if isinstance(layer, Conv2d)), None)
    return getattr(layer, "in_channels", None)


def takes_grey(model: nn.Module) -> bool:
    """Return True if the first layer of a timm model takes one channel."""
    return getattr(_first_layer(model), "in_channels", None) == 1


def _first_layer(model: nn.Module) -> nn.Module | None:
    """Return the layer that a timm model's configuration calls its first, None where it names none."""
    first = model_config(model).get("first_conv")
    return dict(model.named_modules()).get(first) if isinstance(first, str) else None


def assumed(model: nn.Module, overrides: Mapping[str, Any]) -> bool:
    """Return True if nobody says how a model's images are prepared: neither itself nor, in full, the user."""
    config = model_config(model)
    declared = bool(config) and not config.get("assumed") and not takes_grey(model)
    return not declared and not {"input_size", "mean", "std"} <= overrides.keys()


def model_config(model: nn.Module) -> dict[str, Any]:
    """Return the `pretrained_cfg` of timm's models and others that have one, else {}."""
    return getattr(model, "pretrained_cfg", None) or {}


PREPROCESS_HELP = (
    "KEY=VALUE: replace part of its preprocessing; may be repeated. Keys: input_size=224 (or height,width), "
    "crop_pct=0.875 (share of the resized image that is kept), "
    + "".join(f"{key}={names[0]} (or {', '.join(names[1:])}), " for key, names in _CHOICES.items())
    + "mean=R,G,B and std=R,G,B of pixels from 0 to 1 (one number for grey images)."
)
"""Help of the options that replace preprocessing."""


def parse_preprocessing(settings: list[str], option: str = "--preprocess") -> dict[str, Any]:
    """Turn `mean=0.5,0.5,0.5` and the like into checked entries of a Preprocessing. Raises UsageError."""
    parsed: dict[str, Any] = {}
    for setting in settings:
        key, _, text = setting.partition("=")
        try:
            parsed[key] = _parsed(key, text)
        except ValueError:
            raise UsageError(
                f"{option} {setting}: expected input_size=N or N,M; crop_pct=0..1; "
                + "".join(f"{key}={' or '.join(names)}; " for key, names in _CHOICES.items())
                + "mean=R,G,B; or std=R,G,B above 0"
            ) from None
    return parsed


def preprocessing_words(entries: Mapping[str, Any]) -> list[str]:
    """Return entries of a Preprocessing as words that `parse_preprocessing` reads, with all their digits.

    >>> preprocessing_words({"input_size": (8, 8), "crop_mode": "center", "mean": (0.1, 1 / 3, 0.5)})
    ['input_size=8,8', 'crop_mode=center', 'mean=0.1,0.3333333333333333,0.5']
    """
    return [f"{key}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for key, v in entries.items()]


def _parsed(key: str, text: str) -> Any:
    """Return the value of one entry. Raises ValueError for an unknown key and for a value that does not fit it."""
    if key in _CHOICES and text in _CHOICES[key]:
        return text
    numbers = tuple(map(int if key == "input_size" else float, text.split(",")))
    if key == "input_size" and len(numbers) <= 2 and 1 <= min(numbers) <= max(numbers) <= LARGEST_SIDE:
        return numbers[0], numbers[-1]
    if key == "crop_pct" and len(numbers) == 1 and 0 < numbers[0] <= 1:
        return numbers[0]
    lowest = {"mean": -math.inf, "std": 0.0}.get(key, math.nan)
    if len(numbers) in (1, 3) and all(lowest < value < math.inf for value in numbers):
        return numbers
    raise ValueError
