"""Reading and identifying model weights, without running code from the files that hold them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from trustcache.errors import UsageError, kind_and_line

# Keys of the weights in the dictionaries that training scripts save, and prefixes that wrappers put before every name.
# timm's `load_state_dict` does not replace `read_weights`: it knows fewer keys, prefers averaged weights unasked,
# recognises safetensors by the suffix alone and strips prefixes that only some names have.
_CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "weights")
_PREFIXES = ("module.", "_orig_mod.")


def read_weights(path: Path, option: str = "--weights") -> dict[str, torch.Tensor]:
    """Read a state dict from safetensors, or from a torch file with `weights_only=True`.

    Unwraps the dictionaries that training scripts save, and drops the prefixes of DataParallel and torch.compile.
    Raises UsageError, naming `option` and the file, if it is missing or holds no state dict.
    """
    if not path.is_file():
        raise UsageError(f"{option} {path}: there is no such file; give a .safetensors file or a torch checkpoint")
    try:
        found = _load(path)
    except Exception as error:  # torch.load may raise almost anything for a broken file
        raise UsageError(
            f"{option} {path}: not a checkpoint that can be read without running code from it "
            f"({kind_and_line(error)}); save the state dict with safetensors or torch.save(model.state_dict(), FILE)"
        ) from error
    for _ in _CONTAINERS:  # no longer, as one may hold itself
        found = next((v for k in _CONTAINERS if isinstance(v := found.get(k), Mapping)), found)
    if not found or not all(isinstance(k, str) and _is_plain(v) for k, v in found.items()):
        raise UsageError(
            f"{option} {path}: holds no state dict (a mapping from names to tensors); "
            "save it with torch.save(model.state_dict(), FILE)"
        )
    while prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in found)), None):
        found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    return dict(found)


def _is_plain(value: Any) -> bool:
    """Return True for a tensor with all its numbers; a file of a few bytes can hold one that repeats a single number.

    Other layouts (sparse, quantised, without data) are no weights that a model can be given.
    """
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_quantized or value.is_meta:
        return False
    return value.untyped_storage().nbytes() >= value.numel() * value.element_size()


def _load(path: Path) -> Mapping[Any, Any]:
    with path.open("rb") as file:
        # By content, not by name: safetensors begin with a length in 8 bytes and a JSON object.
        if file.read(9)[8:] == b"{":
            return load_file(path)
        file.seek(0)
        found = torch.load(file, map_location="cpu", weights_only=True)
    return found if isinstance(found, Mapping) else {}


def load_into(model: torch.nn.Module, weights: dict[str, torch.Tensor], where: str) -> None:
    """Load all weights. Raises UsageError naming the first that is missing, unknown or of another shape."""
    own = model.state_dict()
    # Many files lack batch norm's step counters: torch added them late, and evaluation does not use them.
    missing = {name for name in own.keys() - weights.keys() if not name.endswith("num_batches_tracked")}
    unknown = weights.keys() - own.keys()
    if missing or unknown:
        words = [f"{len(k)} {what} (first '{min(k)}')" for k, what in ((missing, "missing"), (unknown, "unknown")) if k]
        raise UsageError(
            f"{where}: made for another architecture: {' and '.join(words)} among its tensors; name its own by "
            "--classifier"
        )
    for name, tensor in weights.items():
        if tensor.shape != own[name].shape:
            raise UsageError(
                f"{where}: '{name}' has shape {tuple(tensor.shape)} where the model needs {tuple(own[name].shape)}"
            )
    model.load_state_dict(weights, strict=False)


def state_sha256(model: torch.nn.Module) -> str:
    """Return the SHA-256 of the names, dtypes, shapes and bytes of a model's parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
