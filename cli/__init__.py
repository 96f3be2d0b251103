"""The command line: each command parses, calls one function of trustcache, and prints."""

# Help lists the commands in the order they are registered, which is the order of work.
# isort: off
from . import (
    signals,  # first: it takes them before the others are imported
    fit_classifier,
    extract,
    train,
    presets,
    evaluate,
    report,
    reproduce,
    calibrate,
    predict,
    export,
    demo,
    data,
    cache,
    verify,
    bound,
)
from .program import app

__all__ = [
    "app",
    "bound",
    "cache",
    "calibrate",
    "data",
    "demo",
    "evaluate",
    "export",
    "extract",
    "fit_classifier",
    "predict",
    "presets",
    "report",
    "reproduce",
    "signals",
    "train",
    "verify",
]
