"""Copies of a network that share its weights, with which a CPU works on several batches of small images at once.

In a batch of small images torch's threads mostly wait for each other, after each of a network's many operations. Each
by itself on a batch of its own, they wait for nobody. Each needs a copy of the network, since features are read from
its modules. What a user's own modules may share is not known, so there are copies of known modules only.
"""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Generator, Iterable
from functools import cached_property
from typing import Generic, TypeVar

import torch
from torch import nn

from trustcache.data.pipeline import Waits
from trustcache.data.threads import in_threads
from trustcache.models.classifiers import Classifier
from trustcache.models.programs import Program

T = TypeVar("T")
Given = TypeVar("Given")
Made = TypeVar("Made")

# Of a batch of so many numbers, as 64 images of 100 pixels have, all threads together make as much
# (`benchmarks/copies.py`).
SMALL = 2_000_000
# Numbers of all batches that are worked on at once: what a network computes of them takes memory.
_MOST_AT_ONCE = 32_000_000
# Packages whose modules keep what they compute to themselves, if at all.
_KNOWN = {"torch", "timm", "torchvision", "trustcache"}


class Copies(Generic[T]):
    """What holds a network of known modules, and copies of it that share the network's parameters, made as needed.

    Copies share its buffers too, unless an answer writes to one: weights that are loaded later are those of all copies.
    Batches have `numbers` numbers. ask: what it answers to any one image, as tensors; copies that answer otherwise are
    not used. Threads of Python may share one: none works with a network that another one works with.
    """

    def __init__(self, what: T, network: nn.Module, ask: Callable[[T], object], numbers: int) -> None:
        self._what, self._network, self._ask, self._numbers = what, network, ask, numbers
        self._free: list[T] = []
        self._lock = threading.RLock()  # of what is copied: while it works, it has hooks that a copy would take along

    def each(
        self, work: Callable[[T, Given], Made], batches: Iterable[Given], waits: Waits
    ) -> Generator[tuple[Given, Made]]:
        """Yield each batch with what `work` makes of it with a copy, in order.

        Several are worked on at once, each in one of torch's threads; where there are no copies one, in all of them.
        waits: counts the time in which one waits for the model. Raises what `work` raises, in its turn; one that stops
        before the end closes the generator, which ends its threads.
        """
        threads = torch.get_num_threads()
        with self._lock:
            alone = threads == 1 or not self._may_be_used
        if alone:
            for batch in batches:
                with waits("model"), self._lock:
                    made = work(self._what, batch)
                yield batch, made
            return

        def on_copy(given: tuple[Given, T]) -> Made:
            batch, one = given
            try:
                return work(one, batch)
            finally:
                self._free.append(one)

        taken, most = ((batch, self._taken()) for batch in batches), _MOST_AT_ONCE // self._numbers
        for (batch, _), future in in_threads(on_copy, taken, min(threads, most)):
            with waits("model"):
                made = future.result()
            yield batch, made

    def _taken(self) -> T:
        try:
            return self._free.pop()
        except IndexError:
            return self._copy()

    def _copy(self) -> T:
        with self._lock:
            return copy.deepcopy(self._what, {id(tensor): tensor for tensor in self._tensors})

    @property
    def _tensors(self) -> list[torch.Tensor]:
        return [*self._network.parameters(), *self._network.buffers()]

    @cached_property
    def _may_be_used(self) -> bool:
        on_cpu = all(tensor.device.type == "cpu" for tensor in self._tensors)
        if self._numbers >= SMALL or not on_cpu or not all(map(_is_known, self._network.modules())):
            return False
        try:
            one, before = self._copy(), [tensor._version for tensor in self._tensors]
            torch.testing.assert_close(self._ask(one), self._ask(self._what), equal_nan=True)
        except Exception:  # not all that modules may hold can be copied
            return False
        self._free.append(one)
        return before == [tensor._version for tensor in self._tensors]


def _is_known(module: nn.Module) -> bool:
    """Return True for a module of a known package, without hooks or methods of anyone else's."""
    hooked = module._forward_hooks or module._forward_pre_hooks
    replaced = any(callable(getattr(type(module), name, None)) for name in vars(module))
    known = type(module).__module__.split(".")[0] in _KNOWN and not isinstance(module, Program)
    return known and not hooked and not replaced


def any_image(size: tuple[int, int], device: torch.device) -> torch.Tensor:
    """Return an image of a height and width to ask copies about, uint8 (1, 3, H, W)."""
    return (torch.arange(3 * math.prod(size), device=device) % 251).byte().view(1, 3, *size)


def classifier_copies(classifier: Classifier, batch_size: int) -> Copies[Classifier]:
    """Return `Copies` of a classifier for batches of so many images."""
    image = any_image(classifier.preprocessing.input_size, classifier.black().device)
    return Copies(classifier, classifier.model, lambda one: one(image), batch_size * image.numel())
