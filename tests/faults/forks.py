"""Commands in processes of their own that start in milliseconds: forked from one that has imported everything.

`python -m tests.faults.forks` is that process: it reads a request a line and answers it with a line. `Forks` starts it
and asks it. Jobs of one request run at the same time.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import errno
import functools
import gc
import hashlib
import importlib
import io
import json
import os
import pkgutil
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parent.parent.parent
SHIM = "failing_calls.c"
KINDS = ("open", "create", "read", "write", "fsync", "rename")
"""The calls that can be made to fail, in the order of the shim's enum; a creation is an open too."""
KILLED = "KILLED"
COMMAND = "tests.faults.forks:command"


@dataclass(frozen=True)
class Fault:
    """The `nth` call of a kind on files under `folder` fails with an error such as "ENOSPC", or kills the process.

    nth 0 fails none, and only counts.
    """

    folder: str
    kind: str = "open"
    nth: int = 0
    error: str = "EIO"


@dataclass(frozen=True)
class Job:
    """A function `module:name` and its arguments, by default the command line and its words.

    kill_after: seconds until it gets the signal `kill_with`. delay: seconds before it
    begins. limits: of `resource`, such as NOFILE.
    """

    words: Sequence[Any]
    folder: str
    function: str = COMMAND
    fault: Fault | None = None
    kill_after: float | None = None
    kill_with: int = signal.SIGKILL
    delay: float = 0.0
    environment: dict[str, str] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    timeout: float = 60.0


@dataclass(frozen=True)
class Outcome:
    """How a job ended. code: its exit code, or minus the signal's number. hung: it was stopped at its timeout.

    calls: how many of each kind were made on the fault's folder; none where it was killed.
    """

    code: int
    out: str
    err: str
    hung: bool
    seconds: float
    calls: dict[str, int]

    @property
    def text(self) -> str:
        """Everything it printed."""
        return self.out + self.err


TIMES = re.compile(r"^(?:\d+\.\d s|on \w+[^:]*): .*\n", re.MULTILINE)
"""What the machine is and where an extraction's time went: said where there is work, and never twice alike."""


class Forks:
    """The process that forks, and what asks it."""

    def __init__(self, folder: Path) -> None:
        shim = folder / "failing_calls.so"
        source = Path(__file__).parent / SHIM
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", str(shim), str(source), "-ldl"], check=True)
        # One thread each: models this small gain nothing from more, and a process with threads must not fork.
        environment = {**os.environ, "LD_PRELOAD": str(shim), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        environment["HOME"] = str(folder)  # permissions are remembered there
        for name in ("TRUSTCACHE_WORKSPACE", "TRUSTCACHE_DATA"):
            environment.pop(name, None)
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.forks"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *jobs: Job) -> list[Outcome]:
        """Run jobs at the same time and wait for all."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps([asdict(job) for job in jobs]) + "\n")
        self._server.stdin.flush()
        return [Outcome(**answer) for answer in json.loads(self._server.stdout.readline())]

    def command(self, folder: Path, *words: object, **given: Any) -> Outcome:
        """Run one command in a folder."""
        (outcome,) = self.run(Job([str(word) for word in words], str(folder), **given))
        return outcome

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()


def command(*words: str) -> None:
    """Run the command line."""
    import typer

    from cli import app

    typer.main.get_command(app)(list(words), prog_name="trustcache")


def arm(fault: Fault) -> None:
    """Let a call of this process fail."""
    error = -1 if fault.error == KILLED else getattr(errno, fault.error)
    _shim().arm(os.fsencode(fault.folder), KINDS.index(fault.kind), ctypes.c_long(fault.nth), error)


def disarm() -> dict[str, int]:
    """Let all calls pass, and return how many of each kind there were since `arm`."""
    counted = {kind: _shim().calls(number) for number, kind in enumerate(KINDS)}
    _shim().arm(b"", 0, ctypes.c_long(0), 0)
    return counted


@functools.cache
def _shim() -> ctypes.CDLL:
    shim = ctypes.CDLL(os.environ["LD_PRELOAD"])
    shim.calls.restype = ctypes.c_long
    return shim


def _serve() -> None:
    _import_everything()
    for line in sys.stdin:
        jobs = [Job(**{**job, "fault": Fault(**job["fault"]) if job["fault"] else None}) for job in json.loads(line)]
        scratch = Path(tempfile.mkdtemp())  # a TemporaryDirectory would be removed by the exit hook of each child
        print(json.dumps([asdict(outcome) for outcome in _answer(jobs, scratch)]), flush=True)
        shutil.rmtree(scratch)


def _import_everything() -> None:
    import jinja2
    import typer

    import trustcache
    from trustcache import protocols
    from trustcache.data import known_data
    from trustcache.metrics import bootstrap
    from trustcache.report.render import engine

    # Before others import them by name. A case takes as long as its slowest parts, and these are not what is tried.
    engine.engine = lambda: _Engine  # type: ignore[assignment, return-value]
    known_data.packaged_manifests = functools.cache(known_data.packaged_manifests)
    bootstrap.RESAMPLES = 40
    bootstrap.draw_counts = functools.partial(bootstrap.draw_counts, resamples=40)
    compiled, compile_template = {}, jinja2.Environment.compile

    def compile_once(self: jinja2.Environment, source: str, name: str | None = None, *rest: Any) -> Any:
        key = source, name, self.block_start_string
        if key not in compiled:
            compiled[key] = compile_template(self, source, name, *rest)
        return compiled[key]

    jinja2.Environment.compile = compile_once
    for module in pkgutil.walk_packages(trustcache.__path__, "trustcache."):
        importlib.import_module(module.name)
    for name in ("cli", "torch", "timm", "torchvision", "sklearn.datasets", "h5py", "rich.console", "PIL.Image"):
        importlib.import_module(name)
    typer.main.get_command = functools.cache(typer.main.get_command)
    # Fine-tuning takes most of the time, and how well it learns is not asked.
    protocols.LEAST_STEPS.update(sgd=8, adam=30)
    for words in (["data", "list"], ["cache", "list"], ["report"]):  # refused; what they import is there after that
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            _exit_code(command, words)
    gc.freeze()  # or the collections of a child would copy all that was imported


class _Engine:
    """What stands for vl-convert, whose start takes a second: pictures that differ where their charts do."""

    @staticmethod
    def vegalite_to_svg(spec: Any, **options: Any) -> str:
        return f"<svg><desc>{hashlib.sha256(json.dumps(spec).encode()).hexdigest()}</desc></svg>"

    @staticmethod
    def svg_to_pdf(svg: str) -> bytes:
        return b"%PDF" + svg.encode() + b"%%EOF"

    @staticmethod
    def javascript_bundle(snippet: str) -> str:
        return snippet


@dataclass
class _Running:
    """A job's process. ready: the end of a pipe that it writes to when its function begins."""

    job: Job
    child: int
    ready: int
    began: float | None = None
    signalled: bool = False
    hung: bool = False

    def attend(self, now: float) -> None:
        """Note that it begins, and send the signals that are due."""
        if self.began is None:
            with contextlib.suppress(BlockingIOError):
                os.read(self.ready, 1)
                self.began = now
        if self.began is not None and not self.hung and now - self.began > self.job.timeout:
            self.hung = True
            self._signal(signal.SIGKILL)
        due = self.job.kill_after
        if self.began is not None and due is not None and not self.signalled and now - self.began >= due:
            self.signalled = True
            self._signal(self.job.kill_with)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child, number)


