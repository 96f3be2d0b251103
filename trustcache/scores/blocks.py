"""Work over blocks of rows on every core: threads that share no step, so that a busy machine delays none of them.

BLAS would split each product over the cores instead and wait for the last of them, hundreds of times a score; where
other work holds a core, that takes ten times as long as the product.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

# More would only multiply the memory of the blocks.
MOST_THREADS = 16


def over_blocks(work: Callable[[slice], np.ndarray], count: int, rows: int) -> np.ndarray:
    """Join what `work` returns for slices of at most `rows` rows that cover `count`, several worked on at once.

    NumPy's products take one core each. Raises what a call raises.

    >>> over_blocks(lambda block: np.arange(5)[block], count=5, rows=2).tolist()
    [0, 1, 2, 3, 4]
    """
    slices = [slice(start, min(start + rows, count)) for start in range(0, max(count, 1), rows)]
    threads = min(os.cpu_count() or 1, MOST_THREADS, len(slices))
    if threads < 2:
        return np.concatenate([work(block) for block in slices])
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(work, slices)))
