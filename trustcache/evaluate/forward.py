"""Runs' scores of a cache: heads on cached features, and networks in forward passes over the images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from trustcache.cache import CacheView, open_cache
from trustcache.cache.content import unchanged
from trustcache.cache.index import Index
from trustcache.cache.joined import SECOND
from trustcache.cache.kept_images import read_images
from trustcache.cache.provenance import original_dataset, original_model
from trustcache.cache.records import fingerprint
from trustcache.data.loader import (
    Viewer,
    choose_device,
    computing,
    machine_at_its_limits,
    model_at_work,
    readable,
    shard_batches,
    viewed_batches,
)
from trustcache.data.progress import Progress
from trustcache.data.variants.variation import Batch
from trustcache.errors import DamagedError, TrustcacheError
from trustcache.models.classifiers import Classifier, load_classifier
from trustcache.oracles.backbones import attacked, caches_read, made_anew, read_together
from trustcache.oracles.finetune import in_batches, load_oracle, oracle_viewer, z_of
from trustcache.oracles.head_inputs import head_inputs
from trustcache.oracles.heads import score_cache, score_heads
from trustcache.oracles.optim import Machine
from trustcache.oracles.plan import frozen_head
from trustcache.oracles.runs import Run

# Networks held at once that look at the same decoded images.
NETWORKS_A_PASS = 8
# The same of attacked images, which take hundreds of forward passes each to make again: 11 GB of ViT-Bs at most.
NETWORKS_AN_ATTACK = 32
# Largest difference from the stored logits, as a share of a sample's largest: rounding to float16 takes 0.0005.
LOGITS_APART = 0.01
# Scoring has no --batch-size.
NO_ROOM = "free some of it, or use another --device"


def _alike(runs: Sequence[Run]) -> list[list[Run]]:
    """Group runs that read the same inputs."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        c = run.config
        seen = c.training, c.protocol, c.networks, c.head.inputs
        groups.setdefault(fingerprint(seen), []).append(run)
    return list(groups.values())


# A network that sees images for some runs, a fine-tuned oracle for its own or a model for heads on its features, as its
# viewer and a function from a batch of images (B, 3, H, W), as the viewer sees them, to z, float64 (B, runs).
_Network = tuple[Viewer, Callable[[torch.Tensor], np.ndarray]]


@dataclass(frozen=True)
class Forward:
    """Scores on one evaluation cache of the judged classifier; caches: all of the workspace."""

    index: Index
    caches: Sequence[Index]
    data_root: Path
    machine: Machine
    progress: Progress

    @cached_property
    def cache(self) -> CacheView:
        return open_cache(self.index.folder)

    def scores(self, runs: Sequence[Run], rows: np.ndarray | None = None) -> Iterator[tuple[Run, np.ndarray]]:
        """Yield each run, all of them scorable, with its z, float64 (N,), of the cache's rows, or of some."""
        of_attacked: list[list[Run]] = []
        for alike in _alike(runs):
            config = alike[0].config
            tuned = config.training == "fine-tuned"
            networks = [[run] for run in alike] if tuned else [alike]
            if not tuned and (found := caches_read(config, self.index, self.caches)):
                z = self._cached(alike, found)
                yield from zip(alike, (z if rows is None else z[rows]).T, strict=True)
            elif attacked(self.index) and not self.index.meaning.data.kept_images:
                of_attacked += networks
            else:
                yield from self._in_passes(networks, NETWORKS_A_PASS, rows)
        yield from self._in_passes(of_attacked, NETWORKS_AN_ATTACK, rows)

    def _cached(self, runs: Sequence[Run], found: Sequence[Index]) -> np.ndarray:
        """Return z (N, runs) from the outputs of the networks that the heads read."""
        heads = [frozen_head(run) for run in runs]
        return score_cache(heads, runs[0].config.head.inputs, read_together(self.cache, found))

    def _in_passes(
        self, sharing: Sequence[Sequence[Run]], at_once: int, rows: np.ndarray | None
    ) -> Iterator[tuple[Run, np.ndarray]]:
        """Yield each run with its z from the images, decoded once for `at_once` networks; a list shares a network."""
        for first in range(0, len(sharing), at_once):
            together = sharing[first : first + at_once]
            yield from zip(chain(*together), self._seen(together, rows).T, strict=True)

    def _seen(self, sharing: Sequence[Sequence[Run]], rows: np.ndarray | None) -> np.ndarray:
        """Return z (N, runs) from the images; unless these are attacked, all networks take them alike."""
        samples, parts = len(self.cache) if rows is None else len(rows), []
        with machine_at_its_limits(NO_ROOM), self.progress(f"scoring {self.index.data}", samples) as advance:
            networks = [self._network(runs) for runs in sharing]
            for batch in self._views(networks[0][0], rows):
                parts.append(np.hstack([z(viewer.resized(batch.pixels)) for viewer, z in networks]))
                advance(len(batch.indices))
        return np.concatenate(parts)

    def _network(self, runs: Sequence[Run]) -> _Network:
        """Return the network of a fine-tuned run, or of heads on features that are not cached."""
        config = runs[0].config
        if config.training == "fine-tuned":
            return self._tuned(runs[0])
        sources = made_anew(config, self.index, self.caches)
        heads, models = [frozen_head(run) for run in runs], [load_classifier(original_model(one)) for one in sources]
        viewer = Viewer(models[0].preprocessing, choose_device(self.machine.device), self.machine.workers)
        for model in models:
            model.model.to(viewer.device)

        def z(pixels: torch.Tensor) -> np.ndarray:
            outputs: dict[str, torch.Tensor] = {}
            for model, source, network in zip(models, sources, config.networks, strict=True):
                x = model.preprocessing.normalise(model.preprocessing.resized(pixels))
                with computing(network.label, pixels, source.meaning.precision), torch.inference_mode():
                    found = model.outputs(x, network.stages, network.views)
                prefix = SECOND if outputs else ""
                outputs |= {prefix + name: column for name, column in found.items()}
            return score_heads(heads, head_inputs(config.head.inputs, outputs).cpu().numpy())

        return viewer, z

    def _tuned(self, run: Run) -> _Network:
        oracle = load_oracle(run)
        viewer = oracle_viewer(oracle, run.config, self.index, self.machine)
        oracle.to(viewer.device).eval()

        def z(pixels: torch.Tensor) -> np.ndarray:
            with model_at_work(run.config.oracle, pixels):
                return z_of(oracle, pixels, viewer, run.config.precision)[:, None]

        return viewer, z

    def _views(self, viewer: Viewer, rows: np.ndarray | None) -> Iterator[Batch]:
        """Yield the images of the cache's rows as the viewer sees them; attacked ones as the classifier saw them."""
        if self.index.meaning.data.kept_images:
            return _kept(self.cache, rows, viewer.device)
        samples = self.cache.sample_indices if rows is None else self.cache.sample_indices[rows]
        dataset, batches = original_dataset(self.index, self.data_root), in_batches(samples)
        if attacked(self.index):
            judged = load_classifier(original_model(self.index))
            judged.model.to(viewer.device)
            compare = _SameImages(judged, self.cache)
            viewer = Viewer(judged.preprocessing, viewer.device, viewer.workers, judged, compare)
            batches = _batches_of_extraction(self.index, self.cache)
        return unchanged(readable(viewed_batches(dataset, viewer, batches)), self.cache)


