"""Networks by name with their weights: from timm, built in, or a user's own."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trustcache.errors import TrustcacheError, UsageError, kind_and_line
from trustcache.models.checkpoints import Checkpoint, load_into, read_checkpoint, without_prefix
from trustcache.models.hub_folders import folder_of, is_timm_folder, transformers_model, weights_in
from trustcache.models.identity import Reading
from trustcache.models.matching_torchvision import require_torchvision
from trustcache.models.preprocessing import Preprocessing, model_config, preprocessing_of, preprocessing_words
from trustcache.models.programs import Program, is_program, load_program
from trustcache.models.timm_models import projection_widths, timm_model, unpublished
from trustcache.models.timm_weights import JAX_SUFFIX, converted, from_jax
from trustcache.models.torchvision_models import is_torchvision, torchvision_model
from trustcache.models.zoo.registry import BuiltIn, built_in

LastLayer = nn.Linear | nn.Conv2d


@dataclass(frozen=True)
class ModelSpec:
    """A model to build.

    name: of the paper (`timm_models.PAPER_MODELS`), built in (`zoo.registry.BUILT_IN`), an entry point's, timm's, or
        `local-dir:FOLDER`, the file of a program (`programs`), or `package.module:function` or `file.py:function`, a
        function that returns a torch module. That module may declare its preprocessing and its last layer as timm's do,
        in a dictionary `pretrained_cfg` (`input_size`, `mean`, `std`, `classifier` …).
    weights: a file; None for published weights, or those that the user's function loads.
    arguments: passed to the builder.
    preprocessing: values that replace entries of the model's own.
    reading: how weights and outputs are read. labels: names of its outputs' classes as `given_classes` takes them.
    """

    name: str
    weights: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    preprocessing: dict[str, Any] = field(default_factory=dict)
    reading: Reading = field(default_factory=Reading)
    labels: str = ""


def load_model(spec: ModelSpec, note: Callable[[str], None] = lambda line: None) -> nn.Module:
    """Return the network of a spec with its weights: from a file, its own function, or as timm publishes them.

    note: told what was chosen in a file of weights, and what was passed over.
    """
    folder = folder_of(spec.name)
    if spec.weights or (folder and is_timm_folder(folder)):
        path = Path(spec.weights).resolve() if spec.weights else weights_in(folder)  # type: ignore[arg-type]
        where = f"--weights {path}"
        checkpoint = _read(spec, path, "--weights")
        model, weights, notes = _matched(spec, checkpoint.weights, where)
        for line in (*checkpoint.notes, *notes):
            note(line)
        missing = model.state_dict().keys() - weights.keys()
        if missing and missing == _head_names(model, spec.name):
            raise without_classifier(spec, f"{where}: has no classifier, as '{min(missing)}' is missing")
        load_into(model, weights, where)
        vars(model).pop("missing", None)
        return model
    own = built_in(spec.name)
    if own and not own.outside:
        raise unpublished(spec.name)
    model = _build(spec, pretrained=True)
    _require_body(model, spec)
    return model


def without_classifier(spec: ModelSpec, what: str) -> UsageError:
    """Return the error for a model of features alone: `what` it is, and the command that fits a classifier on it."""
    words = ["trustcache", "fit-classifier", "--classifier", spec.name]
    for key, value in spec.arguments.items():
        words += ["--model-arg", f"{key}={value}"]
    for word in preprocessing_words(spec.preprocessing):
        words += ["--preprocess", word]
    if not spec.reading.use_ema:
        words.append("--no-ema")
    if spec.weights or not folder_of(spec.name):
        words += ["--start", str(Path(spec.weights).resolve()) if spec.weights else "ITS_WEIGHTS"]
    return UsageError(f"{what}; fit one on its features: {shlex.join(words)} --data TRAIN --out FILE")


def _require_body(model: nn.Module, spec: ModelSpec) -> None:
    """Raise UsageError where a folder of transformers' lacks tensors other than those of its last layer."""
    missing: set[str] = getattr(model, "missing", set())
    if lacking := missing and missing - _head_names(model, spec.name):
        raise UsageError(
            f"--classifier {spec.name}: its file has no weights for {len(missing)} of its tensors (first "
            f"'{min(lacking)}'); save the whole model with save_pretrained"
        )


def require_classifier(model: nn.Module, spec: ModelSpec) -> None:
    """Raise UsageError for a loaded model whose last layer is no classifier's: it is missing, or CLIP's projection."""
    missing: set[str] = getattr(model, "missing", set())
    if missing:
        what = f"--classifier {spec.name}: has no classifier, as '{min(missing)}' is missing in its weights"
        raise without_classifier(spec, what)
    width = getattr(model, "num_classes", 0)
    if "num_classes" not in spec.arguments and width in projection_widths(model):
        raise without_classifier(
            spec,
            f"--classifier {spec.name}: has no classifier, as a CLIP tower projects to {width} numbers to compare with "
            f"texts (if they are classes, add --model-arg num_classes={width})",
        )


