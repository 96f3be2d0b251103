"""Stage one: run a frozen classifier once over images, and keep everything: on disk, or for Python in memory."""

from trustcache.extract.on_disk import ClassifierOptions, ExtractSettings, extract, extract_each

__all__ = ["ClassifierOptions", "ExtractSettings", "extract", "extract_each"]
