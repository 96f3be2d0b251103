"""The data set that a classifier's answer is stated on, and the others that could stand in its place."""

from __future__ import annotations

from collections.abc import Sequence

from trustcache.cache.index import Index
from trustcache.deploy.goals import named_for_calibration
from trustcache.errors import UsageError, did_you_mean
from trustcache.report.records import Scored, manifests_of
from trustcache.report.thresholds import Thresholds, for_thresholds, used_whole


def stated_on(scored: Sequence[Scored], calibrated: Thresholds, order: Sequence[str] = ()) -> dict[str, str]:
    """Return the data set that the answer is stated on, by classifier. order: as of `dataset_of`."""
    classifiers = dict.fromkeys(one.record.classifier for one in scored)
    return {
        name: dataset_of([one for one in scored if one.record.classifier == name], calibrated, order)
        for name in classifiers
    }


def dataset_of(scored: Sequence[Scored], calibrated: Thresholds, order: Sequence[str] = ()) -> str:
    """Return the evaluation data that one classifier's answer is stated on: none whose images all set a threshold.

    Of the others it is the first of `order`; beside these it is clean, not there for a threshold by its name, and of
    those with most methods the one that was extracted first.
    """
    manifests, used = manifests_of(scored), used_whole(calibrated, scored[0].record.classifier)
    extracted = {one.record.dataset: _extracted(one.index) for one in scored}

    def key(name: str) -> tuple[object, ...]:
        changed = bool(manifests[name].variant_of or manifests[name].condition)
        mine = [one.record for one in scored if one.record.dataset == name]
        largest = max(record.n for record in mine)
        return (
            name in used,
            place_in(order, name),
            changed,
            named_for_calibration(name),
            -len(mine),
            extracted[name],
            -largest,
            name,
        )

    return min(manifests, key=key)


def place_in(order: Sequence[str], name: str) -> int:
    """Return the place of a data set among those of an order, behind them for another."""
    return order.index(name) if name in order else len(order)


def others_than(dataset: str, scored: Sequence[Scored], calibrated: Thresholds) -> list[str]:
    """Return the clean data sets of one classifier, but for `dataset` and those that are there for a threshold."""
    clean = [name for name, one in manifests_of(scored).items() if not one.variant_of and not one.condition]
    spare = for_thresholds(calibrated, scored[0].record.classifier, clean)
    return sorted({*clean} - spare - {dataset})


def require_statable(name: str, scored: Sequence[Scored], calibrated: Thresholds) -> None:
    """Raise UsageError where no classifier is scored on a data set, or where all its images set a threshold."""
    known = [one.record.dataset for one in scored]
    if name not in known:
        names = ", ".join(sorted({*known}))
        raise UsageError(f"--data {name}: nothing is scored on it; name one of {names}{did_you_mean(name, known)}")
    if name not in stated_on(scored, calibrated, [name]).values():
        raise UsageError(
            f"--data {name}: all its images set a threshold, so figures on it would look better than they are; name "
            "another data set, or calibrate with --part first-half"
        )


def _extracted(index: Index) -> int:
    """Return when a cache was begun, by its oldest file; 0 where it cannot be told."""
    try:
        return min((path.stat().st_mtime_ns for path in index.folder.iterdir()), default=0)
    except OSError:
        return 0
