"""The cache: a frozen classifier's outputs for every image, in immutable HDF5 shards with an index."""

from trustcache.cache.view import CacheView, open_cache

__all__ = ["CacheView", "open_cache"]
