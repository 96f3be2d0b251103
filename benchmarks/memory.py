"""Time and peak memory of the commands that read whole caches, against the number of rows.

    python benchmarks/memory.py [--rows 10000,100000] [--features 768] [--classes 1000] [--memory 1GiB]

Writes random caches of a classifier, one to learn from and one to evaluate on, and runs on them `evaluate`, which
fits and makes the post-hoc scores, `train --frozen --loss all --seed 0,1,2 --epochs 1`, `report` and `calibrate`,
each in a process of its own. Prints the processor seconds, wall seconds and largest resident memory of each, what a
further row takes, and the exponents of time and memory between the sizes. `--memory` is handed on to `train`.
`--post-hoc usual` leaves out the scores that search neighbours, which take rows x 50,000 products, hours for a
million rows on a few cores, and hold their 50,000 references whatever the number of rows; `none` leaves out all but
mcp. Disk: 2 x rows x (features + classes) x 2 bytes, 7 GB for a million rows.
"""

from __future__ import annotations

import argparse
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

COMMANDS = {
    "evaluate": ("evaluate",),
    "train": ("train", "--frozen", "--loss", "all", "--seed", "0,1,2", "--epochs", "1"),
    "report": ("report", "--no-images"),
    "calibrate": ("calibrate", "mcp", "--data", "test", "--coverage", "0.8"),
}
TAKING_MEMORY = ("train",)
NEIGHBOURS = ("knn", "nnguide", "delta-knn", "delta-knn+margin", "trust-score")
SHARD_ROWS, NOISE_ROWS = 2048, 8192


def make_workspace(folder: Path, rows: int, features: int, classes: int) -> None:
    """Write a training and an evaluation cache of random outputs, right on about three of four samples."""
    import numpy as np

    from trustcache.cache.index import Index, create_or_continue
    from trustcache.cache.meaning import DataMeaning, MadeFrom, Meaning
    from trustcache.cache.outcome import outcome
    from trustcache.cache.workspace import Workspace
    from trustcache.data.manifest import Files, Manifest
    from trustcache.models.identity import Identity
    from trustcache.models.preprocessing import Preprocessing

    rng, workspace = np.random.default_rng(0), Workspace(folder)
    model = Identity("net", "net", {}, "sha", Preprocessing((8, 8), 1.0, "center", "bilinear", (0.5,) * 3, (0.5,) * 3))
    noise = rng.standard_normal((NOISE_ROWS, features + classes), np.float32).astype(np.float16)
    towards = rng.standard_normal((classes, features), np.float32).astype(np.float16)
    for role in ("train", "test"):
        meaning = Meaning(
            "net", model, DataMeaning(role, role, rows), "float32", "float16", SHARD_ROWS, "last", None, None
        )
        manifest = Manifest(role, role, (Files("folders", {"path": role}),))
        found = Index(workspace.cache_folder("net", role), meaning, MadeFrom(manifest, (), "/data", None, None, {}), {})
        index = create_or_continue(found, lambda start, stop: "")
        for number, (start, stop) in enumerate(index.ranges()):
            count = stop - start
            drawn = noise[rng.integers(0, NOISE_ROWS, count)]
            labels = rng.integers(0, classes, count)
            logits = np.roll(drawn[:, features:], number, axis=1)
            logits[np.arange(count), labels] += rng.normal(5, 2, count).astype(np.float16)
            columns = {
                "sample_indices": np.arange(start, stop),
                "sample_ids": np.array([f"{label:04d}/{i:08d}.jpg".encode() for i, label in enumerate(labels, start)]),
                "content": rng.integers(0, 1 << 63, count, dtype=np.uint64),
                "labels": labels,
                "features": drawn[:, :features] + towards[labels],
                "logits": logits,
                **outcome(logits.astype(np.float32), labels),
            }
            index.add(number, columns, {}, "")


