"""Torch's threads: as many as a step is worth."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from trustcache.data.machine import one_thread, threads_for


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    usual = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(usual)


def test_small_steps_are_taken_in_one_thread_and_large_ones_in_all() -> None:
    with threads_for(10**6):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
    with threads_for(10**10):
        assert torch.get_num_threads() == 3


def test_threads_are_there_again_after_an_error() -> None:
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert torch.get_num_threads() == 3


def test_contexts_within_each_other_are_one() -> None:
    with one_thread():
        with threads_for(0):
            pass
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3


def test_threads_of_python_that_overlap_leave_the_usual_number_to_all() -> None:
    first, second = one_thread(), one_thread()
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        one.submit(first.__enter__).result()
        other.submit(second.__enter__).result()
        one.submit(first.__exit__, None, None, None).result()
        other.submit(second.__exit__, None, None, None).result()
        assert [pool.submit(torch.get_num_threads).result() for pool in (one, other)] == [3, 3]
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == 3
