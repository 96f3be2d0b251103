"""`report`: the page of methods that Python code compares, as the report of a workspace that is made for it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from trustcache.cache import CacheView
from trustcache.cache.columns import COLUMNS
from trustcache.cache.index import Index, create_or_continue
from trustcache.cache.workspace import Workspace
from trustcache.data.progress import Progress, interactive
from trustcache.deploy.threshold import Threshold
from trustcache.errors import UsageError, in_python
from trustcache.oracles.runs import RunConfig, open_run
from trustcache.report.build import report
from trustcache.report.thresholds import used_whole
from trustcache.scores import POST_HOC
from trustcache.scores.methods import AnyMethod, Method, methods_of
from trustcache.scores.stored import ScoreStore

_FILES = {".html": "index.html", ".md": "report.md"}
"""Files of a report that stand alone, by the suffix that is asked for."""


@in_python()
def write_page(
    methods: Sequence[AnyMethod],
    test: CacheView | Sequence[CacheView],
    path: str | Path,
    *,
    training: CacheView | None = None,
    thresholds: Mapping[Any, Threshold] = MappingProxyType({}),
    progress: Progress = interactive,
) -> Path:
    """Write the report of methods on one or several caches, .html a page or .md Markdown, and return its path.

    methods: as `compare` takes them, of which one or mcp is the answer; the post-hoc scores that `trustcache report`
    shows stand beside them. test: caches of one classifier, whose data sets have names of their own; the answer is
    stated on the first, unless all of it set a threshold. training: what scores that learn do so from; without it, the
    cache that the first oracle has learnt from. thresholds: what `calibrate` found, by method (an oracle, a function or
    class of your own) or name. progress: by default on a terminal and in a notebook only.
    Raises UsageError as `compare`, for a path of another suffix, and for a threshold of what is not reported on; and
    OSError where it cannot be written.
    """
    if Path(path).suffix not in _FILES:
        raise UsageError(f"report: {path} ends in neither {' nor '.join(_FILES)}; name it so, as in report.html")
    caches = [test] if isinstance(test, CacheView) else list(test)
    names = [cache.index.data for cache in caches]
    if not caches or len(set(names)) < len(names):
        raise UsageError(
            "report: give at least one cache, each of a data set with another name, as in Cache.from_arrays(..., "
            "name='photos')"
        )
    _require_found(thresholds)
    found = methods_of(methods, training)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        known = found[0].training if found else training
        learnt = _write_cache(workspace, known, "train", _other_name(known, names)) if known is not None else None
        written = [(cache, _write_cache(workspace, cache, "test", cache.index.data)) for cache in caches]
        store = ScoreStore(workspace)
        beside = dict.fromkeys(name for _, index in written for name in store.missing(index))
        named = {_name_of(key, found, [*beside]): one for key, one in thresholds.items()}
        store.fill([index for _, index in written], progress=progress)
        mine = {one.name: _write_scores(workspace, one, *of, learnt) for of in written for one in found}
        classifier = written[0][1].classifier
        calibrated = {(classifier, mine.get(name, name)): one for name, one in named.items()}
        spent = used_whole(calibrated, classifier)
        report(
            workspace,
            place=None,
            progress=progress,
            among={*mine.values()},
            calibrated=calibrated,
            order=sorted(names, key=lambda name: name in spent),
        )
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(workspace.report / _FILES[Path(path).suffix], path)
    return Path(path)


def _require_found(thresholds: Mapping[Any, Threshold]) -> None:
    """Raise UsageError for a threshold that `calibrate` has not found."""
    if strange := [one for one in thresholds.values() if not isinstance(one, Threshold)]:
        raise UsageError(
            f"thresholds: {strange[0]!r} is none that calibrate found, which the page tells the promise of; "
            "call calibrate, and give what it returns"
        )


def _name_of(key: AnyMethod, methods: Sequence[Method], beside: Sequence[str]) -> str:
    """Return the name of the method that a key of `thresholds` is: the method itself, its equal, or its name.

    beside: names of scores that are reported on too. Raises UsageError for a key that is none of these.
    """
    same = [one for one in methods if key is one.given or key == one.name]
    own = getattr(key, "config_", None)
    alike = same or [one for one in methods if own and (c := _config(one)) and _kind(c) == _kind(own)]
    if len(alike) == 1:
        return alike[0].name
    if isinstance(key, str) and key in beside:
        return key
    there = ", ".join(dict.fromkeys([*(one.name for one in methods), *beside]))
    name = key if isinstance(key, str) else getattr(key, "__name__", repr(key))
    raise UsageError(
        f"thresholds: {name} is none of the methods that are reported on; give one of them, or its name: {there}"
    )


def _config(method: Method) -> RunConfig | None:
    """Return the config of an oracle, None for another method."""
    return getattr(method.scorer, "config_", None)


def _kind(config: RunConfig) -> RunConfig:
    """Return a config without its training cache, which may have another name beside the test caches."""
    return replace(config, data="", cache="", features="")


def _other_name(training: CacheView, names: Sequence[str]) -> str:
    """Return the name of a training cache's data, another one than those of the test caches."""
    return training.index.data if training.index.data not in names else f"{training.index.data}-training"


def _write_cache(workspace: Workspace, cache: CacheView, role: str, name: str) -> Index:
    """Write a cache, or some rows of one, as a cache of its own."""
    index, meaning = cache.index, cache.index.meaning
    data = replace(meaning.data, name=name, samples=len(cache), fingerprint=cache.fingerprint(), subset=None)
    manifest = replace(index.manifest, name=name, role=role, thinned_to=None)
    own = Index(
        workspace.cache_folder(index.classifier, name),
        replace(meaning, data=data),
        replace(index.made_from, manifest=manifest),
        index.made_with,
    )
    own = create_or_continue(own, lambda start, stop: "")
    for number, (start, stop) in enumerate(own.ranges()):
        rows = cache[start:stop]
        kept = [key for key in COLUMNS if own.holds(key) and key not in ("sample_ids", "sample_indices")]
        ids = np.array([text.encode("utf-8", "surrogateescape") for text in rows.sample_ids], dtype=bytes)
        numbers = {"sample_indices": np.arange(start, stop), "sample_ids": ids}
        own.add(number, numbers | {key: rows.column(key) for key in kept}, {}, "")
    return own


def _write_scores(workspace: Workspace, method: Method, cache: CacheView, index: Index, learnt: Index | None) -> str:
    """Write a method's scores of a cache: an oracle as a run, a score of one's own beside the others.

    Return the name of the run or score.
    """
    config = _config(method)
    if config is None:
        if method.name not in [*POST_HOC]:  # which finds a user's own function too, but lists what is known to all
            ScoreStore(workspace).keep(index, method.about(), method.scores(cache))
        return method.name
    if learnt and getattr(method.scorer, "training_", None) is method.training:
        config = replace(config, data=learnt.data, cache=learnt.fingerprint(), features=learnt.fingerprint())
    run = open_run(workspace, config)
    if not run.finished:
        run.begin()
        run.finish(method.scorer.tensors(), [asdict(entry) for entry in method.scorer.log_])  # type: ignore[union-attr]
    run.save_scores(index, method.scores(cache), np.ones(len(cache), dtype=bool))
    return run.name
