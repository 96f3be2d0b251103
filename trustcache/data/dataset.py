"""Data sets ready to read: the samples of a manifest's files, with its variant applied."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trustcache.data.content import content_of, digest_of
from trustcache.data.image_files import told
from trustcache.data.layouts.numbers import odd_order
from trustcache.data.manifest import Files, Manifest
from trustcache.data.progress import Progress, listing_shown, silent
from trustcache.data.samples import BadImage, Samples, spread_evenly
from trustcache.data.variants.variation import Variation, make_variation, missing_material
from trustcache.errors import UsageError

if TYPE_CHECKING:
    from PIL import Image

_AT_ONCE = 4096


class Dataset:
    """The samples that a manifest describes, with its variant applied.

    ids: texts (N,). labels: int64 (N,). classes: names in label order. thinned_from: number of samples before thinning.
    passed_over: number of the files at their place that are none of the images, by the reason.
    """

    def __init__(
        self,
        manifest: Manifest,
        samples: Samples,
        variation: Variation | None = None,
        thinned_from: int | None = None,
        passed_over: Mapping[str, int] | None = None,
    ) -> None:
        self.manifest, self.samples, self.variation = manifest, samples, variation
        self.thinned_from = thinned_from or len(samples.ids)
        self.ids, self.labels, self.classes = samples.ids, samples.labels, samples.classes
        self.passed_over = dict(samples.passed_over if passed_over is None else passed_over)

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int) -> Image.Image:
        """Return sample `index` as an RGB image, transformed if its variant works on single images. Raises BadImage."""
        return self.varied(index, self.prepared(index, self.samples.raw(index)))

    def prepared(self, index: int, raw: bytes, least: tuple[int, int] | None = None) -> Image.Image:
        """Decode sample `index` from its bytes to the RGB image that its variant starts from. Raises BadImage.

        least: as `decode_rgb` takes it.
        """
        image = self.samples.decode(index, raw, least)
        return self.variation.cropped(image) if self.variation else image

    def varied(self, index: int, image: Image.Image) -> Image.Image:
        """Transform sample `index`, an image that `prepared` returned, if its variant works on single images."""
        return self.variation.image(image, index, self.samples) if self.variation else image

    def notes(self) -> Iterator[str]:
        """Yield what its user must know: the files passed over, and an order of classes that may not be meant."""
        said = told(self.passed_over), "" if self.manifest.classes else odd_order(self.classes)
        return filter(None, said)

    @property
    def plain_files(self) -> bool:
        """True if its images are files that no variant changes, which may be decoded in faster ways."""
        return self.variation is None and self.samples.encoded

    @property
    def part(self) -> str | None:
        """The part of the samples that is kept, as in `500 of 5,000`; None if all are."""
        return f"{len(self):,} of {self.thinned_from:,}" if len(self) < self.thinned_from else None

    def fingerprint(self, start: int = 0, stop: int | None = None) -> str:
        """Return the SHA-256 that identifies the images and labels of samples `start` to `stop`.

        It covers ids, labels, class names, the sizes of the files (or pixels), and the files that a variant reads.
        """
        some = np.arange(start, min(stop or len(self), len(self)))
        samples = self.samples if (start, stop) == (0, None) else self.samples.take(some)
        digest = hashlib.sha256(samples.contents())
        digest.update(samples.labels.astype("<i8").tobytes())
        digest.update("\0".join([*samples.ids, *self.classes]).encode("utf-8", "surrogateescape"))
        if self.variation:
            digest.update(self.variation.contents())
        return digest.hexdigest()

    def surveyed(self, progress: Progress = silent, assume_unchanged: bool = False) -> Dataset:
        """Return the same data set with its files as they are now, each looked at once and many at a time.

        `fingerprint` and `stamp` then say what was there, whatever changes since. assume_unchanged: as in `Samples`.
        """
        samples = self.samples.surveyed(progress, assume_unchanged)
        return Dataset(self.manifest, samples, self.variation, self.thinned_from, self.passed_over)

    def contents(self, numbers: Sequence[int]) -> list[int | None]:
        """Return the hashes of the bytes of some samples' images, None for one that cannot be read."""
        from concurrent.futures import ThreadPoolExecutor

        found: list[int | None] = []
        with ThreadPoolExecutor() as pool:  # most of the time goes into reading
            for first in range(0, len(numbers), _AT_ONCE):
                found += pool.map(self._content, numbers[first : first + _AT_ONCE])
        return found

    def _content(self, number: int) -> int | None:
        try:
            return content_of(self.samples.raw(number))
        except BadImage:
            return None

    def stamp(self, start: int, stop: int) -> str:
        """Return a digest that changes whenever the bytes of the images of samples `start` to `stop` do.

        It may change while they do not, as when files are copied. No file is read.
        """
        return digest_of(self.samples.take(np.arange(start, stop)).stamps())


def available(manifest: Manifest, data_root: Path) -> Files | None:
    """Return the first of the manifest's places that exists, or None."""
    return next((f for f in manifest.files if f.exists(data_root)), None)


def those_here(manifests: Sequence[Manifest], data_root: Path) -> list[Manifest]:
    """Return the data sets whose files are here, and what their variants need; neighbours share one look at files."""
    found = groupby(manifests, key=lambda manifest: manifest.files)
    return [
        one
        for files, alike in found
        if any(place.exists(data_root) for place in files)
        for one in alike
        if not (one.variant and missing_material(one.variant, data_root))
    ]


def why_missing(manifest: Manifest, data_root: Path) -> str | None:
    """Return the reason why a data set cannot be read, or None if its files are here."""
    if not available(manifest, data_root):
        return f"no images found; looked for {' or '.join(f.describe(data_root) for f in manifest.files)}"
    if manifest.variant and (missing := missing_material(manifest.variant, data_root)):
        return f"to make it, {' and '.join(map(str, missing))} must be there"
    return None


def require_files(manifest: Manifest, data_root: Path) -> Files:
    """Return the place of a data set's files. Raises UsageError if some that it needs are missing."""
    files = available(manifest, data_root)
    reason = why_missing(manifest, data_root)
    if reason or not files:
        remedy = f"; {manifest.source}" if manifest.source else ""
        root = f"or set --data-root, now {data_root}, which paths in manifests are relative to"
        raise UsageError(f"{manifest.name}: {reason}{remedy} ({root})")
    return files


def open_dataset(manifest: Manifest, data_root: Path, progress: Progress = silent) -> Dataset:
    """List the samples of a data set. Raises UsageError if its files are missing or not what the manifest says."""
    files = require_files(manifest, data_root)
    variation = make_variation(manifest.variant, data_root, manifest.name) if manifest.variant else None
    with listing_shown(progress):
        samples = files.read(data_root, manifest.classes)
    passed_over = samples.passed_over
    if not samples.ids:
        others = f" ({told(passed_over)})" if passed_over else ""
        raise UsageError(f"{manifest.name}: no images in {files.describe(data_root)}{others}; fetch its files again")
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
    return Dataset(manifest, samples, variation, total, passed_over)
