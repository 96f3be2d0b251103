"""trustcache: run a frozen image classifier once; then learn, compare and ship predictors of when to trust it."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("trustcache")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+checkout"