def new_model(spec: ModelSpec, classes: int, note: Callable[[str], None] = lambda line: None) -> nn.Module:
    """Return the network of a spec for this number of classes, initialised from torch's generator.

    If the spec names weights, they are loaded, except those of last layers that are missing or for another number of
    classes. note: as in `load_model`. Raises UsageError if the network is for another number of classes.
    """
    given = {"num_classes": classes} if _takes_classes(spec.name) else {}
    spec = replace(spec, arguments=given | spec.arguments)
    model = _build(spec)
    _require_body(model, spec)
    last = last_layers(model, spec.name)
    if _classes(last) != classes:
        raise UsageError(
            f"--classifier {spec.name}: is for {_classes(last)} classes, but the data have {classes}; take num_classes "
            "out of --model-arg, or have the function return a network for as many"
        )
    if spec.weights:
        path = Path(spec.weights).resolve()
        where, own = f"--start {path}", model.state_dict()
        checkpoint = _read(spec, path, "--start")
        found, passed_over = without_prefix(checkpoint.weights, own, where, spec.reading.use_ema)
        weights, converted_shapes = _converted(spec, model, found)
        for line in (*checkpoint.notes, *(f"{where}: {line}" for line in (passed_over, converted_shapes) if line)):
            note(line)
        for name in _head_names(model, spec.name):
            if name not in weights or weights[name].shape[:1] != own[name].shape[:1]:
                weights[name] = own[name]
        load_into(model, weights, where)
    return model


def backbone(spec: ModelSpec, pretrained: bool = True) -> tuple[nn.Module, int]:
    """Return the network of a spec without its last layer, and the number of its features.

    pretrained: False keeps the weights that it is built with, for a network that will be loaded with others. Raises
    UsageError for a program, whose layers are fixed.
    """
    model = load_model(spec) if pretrained else _build(spec)
    if isinstance(model, Program):
        raise UsageError(f"{spec.name}: is a program, which cannot be tuned; name an architecture, or train --frozen")
    last = last_layers(model, spec.name)
    if len(last) != 1:
        return _without_heads(model, preprocessing_of(model, spec.preprocessing))
    ((name, layer),) = last.items()
    parent, _, child = name.rpartition(".")
    # What follows a convolution takes maps.
    left: nn.Module = nn.Flatten() if isinstance(layer, nn.Linear) else nn.AdaptiveAvgPool2d(1)
    setattr(model.get_submodule(parent), child, left)
    return model, layer.weight.shape[1]


def with_channels_last(model: nn.Module) -> nn.Module:
    """Return a model with its weights' channels last in memory: convolutions then run up to half as fast again.

    A model with weights of three dimensions of space, as timm's lambda networks, stays as it is: torch refuses those.
    """
    if any(tensor.ndim == 5 for tensor in model.state_dict().values() if isinstance(tensor, torch.Tensor)):
        return model
    return model.to(memory_format=torch.channels_last)


def _build(spec: ModelSpec, pretrained: bool = False) -> nn.Module:
    """Return the network of a spec, with its published weights if `pretrained`."""
    require_torchvision()
    try:
        if is_program(spec.name):
            return load_program(spec.name)
        if (folder := folder_of(spec.name)) and not is_timm_folder(folder):
            return transformers_model(folder, spec.arguments)
        if own := built_in(spec.name):
            if is_torchvision(spec.name):
                return torchvision_model(spec.name, pretrained, spec.arguments)
            return _from_outside(spec, own) if own.outside else own.build(**spec.arguments)
        return timm_model(spec.name, pretrained, spec.arguments)
    except TrustcacheError:
        raise
    except Exception as error:  # the arguments may be anything
        settings = " ".join(f"{key}={value}" for key, value in spec.arguments.items())
        cause = f"with --model-arg {settings}: {kind_and_line(error)}" if settings else f"({kind_and_line(error)})"
        raise UsageError(f"--classifier {spec.name}: cannot be built {cause}") from error


def _read(spec: ModelSpec, path: Path, option: str) -> Checkpoint:
    if path.suffix == JAX_SUFFIX and path.is_file():
        return Checkpoint(from_jax(spec.name, spec.arguments, path, f"{option} {path}"))
    return read_checkpoint(path, option, spec.reading.use_ema)


