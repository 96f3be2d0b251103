"""How long does a report of many runs take? Run: python benchmarks/report.py (about a minute)

Makes a workspace of 50 runs on 30 data sets of 10,000 samples in 10 classes, the bulk of them corruptions, and prints
the processor seconds of `trustcache report` there: the first time at most 60, and at most 10 once its figures are kept.
With --open also the wall time in which Chromium opens the page, at most 2 s; nothing else may run then. It takes
Playwright and a Chromium of the machine's own.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not

from trustcache.cache import open_cache
from trustcache.cache.index import Index, create_or_continue, judged_fingerprint
from trustcache.cache.meaning import DataMeaning, MadeFrom, Meaning
from trustcache.cache.workspace import Workspace
from trustcache.data.manifest import Files, Manifest
from trustcache.losses import LOSSES, LossChoice
from trustcache.models.identity import Identity
from trustcache.models.preprocessing import Preprocessing
from trustcache.oracles.runs import RunConfig, open_run
from trustcache.protocols import HEAD_OPTIMISER, validation_entry

ROOT = Path(__file__).resolve().parents[1]
CLASSES, CLEAN = 10, 6
LIMITS = {"first": 60.0, "kept": 10.0}
OPENINGS, OPEN_LIMIT = 5, 2.0
TIMES = """() => {
    const [navigation] = performance.getEntriesByType('navigation');
    const painted = performance.getEntriesByName('first-contentful-paint')[0].startTime;
    const { bottom } = document.querySelector('#answer .tiles').getBoundingClientRect();
    if (bottom > innerHeight) throw new Error('the answer is not on the first screen');
    return { 'answer painted': painted / 1000, loaded: navigation.loadEventEnd / 1000 };
}"""
MODEL = Identity("net", "net", {}, "sha", Preprocessing((8, 8), 1.0, "center", "bilinear", (0.5,) * 3, (0.5,) * 3))


def make_cache(workspace: Workspace, name: str, role: str, samples: int, rng: np.random.Generator) -> Index:
    """Write a cache of a classifier that is right on about four of five samples."""
    changed = name.partition("/")[2]
    files = (Files("folders", {"path": name}),)
    manifest = Manifest(name, role, files, variant_of="clean-0" if changed else "", shows=changed)
    data = DataMeaning(name, name, samples)
    meaning = Meaning("net", MODEL, data, "float32", "float16", 65536, "none", None, None)
    folder = workspace.cache_folder("net", name)
    made_from = MadeFrom(manifest, (), "/data", None, None, {})
    index = create_or_continue(Index(folder, meaning, made_from, {"numpy": "2"}), lambda start, stop: "")
    labels = rng.integers(0, CLASSES, samples)
    logits = rng.standard_normal((samples, CLASSES)) + 2.8 * np.eye(CLASSES)[labels]
    predictions = logits.argmax(1)
    exp = np.exp(logits - logits.max(1, keepdims=True))
    columns = {
        "sample_indices": np.arange(samples),
        "sample_ids": np.array([f"{i}.jpg".encode() for i in range(samples)]),
        "content": rng.integers(0, 1 << 63, samples, dtype=np.uint64),
        "labels": labels,
        "predictions": predictions,
        "correct": predictions == labels,
        "true_class_prob": (exp[np.arange(samples), labels] / exp.sum(1)).astype(np.float32),
        "logits": logits.astype(np.float16),
    }
    index.add(0, columns, {}, "")
    return index


def make_runs(workspace: Workspace, training: Index, tests: list[Index], runs: int, rng: np.random.Generator) -> None:
    """Write finished runs, seeds of some losses and learning rates, with scores of every evaluation cache."""
    import torch

    right = {index.data: open_cache(index.folder).correct for index in tests}
    judged, learnt = judged_fingerprint(training), training.fingerprint()
    losses = list(LOSSES.built_in)
    for number in range(runs):
        seed, loss, step = number % 3, losses[number // 3 % len(losses)], number // (3 * len(losses))
        config = RunConfig(
            "net", training.data, learnt, judged, "net", MODEL, learnt, "frozen",
            LossChoice(loss, dict(LOSSES[loss].defaults)), LOSSES[loss].signed_distance, seed,
            replace(HEAD_OPTIMISER, epochs=20 + step), 0.1,
        )  # fmt: skip
        run = open_run(workspace, config)
        run.begin()
        correct = right[tests[0].data][:500]
        entry = validation_entry(rng.standard_normal(500) + 1.5 * correct, correct, "equations", None)
        run.finish({"weight": torch.zeros(64)}, [{"epoch": 1, "loss": 0.5, "validation": entry}])
        for index in tests:
            z = rng.standard_normal(index.rows) + 1.5 * right[index.data]
            run.save_scores(index, z, np.ones(len(z), bool))


def make_workspace(root: Path, runs: int, sets: int, samples: int) -> None:
    """Write training data, clean data and corruptions, and the runs."""
    workspace, rng = Workspace(root), np.random.default_rng(0)
    training = make_cache(workspace, "train", "train", samples, rng)
    names = [f"clean-{i}" for i in range(min(CLEAN, sets))]
    names += [f"clean-0-c/fog{i // 5}/{i % 5 + 1}" for i in range(sets - len(names))]
    tests = [make_cache(workspace, name, "test", samples, rng) for name in names]
    make_runs(workspace, training, tests, runs, rng)


def processor_seconds(words: list[str]) -> float:
    """Run a command in a process of its own; return the seconds of all its threads."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(words, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def opening_seconds(page: Path) -> dict[str, float]:
    """Return the median wall seconds from navigation to the answer on the screen, and to the load event."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    found: dict[str, list[float]] = {}
    with sync_playwright() as running:
        for _ in range(OPENINGS):  # a browser each, as nothing is cached in a new one
            browser = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            tab.goto(page.resolve().as_uri(), wait_until="load")
            for name, seconds in tab.evaluate(TIMES).items():
                found.setdefault(name, []).append(seconds)
            browser.close()
    return {name: statistics.median(times) for name, times in found.items()}


def main() -> None:
    """Print both times and the page's size, and fail where one is above its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--sets", type=int, default=30)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="make the workspace here, and leave it")
    parser.add_argument("--open", action="store_true", help="measure too how long the page takes to open")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = given.keep or Path(folder) / "workspace"
        if not root.exists():
            make_workspace(root, given.runs, given.sets, given.samples)
        words = [sys.executable, "-c", "from cli import app; app()"]
        report = [*words, "report", "--workspace", str(root)]
        slow = []
        for name, limit in LIMITS.items():
            seconds = processor_seconds(report)
            print(f"{name}: {seconds:.1f} s of processor time, at most {limit:g}")
            slow += [name] if seconds > limit else []
        print(f"index.html: {(root / 'report' / 'index.html').stat().st_size / 1e6:.2f} MB")
        for name, seconds in (opening_seconds(root / "report" / "index.html") if given.open else {}).items():
            print(f"{name}: {seconds:.2f} s after navigation, at most {OPEN_LIMIT:g} (median of {OPENINGS})")
            slow += [name] if seconds > OPEN_LIMIT else []
    if slow:
        sys.exit(f"too slow: {', '.join(slow)}")


if __name__ == "__main__":
    main()
