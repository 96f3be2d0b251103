"""The command line: each command parses, calls one function of trustcache, and prints."""

from . import signals  # isort: skip  # first: it takes them before the others are imported
from .program import app, loaded

__all__ = ["app", "loaded", "signals"]
