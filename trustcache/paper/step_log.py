"""The log of a reproduction's steps: noted when they end, void once their caches, runs or files have changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trustcache.cache.publish import publish_json
from trustcache.cache.workspace import Workspace
from trustcache.errors import TrustcacheError, UsageError
from trustcache.oracles.runs import finished_runs
from trustcache.paper.recipes import Step

FILE = "reproduced.json"
_INTERRUPTED = 130  # the exit code of a command that was stopped, as it has told


class StepLog:
    """The steps that ended in a workspace, by their commands, each with the caches, runs and files at its end.

    Only a shortcut: every command does itself what is left to do, so that what is not noted is merely slower.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace, self._path = workspace, workspace.root / FILE
        try:
            self._noted: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            self._noted = {}

    def done(self, step: Step) -> bool:
        """Return True if a step ended well and all it left is there; for a training, with no data it has not scored."""
        noted = self._noted.get(str(step))
        if noted is None or step.words[0] == "report":
            return False
        now = self._left(step)
        if step.words[0] == "train" and now["caches"] != noted["caches"]:
            return False
        return all(noted[kind].items() <= now[kind].items() for kind in now)

    def note(self, step: Step) -> None:
        """Note that a step has ended well."""
        self._noted[str(step)] = self._left(step)
        publish_json(self._path, self._noted)

    def _left(self, step: Step) -> dict[str, dict[str, Any]]:
        """Return the finished caches and runs of the step's models, and the files that its command names."""
        caches = [index for index in self.workspace.caches() if index.classifier in step.models and index.finished()]
        runs = [run for run in finished_runs(self.workspace) if run.config.classifier in step.models]
        files = [path for word in step.words if (path := Path(word)).is_file()]
        return {
            "caches": {f"{index.classifier}/{index.data}": index.fingerprint() for index in caches},
            "runs": {run.name: run.config.cache for run in runs},
            "files": {str(path): [path.stat().st_size, path.stat().st_mtime_ns] for path in files},
        }


def carry_out(
    steps: Sequence[Step], workspace: Workspace, run: Callable[[Sequence[str]], int], tell: Callable[[str], None]
) -> bool:
    """Run the steps that are not done already; False where one was interrupted.

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
        if code == _INTERRUPTED:
            return False
        if code:
            kind = UsageError if code == 2 else TrustcacheError
            raise kind(
                f"step {number} of {len(steps)} failed: {step}; when that is mended, the same command goes on there"
            )
        log.note(step)
    return True
