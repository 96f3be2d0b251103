"""The process of a command: its streams, and what ends it: a full disk, a closed pipe, a signal."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import typer.core

from trustcache.data import progress
from trustcache.data.progress import Advance, silent
from trustcache.data.ranks import ranks
from trustcache.errors import TrustcacheError, visible

from .signals import interrupted, received, take_signals

EXPECTED = (TrustcacheError, OSError, MemoryError, KeyboardInterrupt)
"""Errors that end a command in one sentence; anything else is a mistake of ours, with its traceback."""


_QUIET, _VERBOSE = -1, 1
_loudness = 0


def begin() -> None:
    """Make ready for a command: its signals, and streams that may lack what a table or a name holds."""
    take_signals()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def loudness(quiet: bool, verbose: bool) -> Iterator[None]:
    """Say as much as the options ask within the context; one command that another runs says as much as that."""
    global _loudness
    before, began = _loudness, time.monotonic()
    second = ranks().rank > 0  # of several processes that do one command the first tells of it; each of its errors
    _loudness = _VERBOSE * verbose or _QUIET * (quiet or second) or before
    try:
        with contextlib.redirect_stdout(io.StringIO()) if second else contextlib.nullcontext():
            yield
        if _loudness == _VERBOSE:
            say(f"took {time.monotonic() - began:.1f} s")
    finally:
        _loudness = before


@contextlib.contextmanager
def console(label: str, total: int) -> Iterator[Advance]:
    """Report progress on standard error: nothing for --quiet, and for --verbose a line more at the end."""
    began = time.monotonic()
    with (silent if is_quiet() else progress.console)(label, total) as advance:
        yield advance
    if _loudness == _VERBOSE:
        say(f"{label}: {total:,} in {time.monotonic() - began:.1f} s")


def say(text: str) -> None:
    """Tell the user something that is no result, unless --quiet: on standard error, without control characters."""
    if not is_quiet():
        _write_error(text)


def say_error(error: object) -> None:
    """Tell the user of an error, on standard error."""
    _write_error(f"error: {error}")


def _write_error(text: str) -> None:
    if sys.stderr is not None:  # print would take standard output then
        try:
            print(visible(text), file=sys.stderr)
        except OSError:
            _into_nothing(sys.stderr)


def print_line(text: object, kept: str = "\t") -> None:
    """Print a line of results, without control characters but those of `kept`, at once: the reader may be waiting."""
    print(visible(str(text), kept), flush=True)


def print_note(text: object) -> None:
    """Print a line that tells of results and is none, among them, unless --quiet."""
    if not is_quiet():
        print_line(text)


def is_verbose() -> bool:
    """Return True under --verbose."""
    return _loudness == _VERBOSE


def is_quiet() -> bool:
    """Return True under --quiet."""
    return _loudness == _QUIET


def end(error: BaseException) -> NoReturn:
    """Say in one sentence what ended a command, and exit."""
    if isinstance(error, KeyboardInterrupt) or received():
        _write_error(interrupted())
        code = 128 + (received() or signal.SIGINT)
    elif isinstance(error, BrokenPipeError):  # `| head` has read enough
        code = 0
    elif isinstance(error, OSError):
        where = error.filename or "a file, or standard output"
        say_error(f"{where}: {error.strerror or error}; mend that and run the same command again")
        code = 1
    elif isinstance(error, MemoryError):
        say_error("memory ran out; run the same command again with a smaller --batch-size or fewer --workers")
        code = 1
    else:
        say_error(error)
        code = error.exit_code if isinstance(error, TrustcacheError) else 1
    if not _flushed():
        _into_nothing(sys.stdout)
    # torch's handler raises for a dead decoding process, at exit too.
    with contextlib.suppress(AttributeError, ValueError):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    raise typer.Exit(code) from None


def _flushed() -> bool:
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        return False
    return True


def _into_nothing(stream: Any) -> None:
    """Drop what a stream cannot write, which the interpreter would try again at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def unknown_option(remedy: Callable[[str], str]) -> Iterator[None]:
    """Add to typer's refusal of an option that a command has not what `remedy` says of it, "" for nothing."""
    try:
        yield
    except Exception as error:
        if more := remedy(getattr(error, "option_name", "")):
            error.message += f"; {more}"  # type: ignore[attr-defined]
        raise


class Process(typer.core.TyperGroup):
    """A group of commands; what they printed has reached its file or pipe before the process ends well."""

    def main(self, *args: Any, **extra: Any) -> Any:
        try:
            try:
                return super().main(*args, **extra)
            finally:
                if sys.stdout is not None:
                    sys.stdout.flush()
        except OSError as error:
            try:
                end(error)
            except typer.Exit as code:
                sys.exit(code.exit_code)