def _answer(jobs: Sequence[Job], scratch: Path) -> list[Outcome]:
    running = []
    for number, job in enumerate(jobs):
        ready, write_end = os.pipe()
        os.set_blocking(ready, False)
        child = os.fork()
        if child == 0:
            _be(job, scratch / str(number), write_end)
        os.close(write_end)
        running.append(_Running(job, child, ready))
    ended: dict[int, tuple[int, float]] = {}
    while len(ended) < len(running):
        child, status = os.waitpid(-1, os.WNOHANG)
        now = time.monotonic()
        if child:
            ended[child] = os.waitstatus_to_exitcode(status), now
        for one in running:
            if one.child not in ended:
                one.attend(now)
        time.sleep(0.001)
    outcomes = []
    for number, one in enumerate(running):
        os.close(one.ready)
        code, end = ended[one.child]
        outcomes.append(_outcome(scratch / str(number), code, one.hung, end - (one.began or end)))
    return outcomes


def _outcome(scratch: Path, code: int, hung: bool, seconds: float) -> Outcome:
    out, err, counted = (scratch.with_suffix(suffix) for suffix in (".out", ".err", ".calls"))
    texts = [
        path.read_text(encoding="utf-8", errors="backslashreplace") if path.exists() else "" for path in (out, err)
    ]
    texts[0] = TIMES.sub("", texts[0])
    calls = json.loads(counted.read_text()) if counted.exists() else {}
    return Outcome(code, *texts, hung, seconds, calls)


def _be(job: Job, scratch: Path, ready: int) -> NoReturn:
    """Be the job's process, and end."""
    os.setsid()
    from cli import signals

    signals._process = os.getpid()  # it is no decoding process
    for number in (signal.SIGTERM, signal.SIGINT):  # as a command finds them, not as an earlier one left them
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    for descriptor, suffix in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(scratch.with_suffix(suffix), os.O_CREAT | os.O_WRONLY, 0o600), descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(job.folder)
    os.environ.update(job.environment)
    sys.path.insert(0, job.folder)
    module, _, name = job.function.partition(":")
    function = getattr(importlib.import_module(module), name)
    if job.limits:
        import resource

        for limit, value in job.limits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{limit}"), (value, value))
    if job.fault:
        arm(job.fault)
    time.sleep(job.delay)
    os.write(ready, b"!")
    code = _exit_code(function, job.words)
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    sys.stderr.flush()
    if job.fault:
        scratch.with_suffix(".calls").write_text(json.dumps(disarm()))
    os._exit(code)


def _exit_code(function: Any, words: Sequence[Any]) -> int:
    """Call a function as the interpreter runs a program: an exception is a traceback."""
    try:
        function(*words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    else:
        code = 0
    return code


if __name__ == "__main__":
    _serve()
