"""Copies of a network: several batches at once, with the numbers of one batch at a time."""

from __future__ import annotations

import itertools
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.small_networks import SIDE, KeepsItsFeatures, classifier_of, layers, noise
from trustcache.data import copies
from trustcache.data.copies import SMALL, Copies, classifier_copies
from trustcache.data.pipeline import Waits
from trustcache.models.building import ModelSpec
from trustcache.models.classifiers import Classifier, load_classifier
from trustcache.models.precision import arithmetic
from trustcache.registry.permission import allow_code

pytestmark = pytest.mark.usefixtures("three_threads")


def some_copies() -> Copies[Classifier]:
    return classifier_copies(classifier_of(layers()), 5)


def where(one: Classifier, batch: object) -> tuple[Classifier, int]:
    """The copy that works, and its thread."""
    return one, threading.get_ident()


def works_alone(classifier: Classifier, batch_size: int = 5) -> bool:
    """True if all batches are for the classifier itself, in the caller's thread."""
    made = [made for _, made in classifier_copies(classifier, batch_size).each(where, range(9), Waits())]
    return made == 9 * [(classifier, threading.get_ident())]


def test_batches_come_in_order_with_the_numbers_of_one_at_a_time() -> None:
    def logits_and_features(one: Classifier, pixels: torch.Tensor) -> torch.Tensor:
        return torch.cat(one(pixels), 1)

    classifier, given = classifier_of(layers()), torch.from_numpy(noise(150)).permute(0, 3, 1, 2).split(5)
    found = list(classifier_copies(classifier, 5).each(logits_and_features, given, Waits()))
    assert [id(batch) for batch, _ in found] == [id(batch) for batch in given]
    for pixels, outputs in found:
        torch.testing.assert_close(outputs, logits_and_features(classifier, pixels))


def test_three_copies_work_at_once_each_in_one_of_torchs_threads() -> None:
    meeting, classifier = threading.Barrier(3), classifier_of(layers())

    def work(one: Classifier, batch: int) -> tuple[Classifier, int]:
        meeting.wait(timeout=10)  # raises unless three are here at the same time
        return one, torch.get_num_threads()

    made = [made for _, made in classifier_copies(classifier, 5).each(work, range(6), Waits())]
    assert [threads for _, threads in made] == 6 * [1]
    assert torch.get_num_threads() == 3
    last = {one.model[3] for one, _ in made}  # type: ignore[index]
    assert len(last) >= 3
    assert classifier.model[3] not in last  # type: ignore[index]
    assert {one.weight for one in last} == {classifier.model[3].weight}  # type: ignore[index]


def test_copies_are_used_again_and_none_by_two_threads_at_once() -> None:
    shared, within, used, lock = some_copies(), set[int](), set[int](), threading.Lock()

    def work(one: Classifier, batch: int) -> None:
        with lock:
            assert id(one) not in within
            within.add(id(one))
        time.sleep(0.001)
        with lock:
            within.remove(id(one))
            used.add(id(one))

    def user(_: int) -> int:
        torch.set_num_threads(3)
        return len(list(shared.each(work, range(30), Waits())))

    with ThreadPoolExecutor(2) as users:
        assert list(users.map(user, range(6))) == 6 * [30]
    assert len(used) <= 2 * 4  # of each user three at work, and one that waits


def test_nothing_is_copied_while_it_works_with_hooks_of_its_own() -> None:
    classifier, begun, release = classifier_of(layers()), threading.Event(), threading.Event()
    shared, hooks = classifier_copies(classifier, 5), list[int]()

    def works_long(one: Classifier, batch: int) -> None:
        assert one is classifier
        with one.model.register_forward_hook(lambda module, inputs, output: None):
            begun.set()
            release.wait(timeout=10)

    def on_the_original() -> None:
        torch.set_num_threads(1)
        list(shared.each(works_long, range(1), Waits()))

    def batches() -> Iterator[int]:
        yield 0
        other.start()
        assert begun.wait(timeout=10)
        threading.Timer(0.2, release.set).start()
        yield from range(1, 6)

    def work(one: Classifier, batch: int) -> None:
        hooks.append(len(one.model._forward_hooks))
        time.sleep(0.05)  # so that the next one needs a copy

    other = threading.Thread(target=on_the_original)
    list(shared.each(work, batches(), Waits()))
    other.join()
    assert hooks == 6 * [0]


def test_threads_that_come_first_together_ask_once() -> None:
    asked, classifier = list[Classifier](), classifier_of(layers())

    def ask(one: Classifier) -> torch.Tensor:
        asked.append(one)
        time.sleep(0.05)
        return torch.zeros(1)

    shared = Copies(classifier, classifier.model, ask, 5)

    def user(_: int) -> None:
        torch.set_num_threads(3)
        list(shared.each(where, range(1), Waits()))

    with ThreadPoolExecutor(3) as users:
        list(users.map(user, range(3)))
    assert asked[1] is classifier
    assert len(asked) == 2