def run_without(post_hoc: str, words: list[str]) -> None:
    """Run a command as if the scores that `post_hoc` leaves out did not exist."""
    from cli import app
    from trustcache.scores.registry import POST_HOC

    left_out = {"all": (), "usual": NEIGHBOURS, "none": set(POST_HOC.built_in) - {"mcp"}}[post_hoc]
    for name in left_out:
        del POST_HOC._built_in[name]
    sys.argv = ["trustcache", *words]
    app()


def measured(words: list[str]) -> dict[str, float]:
    """Run a command in a process of its own; return its processor and wall seconds and its largest memory in MiB."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    began = time.perf_counter()
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr
    told = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(words)}:\n{told}")
    seconds = usage.ru_utime + usage.ru_stime
    return {"cpu_s": seconds, "wall_s": time.perf_counter() - began, "mib": usage.ru_maxrss / 1024}


def measure(rows: int, asked: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return what each command takes for so many rows."""
    folder = Path(tempfile.mkdtemp(dir=asked.folder))
    try:
        made = ["--make", str(folder), "--rows", str(rows), "--features", str(asked.features)]
        made += ["--classes", str(asked.classes)]
        subprocess.run(
            [sys.executable, __file__, *made], check=True
        )  # this process stays small, as what it starts inherits
        found = {}
        for name, words in COMMANDS.items():
            more = ["--memory", asked.memory] if asked.memory and name in TAKING_MEMORY else []
            line = json.dumps([*words, "--workspace", str(folder), *more])
            found[name] = measured([sys.executable, __file__, "--post-hoc", asked.post_hoc, "--run", line])
            print(
                f"{rows:>12,}  {name:<10}" + "{cpu_s:>10.1f}{wall_s:>10.1f}{mib:>10.0f}".format(**found[name]),
                flush=True,
            )
        return found
    finally:
        shutil.rmtree(folder)


def exponents(table: dict[int, dict[str, dict[str, float]]]) -> list[dict[str, Any]]:
    """Return, between sizes, each command's bytes a row and its exponents of processor time and memory."""
    found: list[dict[str, Any]] = []
    for (few, less), (many, more) in pairwise(sorted(table.items())):
        for name in less:
            times = math.log(many / few)
            found.append({
                "command": name, "from": few, "to": many,
                "bytes_a_row": (more[name]["mib"] - less[name]["mib"]) * 2**20 / (many - few),
                "memory_exponent": math.log(more[name]["mib"] / less[name]["mib"]) / times,
                "cpu_exponent": math.log(more[name]["cpu_s"] / less[name]["cpu_s"]) / times,
            })  # fmt: skip
    return found


def main() -> None:
    """Measure each number of rows, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="10000,100000")
    parser.add_argument("--features", type=int, default=768)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--memory", help="of train, as 1GiB")
    parser.add_argument("--post-hoc", choices=("none", "usual", "all"), default="usual", help="scores to make")
    parser.add_argument("--folder", type=Path, help="for the caches; a temporary one")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--run", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.make:
        make_workspace(asked.make, int(asked.rows), asked.features, asked.classes)
        return
    if asked.run:
        run_without(asked.post_hoc, asked.run)
        return
    print(f"{'rows':>12}  {'command':<10}{'cpu s':>10}{'wall s':>10}{'MiB':>10}")
    table = {int(rows): measure(int(rows), asked) for rows in asked.rows.split(",")}
    slopes = exponents(table)
    for row in slopes:
        print(
            "{command:<10} from {from:,} to {to:,}: {bytes_a_row:,.0f} bytes a row, exponents {memory_exponent:.2f} of "
            "memory, {cpu_exponent:.2f} of processor time".format(**row)
        )
    if asked.json:
        about = {key: getattr(asked, key) for key in ("features", "classes", "memory", "post_hoc")}
        asked.json.write_text(json.dumps({**about, "rows": table, "slopes": slopes}, indent=1) + "\n")


if __name__ == "__main__":
    main()
