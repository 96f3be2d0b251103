"""PGD: projected gradient ascent on the cross-entropy from a random start (Madry et al., ICLR 2018), L-inf and L2."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

Logits = Callable[[Tensor], Tensor]
Rngs = Sequence[Generator]


def pgd_linf(
    logits: Logits, images: Tensor, labels: Tensor, generators: Rngs, *, bound: float, iterations: int, step: float
) -> Tensor:
    """Move every value of the images (N, 3, H, W) by at most `bound`, `step` an iteration along the gradient's sign."""
    start = _drawn(images, generators, lambda shape, generator: torch.rand(shape, generator=generator) * 2 - 1)
    changed = (images + bound * start).clamp(0, 1)
    for _ in range(iterations):
        gradient = _ascent(logits, changed, labels)
        # The sign of nan is 0, which would hide a broken classifier.
        changed = changed + step * torch.where(gradient.isnan(), gradient, gradient.sign())
        changed = torch.clamp(changed, images - bound, images + bound).clamp(0, 1)
    return changed


def pgd_l2(
    logits: Logits, images: Tensor, labels: Tensor, generators: Rngs, *, bound: float, iterations: int, step: float
) -> Tensor:
    """Move each image (3, H, W) by at most `bound` in L2 norm, `step` an iteration along the gradient's direction."""
    # Clamping to [0, 1] moves no value further from the image's own, so it stays in the ball.
    changed = (images + bound * _drawn(images, generators, _in_unit_ball)).clamp(0, 1)
    for _ in range(iterations):
        gradient = _ascent(logits, changed, labels)
        # Tiny gradients, of a very confident classifier, still give a full step.
        shift = changed - images + step * gradient / _norm(gradient).clamp(min=torch.finfo(gradient.dtype).tiny)
        shift = shift * (bound / _norm(shift).clamp(min=bound))
        changed = (images + shift).clamp(0, 1)
    return changed


def _drawn(images: Tensor, generators: Rngs, draw: Callable[[torch.Size, Generator], Tensor]) -> Tensor:
    """Draw once for each image from its own generator, on the CPU so that every device gets the same values."""
    return torch.stack([draw(images.shape[1:], generator) for generator in generators]).to(images)


def _in_unit_ball(shape: torch.Size, generator: Generator) -> Tensor:
    """Draw uniformly from the ball of L2 norm 1: a direction, and a radius that makes equal volumes equally likely."""
    direction = torch.randn(shape, generator=generator)
    radius = torch.rand((), generator=generator) ** (1 / direction.numel())
    return radius * direction / direction.norm()


def _ascent(logits: Logits, images: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient of each image's own cross-entropy."""
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        # A sum, not a mean: the batch size must not change an image's gradient.
        loss = F.cross_entropy(logits(images), labels, reduction="sum")
        return torch.autograd.grad(loss, images)[0]


def _norm(images: Tensor) -> Tensor:
    return torch.linalg.vector_norm(images, dim=(1, 2, 3), keepdim=True)
