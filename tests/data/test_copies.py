"""Copies of a network: several batches at once, with the numbers of one batch at a time."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.keeping_network import SIDE, KeepsItsFeatures, classifier_of, noise
from trustcache.data.copies import SMALL, by_copies, classifier_copies
from trustcache.data.pipeline import Waits
from trustcache.models.building import ModelSpec
from trustcache.models.classifiers import Classifier, load_classifier
from trustcache.models.precision import arithmetic
from trustcache.registry.permission import allow_code

pytestmark = pytest.mark.usefixtures("three_threads")


class Locked(KeepsItsFeatures):
    """A network that cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class Replaced(KeepsItsFeatures):
    """A network with a function of the original in the place of a method, which a copy would share."""

    def __init__(self) -> None:
        super().__init__()
        first = self.first
        self.other = lambda x: first(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.last(self.other(x.flatten(1)))
        return logits


def logits_and_features(classifier: Classifier, pixels: torch.Tensor) -> torch.Tensor:
    return torch.cat(classifier(pixels), 1)


def test_a_network_that_keeps_what_it_computes_gives_the_numbers_of_one_batch_at_a_time() -> None:
    classifier = classifier_of(KeepsItsFeatures())
    given = torch.from_numpy(noise(150)).permute(0, 3, 1, 2).split(5)
    copies = classifier_copies(classifier, 5)
    assert len(copies) == 3
    found = list(by_copies(copies, logits_and_features, given, Waits()))
    assert [id(batch) for batch, _ in found] == [id(batch) for batch in given]
    for pixels, outputs in found:
        torch.testing.assert_close(outputs, logits_and_features(classifier, pixels))


def test_copies_share_their_weights_and_no_module() -> None:
    classifier = classifier_of(KeepsItsFeatures())
    copies = classifier_copies(classifier, 5)
    assert {id(one.model.last.weight) for one in copies} == {id(classifier.model.last.weight)}
    assert len({id(one.model.last) for one in (classifier, *copies)}) == 4


def test_each_works_in_one_of_torchs_threads_and_as_many_at_once_as_there_are() -> None:
    meeting = threading.Barrier(3)

    def work(one: str, batch: int) -> tuple[int, int]:
        meeting.wait(timeout=10)  # raises unless three are here at the same time
        return batch, torch.get_num_threads()

    found = [made for _, made in by_copies(["a", "b", "c"], work, range(6), Waits())]
    assert found == [(batch, 1) for batch in range(6)]
    assert torch.get_num_threads() == 3


def test_no_copy_is_in_two_threads() -> None:
    within, lock = set[str](), threading.Lock()

    def work(one: str, batch: int) -> None:
        with lock:
            assert one not in within
            within.add(one)
        time.sleep(0.002)
        within.remove(one)

    assert len(list(by_copies(["a", "b", "c"], work, range(30), Waits()))) == 30


@pytest.mark.parametrize("network", [Locked, Replaced])
def test_what_does_not_stand_by_itself_when_copied_is_used_as_it_is(network: type[nn.Module]) -> None:
    classifier = classifier_of(network())
    assert classifier_copies(classifier, 5) == [classifier]


def test_a_program_is_used_as_it_is(tmp_path: Path) -> None:
    file, network = str(tmp_path / "own.pt2"), nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 4))
    dynamic = ({0: torch.export.Dim.DYNAMIC},)
    torch.export.save(torch.export.export(network, (torch.rand(2, 3, SIDE, SIDE),), dynamic_shapes=dynamic), file)
    allow_code(file)
    program = load_classifier(ModelSpec(file, preprocessing={"input_size": (SIDE, SIDE)}))
    assert classifier_copies(program, 5) == [program]


def test_there_is_one_for_each_thread_and_of_large_batches_none() -> None:
    classifier, images = classifier_of(KeepsItsFeatures()), SMALL // (3 * SIDE * SIDE)
    assert len(classifier_copies(classifier, images)) == 3
    assert classifier_copies(classifier, images + 1) == [classifier]
    torch.set_num_threads(1)
    assert classifier_copies(classifier, 5) == [classifier]


def test_a_single_one_works_in_all_threads_and_in_the_callers() -> None:
    def work(one: str, batch: int) -> tuple[str, int]:
        return threading.current_thread().name, torch.get_num_threads()

    ((_, found),) = by_copies(["a"], work, [1], Waits())
    assert found == (threading.main_thread().name, 3)


def test_the_precision_of_products_is_exact_in_all_threads_and_afterwards_the_callers() -> None:
    seen, device = set[str](), torch.device("cpu")

    def work(one: str, batch: int) -> None:
        with arithmetic("float32", device):
            time.sleep(0.001 * (batch % 3))
            seen.add(torch.get_float32_matmul_precision())

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        list(by_copies(["a", "b", "c"], work, range(60), Waits()))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == {"highest"}


def test_an_error_comes_in_its_turn_and_leaves_no_thread_behind() -> None:
    before, done = threading.active_count(), list[int]()

    def work(one: str, batch: int) -> int:
        if batch == 4:
            raise KeyError(batch)
        return batch

    with pytest.raises(KeyError):
        done.extend(made for _, made in by_copies(["a", "b"], work, range(99), Waits()))
    assert done == [0, 1, 2, 3]
    assert threading.active_count() == before


def test_a_loop_that_ends_early_leaves_no_thread_behind() -> None:
    before, worked = threading.active_count(), list[int]()
    made = by_copies(["a", "b"], lambda one, batch: worked.append(batch), itertools.count(), Waits())
    next(made)
    made.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
    assert len(worked) <= 3


def test_the_time_in_which_one_waits_is_the_models() -> None:
    waits = Waits()
    list(by_copies(["a", "b"], lambda one, batch: time.sleep(0.05), range(2), waits))
    assert waits.seconds["model"] > 0.03
