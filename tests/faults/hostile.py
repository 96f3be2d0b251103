"""Workspaces, checkpoints, manifests, tar files, HDF5 files, images and names that someone made to do harm.

Each kind is a function that plants it in a bench, with the commands that meet it: those of `hostile_workspace.py` lie
in the workspace, those of `hostile_inputs.py` are given to it. `SECRET` lies outside of the bench: no command may say
it, and none may write there. `RAN` is made by whatever runs.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.faults.laboratory import COMMANDS, RUN, UNFINISHED

SECRET = "the-secret-of-another-folder"
RAN = "it-ran"
MODULE = "hostile_code"
CODE = f"{MODULE}:run"
SOURCE = f"open({RAN!r}, 'w').close()\ndef run(*a, **b):\n    return a[0]\n"
OUTSIDE = "../outside/secret"
FILES = '[[files]]\nlayout = "folders"\npath = "photos/test"\n'
OWN = 'name = "own"\nrole = "test"\n'
ELSEWHERE = "../../../../../outside/secret"  # from a shard

Plant = Callable[[Path], None]
KINDS: dict[str, tuple[Plant, tuple[tuple[str, ...], ...]]] = {}
"""By name: what plants it in a bench, and the commands that meet it."""
WORDS = COMMANDS | {
    "winner": ("predict", "winner", "photos/test"),
    "unfinished": UNFINISHED,
    "own": ("data", "check", "own.toml", "--data-root", "."),
    "own extract": (*COMMANDS["extract"][:-1], "own.toml", "--data-root", "."),
    "check hostile": ("data", "check", "hostile"),
    "predict hostile": ("predict", RUN, "hostile", "--device", "cpu"),
    "extract hostile": (*COMMANDS["extract"][:-1], "hostile"),
    "check tar": ("data", "check", "hostile.tar"),
    "predict tar": ("predict", RUN, "hostile.tar", "--device", "cpu"),
    "theirs": (
        *("extract", "--classifier", "cifar-resnet8", "--preprocess", "input_size=8", "--weights", "theirs.pt"),
        *("--data", "photos/test", "--as", "theirs", "--workers", "0"),
    ),
    "preset": ("train", "--frozen", "--preset", "own.toml"),
}


def hostile(name: str, *commands: str | tuple[str, ...]) -> Callable[[Plant], Plant]:
    """Register a kind."""
    words = tuple(WORDS[command] if isinstance(command, str) else command for command in commands)

    def register(plant: Plant) -> Plant:
        KINDS[name] = plant, words
        return plant

    return register


class Runs:
    """What runs a command when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, (f"touch {RAN}",)


def pickle_that_runs() -> bytes:
    """Return a checkpoint whose reading runs a command."""
    return pickle.dumps({"state_dict": Runs()})


def plant(name: str, bench: Path) -> None:
    """Plant a kind in a bench, and what it must not reach beside it."""
    outside = bench.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "secret").write_text(SECRET * 50, encoding="utf-8")
    with h5py.File(outside / "secret.h5", "w") as file:
        file["logits"] = np.ones((16, 3), np.float16)
    (outside / "secret.toml").write_text(f'{OWN}title = "{SECRET}"\n{FILES}', encoding="utf-8")
    (bench / f"{MODULE}.py").write_text(SOURCE, encoding="utf-8")
    KINDS[name][0](bench)


def control_characters(text: str) -> list[str]:
    """Return the characters in an output that could steer a terminal."""
    return re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
