"""trustcache: run a frozen image classifier once; then learn, compare and ship predictors of when to trust it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trustcache.deploy.trusted import Answer, TrustedClassifier

    __version__: str

__all__ = ["Answer", "TrustedClassifier", "__version__"]


def __getattr__(name: str) -> Any:
    # Imported when they are asked for: the first two need torch, which takes seconds.
    if name in ("Answer", "TrustedClassifier"):
        from trustcache.deploy import trusted

        return getattr(trusted, name)
    if name == "__version__":
        from trustcache.cache.versions import trustcache_version

        return trustcache_version()
    raise AttributeError(f"module 'trustcache' has no attribute '{name}'")
