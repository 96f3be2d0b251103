"""The log of a reproduction's steps: noted when they end, void once their caches, runs or files have changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from trustcache.cache.records import read_record, write_record
from trustcache.cache.workspace import Workspace
from trustcache.errors import DamagedError, TrustcacheError, UsageError
from trustcache.oracles.runs import finished_runs
from trustcache.paper.recipes import Step

_INTERRUPTED = (130, 143)  # the exit codes of a command that was stopped, as it has told


@dataclass(frozen=True)
class State:
    """State that a step depends on in a workspace: finished caches and runs of its models, and the files that it names.

    caches, runs: fingerprints by name. files: size and time of change by path.
    """

    caches: dict[str, str]
    runs: dict[str, str]
    files: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Steps:
    """`reproduced.json`: the state at the end of each step, by the step's command."""

    SCHEMA: ClassVar[int] = 2

    ended: dict[str, State]


class StepLog:
    """The steps that have been carried out in a workspace.

    Only a shortcut: every command does itself what is left to do, so that a lost or older log only costs time.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace, self._path = workspace, workspace.step_log
        try:
            self._steps = read_record(self._path, Steps, "remove it")
        except (FileNotFoundError, DamagedError):
            self._steps = Steps({})

    def done(self, step: Step) -> bool:
        """Return True if a step ended well and all it left is there; for a training, with no data it has not scored."""
        then, now = self._steps.ended.get(str(step)), self._state(step)
        if then is None or step.words[0] == "report" or (step.words[0] == "train" and now.caches != then.caches):
            return False
        return all(noted.items() <= vars(now)[kind].items() for kind, noted in vars(then).items())

    def note(self, step: Step) -> None:
        """Note that a step has ended well."""
        self._steps.ended[str(step)] = self._state(step)
        write_record(self._path, self._steps)

    def _state(self, step: Step) -> State:
        caches = [index for index in self.workspace.caches() if index.classifier in step.models and index.finished()]
        runs = [run for run in finished_runs(self.workspace) if run.config.classifier in step.models]
        files = [path for word in step.words if (path := Path(word)).is_file()]
        return State(
            {index.name: index.fingerprint() for index in caches},
            {run.name: run.config.cache for run in runs},
            {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files},
        )


def carry_out(
    steps: Sequence[Step], workspace: Workspace, run: Callable[[Sequence[str]], int], tell: Callable[[str], None]
) -> int:
    """Run the steps that are not done already, and return 0, or the exit code of the one that was interrupted.

    run: carries out a command's words and returns its exit code. tell: receives a line a step.

    Raises UsageError or TrustcacheError as the step that failed did; the steps before it stay done.
    """
    log = StepLog(workspace)
    for number, step in enumerate(steps, 1):
        if log.done(step):
            tell(f"[{number}/{len(steps)}] done already: {step}")
            continue
        tell(f"[{number}/{len(steps)}] {step}")
        code = run(step.words)
        if code in _INTERRUPTED:
            return code
        if code:
            kind = UsageError if code == 2 else TrustcacheError
            raise kind(
                f"step {number} of {len(steps)} failed: {step}; when that is mended, the same command goes on there"
            )
        log.note(step)
    return 0
