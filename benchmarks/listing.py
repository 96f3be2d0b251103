"""Time before the first forward pass of `extract`, against the number of image files.

    python benchmarks/listing.py [--files 10000,100000] [--classes 100] [--json FILE] [--folder FOLDER]

Makes a tree of hard links to small images in class folders, and extracts it in a process of its own that ends where
the first batch would go forward: into a new cache, and into the one that this call began; then twice with
`--assume-unchanged`, of which the first call keeps what it sees; then twice from a tar file of the same images, whose
list of members the first call keeps. Prints processor and wall seconds after the imports, and the exponents between
the sizes.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this checkout, installed or not
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

LINKS = 50_000  # of one file; file systems have a limit
CALLS = ("first", "again", "assumed", "assumed again", "tar", "tar again")


def make_tree(folder: Path, files: int, classes: int) -> None:
    """Write so many files, links to a few."""
    from PIL import Image

    for label in range(classes):
        (folder / "images" / f"{label:04d}").mkdir(parents=True)
    for number in range(files):
        if number % LINKS == 0:
            original = folder / f"original-{number // LINKS}.png"
            Image.new("RGB", (8, 8), (number // LINKS, 0, 0)).save(original)
        os.link(original, folder / "images" / f"{number % classes:04d}" / f"{number:08d}.png")


def make_tar(folder: Path, files: int, classes: int) -> None:
    """Write the same images into one tar file."""
    import tarfile

    with tarfile.open(folder / "images.tar", "w") as tar:
        for number in range(files):
            name = f"{number % classes:04d}/{number:08d}.png"
            data = (folder / "images" / name).read_bytes()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def before_forward(folder: Path, call: str) -> None:
    """Extract as the command does, and print the seconds until the first forward pass, which ends the process."""
    from trustcache.cache.workspace import Workspace
    from trustcache.data.dataset import open_dataset
    from trustcache.data.known_data import find_manifests
    from trustcache.data.progress import console
    from trustcache.extract.on_disk import extract
    from trustcache.extract.rows import Forward
    from trustcache.extract.settings import ExtractSettings
    from trustcache.models.building import ModelSpec
    from trustcache.models.classifiers import load_classifier
    from trustcache.registry.permission import allow_code

    def stop(*arguments: object) -> None:
        found = {"cpu_s": time.process_time() - began[0], "wall_s": time.perf_counter() - began[1]}
        print(json.dumps(found), flush=True)
        os._exit(0)

    Forward.__call__ = stop  # type: ignore[method-assign, assignment]
    allow_code("listing:net")
    spec = ModelSpec("listing:net", None, {"classes": len(os.listdir(folder / "images"))}, {"input_size": (8, 8)})
    classifier = load_classifier(spec)
    began = time.process_time(), time.perf_counter()
    settings = ExtractSettings(batch_size=8, workers=0, device="cpu", assume_unchanged=call.startswith("assumed"))
    place = "images.tar" if call.startswith("tar") else "images"
    (manifest,) = find_manifests(str(folder / place))
    dataset = open_dataset(manifest, folder, console)
    cache = Workspace(folder / "workspace").cache_folder("net", place.replace(".", "-"))
    extract(classifier, "net", dataset, folder, cache, settings, console)


def net(classes: int) -> Any:
    """Return a classifier that costs nothing."""
    import torch
    from torch import nn

    torch.manual_seed(0)  # the same in both calls
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, classes))


def main() -> None:
    """Measure each number of files, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", default="10000,100000")
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="for the tree; a temporary one")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--extract", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--call", choices=CALLS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.extract:
        before_forward(asked.extract, asked.call)
        return
    table: dict[int, dict[str, dict[str, float]]] = {}
    print(f"{'files':>12}  {'call':<15}{'cpu s':>10}{'wall s':>10}")
    for files in map(int, asked.files.split(",")):
        folder = Path(tempfile.mkdtemp(dir=asked.folder))
        environment = os.environ | {"XDG_CACHE_HOME": str(folder / "kept")}
        try:
            make_tree(folder, files, asked.classes)
            make_tar(folder, files, asked.classes)
            table[files] = {}
            for call in CALLS:
                words = [sys.executable, __file__, "--extract", str(folder), "--call", call]
                found = json.loads(subprocess.check_output(words, env=environment).splitlines()[-1])
                table[files][call] = found
                print(f"{files:>12,}  {call:<15}{found['cpu_s']:>10.2f}{found['wall_s']:>10.2f}", flush=True)
        finally:
            shutil.rmtree(folder)
    slopes: list[dict[str, Any]] = [
        {"from": few, "to": many, "call": call,
         "cpu_exponent": math.log(more[call]["cpu_s"] / less[call]["cpu_s"]) / math.log(many / few)}
        for (few, less), (many, more) in pairwise(sorted(table.items())) for call in CALLS
    ]  # fmt: skip
    for row in slopes:
        print("{call} call from {from:,} to {to:,} files: exponent {cpu_exponent:.2f} of processor time".format(**row))
    if asked.json:
        asked.json.write_text(json.dumps({"classes": asked.classes, "files": table, "slopes": slopes}, indent=1) + "\n")


if __name__ == "__main__":
    main()
