"""The command line: each command parses, calls one function of trustcache, and prints."""

# isort: off  (help lists the commands in the order they are registered, which is the order of work)
from . import cache, data, demo, evaluate, extract, fit_classifier, report, train
from .program import app

__all__ = ["app", "cache", "data", "demo", "evaluate", "extract", "fit_classifier", "report", "train"]
