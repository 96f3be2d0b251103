"""Versions of the software that numbers were computed with, without importing it."""

from __future__ import annotations

import functools


def software_versions(*libraries: str) -> dict[str, str]:
    """Return the versions of trustcache and of the libraries named, as installed.

    >>> list(software_versions("numpy"))
    ['trustcache', 'numpy']
    """
    return {"trustcache": trustcache_version(), **{name: _version(name) for name in libraries}}


@functools.cache
def _version(library: str) -> str:
    from importlib.metadata import version

    return version(library)


@functools.cache
def trustcache_version() -> str:
    """Return the installed version, or "0+checkout" where trustcache runs from a checkout that is not installed.

    >>> trustcache_version()[0].isdigit()
    True
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("trustcache")
    except PackageNotFoundError:
        return "0+checkout"
