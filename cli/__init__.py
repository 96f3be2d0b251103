"""The command line: each command parses, calls one function of trustcache, and prints."""

# Help lists the commands in the order they are registered, which is the order of work.
# isort: off
from . import extract, train, presets, evaluate, report, calibrate, predict, export, demo, data, cache
from .program import app

__all__ = [
    "app",
    "cache",
    "calibrate",
    "data",
    "demo",
    "evaluate",
    "export",
    "extract",
    "predict",
    "presets",
    "report",
    "train",
]
