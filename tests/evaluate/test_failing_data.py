"""What evaluate promises where a data set cannot be scored: the others are, and it says which, why and what to do."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from tests.conftest import LABEL
from tests.refusals import tells
from tests.sealed import edit_record
from trustcache.cache import open_cache
from trustcache.cache.index import Index, read_index
from trustcache.cache.workspace import Workspace
from trustcache.data.variants.attacks import ATTACKS
from trustcache.oracles.runs import finished_runs
from trustcache.scores.stored import ScoreStore, StoredScore

Cli = Callable[..., Result]
SCORE = ("evaluate", "--workers", 0, "--device", "cpu")
FEW = ("--subset", 60, "--batch-size", 30, "--shard-rows", 40)


@dataclass(frozen=True)
class Bench:
    """A workspace with runs, a data set that is about to fail and comes first, and the machine around them."""

    workspace: Workspace
    failing: Index
    weights: Path
    photos: Path
    monkeypatch: pytest.MonkeyPatch


@pytest.fixture
def bench(
    with_runs: Workspace,
    extract_digits: Cli,
    image_folder: Callable[..., Path],
    classifier_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Bench:
    """With the option `request.param` of data sets: "attacked", "kept" (attacked, and images kept) or "an-album"."""
    photos = image_folder({f"{digit}": 6 for digit in range(10)}, name="an-album")
    weights = Path(shutil.copy(classifier_file, tmp_path / "net.safetensors"))
    for path in (*with_runs.runs.glob("*/scores/*"), *(with_runs.root / "scores").rglob("*.safetensors")):
        if not path.name.endswith(".fit.safetensors"):  # what was learnt stays: it takes most of the time
            path.unlink()
    data = {"attacked": ["digits-pgd"], "kept": ["digits-pgd", "--keep-images"], "an-album": [photos]}[request.param]
    shutil.rmtree(with_runs.cache_folder(LABEL, "digits-test"))
    done = extract_digits("--data", *data, *FEW, weights=weights)
    assert done.exit_code == 0, done.stderr
    name = {"an-album": "an-album"}.get(request.param, "digits-pgd")
    return Bench(with_runs, with_runs.find_cache("test", data=name), weights, photos, monkeypatch)


def other_logits(bench: Bench) -> None:
    """As if another device or torch had made the images: the cache holds the logits of others."""
    columns = {}
    for name in (
        *("logits", "features", "labels", "content", "predictions", "correct", "true_class_prob", "sample_indices"),
        "sample_ids",
    ):
        part = open_cache(bench.failing.folder)[:40]
        values = getattr(part, name)
        columns[name] = np.array(values, dtype=bytes) if name == "sample_ids" else values
    columns["logits"] = columns["logits"][::-1].copy()
    record = bench.failing.record(0)
    assert record
    bench.failing.add(0, columns, {}, record.images)


def other_attack(bench: Bench) -> None:
    known = ATTACKS["pgd-linf"]
    changed = {**known.settings, "bound": replace(known.settings["bound"], default=0.5)}
    bench.monkeypatch.setitem(ATTACKS, "pgd-linf", replace(known, settings=MappingProxyType(changed)))


def other_pixels(bench: Bench) -> None:
    path = sorted(bench.photos.rglob("*.png"))[0]
    Image.new("RGB", (8, 8), (9, 9, 9)).save(path)


def unreadable_image(bench: Bench) -> None:
    path = sorted(bench.photos.rglob("*.png"))[0]
    path.write_bytes(path.read_bytes()[:20].ljust(path.stat().st_size, b"?"))


def damaged(name: str) -> Callable[[Bench], None]:
    def damage(bench: Bench) -> None:
        path = bench.failing.folder / name
        data = bytearray(path.read_bytes())
        data[-len(data) // 3] ^= 1
        path.write_bytes(data)

    return damage


def no_shard(bench: Bench) -> None:
    (bench.failing.folder / "00001.h5").unlink()


def no_kept_images(bench: Bench) -> None:
    next(iter(bench.failing.kept_images)).unlink()


def folder_for_a_file(bench: Bench) -> None:
    for path in bench.failing.kept_images:
        path.unlink()
        path.mkdir()


def no_disk(bench: Bench) -> None:
    """Fail as a disk does that cannot be written to, where this data set's scores go."""
    for run in finished_runs(bench.workspace):
        run.scores_path(bench.failing).mkdir(parents=True)


