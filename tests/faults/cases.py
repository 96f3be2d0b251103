"""Many small cases in one process: each is judged, and the next begins from the state that the first began from."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import signal
import traceback
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.forks import TIMES, Forks, Job, command

REFUSED, TOLD, ANEW, HARMLESS = "refused", "told and passed over", "made anew", "harmless"
SILENT, LOST, UNNAMED, TRACEBACK, HANG, CRASH = "SILENT", "LOST", "UNNAMED", "TRACEBACK", "HANG", "CRASH"
BAD = (SILENT, LOST, UNNAMED, TRACEBACK, HANG, CRASH)
"""Verdicts that fail the suite: in capitals."""
LIMIT_S = 30.0


@dataclass
class Tally:
    """The verdicts on one kind of fault. kind: a row of the table. bad: a line for each verdict that is in `BAD`."""

    kind: str
    what: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)

    def add(self, verdict: str, case: object, detail: str = "") -> None:
        self.counts[verdict] += 1
        if verdict in BAD:
            self.bad.append(f"{verdict}: {case}: {detail[-600:]}")

    def record(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**vars(self), "counts": dict(self.counts)}

    def require_none_bad(self) -> None:
        assert self.counts, f"{self.kind} {self.what}: nothing was tried"
        shown = "\n".join(self.bad[:20])
        assert not self.bad, f"{len(self.bad)} of {self.counts.total()}:\n{shown}"


@dataclass(frozen=True)
class Said:
    """What a command did in this process: its exit code, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


class Hang(BaseException):
    """A case took longer than `LIMIT_S`."""


def said(*words: str) -> Said:
    """Run a command in this process; an exception that it does not turn into a sentence is raised."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            command(*words)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Said(code, TIMES.sub("", out.getvalue()), err.getvalue())


def is_sentence(said: Any) -> bool:
    """Return True if a failed command ended with one line that says what is wrong."""
    return said.code in (1, 2) and "error: " in said.err and "Traceback" not in said.text


def each(forks: Forks, folder: Path, function: str, cases: Sequence[Any], batch: int = 40) -> Iterator[Any]:
    """Yield what `function` returns for each case, a (verdict, detail); where the process dies of a case, `CRASH`."""
    left = [*cases]
    while left:
        given, left = left[:batch], left[batch:]
        job = Job([function, given], str(folder), "tests.faults.cases:_run", timeout=LIMIT_S * len(given))
        (outcome,) = forks.run(job)
        answers = [json.loads(line) for line in outcome.out.splitlines()]
        yield from zip(given, answers, strict=False)
        if len(answers) < len(given):
            verdict = HANG if outcome.hung else CRASH
            yield given[len(answers)], (verdict, f"exit code {outcome.code}: {outcome.err}")
            left = [*given[len(answers) + 1 :], *left]


def _run(function: str, cases: Sequence[Any]) -> None:
    module, _, name = function.partition(":")
    judge = getattr(importlib.import_module(module), name)
    signal.signal(signal.SIGALRM, _hang)
    answers = os.fdopen(os.dup(1), "w")
    for case in cases:
        signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
        try:
            verdict = judge(case)
        except Hang:
            verdict = HANG, traceback.format_exc()
        except BaseException:
            verdict = TRACEBACK, traceback.format_exc()
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps(verdict), file=answers, flush=True)


def _hang(number: int, frame: object) -> None:
    raise Hang


def restore(folder: Path, before: Mapping[str, bytes], now: Mapping[str, bytes]) -> None:
    """Make the files of a folder what they were."""
    for name in now.keys() - before.keys():
        (folder / name).unlink()
    for name, data in before.items():
        if now.get(name) != data:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def verdict_of(called: Sequence[str], said: Said, sound: Said, changed: Collection[str]) -> tuple[str, str]:
    """Judge a command on a damaged file.

    called: texts one of which a message about it must hold. sound: what the command says without damage. changed: the
    other files that are not now what they would be without damage.
    """
    if "Traceback" in said.text:
        return TRACEBACK, said.text
    if (said.code, said.out) == (sound.code, sound.out) and not changed:
        named = any(name in said.err for name in called)
        return (TOLD if named else HARMLESS), said.err
    named = any(name in said.text for name in called)
    if said.code:
        if not is_sentence(said):
            return TRACEBACK, said.text
        return (REFUSED if named else UNNAMED), said.text
    return (TOLD if named else SILENT), f"{sorted(changed)[:4]} {said.text}"
