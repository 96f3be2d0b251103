"""The frozen models that are judged: from timm, built in, or a user's own, each with its preprocessing."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trustcache.errors import UsageError, kind_and_line
from trustcache.models.checkpoints import load_into, read_weights, state_sha256
from trustcache.models.identity import Identity
from trustcache.models.preprocessing import model_config, preprocessing_of
from trustcache.models.stage_features import pooled_outputs, stage_places
from trustcache.models.timm_models import architecture, has_scheme, timm_model
from trustcache.models.zoo.registry import built_in

LastLayer = nn.Linear | nn.Conv2d


@dataclass(frozen=True)
class ModelSpec:
    """What to build: a name, where its weights come from, and what is set by hand.

    `name` is `vit`, `resnet`, `cifar-resnetN` (N = 6n+2), `mnist-convnet`, `cifar-vgg16`, a timm model, or
    `package.module:function`, a function that returns a torch module. Such a module may say what its images and its
    last layer are as timm's do, in a dictionary `pretrained_cfg` (`input_size`, `mean`, `std`, `classifier` and so
    on). `arguments` go to the builder; `preprocessing` replaces single entries.
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
        self._last = _last_layers(model, spec.name)
        self.num_classes: int = _classes(self._last)

    def __call__(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pixels 0 to 255 (N, 3, H, W) to float32 logits (N, K) and pooled features (N, D).

        Features are what the last layer sees; of several last layers, side by side (a distilled model has two).
        Raises UsageError where the model's output is not its last layer's.
        """
        with torch.inference_mode():
            return self.answer(self.preprocessing.normalise(pixels))

    def answer(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same for normalised images, with plain operations only, so that it can be traced into a graph."""
        seen: dict[nn.Module, torch.Tensor] = {}
        hooks = [
            layer.register_forward_pre_hook(lambda module, inputs: seen.update({module: inputs[0].flatten(1)}))
            for layer in self._last.values()
        ]
        try:
            logits = self.model(x)
        finally:
            for hook in hooks:
                hook.remove()
        # VOLO's second head sees every position; it does not count.
        pooled = [seen[m] for m in self._last.values() if m in seen and seen[m].shape[1] == m.weight.shape[1]]
        if not pooled or not isinstance(logits, torch.Tensor) or logits[0].numel() != self.num_classes:
            raise UsageError(
                f"{self.spec.name}: does not give the logits of '{', '.join(self._last)}', taken for its last layer; "
                "name the right one in the module's pretrained_cfg = {'classifier': NAME}, and return its output"
            )
        return logits.flatten(1).float(), torch.cat(pooled, 1).float()

    def black(self) -> torch.Tensor:
        """One black image at its input size, on its device: pixels 0 (1, 3, H, W), to see what it does."""
        device = next(self.model.parameters()).device
        return torch.zeros(1, 3, *self.preprocessing.input_size, device=device)

    def stage_places(self) -> tuple[str, ...]:
        """The modules whose outputs are its stages' features, found by asking it once about black.

        Raises UsageError where it has none.
        """
        places = stage_places(self.model, list(self._last.values()), lambda: self(self.black()))
        if not places:
            raise UsageError(
                f"{self.spec.name}: has no blocks, convolutions or linear layers before its last layer whose outputs "
                "could be features of stages; use --features last"
            )
        return places

    def said(self, x: torch.Tensor, places: Sequence[str] = (), mirrored: bool = False) -> dict[str, torch.Tensor]:
        """What it says about normalised images, by the names of a cache's columns, float32: logits and features.

        With the names of modules, `stages` (N, S) too: their outputs, pooled, side by side. Where `mirrored`,
        `mirrored_logits` (N, K) too: of each image's mirror image, left and right exchanged, for which it is asked
        again. Plain operations only, as in `answer`.
        """
        with pooled_outputs(self.model, places) as seen:
            logits, features = self.answer(x)
            said = {"logits": logits, "features": features}
            if places:
                said["stages"] = torch.cat([seen[place] for place in places], 1)
        if mirrored:
            said["mirrored_logits"] = self.answer(x.flip(-1))[0]
        return said

    def logits_of(self, images: torch.Tensor) -> torch.Tensor:
        """RGB images, float32 (N, 3, H, W) in [0, 1] at its input size, to logits (N, K), with gradients."""
        return self.model(self.preprocessing.normalise(images * 255)).flatten(1).float()

    def identity(self) -> Identity:
        """Return what pins this classifier's numbers, for a cache's index."""
        spec, weights = self.spec, state_sha256(self.model)
        return Identity(spec.name, architecture(spec.name), spec.arguments, weights, self.preprocessing)


def load_classifier(spec: ModelSpec) -> Classifier:
    """Build a classifier and load its weights. Raises UsageError with the remedy where either cannot be done."""
    return Classifier(spec, load_model(spec))


def load_model(spec: ModelSpec) -> nn.Module:
    """The network of a spec with its weights: from a file, from its own function, or as timm publishes them."""
    if spec.weights:
        path = Path(spec.weights).resolve()
        weights = read_weights(path)
        model = _build(spec)
        if classes := _other_classes(spec, model, weights):
            model = _build(replace(spec, arguments={**spec.arguments, "num_classes": classes}))
        load_into(model, weights, f"--weights {path}")
        return model
    if _is_function(spec.name):
        return _build(spec)
    if built_in(spec.name):
        raise UsageError(f"--classifier {spec.name}: has no published weights to fetch; pass yours with --weights FILE")
    return _build(spec, pretrained=True)


def new_model(spec: ModelSpec, classes: int) -> nn.Module:
    """The network of a spec to be fitted, telling so many classes apart; its weights are drawn from torch's generator.

    Where the spec names weights, it begins with them, but for last layers that are of other classes. Raises
    UsageError where the network is for other classes.
    """
    # A user's own function need not take the argument.
    given = {} if _is_function(spec.name) else {"num_classes": classes}
    model = _build(replace(spec, arguments=given | spec.arguments))
    last = _last_layers(model, spec.name)
    if _classes(last) != classes:
        raise UsageError(
            f"--classifier {spec.name}: tells {_classes(last)} classes apart, but the data have {classes}; "
            "take num_classes out of --model-arg, or have the function return a network for as many"
        )
    if spec.weights:
        path = Path(spec.weights).resolve()
        weights, own = read_weights(path, "--start"), model.state_dict()
        for name in [f"{layer}.{part}" for layer in last for part in ("weight", "bias")]:
            if name in weights and name in own and weights[name].shape[:1] != own[name].shape[:1]:
                weights[name] = own[name]
        load_into(model, weights, f"--start {path}")
    return model


def backbone(spec: ModelSpec, pretrained: bool = True) -> tuple[nn.Module, int]:
    """The network of a spec with its last layer taken off, and the number of features it gives.

    Not `pretrained`: with the weights it is built with, for one that will get others.
    """
    model = load_model(spec) if pretrained else _build(spec)
    last = _last_layers(model, spec.name)
    if len(last) > 1:
        return _without_heads(model, preprocessing_of(model, spec.preprocessing).input_size)
    ((name, layer),) = last.items()
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Flatten())
    return model, layer.weight.shape[1]


