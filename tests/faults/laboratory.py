"""A small folder of work to break: images, a classifier, and a workspace with one of every kind of file."""

from __future__ import annotations

import contextlib
import shutil
import signal
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from tests.faults.forks import KILLED, Fault, Forks, Outcome
from trustcache.cache.records import read_record
from trustcache.deploy.description import Description
from trustcache.errors import TrustcacheError

CLASSES = ("bars", "dots", "rings")
WORKSPACE = "trustcache-workspace"
WEIGHTS = "net.safetensors"
FORMATS = ("png", "jpg", "bmp")
_HERE = ("--device", "cpu", "--workers", "0")
_NET = ("--classifier", "cifar-resnet8", "--preprocess", "input_size=8")
_EXTRACT = ("extract", *_NET, "--weights", WEIGHTS, "--as", "net", "--shard-rows", "16", "--batch-size", "16", *_HERE)
RUN = "net-ce-frozen"
TUNED = "net-ce-fine-tuned"

STEPS: dict[str, tuple[str, ...]] = {
    "fit-classifier": (
        *("fit-classifier", "--data", "photos/fit", *_NET, "--out", WEIGHTS, "--epochs", "6", "--batch-size", "16"),
        *("--lr", "0.01", "--checkpoint-every", "0", *_HERE),
    ),
    "extract train": (*_EXTRACT, "--data", "photos/train", "--role", "train"),
    "extract": (*_EXTRACT, "--data", "photos/test"),
    "train": ("train", "--frozen", "--loss", "ce,tcp", "--sweep", "--seed", "0", "--val-fraction", "0.4", *_HERE),
    "fine-tune": (
        *("train", "--loss", "ce", "--seed", "0", "--epochs", "1", "--batch-size", "16", "--lr", "0.01"),
        *("--val-fraction", "0.4", "--checkpoint-every", "0", *_HERE),
    ),
    "evaluate": ("evaluate", *_HERE),
    "calibrate": ("calibrate", RUN, "--data", "photos-test", "--coverage", "0.7", *_HERE),
    "calibrate a score": ("calibrate", "energy", "--data", "photos-test", "--coverage", "0.7", *_HERE),
    "report": ("report",),
}
"""The commands that make the workspace, by what they do, in order."""
UNFINISHED = tuple("1" if before == "--seed" else word for before, word in pairwise(("", *STEPS["fine-tune"])))
"""A fine-tuning that is left unfinished."""
READERS: dict[str, tuple[str, ...]] = {
    "predict": ("predict", RUN, "photos/test", "--device", "cpu", "--workers", "1"),
    "predict tuned": ("predict", TUNED, "photos/test", "--device", "cpu", "--workers", "1"),
    "export": ("export", RUN, "--format", "torch"),
    "predict a score": ("predict", "energy", "photos/test", "--device", "cpu", "--workers", "1"),
    "verify": ("verify",),
    "list": ("cache", "list"),
    "show": ("cache", "show", "net/photos-test"),
    "data check": ("data", "check", "photos/test"),
}
"""Commands that only read, by name."""
COMMANDS = STEPS | READERS


class Laboratory:
    """The folder as it is before each step, and when all are done.

    Built by the commands themselves, once for all processes of a test run.
    """

    def __init__(self, folder: Path, forks: Forks) -> None:
        self.folder, self.forks = folder, forks
        self.whole = folder / "whole"

    def build(self) -> None:
        self.whole.mkdir(parents=True)
        pictures(self.whole / "photos")
        for name, words in STEPS.items():
            if name == "evaluate":  # training has scored its runs already
                for folder in (*self.whole.glob(f"{WORKSPACE}/runs/*/scores"), self.whole / WORKSPACE / "scores"):
                    shutil.rmtree(folder)
            self._keep(name)
            sound(self.forks.command(self.whole, *words))
        # A fine-tuning that was killed leaves its checkpoint.
        killed = Fault(str(self.whole / WORKSPACE), "rename", 4, KILLED)
        assert self.forks.command(self.whole, *UNFINISHED, fault=killed).code == -signal.SIGKILL

    def _keep(self, step: str) -> None:
        shutil.copytree(self.whole, self.folder / "before" / step, ignore=shutil.ignore_patterns("photos", "*.lock"))

    def bench(self, folder: Path, before: str = "") -> Path:
        """Make a folder that is as it was before a step, or with everything there; its images are shared."""
        if folder.exists():
            shutil.rmtree(folder)
        left_out = shutil.ignore_patterns("photos", "*.lock", "*.partial-*")
        shutil.copytree(self.folder / "before" / before if before else self.whole, folder, ignore=left_out)
        (folder / "photos").symlink_to(self.whole / "photos")
        return folder


