"""Which steps of a reproduction are done already: noted when they end, void once what they left has changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trustcache.cache.publish import publish_json
from trustcache.cache.workspace import Workspace
from trustcache.oracles.runs import finished_runs
from trustcache.paper.recipes import Step

FILE = "reproduced.json"


class Ledger:
    """The steps that have been carried out in a workspace, by their commands, each with what there was at its end.

    Only a shortcut: every command does itself what is left to do, so that what is not noted is merely slower.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace, self._path = workspace, workspace.root / FILE
        try:
            self._noted: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            self._noted = {}

    def done(self, step: Step) -> bool:
        """Whether a step ended well, and all it left is there; for a training, with no data it has not scored."""
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
        """The finished caches and runs of the step's models, and the files that its command names."""
        caches = [index for index in self.workspace.caches() if index.classifier in step.models and index.finished()]
        runs = [run for run in finished_runs(self.workspace) if run.config.classifier in step.models]
        files = [path for word in step.words if (path := Path(word)).is_file()]
        return {
            "caches": {f"{index.classifier}/{index.data}": index.fingerprint() for index in caches},
            "runs": {run.name: run.config.cache for run in runs},
            "files": {str(path): [path.stat().st_size, path.stat().st_mtime_ns] for path in files},
        }
