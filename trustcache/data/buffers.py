"""Buffers that decoding processes fill with pixels, shared by all processes once and then used again and again.

A tensor that torch sends from one process to another is a new file in memory each time: its pages are made, sent by a
socket and mapped, which for the images of a fast model takes longer than the model does.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import weakref
from collections.abc import Sequence
from multiprocessing.reduction import DupFd
from typing import Any

import torch


class Buffers:
    """`count` buffers of `size` bytes in the memory of this process and of those that get the object.

    This process lends them out by number (`lend`) and sees what another one wrote to one (`filled`). That one is lent
    again once no tensor shows it any more.
    pins: let a CUDA device copy from buffers while it works, where the system allows it. Each is pinned when it is
    first filled: pinning all takes a part of a second, in which the device would wait.

    >>> import torch
    >>> buffers = Buffers(1, 12)
    >>> number = buffers.lend()
    >>> _ = buffers.buffer(number).fill_(7)
    >>> pixels = buffers.filled(number, (1, 3, 2, 2))
    >>> int(pixels.sum()), buffers.lend()
    (84, None)
    >>> del pixels
    >>> buffers.lend() == number
    True
    """

    def __init__(self, count: int, size: int, pins: bool = False) -> None:
        # No file of /dev/shm, which containers keep small.
        file = os.memfd_create("trustcache")
        os.ftruncate(file, count * _whole_pages(size))
        self._open(file, count, size)
        self._pins = pins

    def _open(self, file: int, count: int, size: int) -> None:
        self._file, self.count, self.size = file, count, size
        self._step = _whole_pages(size)  # what is pinned is pages
        self._memory = mmap.mmap(file, count * self._step)
        weakref.finalize(self, os.close, file)
        self._free, self._lent = list(range(count)), set[int]()
        self._pins, self._pinned = False, set[int]()

    def __getstate__(self) -> tuple[Any, int, int]:
        return DupFd(self._file), self.count, self.size

    def __setstate__(self, state: tuple[Any, int, int]) -> None:
        file, count, size = state
        self._open(file.detach(), count, size)

    def lend(self) -> int | None:
        """Return the number of a free buffer, None if there is none."""
        if not self._free:
            return None
        number = self._free.pop()
        self._lent.add(number)
        return number

    def back(self, number: int) -> None:
        """Take back a lent buffer that was not filled."""
        self._lent.discard(number)
        self._free.append(number)

    def all_back(self) -> None:
        """Take back all lent ones, as the processes that had them are done."""
        self._free += self._lent
        self._lent.clear()

    def buffer(self, number: int) -> torch.Tensor:
        """Return a buffer, uint8 (size,), for the process that it is lent to."""
        return torch.frombuffer(self._memory, dtype=torch.uint8, count=self.size, offset=number * self._step)

    def filled(self, number: int, shape: Sequence[int]) -> torch.Tensor:
        """Return what was written to a lent buffer, uint8 of a shape; it is free as soon as the tensor's memory is."""
        self._lent.discard(number)
        if self._pins and number not in self._pinned:
            self._pin(number)
        first = number * self._step
        view = memoryview(self._memory)[first : first + self.size]  # the tensor's memory holds it
        weakref.finalize(view, self._free.append, number).atexit = False
        return torch.frombuffer(view, dtype=torch.uint8, count=math.prod(shape)).view(*shape)

    def _pin(self, number: int) -> None:
        with contextlib.suppress(RuntimeError):  # of a GPU that cannot be used: what uses it will tell
            start = self.buffer(number).data_ptr()
            if int(torch.cuda.cudart().cudaHostRegister(start, self._step, 0)) == 0:
                self._pinned.add(number)
            else:
                self._pins = False
                torch.zeros(1, device="cuda")  # the next kernel would report the refusal

    def unpin(self) -> None:
        """Let go of what is pinned, once all copies are made."""
        self._pins = False
        with contextlib.suppress(RuntimeError):
            if self._pinned:
                torch.cuda.synchronize()
            while self._pinned:
                torch.cuda.cudart().cudaHostUnregister(self.buffer(self._pinned.pop()).data_ptr())


def _whole_pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