def sound(outcome: Outcome) -> Outcome:
    """Return an outcome that must be a success."""
    assert outcome.code == 0, outcome.text
    return outcome


def pictures(folder: Path) -> None:
    """Draw three classes that a small network learns to tell apart, but not without mistakes."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:8, :8]
    shapes = (columns % 2, (rows // 2 + columns // 2) % 2, (np.hypot(rows - 3.5, columns - 3.5) // 2) % 2)
    for part, count in (("fit", 24), ("train", 32), ("test", 18)):
        for label, (name, shape) in enumerate(zip(CLASSES, shapes, strict=True)):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                noise = random.normal(0, 260, (8, 8, 3))
                pixels = np.clip(70 + 110 * shape[..., None] + noise, 0, 255).astype(np.uint8)
                suffix = FORMATS[(number + label) % len(FORMATS)]
                Image.fromarray(pixels).save(folder / part / name / f"{number:02d}.{suffix}", quality=95)


def kinds(workspace: Path) -> dict[str, list[Path]]:
    """Return the files of a workspace by their kind: the folder they are in, and their name without what is counted."""
    found: dict[str, list[Path]] = {}
    for path in files(workspace):
        found.setdefault(kind_of(path.relative_to(workspace)), []).append(path)
    return found


def kind_of(path: Path) -> str:
    """Return the kind of a file of a workspace by its path there."""
    place, name = path.parts[0], path.name
    if place == "cache":
        return {"index.json": "index"}.get(name, "shard" if path.suffix == ".h5" else "shard record")
    if place == "runs" and "scores" in path.parts:
        return "scores of a run"
    if place == "runs" and name == "weights.safetensors":
        return f"weights, {'frozen' if 'frozen' in path.parts[1] else 'fine-tuned'}"
    if place == "runs":
        return {
            "config.json": "run config",
            "log.jsonl": "log",
            "threshold.json": "threshold",
            "tried.json": "thresholds tried",
            "README.md": "model card",
        }.get(name, name)
    if place == "scores":
        return "fitted score" if name.endswith(".fit.safetensors") else "post-hoc score"
    stores = {"bootstrap": "bootstrap store", "figures": "store of figures"}
    return (stores | {"sweeps": "sweep", "report": "report"}).get(place, name)


def files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that carry content: no locks, and no temporary files."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.endswith(".lock") and ".partial-" not in path.name:
            yield path


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files of a workspace and of the classifier beside it, by their path in `folder`."""
    places = [*files(folder / WORKSPACE), *folder.glob(f"{WEIGHTS}*")]
    return {str(path.relative_to(folder)): _content(path) for path in places if ".partial-" not in path.name}


def _content(path: Path) -> bytes:
    """Return the bytes of a file, or only that it is whole for what is never written twice alike: graphs and PDF."""
    if path.suffix == ".pdf" and (data := path.read_bytes()).startswith(b"%PDF") and data.endswith(b"%%EOF"):
        return b"a PDF"
    with contextlib.suppress(TrustcacheError, OSError, zipfile.BadZipFile):
        if path.suffix == ".pt2" and zipfile.ZipFile(path).testzip() is None:
            return b"a graph"
        if path.name.endswith(".pt2.json") and read_record(path, Description, ""):
            return b"the description of a graph"
    return path.read_bytes()


def unfinished_files(folder: Path) -> list[Path]:
    """Return the temporary files that are left in a folder."""
    return [path for path in folder.rglob("*.partial-*") if "photos" not in path.parts]
