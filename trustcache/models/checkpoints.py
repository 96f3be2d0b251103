"""Reading and identifying model weights, without running code from the files that hold them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from trustcache.errors import UsageError, did_you_mean_path, first_few, kind_and_line, visible
from trustcache.models.harmless import allowed_globals, refused_globals
from trustcache.models.programs import program_kind

# Keys of the weights in the dictionaries that training scripts save, of averaged weights first.
# timm's `load_state_dict` does not replace `read_checkpoint`: it knows fewer keys, recognises safetensors by the suffix
# alone and strips the prefixes of two wrappers.
_AVERAGED = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "params_ema", "ema"),
    *("ema_model", "model_ema_state_dict", "ema_weights", "swa_model"),
)
_CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "module", "params", "weights")
_WRAPPERS = ("module.", "_orig_mod.")
# What torch's AveragedModel and the profiler thop add to a network's own tensors.
_COUNTERS = ("n_averaged", "total_ops", "total_params")


@dataclass(frozen=True)
class Checkpoint:
    """The state dict of a file. notes: sentences on what was chosen in it, to tell the user."""

    weights: dict[str, torch.Tensor]
    notes: tuple[str, ...] = ()


def read_weights(path: Path, option: str = "--weights") -> dict[str, torch.Tensor]:
    """Return the weights of `read_checkpoint`."""
    return read_checkpoint(path, option).weights


def read_checkpoint(path: Path, option: str = "--weights", use_ema: bool = True) -> Checkpoint:
    """Read a state dict from safetensors, or from a torch file of tensors and harmless values.

    Unwraps the dictionaries that training scripts save, drops the prefixes of DataParallel and torch.compile and the
    counters of other tools. use_ema: take averaged weights where there are both. Raises UsageError, naming `option` and
    the file, if it is missing or holds no state dict.
    """
    if not path.is_file():
        raise UsageError(
            f"{option} {path}: there is no such file; give a .safetensors file or a torch checkpoint"
            f"{did_you_mean_path(path)}"
        )
    if kind := program_kind(path):
        raise UsageError(f"{option} {path}: is a {kind} program, not weights; give it as --classifier {path}")
    found, note = _unwrapped(_load(path, option), use_ema, f"{option} {path}")
    if not found or not all(isinstance(k, str) and _is_plain(v) for k, v in found.items()):
        raise UsageError(
            f"{option} {path}: holds no state dict (a mapping from names to tensors); "
            "save it with torch.save(model.state_dict(), FILE)"
        )
    found = {name: tensor for name, tensor in found.items() if name.rpartition(".")[2] not in _COUNTERS}
    while prefix := next((p for p in _WRAPPERS if found and all(name.startswith(p) for name in found)), None):
        found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    return Checkpoint(found, (note,) if note else ())


def _unwrapped(found: Mapping[Any, Any], use_ema: bool, where: str) -> tuple[Mapping[Any, Any], str]:
    """Return the weights in the dictionary of a training script, and a note if there were averaged ones beside."""
    note = ""
    for _ in _CONTAINERS:  # no longer, as one may hold itself
        averaged, plain = (next((k for k in keys if _holds(found.get(k))), None) for keys in (_AVERAGED, _CONTAINERS))
        key, other = (averaged, plain) if averaged and (use_ema or not plain) else (plain, averaged)
        if key is None:
            break
        if other:
            note = f"{where}: '{key}' is taken, not '{other}' beside it"
            note += (
                "; --no-ema takes that one" if key == averaged and where.startswith(("--weights", "--start")) else ""
            )
        found = found[key]
    return found, note


def _holds(value: Any, deep: int = 3) -> bool:
    """Return True if a value of a checkpoint holds tensors, in containers so deep: settings may be called a model."""
    if not isinstance(value, Mapping):
        return False
    if any(isinstance(one, torch.Tensor) for one in value.values()):
        return True
    return deep > 0 and any(_holds(value.get(key), deep - 1) for key in (*_AVERAGED, *_CONTAINERS))


def _is_plain(value: Any) -> bool:
    """Return True for a tensor with all its numbers; a file of a few bytes can hold one that repeats a single number.

    Other layouts (sparse, quantised, without data) are no weights that a model can be given.
    """
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_quantized or value.is_meta:
        return False
    return value.untyped_storage().nbytes() >= value.numel() * value.element_size()


def _load(path: Path, option: str) -> Mapping[Any, Any]:
    try:
        with path.open("rb") as file:
            # By content, not by name: safetensors begin with a length in 8 bytes and a JSON object.
            if file.read(9)[8:] == b"{":
                return load_file(path)
            file.seek(0)
            with torch.serialization.safe_globals(allowed_globals()):
                found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load may raise almost anything for a broken file
        raise UsageError(f"{option} {path}: {_why_refused(path, error)}") from error
    return found if isinstance(found, Mapping) else {}


def _why_refused(path: Path, error: Exception) -> str:
    refused = [visible(name) for name in refused_globals(path, error)]
    whole = any(name.startswith("torch.nn.modules.") for name in refused)
    if whole:
        return (
            "holds a whole pickled model, which runs code when it is opened; where it was made, turn it into a state "
            f"dict: import torch; found = torch.load({path.name!r}, weights_only=False); kind = torch.nn.Module; "
            "model = found if isinstance(found, kind) else next(m for m in found.values() if isinstance(m, kind)); "
            "torch.save(model.state_dict(), FILE)"
        )
    if refused:
        return (
            f"cannot be read without running code from it: besides tensors it holds {first_few(refused, 3)}; "
            "where it was made, save the weights alone with torch.save(model.state_dict(), FILE) or safetensors"
        )
    # torch's own first line advises to run the file's code.
    _, found, reason = str(error).partition("WeightsUnpickler error: ")
    return (
        "not a checkpoint that can be read without running code from it "
        f"({visible(reason.splitlines()[0]) if found else kind_and_line(error)}); "
        "save the state dict with safetensors or torch.save(model.state_dict(), FILE)"
    )


def without_prefix(
    weights: Mapping[str, torch.Tensor], own: Collection[str], where: str, use_ema: bool = True
) -> tuple[dict[str, torch.Tensor], str]:
    """Return a checkpoint's tensors under a model's own names, and a note on those passed over ("" for none).

    A part that all names begin with, and none of the model's, is dropped: `model.`, `backbone.`. Where all the model's
    names stand in the file after one prefix, such as those of a network beside its loss, these are taken; of two such
    networks the averaged one, by its prefix, or the other. own: names of the model's tensors. where: the file. Raises
    UsageError for several networks with nothing to choose by.
    """
    found = dict(weights)
    for prefix in _WRAPPERS:  # of a part of the network alone
        bare = {name if name in own or (b := name.removeprefix(prefix)) not in own else b: name for name in found}
        found = {name: found[old] for name, old in bare.items()} if len(bare) == len(found) else found
    while len(first := {name.partition(".")[0] + "." for name in found}) == 1:
        prefix = first.pop()
        if any(name.startswith(prefix) for name in own) or any(name == prefix[:-1] for name in found):
            break
        found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    needed = [name for name in own if not name.endswith(_STEPS)]
    if not needed or all(name in found for name in needed):
        return found, ""
    prefixes = [name.removesuffix(needed[0]) for name in found if name.endswith(f".{needed[0]}")]
    whole = [prefix for prefix in prefixes if all(prefix + name in found for name in needed)]
    if len(whole) > 1:
        whole = [prefix for prefix in whole if ("ema" in prefix) == use_ema] if len(whole) == 2 else whole
        if len(whole) != 1:
            raise UsageError(
                f"{where}: holds several networks, named {', '.join(map(visible, prefixes))}; save the one that is the "
                "classifier by itself"
            )
    if not whole:
        return found, ""
    taken = {name.removeprefix(whole[0]): found[name] for name in found if name.startswith(whole[0])}
    others = [name for name in found if not name.startswith(whole[0])]
    if not others:
        return taken, ""
    return taken, (
        f"'{visible(whole[0])}…' is taken, {len(others)} other tensors are passed over (first '{visible(min(others))}')"
    )


# Many files lack batch norm's step counters: torch added them late, and evaluation does not use them.
_STEPS = "num_batches_tracked"


def load_into(model: torch.nn.Module, weights: Mapping[str, torch.Tensor], where: str) -> None:
    """Load all weights. Raises UsageError naming the first that is missing, unknown or of another shape."""
    own = model.state_dict()
    missing = {name for name in own.keys() - weights.keys() if not name.endswith(_STEPS)}
    unknown = weights.keys() - own.keys()
    if missing or unknown:
        kinds = [(names, what) for names, what in ((missing, "missing"), (unknown, "unknown")) if names]
        words = [f"{len(names)} {what} (first '{visible(min(names))}')" for names, what in kinds]
        raise UsageError(
            f"{where}: made for another architecture: {' and '.join(words)} among its tensors; name its own by "
            "--classifier, with the --model-arg that it was trained with"
        )
    for name, tensor in weights.items():
        if tensor.shape != own[name].shape:
            one_channel = tensor.ndim == 4 and (tensor.shape[1], own[name].shape[1]) == (1, 3)
            raise UsageError(
                f"{where}: '{name}' has shape {tuple(tensor.shape)} where the model needs {tuple(own[name].shape)}"
                + ("; of grey images: add --model-arg in_chans=1" if one_channel else "")
            )
    model.load_state_dict(weights, strict=False)


def state_sha256(model: torch.nn.Module) -> str:
    """Return the SHA-256 of the names, dtypes, shapes and bytes of a model's parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
