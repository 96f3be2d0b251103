"""A command in a process of its own that starts in milliseconds: forked from one that has imported torch."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from subprocess import TimeoutExpired
from typing import NoReturn

ROOT = Path(__file__).parent.parent
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["cli", "timm", "trustcache.extract", "trustcache.oracles.finetune", "trustcache.deploy"])


class CommandProcess:
    """A running command, with the names of `subprocess.Popen`; keywords are its environment.

    files: how many more it may open than those that are open when it begins.
    """

    def __init__(self, words: Sequence[str], files: int | None = None, **environment: str) -> None:
        out, theirs = FORKED.Pipe(duplex=False)
        err, errors = FORKED.Pipe(duplex=False)
        about = words, Path.cwd(), {**os.environ, **environment}, files
        self._process = FORKED.Process(target=_run, args=(*about, theirs, errors))
        self._process.start()
        theirs.close()
        errors.close()
        self.stdout, self.stderr = (os.fdopen(os.dup(end.fileno()), encoding="utf-8") for end in (out, err))

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutExpired("trustcache", timeout or 0)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait, and return what it printed, which must fit into pipes."""
        self.wait(timeout)
        return self.stdout.read(), self.stderr.read()

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


def _run(
    words: Sequence[str],
    folder: Path,
    environment: dict[str, str],
    files: int | None,
    out: Connection,
    err: Connection,
) -> NoReturn:
    """Be the command, as a process finds things that was started in the folder."""
    from cli import app, signals

    multiprocessing.set_start_method(None, force=True)  # its decoding processes are made as ever
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [str(folder)]
    for name, number, end in (("stdout", 1, out), ("stderr", 2, err)):
        os.dup2(end.fileno(), number)
        end.close()
        setattr(sys, name, os.fdopen(number, "w", encoding="utf-8"))
    signals._process = os.getpid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by a suite that was started in the background
    signals.take_signals()
    if files is not None:
        import resource

        most = len(os.listdir("/dev/fd")) - 1 + files  # without the one that lists them
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    app(words, prog_name="trustcache")
    raise AssertionError("a command ends with its exit code")
