"""Decoding processes that live from one data set to the next, and keep what several of them make of one image."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import pickle
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from trustcache.data.buffers import Buffers
from trustcache.data.machine import decoding_workers
from trustcache.data.sources import Kept, Source
from trustcache.data.variants.variation import Batch
from trustcache.errors import TrustcacheError, UsageError, first_line

# A machine may have more cores than torch thinks; the option is the user's.
warnings.filterwarnings("ignore", message="This DataLoader will create")

# Pieces that each process is ahead of the model.
_AHEAD = 6
# Bytes of all buffers for decoded pieces; a piece without one takes a slower way.
_MOST_BUFFERED = 1 << 30
# Share of the machine's memory for images that several data sets start from.
_KEPT_SHARE = 1 / 8

WORKER_DIED = "DataLoader worker (pid"
"""Beginning of torch's message about a dead decoding process."""


class Decoders:
    """Decoding processes of one or more data sets, which take part after part of each. A context manager.

    workers: None for as many as `decoding_workers` says of the first data set. sets: how many data sets are to come;
    of several, what their variants start from is decoded once, as far as memory goes.
    """

    def __init__(self, workers: int | None, device: torch.device, sets: int = 1) -> None:
        self._asked, self.device, self._sets = workers, device, sets
        self._tasks = _Tasks()
        self._loader: DataLoader[_Filled] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._kept = _shared_memory() if sets > 1 else None
        self.workers: int | None = None

    def begin(self, images: int) -> int:
        """Return the number of processes; if it is not chosen yet, choose it for a data set of so many images."""
        if self.workers is None:
            self.workers = decoding_workers(self._asked, images * self._sets, self.device.type)
        return self.workers

    def __enter__(self) -> Decoders:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        if self._folder:
            self._folder.cleanup()

    def decoded(self, source: Source, batches: Sequence[np.ndarray]) -> Iterator[list[Batch]]:
        """Yield each batch of sample numbers (B,) in its pieces. Their memory is used again when they are dropped.

        Raises TrustcacheError where processes cannot be started, and RuntimeError where one dies.
        """
        tasks = (piece.tolist() for batch in batches for piece in source.pieces(batch))  # few of a long training's
        if self.begin(sum(map(len, batches))):
            pieces = self._in_processes(source, tasks, [len(source.pieces(batch)) for batch in batches])
        else:
            pieces = (source.batch(numbers, self._kept) for numbers in tasks)
        try:
            for batch in batches:
                yield [next(pieces) for _ in source.pieces(batch)]
        finally:
            pieces.close()

    def _in_processes(self, source: Source, tasks: Iterable[list[int]], pieces: Sequence[int]) -> Generator[Batch]:
        """Yield the pieces of tasks. pieces: their numbers in each batch."""
        self._folder = self._folder or tempfile.TemporaryDirectory()
        file = Path(self._folder.name) / f"{time.monotonic_ns()}"
        # Pickled for its own processes only, once for all tasks: no other user can enter the folder (mode 0700).
        try:
            file.write_bytes(pickle.dumps(source))
        except (pickle.PicklingError, AttributeError, TypeError) as error:  # a user's own data set
            raise UsageError(
                f"{source.name}: cannot be sent to decoding processes ({first_line(error)}); use "
                "--workers 0, or let it hold no open files and no functions without a name"
            ) from error
        self._tasks.left = ((str(file), numbers) for numbers in tasks)
        try:
            for filled in self._filled(source, pieces):
                yield self._tasks.received(filled)
        except (ConnectionError, EOFError) as error:
            self._end()
            # The last message of a decoding process dies with it, sometimes a moment before torch notices its death.
            time.sleep(1)
            raise RuntimeError(f"{WORKER_DIED} unknown): {error}") from error
        except OSError as error:
            self._end()
            _drop_quietly(error)
            raise TrustcacheError(
                f"the decoding processes cannot be started ({error.strerror or error}); run the same command again "
                "with fewer --workers (0 decodes in the main process), or with a higher limit of open files (ulimit -n)"
            ) from None
        except Exception:
            self._end()
            raise
        finally:
            file.unlink(missing_ok=True)

    def _filled(self, source: Source, pieces: Sequence[int]) -> Iterator[_Filled]:
        """Return what the processes make; begin them, if there are none."""
        return iter(self._started(source, pieces) if self._loader is None else self._loader)

    def _end(self) -> None:
        """End the processes, and let go of the memory shared with them."""
        self._loader = None
        if self._tasks.buffers:
            self._tasks.buffers.unpin()
        self._tasks.buffers = None

    def _started(self, source: Source, pieces: Sequence[int]) -> DataLoader[_Filled]:
        """Return the loader whose processes start when it is iterated over, and stay; no more than the tasks of one.

        They share buffers for what they are ahead and for the pieces of several batches: one that comes together, and
        one that is copied to a GPU, or those that a CPU's threads work on.
        """
        assert self.workers
        held = 2 + (torch.get_num_threads() if self.device.type == "cpu" else 0)
        workers, count = self.workers, self.workers * _AHEAD + held * max(pieces)
        if self._sets == 1:
            workers, count = min(workers, sum(pieces)), min(count, sum(pieces))
        if hasattr(os, "memfd_create"):  # Linux
            count = max(min(count, _MOST_BUFFERED // source.piece_bytes), 1)
            with contextlib.suppress(OSError):  # no files left to open, perhaps
                self._tasks.buffers = Buffers(count, source.piece_bytes, self.device.type == "cuda")
        self._loader = DataLoader(
            _Pieces(self._kept, self._tasks.buffers),
            batch_sampler=self._tasks,
            num_workers=workers,
            collate_fn=_as_it_is,
            worker_init_fn=_silence_worker,
            generator=torch.Generator(),  # drawing its seed from the global one would shift a training's dropout
            prefetch_factor=_AHEAD,
            persistent_workers=True,
        )
        return self._loader


class _Filled(NamedTuple):
    """A piece that a process made, the number of a buffer lent for its pixels, and their shape if they lie there."""

    batch: Batch
    number: int | None
    shape: torch.Size | None


class _Tasks:
    """Files of sources with numbers of samples and a buffer for each, as the DataLoader's sampler of batches."""

    left: Iterator[tuple[str, list[int]]]
    buffers: Buffers | None = None

    def __iter__(self) -> Iterator[list[Any]]:
        if self.buffers:
            self.buffers.all_back()  # the DataLoader begins when its processes are done with what was left before
        for file, numbers in self.left:
            yield [file, numbers, self.buffers.lend() if self.buffers else None]

    def received(self, filled: _Filled) -> Batch:
        """Return a piece with its pixels."""
        batch, number, shape = filled
        if self.buffers is None or number is None:
            return batch
        if shape is None:
            self.buffers.back(number)
            return batch
        return replace(batch, pixels=self.buffers.filled(number, shape))


class _Pieces(TorchDataset):
    """Pieces of batches, as the DataLoader's data set: an item is the file of a source, numbers and a buffer's."""

    def __init__(self, kept: Kept | None, buffers: Buffers | None) -> None:
        self._kept, self._buffers = kept, buffers

    def __getitems__(self, task: list[Any]) -> _Filled:
        file, numbers, number = task
        buffer = self._buffers.buffer(number) if self._buffers and number is not None else None
        batch = _source(file).batch(numbers, self._kept, buffer)
        if buffer is None or batch.pixels.data_ptr() != buffer.data_ptr():
            return _Filled(batch, number, None)
        return _Filled(replace(batch, pixels=torch.empty(0)), number, batch.pixels.shape)


@functools.lru_cache(maxsize=1)
def _source(file: str) -> Source:
    source: Source = pickle.loads(Path(file).read_bytes())
    return source


def _as_it_is(batch: Any) -> Any:
    return batch


def _shared_memory() -> Kept | None:
    """Return memory for images, None where processes would not share it, or the machine gives none."""
    method = multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    size = int(_memory_bytes() * _KEPT_SHARE)
    try:
        return Kept(size) if method == "fork" and size else None
    except OSError:
        return None


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0


def _drop_quietly(error: BaseException) -> None:
    """Free what an error's frames hold: a loader of torch's that is only half made prints a traceback as it goes."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda unraisable: None
    traceback.clear_frames(error.__traceback__)
    sys.unraisablehook = hook


def _silence_worker(worker: int) -> None:
    """Keep a decoding process from printing tracebacks: its errors reach the main process without them.

    The only one left is that of a thread that passes memory on while the main process is being stopped.
    """
    sys.excepthook = lambda *error: None
    # A batch that cannot be passed on would be waited for; the end of its process is noticed.
    Queue._on_queue_feeder_error = staticmethod(lambda error, batch: os._exit(1))  # type: ignore[attr-defined]