def _build(spec: ModelSpec, pretrained: bool = False) -> nn.Module:
    """The network of a spec, with its published weights where `pretrained`."""
    try:
        if own := built_in(spec.name):
            return own(**spec.arguments)
        if _is_function(spec.name):
            return _own_model(spec.name, spec.arguments)
        return timm_model(spec.name, pretrained, spec.arguments)
    except (TypeError, ValueError, AssertionError, RuntimeError, ArithmeticError, OSError) as error:
        settings = " ".join(f"{key}={value}" for key, value in spec.arguments.items())
        cause = f"with --model-arg {settings}: {kind_and_line(error)}" if settings else f"({kind_and_line(error)})"
        raise UsageError(f"--classifier {spec.name}: cannot be built {cause}") from error


def _other_classes(spec: ModelSpec, model: nn.Module, weights: Mapping[str, torch.Tensor]) -> int | None:
    """How many classes a weights file is for, where that is not what the model has and nobody set it by hand."""
    last = _last_layers(model, spec.name)
    found = weights.get(f"{next(iter(last))}.weight")
    # A user's own function need not take the argument; the file's shapes will be compared.
    if found is None or found.ndim == 0 or "num_classes" in spec.arguments or _is_function(spec.name):
        return None
    return found.shape[0] if found.shape[0] != _classes(last) else None


def _is_function(name: str) -> bool:
    return ":" in name and not has_scheme(name)


def _own_model(name: str, arguments: dict[str, Any]) -> nn.Module:
    module, _, function = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does: a user's file lies where she works
    try:
        model = getattr(importlib.import_module(module), function)(**arguments)
    except Exception as error:  # her file may raise anything
        raise UsageError(
            f"--classifier {name}: {kind_and_line(error)}; it must be package.module:function, importable from here, "
            "and the function take what --model-arg gives"
        ) from error
    if not isinstance(model, nn.Module):
        raise UsageError(f"--classifier {name}: must return a torch.nn.Module, not {type(model).__name__}")
    return model


def _last_layers(model: nn.Module, name: str) -> dict[str, LastLayer]:
    """The layers that turn features into logits, by name: those in the model's configuration, else its last linear."""
    named = model_config(model).get("classifier") or ()
    modules = dict(model.named_modules())
    heads = {n: modules.get(n) for n in ([named] if isinstance(named, str) else named)}
    found = {n: head for n, head in heads.items() if isinstance(head, LastLayer)}
    if found:
        return found
    linear = [(n, m) for n, m in modules.items() if isinstance(m, nn.Linear)]
    if not linear:
        raise UsageError(f"--classifier {name}: has no linear layer whose input could serve as features")
    return dict(linear[-1:])


def _classes(last: Mapping[str, LastLayer]) -> int:
    return next(iter(last.values())).weight.shape[0]


def _without_heads(model: nn.Module, input_size: tuple[int, int]) -> tuple[nn.Module, int]:
    """A timm model with several heads, which it joins in its own way, without them, and its number of features."""
    model.reset_classifier(0)  # type: ignore[operator]
    training = model.training
    with torch.no_grad():
        features = model.eval()(torch.zeros(1, 3, *input_size))
    return model.train(training), features.shape[1]
