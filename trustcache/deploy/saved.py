"""Files of thresholds and of sets: read by the class that saved them, and named by it where another one is asked."""

from __future__ import annotations

import json
from pathlib import Path

from trustcache.cache.records import R, parse_record
from trustcache.cache.seal import read_sealed, require_saved
from trustcache.errors import UsageError

_FIELDS = {"Threshold": "watch", "PredictionSets": "cuts"}
"""A field that only the file of this class has."""
_REMEDY = "calibrate and save it again"


def read_saved(path: Path, kind: type[R]) -> R:
    """Return what `save` of a class wrote to a file.

    Raises UsageError where it is no such file, or another class's; DamagedError where it is not as it was written.

    >>> from trustcache.cache.view import CacheView
    >>> from trustcache.deploy.sets import prediction_sets
    >>> from trustcache.deploy.threshold import Threshold
    >>> prediction_sets(CacheView.from_arrays([[2.0, 0.5], [0.1, 0.3]], [0, 1])).save(tmp / "sets.json")
    >>> read_saved(tmp / "sets.json", Threshold)
    Traceback (most recent call last):
    trustcache.errors.UsageError: .../sets.json: is a PredictionSets file; PredictionSets.load reads it
    """
    require_saved(path, kind.__name__)
    data = read_sealed(path, _REMEDY)
    try:
        fields = json.loads(data)
    except ValueError:  # weights are no JSON
        fields = {}
    if other := next((name for name, field in _FIELDS.items() if name != kind.__name__ and field in fields), None):
        raise UsageError(f"{path}: is a {other} file; {other}.load reads it")
    return parse_record(data, kind, str(path), _REMEDY)
