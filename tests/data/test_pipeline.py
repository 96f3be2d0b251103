"""What runs beside a forward pass: nothing handed over is lost, and results keep their order."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from trustcache.data.pipeline import Waits, WorkLog, Writer, fetched


def test_what_was_handed_over_is_written_in_order_whatever_ends_the_work() -> None:
    written: list[int] = []

    def slowly(number: int) -> None:
        time.sleep(0.05)
        written.append(number)

    def work() -> None:
        with Writer(Waits()) as write:
            for number in range(3):
                write(slowly, number)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert written == [0, 1, 2]


@pytest.mark.parametrize("more", [0, 1])
def test_an_error_of_writing_is_raised_by_the_next_call_or_at_the_end(more: int) -> None:
    def fail() -> None:
        raise OSError("disk full")

    def work() -> None:
        with Writer(Waits()) as write:
            write(fail)
            for _ in range(more):
                write(lambda: None)

    with pytest.raises(OSError, match="disk full"):
        work()


def test_results_come_as_arrays_beside_their_items() -> None:
    results = ((number, {"logits": torch.full((2,), float(number))}) for number in range(3))
    found = list(fetched(results, torch.device("cpu"), Waits()))
    assert [number for number, _ in found] == [0, 1, 2]
    np.testing.assert_array_equal([arrays["logits"] for _, arrays in found], [[0, 0], [1, 1], [2, 2]])


def test_a_gpu_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.xpu, "get_device_name", lambda device: "Arc")
    told = list[str]()
    for kind in ("xpu", "mps", "mps", "cpu"):
        WorkLog(told.append).begin(torch.device(kind), "float32")
    assert told == ["on xpu (Arc): float32", "on mps: float32", "on mps: float32", "on cpu: float32"]


def test_the_longest_wait_says_what_would_help() -> None:
    waits = Waits()
    with waits.within(), waits("disk"):
        time.sleep(0.01)
    assert waits.line().endswith("--store float16")
