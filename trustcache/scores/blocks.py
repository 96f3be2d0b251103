"""Work over blocks of rows on every core: threads that share no step, so that a busy machine delays none of them.

BLAS would split each product over the cores instead and wait for the last of them, hundreds of times a score; where
other work holds a core, that takes ten times as long as the product. It also sums in an order that depends on the
number of rows and threads, and with it the last digits of a sample's score: `row_products` always gives it as many.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

# More would only multiply the memory of the blocks.
MOST_THREADS = 16
PRODUCT_ROWS = 64  # and columns
LENGTH_ROWS = 1024
# Of a matrix made float64 at once; ImageNet's 1000 classes are fewer.
MATRIX_COLUMNS = 4096
# Blocks of a fixed number of rows are of arrays up to this width, such as features and the classes of ImageNet.
USUAL_COLUMNS = 2048


def over_blocks(work: Callable[[slice], np.ndarray], count: int, rows: int) -> np.ndarray:
    """Join what `work` returns for slices of at most `rows` rows that cover `count`, several worked on at once.

    NumPy's products take one core each. Raises what a call raises.

    >>> over_blocks(lambda block: np.arange(5)[block], count=5, rows=2).tolist()
    [0, 1, 2, 3, 4]
    """
    slices = [slice(start, min(start + rows, count)) for start in range(0, max(count, 1), rows)]
    threads = min(os.cpu_count() or 1, MOST_THREADS, len(slices))
    with _libraries(len(sys.modules)).limit(limits=1, user_api="blas"):
        if threads < 2:
            return np.concatenate([work(block) for block in slices])
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(threads) as pool:
            return np.concatenate(list(pool.map(work, slices)))


@functools.lru_cache(maxsize=1)
def _libraries(modules: int) -> ThreadpoolController:
    """Return the libraries that have threads; found again, which takes milliseconds, once more modules are loaded."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def squared_lengths(x: np.ndarray) -> np.ndarray:
    """Return the sum of squares of each row of x (n, D), (n,): the same bits wherever the row lies, unlike einsum's.

    >>> squared_lengths(np.array([[3.0, 4.0]])).tolist()
    [25.0]
    """
    starts = range(0, max(len(x), 1), LENGTH_ROWS)
    return np.concatenate([np.square(x[start : start + LENGTH_ROWS]).sum(axis=1) for start in starts])


def row_products(x: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return x (n, D) @ matrix (D, M), float64, each row the same to the last bit whatever rows stand beside it.

    So within `over_blocks`, where BLAS has one thread. Rows and columns are filled up with zeros to whole blocks, since
    BLAS sums what is left beside them in another order. (For float32 some kernels do so within blocks, too.)
    matrix: of any float dtype, made float64 some columns at a time.

    >>> row_products(np.array([[1.0, 2.0]]), np.eye(2)).tolist()
    [[1.0, 2.0]]
    """
    columns = matrix.shape[1]
    products = np.empty((len(x), columns))
    for first in range(0, columns, MATRIX_COLUMNS):
        part = matrix[:, first : first + MATRIX_COLUMNS].astype(np.float64, copy=False)
        width = part.shape[1]
        if width % PRODUCT_ROWS:
            part = np.pad(part, ((0, 0), (0, -width % PRODUCT_ROWS)))
        for start in range(0, len(x), PRODUCT_ROWS):
            rows = x[start : start + PRODUCT_ROWS]
            if len(rows) < PRODUCT_ROWS:
                rows = np.pad(rows, ((0, PRODUCT_ROWS - len(rows)), (0, 0)))
            products[start : start + PRODUCT_ROWS, first : first + width] = (rows @ part)[: len(x) - start, :width]
    return products


def rows_beside(columns: int, most: int) -> int:
    """Return the rows of a block: `most`, and fewer, in whole steps, where a block would be wider than usual.

    >>> rows_beside(1000, 4096), rows_beside(21_841, 4096), rows_beside(10**9, 4096)
    (4096, 384, 64)
    """
    fitting = most * USUAL_COLUMNS // max(columns, USUAL_COLUMNS)
    return max(fitting // PRODUCT_ROWS * PRODUCT_ROWS, min(most, PRODUCT_ROWS))
