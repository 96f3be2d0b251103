"""Torch's threads: as many as a step is worth."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from trustcache.data.threads import in_threads, one_thread, overlapped, threads_for

pytestmark = pytest.mark.usefixtures("three_threads")


def test_small_steps_are_taken_in_one_thread_and_large_ones_in_all() -> None:
    with threads_for(512, 768) as idle:
        assert (torch.get_num_threads(), idle) == (1, True)
    assert torch.get_num_threads() == 3
    with threads_for(512, 10**6) as idle:
        assert (torch.get_num_threads(), idle) == (3, False)


def test_no_thread_is_idle_where_torch_has_one_or_within_another_context() -> None:
    with one_thread(), one_thread() as idle:
        assert not idle
    torch.set_num_threads(1)
    with one_thread() as idle:
        assert not idle


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


def test_the_next_is_made_while_one_is_used_and_no_more() -> None:
    made = [threading.Event() for _ in range(4)]
    used = []

    def make(number: int) -> int:
        made[number].set()
        return number

    def use(number: int) -> None:
        if number == 0:
            assert made[1].wait(timeout=10)
            assert not made[2].wait(timeout=0.1)
        used.append(number)

    assert overlapped(make, use, iter(range(4))) == 4
    assert used == [0, 1, 2, 3]


def test_what_is_given_is_asked_for_once_the_last_is_made_and_by_the_caller() -> None:
    making = threading.Lock()

    def given() -> Iterator[int]:
        for number in range(3):
            assert threading.current_thread() is threading.main_thread()
            assert not making.locked()
            yield number

    def make(number: int) -> int:
        with making:
            time.sleep(0.05)
        return number

    assert overlapped(make, lambda number: None, given()) == 3


def test_making_takes_one_of_torchs_threads_and_leaves_the_callers_alone() -> None:
    made: list[int] = []
    overlapped(lambda _: torch.get_num_threads(), made.append, iter(range(3)))
    assert made == [1, 1, 1]
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("fails", ["make", "use"])
def test_an_error_comes_in_its_turn_and_leaves_no_thread_behind(fails: str) -> None:
    used, before = [], threading.active_count()

    def make(number: int) -> int:
        if fails == "make" and number == 2:
            raise KeyError(number)
        return number

    def use(number: int) -> None:
        if fails == "use" and number == 2:
            raise KeyError(number)
        used.append(number)

    with pytest.raises(KeyError):
        overlapped(make, use, iter(range(9)))
    assert used == [0, 1]
    assert threading.active_count() == before


def test_things_made_in_threads_come_in_order_and_one_more_than_threads_is_taken() -> None:
    taken = 0

    def given() -> Iterator[int]:
        nonlocal taken
        for number in range(9):
            taken += 1
            yield number

    def make(number: int) -> int:
        time.sleep(0.01 * (3 - number % 3))
        return torch.get_num_threads() * number

    for count, (number, made) in enumerate(in_threads(make, given(), 2)):
        assert (number, made.result()) == (count, count)
        assert taken <= count + 3
    assert (taken, torch.get_num_threads()) == (9, 3)


def test_an_error_of_what_is_given_comes_after_what_was_given_before() -> None:
    def given() -> Iterator[int]:
        yield from range(3)
        raise KeyError

    made, threads = [], threading.active_count()
    with pytest.raises(KeyError):
        made.extend(future.result() for _, future in in_threads(lambda number: number, given(), 2))
    assert (made, threading.active_count()) == ([0, 1, 2], threads)


def test_a_thread_goes_back_to_the_number_that_it_is_told() -> None:
    with ThreadPoolExecutor(1) as other:

        def within() -> tuple[int, int]:
            torch.set_num_threads(1)
            with one_thread(3):
                inside = torch.get_num_threads()
            return inside, torch.get_num_threads()

        assert other.submit(within).result() == (1, 3)
