"""vl-convert, which draws the charts, imported only where its V8 has room: without it, V8 aborts the whole process."""

from __future__ import annotations

import contextlib
import functools
import mmap
from types import ModuleType

from trustcache.errors import TrustcacheError

# V8 reserves 64 GiB of addresses (not of memory) as it starts; the rest is for the library and its threads.
_ADDRESS_GIB = 66


@functools.cache  # once V8 has started it has its addresses, and would be refused as many again
def engine() -> ModuleType:
    """Return vl-convert. Raises TrustcacheError where a limit on the process's addresses leaves V8 too few."""
    _require_addresses()
    import vl_convert

    return vl_convert


def _require_addresses() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return
    # Tried, as what the process has taken already counts too; pages that nothing may touch cost no memory.
    with contextlib.suppress(OSError, OverflowError):
        mmap.mmap(-1, _ADDRESS_GIB << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=0).close()
        return
    raise TrustcacheError(
        f"the charts cannot be drawn with ulimit -v at {limit >> 30:,} GiB, as drawing reserves {_ADDRESS_GIB} GiB of "
        "addresses (not of memory); run ulimit -v unlimited, and the same command again"
    )
