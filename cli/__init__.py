"""The command line: each command parses, calls one function of trustcache, and prints."""

from .program import app, loaded

__all__ = ["app", "loaded"]
