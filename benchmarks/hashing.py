"""Hashing images as they are decoded: the share of an extraction's processor time that it takes.

    python benchmarks/hashing.py [FOLDER_OR_TAR] [--images 300] [--classifier mobilenetv3_small_050] [--data-root DIR]

Without a folder, photograph-like JPEGs of 500 x 375 pixels are made. One process decodes them and one small model looks
at them, once with the hash and once without, in turns. Prints the processor time of both, their ratio, and the share of
the hashes by themselves, for decoding alone and for the whole extraction, medians of interleaved rounds; then the time
to compare a finished cache whose files are as they were, and one whose files were all touched.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from PIL import Image

from trustcache.cache.content import require_same_images
from trustcache.cache.index import read_index
from trustcache.data.content import content_of
from trustcache.data.dataset import Dataset, open_dataset
from trustcache.data.known_data import find_manifests
from trustcache.data.loader import Viewer, viewed_batches
from trustcache.extract.on_disk import extract
from trustcache.extract.settings import ExtractSettings
from trustcache.models.building import ModelSpec, new_model
from trustcache.models.classifiers import Classifier

BATCH = 64
ROUNDS = 5


def make_photographs(folder: Path, count: int) -> None:
    """Write JPEGs of about 100 kB, as ImageNet's are."""
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((500, 375), 3)
        noisy = np.clip(np.asarray(coarse) + rng.normal(0, 18, (375, 500, 1)), 0, 255).astype(np.uint8)
        place = folder / f"{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy).save(place / f"{number:05d}.jpg", quality=92)


def processor_time(work: Callable[[], object]) -> float:
    """Seconds of this process's processor time."""
    began = time.process_time()
    work()
    return time.process_time() - began


def ratio(what: str, alone: float, work: Callable[[], object]) -> None:
    """Print the processor time of work with and without hashing, in turns, and the share of `alone`."""
    pairs = []
    for _ in range(ROUNDS):
        hashed = processor_time(work)
        with mock.patch("trustcache.data.dataset.content_of", return_value=0):
            pairs.append((hashed, processor_time(work)))
    with_hash, without = (statistics.median(column) for column in zip(*pairs, strict=True))
    share = statistics.median(ours / theirs for ours, theirs in pairs)
    print(
        f"{what:12} {with_hash:6.2f} s with, {without:6.2f} s without hashing: ratio {share:.3f}, "
        f"hashes {alone / without:.2%}"
    )


def hash_alone(dataset: Dataset) -> float:
    """Return the processor time of the hashes by themselves, which the noise of a busy machine would drown."""
    raws = [dataset.samples.raw(number) for number in range(len(dataset))]
    times = [processor_time(lambda: [content_of(raw) for raw in raws]) for _ in range(ROUNDS)]
    return statistics.median(times)


def decode(dataset: Dataset, classifier: Classifier) -> None:
    """Decode every image, as an extraction does."""
    viewer = Viewer(classifier.preprocessing, torch.device("cpu"), 0)
    numbers = np.arange(len(dataset))
    batches = [numbers[i : i + BATCH] for i in range(0, len(numbers), BATCH)]
    assert sum(len(batch.indices) for batch in viewed_batches(dataset, viewer, batches)) == len(numbers)


def compare(dataset: Dataset, cache: Path) -> None:
    """Print how long it takes to see that a finished cache's images are the same."""
    index = read_index(cache)
    for what in ("as they were", "all touched"):
        if what == "all touched":
            for record in index.records():
                index.restamp(record, "")
        began = time.perf_counter()
        require_same_images(index, dataset, range(len(index.ranges())))
        print(f"comparing {len(dataset)} files, {what}: {(time.perf_counter() - began) * 1e3:.1f} ms")


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--classifier", default="mobilenetv3_small_050")
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if options.data is None:
            make_photographs(Path(folder, "photographs"), options.images)
            options.data = str(Path(folder, "photographs"))
        dataset = open_dataset(find_manifests(options.data)[0], options.data_root)
        spec = ModelSpec(options.classifier)
        classifier = Classifier(spec, new_model(spec, len(dataset.classes)))
        sizes = sum(len(dataset.samples.raw(i)) for i in range(len(dataset))) / len(dataset) / 1e3
        print(f"{len(dataset)} images of {sizes:.0f} kB, {options.classifier} on one thread, {ROUNDS} rounds")
        alone = hash_alone(dataset)
        ratio("decoding", alone, lambda: decode(dataset, classifier))
        settings, made = ExtractSettings(BATCH, 0, "cpu"), iter(range(1000))
        ratio(
            "extraction",
            alone,
            lambda: extract(classifier, "x", dataset, Path(), Path(folder, f"{next(made)}"), settings),
        )
        compare(dataset, Path(folder, "0"))


if __name__ == "__main__":
    main()
