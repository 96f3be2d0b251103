"""The arithmetic that networks compute in, where several threads of Python ask for it at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.backends import cudnn

from trustcache.models.precision import arithmetic

CPU = torch.device("cpu")
EXACT = ("highest", False, False, True)


def settings() -> tuple[str, bool, bool, bool]:
    return torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic


@pytest.fixture
def users(medium_products: None) -> Iterator[tuple[str, bool, bool, bool]]:
    """Settings of a user's own, none of them as `arithmetic` has it."""
    before = cudnn.set_flags(_benchmark=True, _deterministic=False)
    yield settings()
    cudnn.set_flags(*before)


def test_float32_is_float32_until_the_last_of_several_threads_is_done(users: tuple) -> None:
    second, first_left, seen = threading.Event(), threading.Event(), []

    def one() -> None:
        with arithmetic("float32", CPU):
            assert second.wait(timeout=10)
        first_left.set()

    def another() -> None:
        with arithmetic("float32", CPU):
            second.set()
            assert first_left.wait(timeout=10)
            seen.append(settings())

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(one), pool.submit(another)]:
            done.result()
    assert users[0] != EXACT[0]
    assert seen == [EXACT]
    assert settings() == users


def test_a_precision_within_another_gives_way_to_it_again(users: tuple) -> None:
    with arithmetic("float32", CPU):
        with arithmetic("tf32", CPU):
            with arithmetic("float32", CPU):
                assert settings() == EXACT
            assert settings() == ("high", True, False, True)
        assert settings() == EXACT
    assert settings() == users


def test_a_users_settings_come_back_after_an_error(users: tuple) -> None:
    def fails() -> None:
        with arithmetic("bf16", CPU):
            assert settings() == EXACT
            assert torch.is_autocast_enabled("cpu")
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert settings() == users
    assert not torch.is_autocast_enabled("cpu")