def test_weights_that_are_loaded_later_are_those_of_all_copies() -> None:
    def normalised() -> nn.Sequential:
        network = nn.Sequential(layers()[:2], nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))
        for tensor in network.state_dict().values():
            tensor.copy_(torch.rand(tensor.shape) + 0.1)
        return network

    def logits(one: Classifier, pixels: torch.Tensor) -> torch.Tensor:
        return one(pixels)[0]

    torch.manual_seed(1)
    classifier, other = classifier_of(normalised()), classifier_of(normalised())
    given, shared = torch.from_numpy(noise(40)).permute(0, 3, 1, 2).split(5), classifier_copies(classifier, 5)
    assert not works_alone(classifier)
    list(shared.each(logits, given, Waits()))
    classifier.model.load_state_dict(other.model.state_dict())
    for pixels, found in shared.each(logits, given, Waits()):
        torch.testing.assert_close(found, logits(other, pixels))


def hooked() -> nn.Module:
    network, kept = layers(), dict[str, torch.Tensor]()
    network[1].register_forward_hook(lambda module, inputs, output: kept.update(x=output))
    return network


def hooked_before() -> nn.Module:
    network, kept = layers(), dict[str, Any]()
    network[3].register_forward_pre_hook(lambda module, inputs: kept.update(x=inputs))
    return network


def replaced() -> nn.Module:
    network, kept = layers(), dict[str, torch.Tensor]()
    network[2].forward = lambda x: kept.setdefault("x", x).relu()  # type: ignore[method-assign,assignment]
    return network


def locked() -> nn.Module:
    network = layers()
    network.lock = threading.Lock()  # type: ignore[assignment]
    return network


class Changing(nn.Linear):
    """A layer whose copies have other numbers than it has."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Changing:
        return Changing(self.in_features, self.out_features)


Changing.__module__ = "torch.nn.changing"


def changing() -> nn.Module:
    return nn.Sequential(nn.Flatten(), Changing(3 * SIDE * SIDE, 4))


class Counting(nn.Linear):
    """A layer that writes to a buffer of its own."""

    def __init__(self) -> None:
        super().__init__(3 * SIDE * SIDE, 4)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.get_buffer("seen").add_(len(x))
        return super().forward(x)


Counting.__module__ = "torch.nn.counting"


def counting() -> nn.Module:
    return nn.Sequential(nn.Flatten(), Counting())


@pytest.mark.parametrize("network", [KeepsItsFeatures, hooked, hooked_before, replaced, locked, changing, counting])
def test_what_may_not_stand_alone_when_copied_is_used_as_it_is(network: Callable[[], nn.Module]) -> None:
    assert works_alone(classifier_of(network()))


def exported(file: str) -> None:
    dynamic = ({0: torch.export.Dim.DYNAMIC},)
    torch.export.save(torch.export.export(layers(), (torch.rand(2, 3, SIDE, SIDE),), dynamic_shapes=dynamic), file)


def scripted(file: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(layers(), torch.rand(2, 3, SIDE, SIDE)), file)


@pytest.mark.parametrize("save", [exported, scripted])
def test_a_program_is_used_as_it_is(tmp_path: Path, save: Callable[[str], None]) -> None:
    save(file := str(tmp_path / "own.pt2"))
    allow_code(file)
    assert works_alone(load_classifier(ModelSpec(file, preprocessing={"input_size": (SIDE, SIDE)})))


def test_large_batches_and_those_of_a_single_thread_are_worked_on_one_at_a_time() -> None:
    classifier, images = classifier_of(layers()), SMALL // (3 * SIDE * SIDE)
    assert not works_alone(classifier, images)
    assert works_alone(classifier, images + 1)
    torch.set_num_threads(1)
    assert works_alone(classifier)


def test_no_more_are_worked_on_at_once_than_memory_should_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "_MOST_AT_ONCE", 2 * 5 * 3 * SIDE * SIDE)
    now, most, lock = 0, 0, threading.Lock()

    def work(one: Classifier, batch: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1

    list(some_copies().each(work, range(12), Waits()))
    assert most == 2


@pytest.mark.usefixtures("medium_products")
def test_the_precision_of_products_is_exact_in_all_threads_and_afterwards_the_callers() -> None:
    seen, device = set[str](), torch.device("cpu")

    def work(one: Classifier, batch: int) -> None:
        with arithmetic("float32", device):
            time.sleep(0.001 * (batch % 3))
            seen.add(torch.get_float32_matmul_precision())

    list(some_copies().each(work, range(60), Waits()))
    assert torch.get_float32_matmul_precision() == "medium"
    assert seen == {"highest"}


def test_an_error_comes_in_its_turn_and_leaves_no_thread_behind() -> None:
    before, done = threading.active_count(), list[int]()

    def work(one: Classifier, batch: int) -> int:
        if batch == 4:
            raise KeyError(batch)
        return batch

    with pytest.raises(KeyError):
        done.extend(made for _, made in some_copies().each(work, range(99), Waits()))
    assert done == [0, 1, 2, 3]
    assert threading.active_count() == before


def test_a_loop_that_ends_early_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    made = some_copies().each(where, itertools.count(), Waits())
    next(made)
    made.close()
    assert threading.active_count() == before


def test_the_time_in_which_one_waits_is_the_models() -> None:
    waits = Waits()
    list(some_copies().each(lambda one, batch: time.sleep(0.05), range(2), waits))
    assert waits.seconds["model"] > 0.03
