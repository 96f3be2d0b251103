"""Frozen classifiers with their preprocessing: from timm, built in, or a user's own."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from trustcache.errors import UsageError
from trustcache.models.building import (
    LastLayer,
    ModelSpec,
    last_layers,
    load_model,
    require_classifier,
    with_channels_last,
    without_classifier,
)
from trustcache.models.checkpoints import state_sha256
from trustcache.models.fitted_weights import as_fitted
from trustcache.models.identity import Identity
from trustcache.models.preprocessing import preprocessing_of
from trustcache.models.programs import Program, program_width
from trustcache.models.stage_features import noted, pooled_outputs, stage_places
from trustcache.models.timm_models import architecture
from trustcache.models.to_device import to_device
from trustcache.models.views import VIEWS, view_column


class Classifier:
    """A frozen model in evaluation mode that returns logits and the input of its last layer (features)."""

    def __init__(self, spec: ModelSpec, model: nn.Module) -> None:
        self.spec = spec
        self.model = with_channels_last(model.eval().requires_grad_(False))
        self.preprocessing = preprocessing_of(model, spec.preprocessing)
        self._last: dict[str, LastLayer] = {}
        if isinstance(model, Program):
            self._width: int = program_width(model, spec.name, self.preprocessing.normalise(self.black()))
        else:
            self._last = last_layers(model, spec.name)
            if not self._last:
                raise without_classifier(spec, f"--classifier {spec.name}: has no classifier, its output is features")
            self._width = next(iter(self._last.values())).weight.shape[0]

    @property
    def num_classes(self) -> int:
        """The number of outputs that are judged."""
        return len(self.spec.reading.kept) or self._width

    @property
    def all_outputs(self) -> int:
        """The number of all outputs."""
        return self._width

    @property
    def has_features(self) -> bool:
        """True unless it is a program whose last layer cannot be found."""
        return bool(self._last) or (isinstance(self.model, Program) and self.model.has_features)

    def judging(self, kept: Sequence[int]) -> Classifier:
        """Return the same classifier with these outputs alone, in this order."""
        return Classifier(replace(self.spec, reading=replace(self.spec.reading, kept=tuple(kept))), self.model)

    def __call__(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map pixels 0 to 255 (N, 3, H, W) to logits (N, K) and pooled features (N, D), both float32.

        Features are the input of the last layer; of several last layers (a distilled model has two), side by side.
        Raises UsageError if the model's output is not that of its last layer.
        """
        with torch.inference_mode():
            return self.answer(self.preprocessing.normalise(pixels))

    def answer(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Do the same for normalised images, with plain operations only, so that it can be traced into a graph."""
        output, features = self.raw(x)
        return self._judged(output), features

    def raw(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the model's own output (N, all outputs) and features (N, D) for normalised images."""
        if isinstance(self.model, Program):
            return self.model.with_features(x)
        with noted(self._last, lambda inputs, output: _pooled(inputs[0])) as seen:
            output = self.model(x)
        # VOLO's second head sees every position; it does not count.
        pooled = [seen[n] for n, m in self._last.items() if n in seen and seen[n].shape[1] == m.weight.shape[1]]
        if not pooled or not isinstance(output, torch.Tensor) or math.prod(output.shape[1:]) != self._width:
            raise UsageError(
                f"{self.spec.name}: its output is not that of '{self.last_names}', taken for its last layer; "
                "name the right one in the module's pretrained_cfg = {'classifier': NAME}, and return its output"
            )
        return output.flatten(1), torch.cat(pooled, 1).float()

    def _judged(self, output: torch.Tensor) -> torch.Tensor:
        """Return logits, float32, for the model's own output: of the classes that are judged."""
        reading, logits = self.spec.reading, output.flatten(1).float()
        if reading.outputs == "probabilities":
            logits = logits.clamp_min(torch.finfo(torch.float32).tiny).log()
        if not reading.kept:
            return logits
        kept = torch.tensor(reading.kept)
        chosen = logits.index_select(1, to_device(kept.clamp(min=0), logits.device))
        if min(reading.kept) >= 0:
            return chosen
        absent = to_device(kept < 0, logits.device)
        return torch.where(absent, chosen.masked_fill(absent, torch.inf).amin(1, keepdim=True), chosen)

    def last_layer(self) -> tuple[torch.Tensor, torch.Tensor | None] | None:
        """Return weight (K, D) and bias (K,) of its last layer; None where it has several, or cannot be seen.

        None also for a convolution that sees more than one position at a time: features are means over positions.
        """
        layers = list(self._last.values())
        if len(layers) != 1 or layers[0].weight[0, 0].numel() != 1:
            return None
        return layers[0].weight.flatten(1), layers[0].bias

    @property
    def last_is_map(self) -> bool:
        """True if a last layer is a convolution, of whose map a model may make more than a mean, as SqueezeNet does."""
        return any(isinstance(layer, torch.nn.Conv2d) for layer in self._last.values())

    @property
    def last_names(self) -> str:
        """The names of its last layers, for messages."""
        return ", ".join(self._last)

    def black(self) -> torch.Tensor:
        """Return one black image at the input size, on the model's device: pixels 0 (1, 3, H, W), to probe it."""
        device = next(chain(self.model.parameters(), self.model.buffers())).device  # frozen programs have no parameters
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

    def outputs(
        self, x: torch.Tensor, places: Sequence[str] = (), views: Sequence[str] = ()
    ) -> dict[str, torch.Tensor]:
        """Return its outputs for normalised images by the names of a cache's columns, float32: logits and features.

        places: names of modules whose pooled outputs are added side by side, as `stages` (N, S). views: keys of
        `VIEWS`, whose logits (N, K) are added as `mirrored_logits` ..., at a forward pass each. Plain
        operations only, as in `answer`.
        """
        with pooled_outputs(self.model, places) as seen:
            logits, features = self.answer(x)
            outputs = {"logits": logits, "features": features}
            if places:
                outputs["stages"] = torch.cat([seen[place] for place in places], 1)
        return outputs | {view_column(view): self.answer(VIEWS[view].make(x))[0] for view in views}

    def logits_of(self, images: torch.Tensor) -> torch.Tensor:
        """Map RGB images, float32 (N, 3, H, W) in [0, 1] at its input size, to logits (N, K), with gradients."""
        return self._judged(self.model(self.preprocessing.normalise(images * 255)))

    def identity(self) -> Identity:
        """Return the identity (name, architecture, weight hash, preprocessing) that a cache's index holds."""
        spec, weights = self.spec, state_sha256(self.model)
        return Identity(spec.name, architecture(spec.name), spec.arguments, weights, self.preprocessing, spec.reading)


def _pooled(x: torch.Tensor) -> torch.Tensor:
    """Return the input of a last layer as (N, D): the mean over positions of one that is a convolution."""
    return x.mean((2, 3)) if x.ndim == 4 else x.flatten(1)


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


def load_classifier(
    spec: ModelSpec,
    note: Callable[[str], None] = lambda line: None,
    over: Mapping[str, Any] = MappingProxyType({}),
) -> Classifier:
    """Build a classifier and load its weights. Raises UsageError if either fails.

    It sees images as fit-classifier fitted these weights with, where neither the spec nor `over` says otherwise. note:
    as in `load_model`, and told where the spec does.
    """
    spec = as_fitted(spec, note, over)
    model = load_model(spec, note)
    require_classifier(model, spec)
    return Classifier(spec, model)
