"""Decoding processes that live from one data set to the next, and keep what several of them make of one image."""

from __future__ import annotations

import functools
import math
import mmap
import multiprocessing
import os
import pickle
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from PIL import Image
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from trustcache.data.content import content_of
from trustcache.data.dataset import Dataset
from trustcache.data.machine import decoding_workers
from trustcache.data.samples import BadImage
from trustcache.data.variants.variation import Batch
from trustcache.errors import TrustcacheError, UsageError, first_line
from trustcache.models.preprocessing import Preprocessing

# A machine may have more cores than torch thinks; the option is the user's.
warnings.filterwarnings("ignore", message="This DataLoader will create")

# A process decodes a piece of a batch of about so many bytes: a batch waits for all of them, not for one.
_PIECE_BYTES = 2 << 20
_FEWEST = 8
# Pieces that each process is ahead of the model.
_AHEAD = 6
# Share of the machine's memory for images that several data sets start from.
_KEPT_SHARE = 1 / 8

WORKER_DIED = "DataLoader worker (pid"
"""Beginning of torch's message about a dead decoding process."""


@dataclass(frozen=True)
class Source:
    """The images of a data set as a model takes them, decoded in one of the ways in `DECODERS`."""

    dataset: Dataset
    preprocessing: Preprocessing
    decode: str = "pil"

    @cached_property
    def _transform(self) -> Callable[[Any], torch.Tensor]:
        """PIL image to a uint8 tensor (3, H, W)."""
        transform: Callable[[Any], torch.Tensor] = self.preprocessing.transform()
        return transform

    def pieces(self, batch: np.ndarray) -> list[np.ndarray]:
        """Cut the numbers (B,) of a batch into those that are decoded by one process."""
        step = max(_PIECE_BYTES // (3 * math.prod(self.preprocessing.input_size)), _FEWEST)
        return [batch[first : first + step] for first in range(0, max(len(batch), 1), step)]

    def batch(self, numbers: Sequence[int], kept: Kept | None = None) -> Batch:
        """Return some samples, decoded; for a GPU to decode, packed."""
        good, bad = [], {}
        for number in numbers:
            try:
                good.append((number, *(self._packed(number) if self.decode == "gpu" else self._decoded(number, kept))))
            except BadImage as error:
                bad[number] = str(error)
        indices = np.array([sample[0] for sample in good], dtype=np.int64)
        content = np.array([sample[1] for sample in good], dtype=np.uint64)
        about = indices, self.dataset.labels[indices]
        images: list[torch.Tensor] = [sample[2] for sample in good]
        others = [sample[3] for sample in good if sample[3] is not None]
        if not good:
            return Batch(*about, torch.empty(0, 3, 1, 1, dtype=torch.uint8), None, bad, content)
        if self.decode == "gpu":
            sizes = [(len(image), *size) for image, size in zip(images, others, strict=True)]
            return Batch(*about, torch.cat(images), None, bad, content, np.array(sizes, dtype=np.int64))
        return Batch(*about, torch.stack(images), torch.stack(others) if others else None, bad, content)

    def _packed(self, number: int) -> tuple[int, torch.Tensor, Any]:
        """Return an image's content, its bytes, and its height and width as `packed` does. Raises BadImage."""
        from trustcache.data.gpu_decoding import packed

        raw = self.dataset.samples.raw(number)
        return content_of(raw), *packed(raw, self.dataset.ids[number])

    def _decoded(self, number: int, kept: Kept | None) -> tuple[int, torch.Tensor, Any]:
        """Return an image's content, its pixels, and those of its companion. Raises BadImage."""
        dataset = self.dataset
        raw = dataset.samples.raw(number)
        content, side = content_of(raw), dataset.manifest.variant and dataset.manifest.variant.crop
        if kept and side:
            image = kept.image(number, content, side, lambda: dataset.prepared(number, raw))
        else:
            image = dataset.prepared(number, raw, self._least)
        pixels = self._transform(dataset.varied(number, image))
        companion = dataset.variation.companion(number) if dataset.variation else None
        return content, pixels, self._transform(companion) if companion else None

    @property
    def _least(self) -> tuple[int, int] | None:
        """Height and width before the crop, which a draft must have."""
        if self.decode != "draft":
            return None
        height, width = (math.ceil(side / self.preprocessing.crop_pct) for side in self.preprocessing.input_size)
        return height, width


class Kept:
    """Square images by number, in memory that all decoding processes share; what does not fit is not kept."""

    _HASH_BYTES = 8

    def __init__(self, size: int) -> None:
        # Anonymous: takes no page before it is written to, and fills no disk.
        self._memory = mmap.mmap(-1, size)

    def image(self, number: int, content: int, side: int, decode: Callable[[], Image.Image]) -> Image.Image:
        """Return the image of a content and side that is kept as `number`; else the one that `decode` returns, kept."""
        size = 3 * side * side
        start = number * (self._HASH_BYTES + size)
        first, end = start + self._HASH_BYTES, start + self._HASH_BYTES + size
        if end > len(self._memory):
            return decode()
        there = self._memory[first:end]
        # Hashed with its pixels: images of another size may lie across them.
        if self._memory[start:first] == _hash(content, side, there):
            return Image.frombytes("RGB", (side, side), there)
        image = decode()
        pixels = image.tobytes()
        self._memory[first:end] = pixels
        self._memory[start:first] = _hash(content, side, pixels)
        return image


def _hash(content: int, side: int, pixels: bytes) -> bytes:
    return xxhash.xxh3_64_digest(pixels + f"{content} {side}".encode())


class Decoders:
    """Decoding processes of one or more data sets, which take part after part of each. A context manager.

    workers: None for as many as `decoding_workers` says of the first data set. sets: how many data sets are to come;
    of several, what their variants start from is decoded once, as far as memory goes.
    """

    def __init__(self, workers: int | None, device: torch.device, sets: int = 1) -> None:
        self._asked, self.device, self._sets = workers, device, sets
        self._tasks = _Tasks()
        self._loader: DataLoader[Batch] | None = None
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
        self._loader = None
        if self._folder:
            self._folder.cleanup()

    def decoded(self, source: Source, batches: Sequence[np.ndarray]) -> Iterator[list[Batch]]:
        """Yield each batch of sample numbers (B,) in its pieces, for a GPU in pinned memory.

        Raises TrustcacheError where processes cannot be started, and RuntimeError where one dies.
        """
        tasks = (piece.tolist() for batch in batches for piece in source.pieces(batch))  # few of a long training's
        if self.begin(sum(map(len, batches))):
            pieces = self._in_processes(source, tasks, sum(len(source.pieces(batch)) for batch in batches))
        else:
            pieces = self._here(source, tasks)
        try:
            for batch in batches:
                yield [next(pieces) for _ in source.pieces(batch)]
        finally:
            pieces.close()

    def _here(self, source: Source, tasks: Iterable[list[int]]) -> Generator[Batch]:
        for numbers in tasks:
            batch = source.batch(numbers, self._kept)
            yield batch.pin_memory() if self.device.type == "cuda" else batch

    def _in_processes(self, source: Source, tasks: Iterable[list[int]], count: int) -> Generator[Batch]:
        self._folder = self._folder or tempfile.TemporaryDirectory()
        file = Path(self._folder.name) / f"{time.monotonic_ns()}"
        # Pickled for its own processes only, once for all tasks: no other user can enter the folder (mode 0700).
        try:
            file.write_bytes(pickle.dumps(source))
        except (pickle.PicklingError, AttributeError, TypeError) as error:  # a user's own data set
            raise UsageError(
                f"{source.dataset.manifest.name}: cannot be sent to decoding processes ({first_line(error)}); use "
                "--workers 0, or let it hold no open files and no functions without a name"
            ) from error
        self._tasks.left = ([str(file), numbers] for numbers in tasks)
        try:
            yield from self._started(count) if self._loader is None else self._loader
        except (ConnectionError, EOFError) as error:
            self._loader = None
            # The last message of a decoding process dies with it, sometimes a moment before torch notices its death.
            time.sleep(1)
            raise RuntimeError(f"{WORKER_DIED} unknown): {error}") from error
        except OSError as error:
            self._loader = None
            _drop_quietly(error)
            raise TrustcacheError(
                f"the decoding processes cannot be started ({error.strerror or error}); run the same command again "
                "with fewer --workers (0 decodes in the main process), or with a higher limit of open files (ulimit -n)"
            ) from None
        except Exception:
            self._loader = None
            raise
        finally:
            file.unlink(missing_ok=True)

    def _started(self, tasks: int) -> DataLoader[Batch]:
        """Return the loader whose processes start when it is iterated over, and stay; no more than the tasks of one."""
        assert self.workers
        self._loader = DataLoader(
            _Pieces(self._kept),
            batch_sampler=self._tasks,
            num_workers=min(self.workers, tasks) if self._sets == 1 else self.workers,
            collate_fn=_as_it_is,
            worker_init_fn=_silence_worker,
            generator=torch.Generator(),  # drawing its seed from the global one would shift a training's dropout
            pin_memory=self.device.type == "cuda",
            prefetch_factor=_AHEAD,
            persistent_workers=True,
        )
        return self._loader


class _Tasks:
    """Files of sources with numbers of samples, as the DataLoader's sampler of batches."""

    left: Iterator[list[Any]]

    def __iter__(self) -> Iterator[list[Any]]:
        return self.left


class _Pieces(TorchDataset):
    """Pieces of batches, as the DataLoader's data set: an item is the file of a source, with numbers of samples."""

    def __init__(self, kept: Kept | None) -> None:
        self._kept = kept

    def __getitems__(self, task: list[Any]) -> Batch:
        file, numbers = task
        return _source(file).batch(numbers, self._kept)


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
