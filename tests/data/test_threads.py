"""Torch's threads: as many as a step is worth."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from trustcache.data.threads import one_thread, threads_for

pytestmark = pytest.mark.usefixtures("three_threads")


def test_small_steps_are_taken_in_one_thread_and_large_ones_in_all() -> None:
    with threads_for(512, 768):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
    with threads_for(512, 10**6):
        assert torch.get_num_threads() == 3


def test_threads_are_there_again_after_an_error() -> None:
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert torch.get_num_threads() == 3


def test_contexts_within_each_other_are_one() -> None:
    with one_thread():
        with threads_for(1, 1):
            pass
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3


def test_threads_of_python_that_overlap_go_back_to_their_own_numbers() -> None:
    first, second, third = one_thread(), one_thread(), one_thread()
    with ThreadPoolExecutor(1) as a, ThreadPoolExecutor(1) as b, ThreadPoolExecutor(1) as c:

        def threads() -> list[int]:
            return [pool.submit(torch.get_num_threads).result() for pool in (a, b, c)]

        c.submit(torch.get_num_threads).result()  # torch sets a thread's number when it is first asked for
        c.submit(torch.set_num_threads, 2).result()
        torch.set_num_threads(3)
        for pool, context in ((a, first), (b, second), (c, third)):
            pool.submit(context.__enter__).result()
        assert threads() == [1, 1, 1]
        a.submit(first.__exit__, None, None, None).result()
        assert threads() == [3, 1, 1]
        b.submit(second.__exit__, None, None, None).result()
        c.submit(third.__exit__, None, None, None).result()
        assert threads() == [3, 3, 2]
