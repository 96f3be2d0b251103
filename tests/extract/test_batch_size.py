"""The batch size: found by doubling, halved where memory runs out, and kept with the cache."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import Result

from trustcache.cache.index import read_index
from trustcache.extract.batch_size import USUAL, found_batch_size

Cli = Callable[..., Result]
CACHE = Path("trustcache-workspace/cache")
GPU = torch.device("cuda:1")
APPLES = RuntimeError("MPS backend out of memory (MPS allocated: 9 GiB)")


@pytest.fixture
def waited_for() -> list[torch.device]:
    """The devices that were waited for."""
    return []


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, waited_for: list[torch.device]) -> list[float]:
    """The time in seconds that a device has worked, in place of the machine's."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(torch.accelerator, "synchronize", waited_for.append)
    return now


@pytest.mark.parametrize("full", [torch.OutOfMemoryError("CUDA out of memory"), APPLES])
@pytest.mark.parametrize(
    ("most", "gains_until", "images", "expected"),
    [
        (10_000, 10_000, 1_000_000, 1024),  # the largest that is tried
        (300, 10_000, 1_000_000, 256),  # memory
        (10_000, 128, 1_000_000, 128),  # no gain
        (10_000, 10_000, 10_000, 128),  # too few images for more trials
        (10, 10_000, 1_000_000, USUAL),  # each pass is halved then
    ],
)
def test_a_size_is_doubled_until_memory_or_no_gain(
    clock: list[float],
    waited_for: list[torch.device],
    full: Exception,
    most: int,
    gains_until: int,
    images: int,
    expected: int,
) -> None:
    def forward(size: int) -> None:
        if size > most:
            raise full
        clock[0] += 1.0 * max(size / gains_until, 1)

    assert found_batch_size(forward, images, GPU) == expected
    assert {*waited_for} <= {GPU}


def test_on_the_cpu_nothing_is_tried() -> None:
    assert found_batch_size(lambda size: pytest.fail("tried"), 10**6, torch.device("cpu")) == USUAL


def shards(place: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (Path(place) / "cache/m/digits-test").glob("0*")}


@pytest.mark.parametrize("error", ["torch.OutOfMemoryError('CUDA out of memory')", repr(APPLES)])
def test_memory_that_runs_out_halves_the_passes_and_changes_no_byte(
    run_cli: Cli, own_model: Callable[..., str], error: str
) -> None:
    model = own_model(f"x if len(x) <= 20 else (_ for _ in ()).throw({error})")
    args = ("extract", "--classifier", model, "--data", "digits-test", "--as", "m", "--shard-rows", 150)
    assert "parts" not in run_cli(*args, "--workspace", "small", "--batch-size", 10).stdout
    done = run_cli(*args, "--workspace", "halved")
    assert done.exit_code == 0, done.stderr
    assert "parts of 16" in done.stdout
    assert shards("halved") == shards("small")


def test_the_size_is_kept_for_the_shards_that_are_made_again(
    run_cli: Cli, extract_digits: Cli, classifier_file: Path
) -> None:
    folder = CACHE / "digits-net" / "digits-test"
    assert "batches of 70" in extract_digits("--batch-size", 70).stdout
    (folder / "00001.h5").write_bytes(b"damaged")
    model = ("--classifier", "cifar-resnet8", "--weights", classifier_file, "--preprocess", "input_size=8")
    again = run_cli("extract", *model, "--as", "digits-net", "--data", "digits-test", "--shard-rows", 200)
    assert again.exit_code == 0, again.stderr
    assert "batches of 70" in again.stdout
    assert read_index(folder).made_from.batch_size == 70
