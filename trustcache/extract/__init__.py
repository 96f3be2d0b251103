"""Stage one: run a frozen classifier once over images, and keep everything: on disk, or for Python in memory."""

from trustcache.extract.on_disk import extract, extract_each
from trustcache.extract.settings import ClassifierOptions, ExtractSettings

__all__ = ["ClassifierOptions", "ExtractSettings", "extract", "extract_each"]