def _matched(
    spec: ModelSpec, given: Mapping[str, torch.Tensor], where: str
) -> tuple[nn.Module, dict[str, torch.Tensor], list[str]]:
    """Return the network for as many classes as a file's weights have, these under its names, and notes."""
    model = _build(spec)
    found, passed_over = without_prefix(given, model.state_dict(), where, spec.reading.use_ema)
    weights, converted_shapes = _converted(spec, model, found)
    if classes := _other_classes(spec, model, weights):
        if "num_classes" in spec.arguments:
            raise UsageError(
                f"{where}: has {classes} classes, not --model-arg num_classes={spec.arguments['num_classes']}; leave "
                "that out, as the number follows from the weights"
            )
        spec = replace(spec, arguments={**spec.arguments, "num_classes": classes})
        model = _build(spec)
        weights, converted_shapes = _converted(spec, model, found)
    return model, weights, [f"{where}: {line}" for line in (passed_over, converted_shapes) if line]


def _converted(
    spec: ModelSpec, model: nn.Module, found: dict[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], str]:
    """Return weights as timm converts them where the model does not take them as they are, and a note on new sizes."""
    own, heads = model.state_dict(), _head_names(model, spec.name)
    fitting = found.keys() <= own.keys() and all(t.shape == own[n].shape for n, t in found.items() if n not in heads)
    if fitting or not hasattr(model, "default_cfg"):  # which timm's models have
        return found, ""
    weights = converted(model, spec.name, spec.arguments, found)
    if weights.keys() <= found.keys():
        changed = [name for name, t in weights.items() if found[name].shape != t.shape]
    elif spec.arguments.keys() & {"img_size", "in_chans"}:  # original names may be those of other layers here
        shapes = {t.shape for t in found.values()}
        changed = [name for name, t in weights.items() if t.shape not in shapes]
    else:
        changed = []
    if not changed:
        return weights, ""
    name = changed[0]
    before = f" from {tuple(found[name].shape)}" if name in found else ""
    return weights, (
        f"timm converted '{name}'{before} to {tuple(weights[name].shape)}, as for another size "
        "or number of colours than in training; those are set by --model-arg img_size=N and in_chans=N"
    )


def _head_names(model: nn.Module, name: str) -> set[str]:
    """Return the names of the tensors of a model's last layers."""
    own = model.state_dict().keys()
    return {f"{layer}.{part}" for layer in last_layers(model, name) for part in ("weight", "bias")} & own


def _other_classes(spec: ModelSpec, model: nn.Module, weights: Mapping[str, torch.Tensor]) -> int | None:
    """Return the number of classes of a file's weights, None if it is the model's."""
    if not _takes_classes(spec.name):
        return None  # the shapes will be compared
    last = last_layers(model, spec.name)
    # A classifier may have been fitted on a model that has none.
    found = weights.get(f"{next(iter(last or _configured(model)), '')}.weight")
    if found is None or found.ndim == 0:
        return None
    return found.shape[0] if not last or found.shape[0] != _classes(last) else None


def _takes_classes(name: str) -> bool:
    """Return True if a builder takes `num_classes`; a user's own function need not."""
    own = built_in(name)
    return own is None or not own.outside or is_torchvision(name)


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


def last_layers(model: nn.Module, name: str) -> dict[str, LastLayer]:
    """Return the layers that map features to logits, by name: as configured, else the last linear layer.

    Without a linear layer it is the last convolution. {} for a model of timm's without a classifier. Raises UsageError
    if there is none.
    """
    if getattr(model, "num_classes", None) == 0:
        return {}
    modules = dict(model.named_modules())
    heads = {n: modules.get(n) for n in _configured(model)}
    if found := {n: head for n, head in heads.items() if isinstance(head, LastLayer)}:
        return found
    for kind in (nn.Linear, nn.Conv2d):
        if layers := [(n, m) for n, m in modules.items() if isinstance(m, kind)]:
            return dict(layers[-1:])
    raise UsageError(f"--classifier {name}: has no linear or convolutional layer whose input could be its features")


def _configured(model: nn.Module) -> list[str]:
    """Return the names that a model's configuration gives its last layers."""
    named = model_config(model).get("classifier") or ()
    return [named] if isinstance(named, str) else list(named)


def _classes(last: Mapping[str, LastLayer]) -> int:
    return next(iter(last.values())).weight.shape[0]


def _without_heads(model: nn.Module, preprocessing: Preprocessing) -> tuple[nn.Module, int]:
    """Return a timm model without its heads, if it has several, which it joins in its own way, and its features."""
    if model.num_classes:
        model.reset_classifier(0)  # type: ignore[operator]
    training = model.training
    with torch.no_grad():
        features = model.eval()(preprocessing.normalise(torch.zeros(1, 3, *preprocessing.input_size)))
    return model.train(training), features.shape[1]
