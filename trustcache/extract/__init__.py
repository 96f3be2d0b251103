"""Stage one: run a frozen classifier once over data sets and keep its outputs in caches."""

from trustcache.extract.extraction import extract, extract_each
from trustcache.extract.settings import ClassifierOptions, ExtractSettings

__all__ = ["ClassifierOptions", "ExtractSettings", "extract", "extract_each"]
