"""Small tensors copied to a device without waiting for the work on it, as a plain copy to a GPU does."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch takes seconds to import
    import torch


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a small tensor of the CPU on a device; a GPU takes it when its turn comes, and nobody waits."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
