"""trustcache: run a frozen image classifier once; then learn, compare and ship predictors of when to trust it."""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trustcache.trusted import Answer, TrustedClassifier

__all__ = ["Answer", "TrustedClassifier", "__version__"]

try:
    __version__ = version("trustcache")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+checkout"


def __getattr__(name: str) -> Any:
    if name in ("Answer", "TrustedClassifier"):  # they import torch, which takes seconds
        from trustcache import trusted

        return getattr(trusted, name)
    raise AttributeError(f"module 'trustcache' has no attribute '{name}'")
