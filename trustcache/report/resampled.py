"""Each record's metrics on the bootstrap's resamples, made once and kept, a file for each cache."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from trustcache.cache.workspace import Workspace
from trustcache.data.progress import Progress, silent
from trustcache.metrics.bootstrap import RESAMPLES, SEED, draw_counts, resampled_metrics
from trustcache.metrics.ranking import METRICS
from trustcache.protocols import PROTOCOLS
from trustcache.report.kept import Kept, key_of
from trustcache.report.records import Record
from trustcache.report.samples import Samples, ScoreReader

# Raise it when `resampled_metrics` changes its results, so that resamples kept before are made again.
_RECIPE = 1
# Counts to sum from which torch's import costs less than a GPU saves.
_WORTH_TORCH = 2 * 10**9
_SHAPE = RESAMPLES, len(METRICS)
K = TypeVar("K", bound=Hashable)


class Resampler:
    """The resamples of a workspace's records; those of one cache are the same for all its scores.

    made: the metrics of the records asked for so far.
    """

    def __init__(self, workspace: Workspace, reader: ScoreReader, progress: Progress = silent) -> None:
        self._workspace, self._reader, self._progress = workspace, reader, progress
        self.made: dict[Record, dict[str, np.ndarray]] = {}

    def metrics(self, records: Sequence[Record]) -> list[dict[str, np.ndarray]]:
        """Return each record's metrics on every resample, float64 (R,); the records are of one cache.

        What has not been computed from these very scores before is computed on all cores, and kept.
        """
        index, read = self._reader.index(records[0]), map(self._reader.read, records)
        tasks = [_Task(s.z, s.correct, r.protocol, s.negative) for r, s in zip(records, read, strict=True)]
        keys = [task.key() for task in tasks]
        kept = Kept(self._workspace.bootstrap_file(index.classifier, index.data))
        new = {key: task for key, task in zip(keys, tasks, strict=True) if kept.get(key, _SHAPE.__eq__) is None}
        for key, array in resample(new, f"bootstrap of {index.name}", self._progress).items():
            kept.put(key, array)
        kept.save()
        arrays = (kept.get(key, _SHAPE.__eq__) for key in keys)
        found = [dict(zip(METRICS, array.T, strict=True)) for array in arrays if array is not None]
        self.made |= zip(records, found, strict=True)
        return found


class ResamplerInMemory:
    """The resamples of records whose samples are at hand; nothing is kept."""

    def __init__(self, samples: Mapping[Record, Samples]) -> None:
        self._samples = samples

    def metrics(self, records: Sequence[Record]) -> list[dict[str, np.ndarray]]:
        """Return each record's metrics on every resample, float64 (R,)."""
        read = [(record, self._samples[record]) for record in records]
        found = resample({r: _Task(s.z, s.correct, r.protocol, s.negative) for r, s in read}, "bootstrap")
        return [dict(zip(METRICS, found[record].T, strict=True)) for record in records]


def resample(tasks: Mapping[K, _Task], title: str, progress: Progress = silent) -> dict[K, np.ndarray]:
    """Return the metrics of each task on every resample, float64 (R, metrics), computed on all cores."""
    if not tasks:
        return {}
    # Records of the same rows get the same resamples.
    sizes = [len(task.z) for task in tasks.values()]
    counts = {size: draw_counts(size) for size in set(sizes)}
    worth_it = sum(sizes) * RESAMPLES > _WORTH_TORCH
    there = {size: _on_gpu(drawn) for size, drawn in counts.items()} if worth_it else {}
    found = {}
    with progress(title, len(tasks)) as advance, ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = {
            pool.submit(task.run, counts[size], there.get(size)): key
            for size, (key, task) in zip(sizes, tasks.items(), strict=True)
        }
        for done in as_completed(waiting):
            found[waiting[done]] = done.result()
            advance(1)
    return found


def _on_gpu(counts: np.ndarray) -> Any:
    """Return counts as a tensor on the GPU, of those that compute in double precision; None where there is no room."""
    import torch

    with contextlib.suppress(torch.OutOfMemoryError):
        return torch.from_numpy(np.ascontiguousarray(counts)).cuda() if torch.cuda.is_available() else None


@dataclass(frozen=True)
class _Task:
    """A score to resample, by its protocol's definitions."""

    z: np.ndarray
    correct: np.ndarray
    protocol: str
    negative: float | None

    def key(self) -> str:
        """Return the SHA-256 of everything that the metrics depend on."""
        settings = [_RECIPE, RESAMPLES, SEED, self.protocol, self.negative, *METRICS]
        return key_of(settings, self.z.astype(np.float64), self.correct.astype(np.bool_))

    def run(self, counts: np.ndarray, on_gpu: Any) -> np.ndarray:
        """Return the metrics on each resample, float64 (R, metrics), in the order of METRICS.

        on_gpu: the counts on a GPU, which takes them unless its memory is full; None without one.
        """
        if on_gpu is not None:
            import torch

            with contextlib.suppress(torch.OutOfMemoryError):
                return self._metrics(on_gpu)
        return self._metrics(counts)

    def _metrics(self, counts: Any) -> np.ndarray:
        definitions = PROTOCOLS[self.protocol].resampled
        values = resampled_metrics(
            self.z, self.correct, counts, negative_threshold=self.negative, definitions=definitions
        )
        return np.stack([values[name] for name in METRICS], axis=1)
