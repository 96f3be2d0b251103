"""Reading and identifying model weights, without running code from the files that hold them."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from trustcache.errors import UsageError

# What training scripts call the weights inside a saved dictionary.
_CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "weights")


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict from safetensors, or from a torch file with `weights_only=True`.

    Unwraps the dictionaries that training scripts save, and drops DataParallel's `module.` prefix.
    Raises UsageError where the file is missing or is no such checkpoint.
    """
    if not path.is_file():
        raise UsageError(f"--weights {path}: there is no such file")
    try:
        if path.suffix == ".safetensors":
            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"--weights {path}: not a checkpoint that can be read without running code from it ({reason}); "
            "save the state dict with safetensors or torch.save(model.state_dict(), FILE)"
        ) from None
    while isinstance(found, Mapping) and (key := next((k for k in _CONTAINERS if k in found), None)):
        found = found[key]
    if not isinstance(found, Mapping) or not found or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise UsageError(f"--weights {path}: holds no state dict (a mapping from names to tensors)")
    prefixed = all(name.startswith("module.") for name in found)
    return {name.removeprefix("module.") if prefixed else name: tensor for name, tensor in found.items()}


def load_into(model: torch.nn.Module, weights: dict[str, torch.Tensor], where: str) -> None:
    """Load weights, every one of them. Raises UsageError naming the first that is missing, unknown or misshapen."""
    own = model.state_dict()
    # Batch norm's step counters came late to torch, do nothing in evaluation, and many files lack them.
    missing = {name for name in own.keys() - weights.keys() if not name.endswith("num_batches_tracked")}
    unknown = weights.keys() - own.keys()
    if missing or unknown:
        words = [f"{len(k)} {what} (first '{min(k)}')" for k, what in ((missing, "missing"), (unknown, "unknown")) if k]
        raise UsageError(f"{where}: made for another architecture: {' and '.join(words)} among its tensors")
    for name, tensor in weights.items():
        if tensor.shape != own[name].shape:
            raise UsageError(
                f"{where}: '{name}' has shape {tuple(tensor.shape)} where the model needs {tuple(own[name].shape)}"
            )
    model.load_state_dict(weights, strict=False)


def state_sha256(model: torch.nn.Module) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of a model's parameters and buffers, whatever their file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
