"""The thresholds that `calibrate` has found in a workspace, for a report."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping

from trustcache.cache.workspace import Workspace
from trustcache.deploy.goals import named_for_calibration
from trustcache.deploy.scorers import find_scorer
from trustcache.deploy.threshold import THRESHOLD, Threshold
from trustcache.errors import TrustcacheError
from trustcache.report.records import Record

Thresholds = Mapping[tuple[str, str], Threshold]
"""By classifier, and name of the run or post-hoc score."""


def calibrated_thresholds(workspace: Workspace, records: Iterable[Record]) -> Thresholds:
    """Return the thresholds of the methods of some records that still count."""
    found: dict[tuple[str, str], Threshold] = {}
    for classifier, name, run in dict.fromkeys((one.classifier, one.run or one.method, one.run) for one in records):
        folder = workspace.run_folder(name) if run else workspace.threshold_folder(classifier, name)
        if (folder / THRESHOLD).is_file():
            with contextlib.suppress(TrustcacheError):  # out of date; calibrate says so
                threshold = find_scorer(workspace, name, classifier).threshold()
                found |= {(classifier, name): threshold} if threshold else {}
    return found


def for_thresholds(thresholds: Thresholds, classifier: str, names: Iterable[str]) -> set[str]:
    """Return the data sets whose images are there to set a threshold of a classifier, by their use or by their name."""
    used = used_whole(thresholds, classifier)
    return {name for name in names if name in used or named_for_calibration(name)}


def used_whole(thresholds: Thresholds, classifier: str) -> set[str]:
    """Return the data sets all of whose images set a threshold of a classifier, or all that its run did not learn."""
    whole = [one for (name, _), one in thresholds.items() if name == classifier and one.part == "all"]
    used = [name for one in whole for name in (one.data, *(check.data for check in one.worst_of))]
    return {name.partition(", its ")[0] for name in used}
