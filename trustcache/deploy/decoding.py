"""Images to be answered for, decoded in batches: a stream by threads, files by processes."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch

from trustcache.data.decoders import Decoders
from trustcache.data.loader import shard_batches
from trustcache.data.pictures import Picture, Prepared, picture_of
from trustcache.data.pipeline import Mover
from trustcache.data.samples import BadImage
from trustcache.data.sources import PictureSource
from trustcache.models.preprocessing import Preprocessing

_Given = Picture | Prepared
# The pixels of images as each network sees them; one tensor where they see them alike.
_Pixels = tuple[torch.Tensor, ...]


class Decoded(NamedTuple):
    """Some images, decoded. bad: the reason, by place, why one cannot be read.

    kinds: of the others, those that the networks take together: their places, and their pixels (N, 3, H, W).
    """

    paths: Sequence[str | None]
    bad: Mapping[int, str]
    kinds: Sequence[tuple[Sequence[int], _Pixels]]


def by_threads(
    stream: Iterator[_Given], takes: Sequence[Preprocessing], batch_size: int, threads: int, ahead: int
) -> Iterator[Decoded]:
    """Yield batches of a stream, decoded by so many threads, 0 for the caller's own; `1 + ahead` are in memory.

    takes: as each network sees an image.

    >>> import numpy as np
    >>> from trustcache.data.pictures import pictures_of
    >>> seen = Preprocessing((8, 8), 1.0, "squash", "bicubic", (0.5,), (0.5,))
    >>> batches = by_threads(pictures_of(np.zeros((3, 9, 9), np.uint8)), [seen], 2, 0, 0)
    >>> [pixels.shape for batch in batches for _, (pixels,) in batch.kinds]
    [torch.Size([2, 3, 8, 8]), torch.Size([1, 3, 8, 8])]
    """
    transforms = [preprocessing.transform() for preprocessing in takes]
    waiting: deque[list[tuple[_Given, Future[_Pixels | str]]]] = deque()
    # Threads would only take time where there is one image to decode.
    with ThreadPoolExecutor(threads) if threads and batch_size + ahead > 1 else _Here() as pool:
        while given := list(itertools.islice(stream, batch_size)):
            waiting.append([(picture, pool.submit(_decoded, picture, transforms)) for picture in given])
            if len(waiting) > ahead:
                yield _stacked([(picture, future.result()) for picture, future in waiting.popleft()])
        while waiting:
            yield _stacked([(picture, future.result()) for picture, future in waiting.popleft()])


def by_processes(
    files: Sequence[str | Path | Picture],
    takes: Sequence[Preprocessing],
    batch_size: int,
    workers: int | None,
    device: torch.device,
) -> Iterator[Decoded]:
    """Yield batches of files, decoded by processes and on the device. takes: as of `by_threads`.

    workers: as `decoding_workers` takes them. Raises RuntimeError where a process dies.

    >>> seen = Preprocessing((8, 8), 1.0, "squash", "bicubic", (0.5,), (0.5,))
    >>> (batch,) = by_processes(["absent.png"], [seen], 64, None, torch.device("cpu"))
    >>> batch.paths, batch.bad, batch.kinds
    (['absent.png'], {0: 'cannot be read as an image (No such file or directory)'}, [])
    """
    own, *second = takes
    source = PictureSource(own, files, second[0] if second else None)
    parts = shard_batches([(0, len(files))], batch_size)
    with Decoders(workers, device) as decoders, Mover(device) as moved:
        for part, batch in zip(parts, map(moved, decoders.decoded(source, parts)), strict=True):
            start = int(part[0])
            bad = {number - start: reason for number, reason in batch.bad.items()}
            kinds = [((batch.indices - start).tolist(), tuple(batch.tensors()))] if len(batch.indices) else []
            yield Decoded([picture_of(files[start + place]).path for place in range(len(part))], bad, kinds)


class _Here(Executor):
    """Do the work at once, in the thread that asks for it."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(work(*args, **named))
        return done


def _decoded(picture: _Given, transforms: Sequence[Callable[[Any], torch.Tensor]]) -> _Pixels | str:
    """Return the pixels of an image, or why it cannot be read."""
    try:
        return picture.pixels_of(transforms)
    except BadImage as error:
        return error.reason


def _stacked(decoded: Sequence[tuple[_Given, _Pixels | str]]) -> Decoded:
    """Return some images, each with its pixels or why it cannot be read, together; what is prepared is one kind."""
    bad = {place: found for place, (_, found) in enumerate(decoded) if isinstance(found, str)}
    kinds = []
    for kind in (Picture, Prepared):
        places = [place for place, (given, _) in enumerate(decoded) if isinstance(given, kind) and place not in bad]
        if places:
            seen = zip(*(decoded[place][1] for place in places), strict=True)  # the images as each network sees them
            kinds.append((places, tuple(torch.stack(images) for images in seen)))
    return Decoded([given.path for given, _ in decoded], bad, kinds)
