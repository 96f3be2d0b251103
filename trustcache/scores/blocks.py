"""Work over blocks of rows on every core: threads that share no step, so that a busy machine delays none of them.

BLAS would split each product over the cores instead and wait for the last of them, hundreds of times a score; where
other work holds a core, that takes ten times as long as the product.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from threadpoolctl import threadpool_limits

# More would only multiply the memory of the blocks.
MOST_THREADS = 16


def over_blocks(work: Callable[[slice], None], count: int, rows: int) -> None:
    """Call `work` with slices of at most `rows` rows that cover `count`, several at once, NumPy's products on one core.

    Raises what a call raises.

    >>> seen = []
    >>> over_blocks(seen.append, count=5, rows=10)
    >>> seen
    [slice(0, 5, None)]
    """
    slices = [slice(start, min(start + rows, count)) for start in range(0, count, rows)]
    threads = min(os.cpu_count() or 1, MOST_THREADS, len(slices))
    if threads < 2:
        for block in slices:
            work(block)
        return
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, slices):
            pass
