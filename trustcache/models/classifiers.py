"""Frozen classifiers with their preprocessing: from timm, built in, or a user's own."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trustcache.errors import TrustcacheError, UsageError, kind_and_line
from trustcache.models.checkpoints import load_into, read_weights, state_sha256
from trustcache.models.identity import Identity
from trustcache.models.preprocessing import model_config, preprocessing_of
from trustcache.models.stage_features import noted, pooled_outputs, stage_places
from trustcache.models.timm_models import architecture, timm_model
from trustcache.models.zoo.registry import BuiltIn, built_in

LastLayer = nn.Linear | nn.Conv2d


@dataclass(frozen=True)
class ModelSpec:
    """A model to build.

    name: of the paper (`timm_models.PAPER_MODELS`), built in (`zoo.registry.BUILT_IN`), an entry point's, timm's, or
        `package.module:function`, a function that returns a torch module. That module may declare its preprocessing and
        its last layer as timm's do, in a dictionary `pretrained_cfg` (`input_size`, `mean`, `std`, `classifier` …).
    weights: a file; None for published weights, or those that the user's function loads.
    arguments: passed to the builder.
    preprocessing: values that replace entries of the model's own.
    """

    name: str
    weights: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    preprocessing: dict[str, Any] = field(default_factory=dict)


class Classifier:
    """A frozen model in evaluation mode that returns logits and the input of its last layer (features)."""

    def __init__(self, spec: ModelSpec, model: nn.Module) -> None:
        self.spec = spec
        # Convolutions run up to half as fast again with the channels last.
        self.model = model.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.preprocessing = preprocessing_of(model, spec.preprocessing)
        self._last = _last_layers(model, spec.name)
        self.num_classes: int = _classes(self._last)

    def __call__(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map pixels 0 to 255 (N, 3, H, W) to logits (N, K) and pooled features (N, D), both float32.

        Features are the input of the last layer; of several last layers (a distilled model has two), side by side.
        Raises UsageError if the model's output is not that of its last layer.
        """
        with torch.inference_mode():
            return self.answer(self.preprocessing.normalise(pixels))

    def answer(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Do the same for normalised images, with plain operations only, so that it can be traced into a graph."""
        with noted(self._last, lambda inputs, output: inputs[0].flatten(1)) as seen:
            logits = self.model(x)
        # VOLO's second head sees every position; it does not count.
        pooled = [seen[n] for n, m in self._last.items() if n in seen and seen[n].shape[1] == m.weight.shape[1]]
        if not pooled or not isinstance(logits, torch.Tensor) or logits[0].numel() != self.num_classes:
            raise UsageError(
                f"{self.spec.name}: its output is not that of '{', '.join(self._last)}', taken for its last layer; "
                "name the right one in the module's pretrained_cfg = {'classifier': NAME}, and return its output"
            )
        return logits.flatten(1).float(), torch.cat(pooled, 1).float()

    def black(self) -> torch.Tensor:
        """Return one black image at the input size, on the model's device: pixels 0 (1, 3, H, W), to probe it."""
        device = next(self.model.parameters()).device
        return torch.zeros(1, 3, *self.preprocessing.input_size, device=device)

    def stage_places(self) -> tuple[str, ...]:
        """Return the names of the modules that end its stages, found by one forward pass of a black image.

        Raises UsageError if it has none.
        """
        places = stage_places(self.model, list(self._last.values()), lambda: self(self.black()))
        if not places:
            raise UsageError(
                f"{self.spec.name}: has no blocks, convolutions or linear layers before its last layer to take "
                "features of stages from; use --features last"
            )
        return places

    def outputs(self, x: torch.Tensor, places: Sequence[str] = (), mirrored: bool = False) -> dict[str, torch.Tensor]:
        """Return its outputs for normalised images by the names of a cache's columns, float32: logits and features.

        places: names of modules whose pooled outputs are added side by side, as `stages` (N, S). mirrored: add
        `mirrored_logits` (N, K), those of the images with left and right exchanged, from a second forward pass. Plain
        operations only, as in `answer`.
        """
        with pooled_outputs(self.model, places) as seen:
            logits, features = self.answer(x)
            outputs = {"logits": logits, "features": features}
            if places:
                outputs["stages"] = torch.cat([seen[place] for place in places], 1)
        if mirrored:
            outputs["mirrored_logits"] = self.answer(x.flip(-1))[0]
        return outputs

    def logits_of(self, images: torch.Tensor) -> torch.Tensor:
        """Map RGB images, float32 (N, 3, H, W) in [0, 1] at its input size, to logits (N, K), with gradients."""
        return self.model(self.preprocessing.normalise(images * 255)).flatten(1).float()

    def identity(self) -> Identity:
        """Return the identity (name, architecture, weight hash, preprocessing) that a cache's index holds."""
        spec, weights = self.spec, state_sha256(self.model)
        return Identity(spec.name, architecture(spec.name), spec.arguments, weights, self.preprocessing)


def as_classifier(model: Classifier | nn.Module, preprocess: Mapping[str, Any] | None = None) -> Classifier:
    """Return a frozen copy of a torch module as a classifier, in evaluation mode; a classifier is returned as it is.

    preprocess: values that replace entries of the preprocessing that the module declares in `pretrained_cfg`, as timm's
    do; without one that is timm's usual for ImageNet. Raises UsageError where the module has no linear layer whose
    input could be its features.
    """
    if isinstance(model, Classifier):
        return model
    if not isinstance(model, nn.Module):
        raise UsageError(f"a model must be a torch.nn.Module, not {type(model).__name__}")
    return Classifier(ModelSpec(type(model).__name__, preprocessing=dict(preprocess or {})), copy.deepcopy(model).cpu())


def load_classifier(spec: ModelSpec) -> Classifier:
    """Build a classifier and load its weights. Raises UsageError if either fails."""
    return Classifier(spec, load_model(spec))


def load_model(spec: ModelSpec) -> nn.Module:
    """Return the network of a spec with its weights: from a file, its own function, or as timm publishes them."""
    if spec.weights:
        path = Path(spec.weights).resolve()
        weights = read_weights(path)
        model = _build(spec)
        if classes := _other_classes(spec, model, weights):
            model = _build(replace(spec, arguments={**spec.arguments, "num_classes": classes}))
        load_into(model, weights, f"--weights {path}")
        return model
    own = built_in(spec.name)
    if own and not own.outside:
        raise UsageError(f"--classifier {spec.name}: has no published weights to fetch; pass yours with --weights FILE")
    return _build(spec, pretrained=own is None)


def new_model(spec: ModelSpec, classes: int) -> nn.Module:
    """Return the network of a spec for this number of classes, initialised from torch's generator.

    If the spec names weights, they are loaded, except those of last layers for another number of classes. Raises
    UsageError if the network is for another number of classes.
    """
    # A user's own function need not take the argument.
    given = {} if _is_outside(spec.name) else {"num_classes": classes}
    model = _build(replace(spec, arguments=given | spec.arguments))
    last = _last_layers(model, spec.name)
    if _classes(last) != classes:
        raise UsageError(
            f"--classifier {spec.name}: is for {_classes(last)} classes, but the data have {classes}; take num_classes "
            "out of --model-arg, or have the function return a network for as many"
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
    """Return the network of a spec without its last layer, and the number of its features.

    pretrained: False keeps the weights that it is built with, for a network that will be loaded with others.
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
    """Return the network of a spec, with its published weights if `pretrained`."""
    try:
        if own := built_in(spec.name):
            return _from_outside(spec, own) if own.outside else own.build(**spec.arguments)
        return timm_model(spec.name, pretrained, spec.arguments)
    except TrustcacheError:
        raise
    except Exception as error:  # the arguments may be anything
        settings = " ".join(f"{key}={value}" for key, value in spec.arguments.items())
        cause = f"with --model-arg {settings}: {kind_and_line(error)}" if settings else f"({kind_and_line(error)})"
        raise UsageError(f"--classifier {spec.name}: cannot be built {cause}") from error


def _other_classes(spec: ModelSpec, model: nn.Module, weights: Mapping[str, torch.Tensor]) -> int | None:
    """Return the number of classes of a weights file, None if it is the model's or `num_classes` was given."""
    last = _last_layers(model, spec.name)
    found = weights.get(f"{next(iter(last))}.weight")
    # A user's own function need not take the argument; the file's shapes will be compared.
    if found is None or found.ndim == 0 or "num_classes" in spec.arguments or _is_outside(spec.name):
        return None
    return found.shape[0] if found.shape[0] != _classes(last) else None


def _is_outside(name: str) -> bool:
    own = built_in(name)
    return own is not None and own.outside


def _from_outside(spec: ModelSpec, own: BuiltIn) -> nn.Module:
    try:
        model = own.build(**spec.arguments)
    except Exception as error:  # a user's function may raise anything
        raise UsageError(
            f"--classifier {spec.name}: {kind_and_line(error)}; it must be a function that takes what --model-arg gives"
        ) from error
    if not isinstance(model, nn.Module):
        raise UsageError(f"--classifier {spec.name}: must return a torch.nn.Module, not {type(model).__name__}")
    return model


def _last_layers(model: nn.Module, name: str) -> dict[str, LastLayer]:
    """Return the layers that map features to logits, by name: as configured, else the last linear layer."""
    named = model_config(model).get("classifier") or ()
    modules = dict(model.named_modules())
    heads = {n: modules.get(n) for n in ([named] if isinstance(named, str) else named)}
    found = {n: head for n, head in heads.items() if isinstance(head, LastLayer)}
    if found:
        return found
    linear = [(n, m) for n, m in modules.items() if isinstance(m, nn.Linear)]
    if not linear:
        raise UsageError(f"--classifier {name}: has no linear layer whose input could be its features")
    return dict(linear[-1:])


def _classes(last: Mapping[str, LastLayer]) -> int:
    return next(iter(last.values())).weight.shape[0]


def _without_heads(model: nn.Module, input_size: tuple[int, int]) -> tuple[nn.Module, int]:
    """Return a timm model without its several heads, which it joins in its own way, and its number of features."""
    model.reset_classifier(0)  # type: ignore[operator]
    training = model.training
    with torch.no_grad():
        features = model.eval()(torch.zeros(1, 3, *input_size))
    return model.train(training), features.shape[1]
