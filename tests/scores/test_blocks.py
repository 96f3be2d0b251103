"""Work over blocks of rows: each row once, errors not swallowed, BLAS as it was before."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from trustcache.scores import blocks
from trustcache.scores.blocks import PRODUCT_ROWS, over_blocks, row_products, squared_lengths


def blas_threads() -> list[int]:
    np.ones((2, 2)) @ np.ones((2, 2))
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.mark.parametrize("count", [0, 1, 10, 11, 95])
def test_every_row_is_worked_on_once(count: int) -> None:
    def work(rows: slice) -> np.ndarray:
        assert rows.stop - rows.start <= 10
        return np.arange(count)[rows]

    assert over_blocks(work, count, 10).tolist() == list(range(count))


@pytest.mark.parametrize(("width", "columns"), [(13, 7), (64, 500), (600, 900)])
def test_a_rows_products_have_the_same_bits_in_any_company(width: int, columns: int) -> None:
    rng = np.random.default_rng(0)
    x, matrix = rng.normal(size=(PRODUCT_ROWS + 37, width)), rng.normal(size=(width, columns))

    def products(rows: np.ndarray) -> np.ndarray:
        return over_blocks(lambda block: row_products(rows[block], matrix), len(rows), 2 * PRODUCT_ROWS)

    whole = products(x)
    np.testing.assert_allclose(whole, x @ matrix, rtol=1e-9, atol=1e-9)
    for rows in (slice(0, 1), slice(5, 7), slice(30, 80), slice(len(x) - 1, None)):
        np.testing.assert_array_equal(products(x[rows]), whole[rows])
        np.testing.assert_array_equal(squared_lengths(x[rows].copy()), squared_lengths(x)[rows])


def test_a_matrix_made_float64_in_parts_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, matrix = rng.normal(size=(100, 300)), rng.normal(size=(300, 300)).astype(np.float32)

    def products() -> np.ndarray:
        return over_blocks(lambda block: row_products(x[block], matrix), len(x), 2 * PRODUCT_ROWS)

    whole = products()
    monkeypatch.setattr(blocks, "MATRIX_COLUMNS", 128)
    np.testing.assert_array_equal(products(), whole)


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
