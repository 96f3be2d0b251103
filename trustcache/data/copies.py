"""Copies of a network that share its weights, with which a CPU works on several batches of small images at once.

In a batch of small images torch's threads mostly wait for each other, after each of a network's many operations. Each
by itself on a batch of its own, they wait for nobody. A user's own network may keep in itself what it computes, so each
thread has a copy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from queue import SimpleQueue
from typing import TypeVar

import torch
from torch import nn

from trustcache.data.pipeline import Waits
from trustcache.data.threads import in_threads
from trustcache.models.classifiers import Classifier
from trustcache.models.precision import arithmetic
from trustcache.models.programs import Program
from trustcache.models.stage_features import noted

T = TypeVar("T")
Given = TypeVar("Given")
Made = TypeVar("Made")

# Of a batch of so many numbers, as 64 images of 100 pixels have, all threads together make as much
# (`benchmarks/threads.py`).
SMALL = 2_000_000


def copies_of(what: T, network: nn.Module, ask: Callable[[T], object], numbers: int) -> list[T]:
    """Return a copy for each of torch's threads where batches have fewer than `SMALL` numbers, else what is given.

    They share its network's parameters, and nothing else. A network on a GPU, a program (whose weights may be no
    parameters), and what cannot be copied are returned as they are. ask: runs one once, on any image, to see if it
    stands by itself.
    """
    on_cpu = all(tensor.device.type == "cpu" for tensor in chain(network.parameters(), network.buffers()))
    count = torch.get_num_threads() if on_cpu and numbers < SMALL else 1
    if count == 1 or any(isinstance(module, Program) for module in network.modules()):
        return [what]
    weights = {id(weight): weight for weight in network.parameters()}
    try:
        copies = [copy.deepcopy(what, dict(weights)) for _ in range(count)]
        # Functions are not copied: one that was put in the place of a method may hold modules of the original.
        with noted(dict(network.named_modules()), lambda inputs, output: True) as computing:
            ask(copies[0])
    except Exception:  # a user's own module may raise anything
        return [what]
    return [what] if computing else copies


def classifier_copies(classifier: Classifier, batch_size: int) -> list[Classifier]:
    """Return `copies_of` a classifier for batches of so many images."""
    black = classifier.black()
    return copies_of(classifier, classifier.model, lambda one: one(black), batch_size * black.numel())


def by_copies(
    copies: Sequence[T], work: Callable[[T, Given], Made], batches: Iterable[Given], waits: Waits
) -> Iterator[tuple[Given, Made]]:
    """Yield each batch with what `work` makes of it with one of `copies_of`, in order; as many at once as there are.

    Each works in one of torch's threads, but a single one in all of them. waits: counts the time in which one waits for
    the model. Raises what `work` raises, in its turn.

    >>> list(by_copies(["x"], str.join, ["ab", "cd"], Waits()))
    [('ab', 'axb'), ('cd', 'cxd')]
    """
    if len(copies) == 1:
        for batch in batches:
            with waits("model"):
                made = work(copies[0], batch)
            yield batch, made
        return
    free: SimpleQueue[T] = SimpleQueue()
    for one in copies:
        free.put(one)

    def by_one(batch: Given) -> Made:
        one = free.get()
        try:
            return work(one, batch)
        finally:
            free.put(one)

    # What it sets is the process's, and the threads that set it too must find it so when they end.
    with arithmetic("float32", torch.device("cpu")):
        for batch, future in in_threads(by_one, batches, len(copies)):
            with waits("model"):
                made = future.result()
            yield batch, made
