"""The frozen models that are judged: from timm, built in, or a user's own, each with its preprocessing."""

from __future__ import annotations

import difflib
import importlib
import socket
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from trustcache.checkpoints import load_into, read_weights, state_sha256
from trustcache.cifar_resnet import CifarResNet, cifar_resnet_depth
from trustcache.errors import UsageError

# The paper's two models, by timm's names for their weights.
PAPER_MODELS = {"vit": "vit_base_patch16_384.orig_in21k_ft_in1k", "resnet": "resnet50.tv_in1k"}
HUB_TIMEOUT_S = 5.0
LastLayer = nn.Linear | nn.Conv2d


@dataclass(frozen=True)
class Preprocessing:
    """From an RGB image to a model's input, in the terms of timm's configurations.

    The shorter side is resized to input_size / crop_pct and the centre cropped (`crop_mode` "center"), both
    sides are ("squash"), or the longer one with borders added ("border"); then (pixel / 255 - mean) / std.
    """

    input_size: tuple[int, int]
    crop_pct: float
    crop_mode: str
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def transform(self) -> Any:
        """The image part: PIL image to a uint8 tensor (3, H, W), by timm's own evaluation transform."""
        from timm.data.transforms_factory import transforms_imagenet_eval

        return transforms_imagenet_eval(
            self.input_size,
            self.crop_pct,
            self.crop_mode,
            None,
            self.interpolation,
            self.mean,
            self.std,
            normalize=False,
        )

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """The arithmetic part, for batches on their device: uint8 (N, 3, H, W) to float32, channels last in memory."""
        mean = torch.tensor(self.mean, device=pixels.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(1, -1, 1, 1)
        return ((pixels.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class ModelSpec:
    """What to build: a name, where its weights come from, and what is set by hand.

    `name` is `vit`, `resnet`, `cifar-resnetN` (N = 6n+2), a timm model, or `package.module:function`, a function
    that returns a torch module. `arguments` go to the builder; `preprocessing` replaces single entries.
    """

    name: str
    weights: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    preprocessing: dict[str, Any] = field(default_factory=dict)


class Classifier:
    """A frozen model in evaluation mode that gives logits and the features its last layer sees."""

    def __init__(self, spec: ModelSpec, model: nn.Module) -> None:
        self.spec = spec
        # Convolutions run up to half as fast again with the channels last.
        self.model = model.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.preprocessing = preprocessing_of(model, spec.preprocessing)
        self._last = _last_layer(model, spec.name)[1]
        self.num_classes: int = self._last.weight.shape[0]

    def __call__(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 (N, 3, H, W) to float32 logits (N, K) and pooled features (N, D)."""
        seen: list[torch.Tensor] = []
        hook = self._last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            with torch.inference_mode():
                logits = self.model(self.preprocessing.normalise(pixels))
        finally:
            hook.remove()
        return logits.flatten(1).float(), seen[0].flatten(1).float()

    def identity(self) -> dict[str, Any]:
        """What pins this classifier's numbers, for a cache's index."""
        return {
            "name": self.spec.name,
            "architecture": architecture(self.spec.name),
            "arguments": self.spec.arguments,
            "state_sha256": state_sha256(self.model),
            "preprocessing": asdict(self.preprocessing),
        }


def load_classifier(spec: ModelSpec) -> Classifier:
    """Build a classifier and load its weights. Raises UsageError with the remedy where either cannot be done."""
    return Classifier(spec, load_model(spec))


def architecture(name: str) -> str:
    """The full name behind `vit` and `resnet`; any other name is its own."""
    return PAPER_MODELS.get(name, name)


def load_model(spec: ModelSpec) -> nn.Module:
    """The network of a spec with its weights: from a file, from its own function, or as timm publishes them."""
    if spec.weights:
        path = Path(spec.weights).resolve()
        weights = read_weights(path)
        model = _build(spec, None)
        last = weights.get(f"{_last_layer(model, spec.name)[0]}.weight")
        classes = None if last is None else last.shape[0]
        if classes is not None and classes != _last_layer(model, spec.name)[1].weight.shape[0]:
            model = _build(spec, classes)
        load_into(model, weights, f"--weights {path}")
        return model
    if _is_function(spec.name):
        return _build(spec, None)
    if cifar_resnet_depth(spec.name):
        raise UsageError(f"{spec.name}: has no published weights to fetch; pass yours with --weights FILE")
    return _download(spec)


def backbone(spec: ModelSpec) -> tuple[nn.Module, int]:
    """The network of a spec with its last layer taken off, and the number of features it gives."""
    model = load_model(spec)
    name, last = _last_layer(model, spec.name)
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Flatten())
    return model, last.weight.shape[1]


def preprocessing_of(model: nn.Module, overrides: Mapping[str, Any]) -> Preprocessing:
    """A model's own preprocessing, with single entries replaced."""
    from timm.data.config import resolve_data_config

    config = resolve_data_config({}, pretrained_cfg=getattr(model, "pretrained_cfg", {}))
    own = Preprocessing(
        tuple(config["input_size"][1:]),
        config["crop_pct"],
        config["crop_mode"],
        config["interpolation"],
        tuple(config["mean"]),
        tuple(config["std"]),
    )
    return Preprocessing(**{**asdict(own), **overrides})


def parse_preprocessing(settings: list[str]) -> dict[str, Any]:
    """Turn `mean=0.5,0.5,0.5` and the like into checked entries of a Preprocessing. Raises UsageError."""
    parsed: dict[str, Any] = {}
    for setting in settings:
        key, _, text = setting.partition("=")
        try:
            parsed[key] = _PREPROCESSING_VALUES[key](text)
        except (KeyError, ValueError):
            raise UsageError(
                f"--preprocess {setting}: expected input_size=N or N,M; crop_pct=0..1; crop_mode=center, squash or "
                "border; interpolation=nearest, bilinear, bicubic or lanczos; mean=R,G,B; or std=R,G,B"
            ) from None
    return parsed


def _size(text: str) -> tuple[int, int]:
    sides = [int(side) for side in text.split(",")]
    if len(sides) > 2 or min(sides) < 1:
        raise ValueError
    return sides[0], sides[-1]


def _fraction(text: str) -> float:
    if not 0 < float(text) <= 1:
        raise ValueError
    return float(text)


def _channels(text: str) -> tuple[float, ...]:
    values = tuple(float(value) for value in text.split(","))
    if len(values) != 3:
        raise ValueError
    return values


def _one_of(*choices: str) -> Any:
    return lambda text: choices[choices.index(text)]


_PREPROCESSING_VALUES: dict[str, Any] = {
    "input_size": _size,
    "crop_pct": _fraction,
    "crop_mode": _one_of("center", "squash", "border"),
    "interpolation": _one_of("nearest", "bilinear", "bicubic", "lanczos"),
    "mean": _channels,
    "std": _channels,
}


def _build(spec: ModelSpec, num_classes: int | None) -> nn.Module:
    """The bare network; `num_classes` replaces the architecture's own number."""
    arguments = dict(spec.arguments)
    if num_classes is not None:
        arguments["num_classes"] = num_classes
    try:
        if depth := cifar_resnet_depth(spec.name):
            return CifarResNet(depth, **arguments)
        if _is_function(spec.name):
            return _own_function(spec.name)(**arguments)
        return _timm_model(spec.name, pretrained=False, **arguments)
    except TypeError as error:
        raise UsageError(f"{spec.name}: cannot be built with these --model-arg: {error}") from None


def _is_function(name: str) -> bool:
    return ":" in name and not name.startswith(("hf_hub:", "hf-hub:", "local-dir:"))  # timm's own schemes


def _own_function(name: str) -> Any:
    module, _, function = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does: a user's file lies where she works
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"--classifier {name}: {error}; it must be package.module:function") from None


def _timm_model(name: str, **arguments: Any) -> nn.Module:
    import timm

    full = architecture(name)
    if ":" not in full and not timm.is_model(full):
        near = difflib.get_close_matches(full, timm.list_models(), n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise UsageError(
            f"--classifier {name}: neither vit, resnet, cifar-resnet20/32/44/56/110, a timm model, "
            f"nor package.module:function{hint}"
        )
    try:
        return timm.create_model(full, **arguments)
    except RuntimeError as error:  # an unknown tag after the dot, settings at odds
        raise UsageError(f"--classifier {name}: {error}") from None


def _download(spec: ModelSpec) -> nn.Module:
    """A timm model with its published weights, from the local hub cache or the network."""
    try:
        with _no_retries_without_network():
            return _timm_model(spec.name, pretrained=True, **spec.arguments)
    except (OSError, ValueError) as error:  # the hub's errors are OSErrors
        full = architecture(spec.name)
        raise UsageError(
            f"{spec.name}: its weights are neither on this machine nor could they be downloaded "
            f"({str(error).splitlines()[0]}); fetch model.safetensors from https://huggingface.co/timm/{full} "
            "on a machine with a network and pass it with --weights FILE"
        ) from None


@contextmanager
def _no_retries_without_network() -> Iterator[None]:
    """Tell the hub client at once when there is no network: by itself it retries for most of a minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or _reachable(constants.ENDPOINT):
        yield
    else:
        with mock.patch.object(constants, "HF_HUB_OFFLINE", True):
            yield


def _reachable(url: str) -> bool:
    if urllib.request.getproxies():
        return True  # only the proxy knows
    address = urllib.parse.urlsplit(url)
    answered = threading.Event()

    def knock() -> None:
        port = address.port or (80 if address.scheme == "http" else 443)
        try:
            socket.create_connection((address.hostname, port), HUB_TIMEOUT_S).close()
        except OSError:
            return
        answered.set()

    # In a thread, since looking up a name takes no time limit.
    thread = threading.Thread(target=knock, daemon=True)
    thread.start()
    thread.join(HUB_TIMEOUT_S)
    return answered.is_set()


def _last_layer(model: nn.Module, name: str) -> tuple[str, LastLayer]:
    """The layer that turns features into logits: what timm's configuration names, else the last linear one."""
    named = getattr(model, "pretrained_cfg", {}).get("classifier")
    named = named[0] if isinstance(named, (tuple, list)) else named
    modules = dict(model.named_modules())
    if named and isinstance(layer := modules.get(named), LastLayer):
        return named, layer
    linear = [(n, m) for n, m in modules.items() if isinstance(m, nn.Linear)]
    if not linear:
        raise UsageError(f"{name}: has no linear layer whose input could serve as features")
    return linear[-1]
