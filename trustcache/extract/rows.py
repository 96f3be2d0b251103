"""The rows of a shard: a classifier's outputs for a batch of images, and the columns that are kept of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from trustcache.cache.outcome import outcome
from trustcache.data.dataset import Dataset
from trustcache.errors import TrustcacheError
from trustcache.extract.settings import ExtractSettings
from trustcache.models.memory import memory_is_full

if TYPE_CHECKING:  # torch takes seconds to import, and the command line reads the settings
    import torch

    from trustcache.data.variants.variation import Batch
    from trustcache.models.classifiers import Classifier


class AsMemoryAllows:
    """Work on the rows of a batch at once, or from when memory first runs out in ever smaller parts.

    note: told of a smaller size.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self.note = note
        self._most: int | None = None

    def __call__(self, rows: int, outputs: Callable[[slice], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Return the outputs for so many rows, from those for some of them."""
        import torch

        size = self._most or rows
        while True:
            try:
                parts = [outputs(slice(first, first + size)) for first in range(0, rows, size)]
                return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
            except RuntimeError as error:
                if size == 1 or not memory_is_full(error):
                    raise
            size = self._most = (size + 1) // 2  # outside of the handler, which holds the memory of the failed pass
            self.note(f"memory ran out: batches go through the model in parts of {size}")


class Forward:
    """A classifier's forward pass over batches, in parts where memory runs out.

    places: modules whose outputs are kept as stages. note: told of a smaller size.
    """

    def __init__(self, places: Sequence[str], settings: ExtractSettings, note: Callable[[str], None]) -> None:
        self.places, self.settings = places, settings
        self._in_parts = AsMemoryAllows(note)

    def __call__(self, classifier: Classifier, batch: Batch) -> dict[str, torch.Tensor]:
        """Return outputs by the names of a cache's columns, float32 (N, D), and `mc_dropout` (N,)."""
        rows = len(batch.indices)
        # A column of no rows has a width too: that of a black image.
        pixels = batch.pixels if rows else classifier.black().byte()
        made = self._in_parts(len(pixels), lambda some: self.outputs(classifier, pixels[some], batch.indices[some]))
        return {name: column[:rows] for name, column in made.items()}

    def outputs(self, classifier: Classifier, pixels: torch.Tensor, indices: np.ndarray) -> dict[str, torch.Tensor]:
        """Return the outputs for images (N, 3, H, W) of so many sample numbers (N,), on the device."""
        import torch

        from trustcache.data.loader import computing
        from trustcache.models.mc_dropout import negative_predictive_entropy

        settings = self.settings
        with computing(classifier.spec.name, pixels, settings.precision), torch.inference_mode():
            x = classifier.preprocessing.normalise(pixels)
            outputs = classifier.outputs(x, self.places, settings.views)
            if settings.features == "none":
                del outputs["features"]
            if dropout := settings.dropout:
                outputs["mc_dropout"] = negative_predictive_entropy(classifier, pixels, indices, dropout)
            return outputs


def columns_of(
    dataset: Dataset, batch: Batch, outputs: dict[str, np.ndarray], settings: ExtractSettings
) -> dict[str, np.ndarray]:
    """Return a shard's columns for the rows of one batch; predictions come from the logits before rounding.

    Raises TrustcacheError for outputs that are not finite before or after that.
    """
    ids = [dataset.ids[i] for i in batch.indices]
    return {
        "sample_indices": batch.indices,
        "sample_ids": np.array([name.encode("utf-8", "surrogateescape") for name in ids], dtype=bytes),
        "content": batch.content,
        **outcome(outputs["logits"], batch.labels),
        **{
            name: values if name == "mc_dropout" else _rounded(name, values, settings.store, dataset, ids)
            for name, values in outputs.items()
        },
    }


def _rounded(what: str, values: np.ndarray, store: str, dataset: Dataset, ids: Sequence[str]) -> np.ndarray:
    """Round to the stored dtype. Raises TrustcacheError for values that are not finite before or after it."""
    with np.errstate(over="ignore"):
        rounded = values.astype(store)
    finite = np.isfinite(rounded).all(axis=1)
    if finite.all():
        return rounded
    row = int(finite.argmin())
    where = f"{dataset.manifest.name}: {ids[row]}"
    if np.isfinite(values[row]).all():
        raise TrustcacheError(f"{where}: {what} too large for {store}; use --store float32")
    raise TrustcacheError(
        f"{where}: the classifier's {what} are not finite; check its weights, or use --precision float32"
    )
