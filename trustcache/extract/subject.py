"""The classifier of an extraction, and the index of each cache that is made with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trustcache.cache.index import Index
from trustcache.cache.meaning import MOST_SHARDS, DataMeaning, MadeFrom, Meaning, Stages
from trustcache.cache.provenance import require_as_fitted
from trustcache.cache.publish import file_sha256
from trustcache.cache.versions import software_versions
from trustcache.data.dataset import Dataset
from trustcache.data.pipeline import unheard
from trustcache.errors import UsageError
from trustcache.extract.batch_size import USUAL, found_batch_size, kept_batch_size
from trustcache.extract.rows import Forward
from trustcache.extract.settings import ExtractSettings
from trustcache.models.identity import Identity

if TYPE_CHECKING:  # torch takes seconds to import, and the command line reads the settings
    import torch

    from trustcache.data.copies import Copies
    from trustcache.models.classifiers import Classifier


@dataclass(frozen=True)
class Subject:
    """A classifier and its name in the workspace, with what all its caches record, found once."""

    classifier: Classifier
    label: str
    _batch_sizes: list[int] = field(default_factory=list)  # the one that was found, once it is
    _devices: list[torch.device] = field(default_factory=list)  # the one that the model is on, once it was moved
    _copies: dict[int, Copies[Classifier]] = field(default_factory=dict)  # by batch size

    @cached_property
    def identity(self) -> Identity:
        """The classifier, whatever its name."""
        return self.classifier.identity()

    @cached_property
    def places(self) -> tuple[str, ...]:
        """Modules that end its stages."""
        return tuple(self.classifier.stage_places())

    @cached_property
    def weights(self) -> tuple[str, str] | tuple[None, None]:
        """The file of its own weights and the SHA-256 of that, if it has one. Raises DamagedError."""
        if not self.classifier.spec.weights:
            return None, None
        path = Path(self.classifier.spec.weights).resolve()
        require_as_fitted(path)
        return str(path), file_sha256(path)

    def moved(self, device: torch.device) -> Classifier:
        """Return the classifier on a device; it is moved once, since that walks through all of its layers."""
        if self._devices != [device]:
            self.classifier.model.to(device)
            self._devices[:] = [device]
        return self.classifier

    def copies(self, batch_size: int) -> Copies[Classifier]:
        """Return copies of the classifier for batches of a size, once it was moved; they live from set to set."""
        from trustcache.data.copies import classifier_copies

        if batch_size not in self._copies:
            self._copies[batch_size] = classifier_copies(self.classifier, batch_size)
        return self._copies[batch_size]

    def batch_size(self, dataset: Dataset, folder: Path, settings: ExtractSettings, device: torch.device) -> int:
        """Return the images a forward pass: as asked, else as the cache in `folder` was made with, else as found.

        An attack's images depend on it, so theirs is the same on every machine.
        """
        if settings.batch_size:
            return settings.batch_size
        if dataset.variation and dataset.variation.needs_classifier:
            return USUAL
        if kept := kept_batch_size(folder):
            return kept
        if not self._batch_sizes:
            forward = Forward(self._stages(settings), settings, unheard)
            self.moved(device)
            black = self.classifier.black().byte()

            def of(size: int) -> object:
                return forward.outputs(self.classifier, black.expand(size, -1, -1, -1), np.zeros(size, np.int64))

            self._batch_sizes.append(found_batch_size(of, len(dataset), device))
        return self._batch_sizes[0]

    def _stages(self, settings: ExtractSettings) -> tuple[str, ...]:
        return self.places if settings.features == "stages" else ()

    def index(self, dataset: Dataset, data_root: Path, folder: Path, settings: ExtractSettings) -> Index:
        """Return the index of a cache of a data set, in `folder`. Raises UsageError for too many shards."""
        from trustcache.models.probing import not_known
        from trustcache.models.stage_features import POOLINGS

        manifest = dataset.manifest
        if len(dataset) > MOST_SHARDS * settings.shard_rows:
            raise UsageError(f"--shard-rows {settings.shard_rows}: makes more than {MOST_SHARDS:,} shards; take more")
        attacked = dataset.variation is not None and dataset.variation.needs_classifier
        data = DataMeaning(
            manifest.name,
            dataset.fingerprint(),
            len(dataset),
            manifest.variant,
            manifest.shows_crops,
            settings.batch_size if attacked else None,
            dataset.part,
            settings.decode if dataset.plain_files else "pil",
            attacked and settings.keep_images,
        )
        meaning = Meaning(
            self.label,
            self.identity,
            data,
            settings.precision,
            settings.store,
            settings.shard_rows,
            settings.features,
            settings.dropout,
            Stages(self._stages(settings), tuple(POOLINGS)) if settings.features == "stages" else None,
            settings.views,
        )
        weights, sha256 = self.weights
        made_from = MadeFrom(
            manifest,
            tuple(dataset.classes),
            str(data_root.resolve()),
            weights,
            sha256,
            self.classifier.spec.preprocessing,
            settings.batch_size or USUAL,
            labels=self.classifier.spec.labels,
            assumed=not_known(self.classifier),
        )
        return Index(folder, meaning, made_from, software_versions("torch", "numpy", "pillow", "h5py"))
