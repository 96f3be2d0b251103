"""Trackers: where training reports each epoch beside its own log, for TensorBoard or Weights & Biases to draw."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from trustcache.cache.workspace import Workspace
from trustcache.errors import UsageError, did_you_mean
from trustcache.oracles.runs import Run

Entry = Mapping[str, Any]
Track = Callable[[Run, Entry], None]
"""Called with a run and an entry of its log at the end of each epoch."""


def untracked(run: Run, entry: Entry) -> None:
    """Report nowhere."""


@dataclass(frozen=True)
class Tracker:
    """A program that draws what training reports. module: what it needs, installed with trustcache[module].

    open: takes the folder to write to, and returns a context manager of a `Track`.
    """

    module: str
    open: Callable[[Path], contextlib.AbstractContextManager[Track]]


def figures(entry: Entry) -> dict[str, float]:
    """Return the numbers of an entry by name: loss, validation/auc and so on; undefined ones are left out.

    >>> figures({"epoch": 2, "loss": 0.5, "validation": {"auc": 0.9, "tnr": None}})
    {'loss': 0.5, 'validation/auc': 0.9}
    """
    validation = entry.get("validation") or {}
    named = {"loss": entry["loss"], **{f"validation/{key}": value for key, value in validation.items()}}
    return {key: value for key, value in named.items() if value is not None}


@contextlib.contextmanager
def _tensorboard(folder: Path) -> Iterator[Track]:
    """Write the events of each run into a folder of its name."""
    from torch.utils.tensorboard import SummaryWriter

    with contextlib.ExitStack() as opened:
        writers: dict[str, SummaryWriter] = {}

        def track(run: Run, entry: Entry) -> None:
            if run.name not in writers:
                writers[run.name] = opened.enter_context(SummaryWriter(str(folder / run.folder.name)))
            for name, value in figures(entry).items():
                writers[run.name].add_scalar(name, value, entry["epoch"])
            writers[run.name].flush()

        yield track


@contextlib.contextmanager
def _wandb(folder: Path) -> Iterator[Track]:
    """Keep a run of project trustcache for each, on this machine unless WANDB_MODE says otherwise."""
    import wandb

    os.environ.setdefault("WANDB_MODE", "offline")
    folder.mkdir(parents=True, exist_ok=True)
    opened: dict[str, Any] = {}

    def track(run: Run, entry: Entry) -> None:
        if run.name not in opened:
            about = {"name": run.name, "config": msgspec.to_builtins(run.config), "dir": str(folder)}
            # Several are open at a time where they are trained together.
            opened[run.name] = wandb.init(project="trustcache", reinit="create_new", **about)
        opened[run.name].log(figures(entry), step=entry["epoch"])
        if entry["epoch"] == run.config.optimiser.epochs:
            opened.pop(run.name).finish()

    try:
        yield track
    finally:
        for run in opened.values():
            run.finish()


TRACKERS = {"tensorboard": Tracker("tensorboard", _tensorboard), "wandb": Tracker("wandb", _wandb)}
"""The trackers by name."""


@contextlib.contextmanager
def tracking(workspace: Workspace, names: Sequence[str]) -> Iterator[Track]:
    """Open trackers by name, whose files lie in the workspace's folder `tracking`, and close them at the end.

    Raises UsageError naming the pip line where one is not installed, and for an unknown name.
    """
    for name in names:
        if name not in TRACKERS:
            near = did_you_mean(name, TRACKERS)
            raise UsageError(f"--log {name}: unknown; one of {', '.join(TRACKERS)}, or several as a list{near}")
        if importlib.util.find_spec(TRACKERS[name].module) is None:
            raise UsageError(f"--log {name}: is not installed; pip install 'trustcache[{name}]'")
    with contextlib.ExitStack() as opened:
        tracks = [opened.enter_context(TRACKERS[name].open(workspace.tracking / name)) for name in dict.fromkeys(names)]

        def track(run: Run, entry: Entry) -> None:
            for each in tracks:
                each(run, entry)

        yield track
