"""SIGTERM and Ctrl-C: taken before anything is imported that takes its time, and never a traceback."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

_SAME = "the same command goes on from here"
_TRAINING = (
    f"{_SAME}: training on images goes on from its last step, or at an epoch's end and in several processes from its "
    "last checkpoint (--checkpoint-every)"
)
_NEXT = {
    "extract": f"{_SAME}: only unfinished shards are made again",
    "train": _TRAINING,
    "fit-classifier": _TRAINING,
    "predict": "the lines so far are whole; the same command begins anew",
}
_process = os.getpid()
_received: list[int] = []
_command = ""


def name_command(name: str) -> None:
    """Take note of the command that a signal would end."""
    global _command
    _command = name


def interrupted() -> str:
    """Return what the user is told of the command that a signal ended: what the same one would do."""
    return f"interrupted; {_NEXT.get(_command, _SAME)}"


def take_signals() -> None:
    """Have both end a command as an exception does, where they are not ignored or taken already; forget earlier ones.

    Only the main thread may take signals.
    """
    _received.clear()
    if threading.current_thread() is threading.main_thread():
        for number, usual in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
            if signal.getsignal(number) is usual:
                signal.signal(number, _stop)


def received() -> int | None:
    """Return the signal that has come, whatever became of its exception, or None."""
    return _received[0] if _received else None


def _stop(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; at the second signal, while a module is imported, or at exit, end at once instead.

    Imports turn exceptions into others or into nothing, and hooks at exit print a traceback. Nothing is lost: files are
    published whole.
    """
    if os.getpid() == _process:  # decoding processes are told by the main one
        callers = []
        while frame:
            callers.append(frame.f_code)
            frame = frame.f_back
        importing = any(code.co_filename.startswith("<frozen importlib") for code in callers)
        at_exit = not callers or callers[-1].co_name != "<module>"
        if _received or importing or at_exit:
            _end(number, tell=not _received)
        _received.append(number)
    elif number == signal.SIGTERM:  # the main process ends its decoding processes so, some while they are being made
        os._exit(128 + number)
    raise KeyboardInterrupt


def _end(number: int, tell: bool) -> NoReturn:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed or full
        if tell:
            print(interrupted(), file=sys.stderr, flush=True)
        sys.stdout.flush()
    os._exit(128 + number)


def _end_if_dropped(unraisable: sys.UnraisableHookArgs, usual: Callable[..., object] = sys.unraisablehook) -> None:
    """End a command whose KeyboardInterrupt Python has dropped: it came in a finaliser, or in a hook of a fork.

    It would go on as if nothing had come, at worst with a lock that nobody releases.
    """
    if _received and unraisable.exc_type is KeyboardInterrupt and os.getpid() == _process:
        _end(_received[0], tell=True)
    usual(unraisable)


sys.unraisablehook = _end_if_dropped
take_signals()
