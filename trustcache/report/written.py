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
from trustcache.deploy.scorers import find_scorer
from trustcache.deploy.threshold import Threshold
from trustcache.errors import UsageError, in_python
from trustcache.oracles.runs import RunConfig, finished_runs, open_run
from trustcache.report.build import report
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
    shows stand beside them. test: caches of one classifier, whose data sets have names of their own. training: what
    scores that learn do so from; without it, the cache that the first oracle has learnt from. thresholds: what
    `calibrate` found, by oracle or name of a score. progress: by default on a terminal and in a notebook only.
    Raises UsageError as `compare` and for a path of another suffix, and OSError where it cannot be written.
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
    found = methods_of(methods, training)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        known = found[0].training if found else training
        learnt = _write_cache(workspace, known, "train", _other_name(known, names)) if known is not None else None
        written = [(cache, _write_cache(workspace, cache, "test", cache.index.data)) for cache in caches]
        ScoreStore(workspace).fill([index for _, index in written], progress=progress)
        mine = {_write_scores(workspace, one, cache, index, learnt) for cache, index in written for one in found}
        for one, threshold in thresholds.items():
            if not isinstance(threshold, Threshold):
                raise UsageError(
                    f"thresholds: {threshold!r} is none that calibrate found, which the page tells the promise of; "
                    "call calibrate, and give what it returns"
                )
            scorer = find_scorer(workspace, _name_in(workspace, one))
            scorer.save_threshold(replace(threshold, judged=scorer.judged, learnt=scorer.learnt))
        report(workspace, place=None, progress=progress, among=mine)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(workspace.report / _FILES[Path(path).suffix], path)
    return Path(path)


def _name_in(workspace: Workspace, method: AnyMethod) -> str:
    """Return the name of an oracle's run, or of a score. Raises UsageError for a method that has none."""
    if isinstance(method, str):
        return method
    own = getattr(method, "config_", None)
    alike = [run for run in finished_runs(workspace) if own and _kind(run.config) == _kind(own)]
    if len(alike) != 1:
        raise UsageError(f"report: {method!r} is none of the oracles that are reported on; thresholds are of these")
    return alike[0].name


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
    config = getattr(method.scorer, "config_", None)
    if config is None:
        if method.name not in POST_HOC:
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
