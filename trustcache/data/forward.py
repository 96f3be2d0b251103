"""Forward passes of a frozen classifier over a data set: its outputs, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from trustcache.data.dataset import Dataset
from trustcache.data.loader import Viewer, computing, machine_at_its_limits, shard_batches, viewed_batches
from trustcache.models.classifiers import Classifier
from trustcache.models.identity import McDropout
from trustcache.models.mc_dropout import negative_predictive_entropy


@dataclass(frozen=True)
class BatchOutputs:
    """A classifier's outputs for one batch.

    indices: sample numbers of the images that could be read, int64 (N,). columns: outputs by the names of a cache's
    columns, float32 (N, D) each, and `mc_dropout` (N,) if asked for. bad: numbers of the other images, with reasons.
    last: the last sample number of the batch.
    """

    indices: np.ndarray
    columns: dict[str, np.ndarray]
    bad: dict[int, str]
    last: int


@dataclass(frozen=True)
class ForwardPass:
    """How to run a classifier over a data set.

    precision: "float32", or "bf16" or "fp16" for autocast. places: the modules whose pooled outputs are taken too, with
    the logits of each image's mirror image.
    """

    classifier: Classifier
    dataset: Dataset
    device: torch.device
    batch_size: int
    workers: int
    precision: str
    places: Sequence[str] = ()
    mc_dropout: McDropout | None = None

    def outputs(self, ranges: Sequence[tuple[int, int]]) -> Iterator[BatchOutputs]:
        """Yield the outputs for ranges of sample numbers, in order; no batch reaches from one range into another."""
        viewer = Viewer(self.classifier.preprocessing, self.device, self.workers, judged=self.classifier)
        asked = shard_batches(list(ranges), self.batch_size)
        with machine_at_its_limits():
            self.classifier.model.to(self.device)
            for numbers, batch in zip(asked, viewed_batches(self.dataset, viewer, asked), strict=True):
                columns = self._columns(batch.indices, batch.pixels)
                yield BatchOutputs(batch.indices, columns, batch.bad, int(numbers[-1]))

    def _columns(self, indices: np.ndarray, pixels: torch.Tensor) -> dict[str, np.ndarray]:
        classifier, mc = self.classifier, self.mc_dropout
        rows = len(indices)
        if not rows:  # a column of no rows has a width too: that of a black image
            pixels = classifier.black().byte()
        with computing(classifier.spec.name, pixels, self.precision), torch.inference_mode():
            normalised = classifier.preprocessing.normalise(pixels)
            outputs = classifier.outputs(normalised, self.places, mirrored=bool(self.places))
            columns = {name: output[:rows].cpu().numpy() for name, output in outputs.items()}
        if mc:
            with computing(classifier.spec.name, pixels, self.precision):
                columns["mc_dropout"] = negative_predictive_entropy(classifier, pixels, indices, mc).cpu().numpy()
        return columns