def _kept(cache: CacheView, rows: np.ndarray | None, device: torch.device) -> Iterator[Batch]:
    """Yield the adversarial images that are kept of a cache, in batches, on a device; of some rows, if these are given.

    Raises DamagedError for a file that is not as it was written, and where the images of some rows are in none.
    """
    wanted, seen = cache.sample_indices if rows is None else cache.sample_indices[rows], 0
    for path, sha256 in cache.index.kept_images.items():
        images = read_images(path, sha256)
        some = np.flatnonzero(np.isin(images.indices, wanted))
        if len(some):
            pixels, indices = torch.from_numpy(images.pixels[some]).to(device).float(), images.indices[some]
            labels = cache.labels[np.searchsorted(cache.sample_indices, indices)]
            yield Batch(indices, labels, pixels, None, {}, images.content[some])
            seen += len(some)
    if seen != len(wanted):
        raise DamagedError(
            f"{cache.index.folder}: keeps adversarial images for {seen} of {len(wanted)} rows; remove that folder and "
            "extract again"
        )


def _batches_of_extraction(index: Index, cache: CacheView) -> list[np.ndarray]:
    """Return the batches of the extraction: the last digits of an attack depend on what is attacked together."""
    size = index.meaning.data.batch_size
    assert size is not None
    batches = shard_batches(index.ranges(), size)
    read = [batch[np.isin(batch, cache.sample_indices)] for batch in batches]
    return [batch for batch in read if len(batch)]


class _SameImages:
    """Compares the classifier's logits of adversarial images, made again for an oracle, with the stored ones.

    These images are not kept: they follow from the classifier, the settings and the seeds. Images that an attack moved
    elsewhere have other logits.
    """

    def __init__(self, judged: Classifier, cache: CacheView) -> None:
        self.judged, self.cache, self.done = judged, cache, 0

    def __call__(self, batch: Batch, transform: Callable[[], torch.Tensor]) -> torch.Tensor:
        pixels = transform()
        rows = self.cache[self.done : self.done + len(batch.indices)]
        self.done += len(batch.indices)
        # Logits in bf16 differ from those in float32.
        with computing(self.judged.spec.name, pixels, self.cache.index.meaning.precision):
            logits = self.judged(pixels)[0].cpu().numpy()
        stored = rows.logits.astype(np.float32)
        apart = np.abs(logits - stored).max(axis=1) > LOGITS_APART * np.abs(stored).max(axis=1)
        if apart.any():
            raise TrustcacheError(
                f"{self.cache.index.folder}: {apart.sum()} of {len(apart)} adversarial images come out otherwise than "
                "at their extraction, as happens on another device or with another torch; remove that folder and "
                "extract them again here, with --keep-images to have the same ones anywhere"
            )
        return pixels