REASONS: dict[str, tuple[str, Callable[[Bench], object], str]] = {
    "images that come out otherwise": ("attacked", other_logits, "adversarial images"),
    "an attack that has changed": ("attacked", other_attack, "digits-pgd"),
    "a classifier that is gone": ("attacked", lambda bench: bench.weights.unlink(), "net.safetensors"),
    "images that are gone": ("an-album", lambda bench: shutil.rmtree(bench.photos), "an-album"),
    "an image that has changed": ("an-album", other_pixels, "an-album"),
    "an image that cannot be read": ("an-album", unreadable_image, "an-album"),
    "an image that is gone": ("an-album", lambda bench: next(bench.photos.rglob("*.png")).unlink(), "an-album"),
    "a damaged shard": ("an-album", damaged("00000.h5"), "00000.h5"),
    "a missing shard": ("an-album", no_shard, "00001.h5"),
    "a damaged record": ("an-album", damaged("00001.json"), "00001.json"),
    "a damaged index": ("an-album", damaged("index.json"), "index.json"),
    "an index of tomorrow": (
        "an-album",
        lambda bench: edit_record(bench.failing.folder / "index.json", {"schema": 99}),
        "index.json",
    ),
    "a kept image that is damaged": ("kept", damaged("images-00000000.safetensors"), "images-00000000.safetensors"),
    "a kept image that is gone": ("kept", no_kept_images, "images-00000000.safetensors"),
    "a folder where a kept image was": ("kept", folder_for_a_file, "images-00000000.safetensors"),
    "a place that cannot be written to": ("an-album", no_disk, "an-album"),
}


@pytest.mark.parametrize(
    ("bench", "spoil", "fact"), REASONS.values(), ids=[name.replace(" ", "-") for name in REASONS], indirect=["bench"]
)
def test_the_others_are_scored_and_the_reason_is_told(
    bench: Bench, run_cli: Cli, spoil: Callable[[Bench], object], fact: str
) -> None:
    spoil(bench)
    failed = run_cli(*SCORE)
    assert failed.exit_code == 1, failed.stderr
    errors = [line for line in failed.stderr.splitlines() if line.startswith("error: ")]
    assert any(tells(line, fact) for line in errors), failed.stderr
    assert tells(failed.stderr, "trustcache evaluate")
    other = read_index(bench.workspace.cache_folder(LABEL, "digits-test"))
    for run in finished_runs(bench.workspace):
        assert run.scores(other) is not None, run.name
    workspace = replace(bench.workspace, passed_over=lambda error: None)
    assert ScoreStore(workspace).read(other, "mcp") is not None


@pytest.mark.parametrize("bench", ["an-album"], indirect=True)
def test_damaged_training_data_stop_no_score_that_does_not_learn(bench: Bench, run_cli: Cli) -> None:
    shutil.rmtree(bench.workspace.root / "scores")
    training = bench.workspace.find_cache("train")
    damaged("00000.h5")(replace(bench, failing=training))
    failed = run_cli(*SCORE)
    assert failed.exit_code == 1
    assert tells(failed.stderr, "digits-train/00000.h5")
    for run in finished_runs(bench.workspace):
        assert run.scores(bench.failing) is not None
    store = ScoreStore(bench.workspace)
    assert store.read(bench.failing, "mcp") is not None
    assert store.read(bench.failing, "knn") is None


@pytest.mark.parametrize("bench", ["an-album"], indirect=True)
def test_a_damaged_run_stops_no_other_run(bench: Bench, run_cli: Cli) -> None:
    tuned, frozen = sorted(finished_runs(bench.workspace), key=lambda run: run.config.training)
    data = (frozen.folder / "weights.safetensors").read_bytes()
    (frozen.folder / "weights.safetensors").write_bytes(data[:-1] + b"?")
    failed = run_cli(*SCORE)
    assert failed.exit_code == 1
    assert tells(failed.stderr, frozen.name)
    assert tuned.scores(bench.failing) is not None


@pytest.mark.parametrize("bench", ["an-album"], indirect=True)
def test_a_disk_that_fails_when_scores_are_counted_is_told_of(bench: Bench, run_cli: Cli) -> None:
    read, failures = ScoreStore.read, [OSError(errno.EIO, "Input/output error", "an-album/mcp.safetensors")]

    def fails_once(store: ScoreStore, index: Index, name: str) -> StoredScore | None:
        stored = read(store, index, name)
        if stored is not None and name == "mcp" and failures:
            raise failures.pop()
        return stored

    bench.monkeypatch.setattr(ScoreStore, "read", fails_once)
    failed = run_cli(*SCORE)
    assert failed.exit_code == 1
    assert tells(failed.stderr, "an-album/mcp.safetensors")
