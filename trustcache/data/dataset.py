"""Data sets ready to read: the samples of a manifest's files, with its variant applied."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from trustcache.data.layouts import READERS
from trustcache.data.manifest import Files, Manifest
from trustcache.data.samples import Samples, spread_evenly
from trustcache.data.variants.variation import Variation, make_variation, missing_material
from trustcache.errors import UsageError


class Dataset:
    """The samples a manifest describes, with its variant applied; `thinned_from` how many there are in all."""

    def __init__(
        self, manifest: Manifest, samples: Samples, variation: Variation | None = None, thinned_from: int | None = None
    ) -> None:
        self.manifest, self.samples, self.variation = manifest, samples, variation
        self.thinned_from = thinned_from or len(samples.ids)
        self.ids, self.labels, self.classes = samples.ids, samples.labels, samples.classes

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int) -> Image.Image:
        """Sample `index` as an RGB image, as far as its variant is made one image at a time. Raises BadImage."""
        image = self.samples.read(index)
        return self.variation.image(image, index, self.samples) if self.variation else image

    @property
    def part(self) -> str | None:
        """Which part of the samples these are, as in `500 of 5000`; None where they are all."""
        return f"{len(self)} of {self.thinned_from}" if len(self) < self.thinned_from else None

    def fingerprint(self, start: int = 0, stop: int | None = None) -> str:
        """SHA-256 over what the numbers of samples `start` to `stop` are made from.

        That is ids, labels, class names, the files' sizes (or pixels), and the files that a variant draws on.
        """
        some = np.arange(start, stop or len(self))
        samples = self.samples if (start, stop) == (0, None) else self.samples.take(some)
        digest = hashlib.sha256(samples.contents())
        digest.update(samples.labels.astype("<i8").tobytes())
        digest.update("\0".join([*samples.ids, *self.classes]).encode("utf-8", "surrogateescape"))
        if self.variation:
            digest.update(self.variation.contents())
        return digest.hexdigest()


def available(manifest: Manifest, data_root: Path) -> Files | None:
    """The first of the manifest's places that exists, or None."""
    return next((f for f in manifest.files if READERS[f.layout].exists(f, data_root)), None)


def why_missing(manifest: Manifest, data_root: Path) -> str | None:
    """What keeps a data set from being read, in words, or None where its files are here."""
    if not available(manifest, data_root):
        return f"no images found; looked for {' or '.join(f.describe(data_root) for f in manifest.files)}"
    if manifest.variant and (missing := missing_material(manifest.variant, data_root)):
        return f"to make it, {' and '.join(map(str, missing))} must be there"
    return None


def require_files(manifest: Manifest, data_root: Path) -> Files:
    """The place where a data set's files are. Raises UsageError where it cannot be read for want of some."""
    files = available(manifest, data_root)
    reason = why_missing(manifest, data_root)
    if reason or not files:
        remedy = f"; {manifest.source}" if manifest.source else ""
        raise UsageError(f"{manifest.name}: {reason}{remedy} (or set --data-root)")
    return files


def open_dataset(manifest: Manifest, data_root: Path) -> Dataset:
    """List a data set's samples. Raises UsageError where its files are missing or not what the manifest says."""
    files = require_files(manifest, data_root)
    variation = make_variation(manifest.variant, data_root, manifest.name) if manifest.variant else None
    samples = READERS[files.layout].read(files, data_root, manifest)
    if not samples.ids:
        raise UsageError(f"{manifest.name}: no images in {files.describe(data_root)}; fetch its files again")
    if manifest.rows:
        if manifest.rows[1] > len(samples.ids):
            raise UsageError(
                f"{manifest.name}: its manifest's 'rows' end at {manifest.rows[1]}, but there are only "
                f"{len(samples.ids)} images in {files.describe(data_root)}; correct 'rows' or complete the files"
            )
        samples = samples.take(np.arange(*manifest.rows))
    total = len(samples.ids)
    if manifest.thinned_to and manifest.thinned_to < total:
        samples = samples.take(spread_evenly(samples.labels, manifest.thinned_to))
    return Dataset(manifest, samples, variation, total)
