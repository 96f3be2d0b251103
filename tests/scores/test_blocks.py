"""Work over blocks of rows: each row once, errors not swallowed, BLAS as it was before."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from trustcache.scores.blocks import over_blocks


def blas_threads() -> list[int]:
    np.ones((2, 2)) @ np.ones((2, 2))
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.mark.parametrize("count", [0, 1, 10, 11, 95])
def test_every_row_is_worked_on_once(count: int) -> None:
    def work(rows: slice) -> np.ndarray:
        assert rows.stop - rows.start <= 10
        return np.arange(count)[rows]

    assert over_blocks(work, count, 10).tolist() == list(range(count))


def test_an_error_in_a_block_is_raised_and_blas_has_its_threads_back() -> None:
    before = blas_threads()

    def work(rows: slice) -> np.ndarray:
        assert set(blas_threads()) <= {1}
        if rows.start == 30:
            raise ValueError("no good")
        return np.zeros(10)

    with pytest.raises(ValueError, match="no good"):
        over_blocks(work, 100, 10)
    assert blas_threads() == before
