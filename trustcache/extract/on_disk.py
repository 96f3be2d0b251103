"""Stage one: run a frozen classifier once over a data set and keep its outputs in a cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trustcache.cache.content import compare_images, refuse_gaps, require_same_images
from trustcache.cache.index import OTHER_IMAGES, Index, OtherImages, create_or_continue, read_index
from trustcache.cache.known_classes import require_classes, require_known_classes
from trustcache.cache.meaning import MOST_SHARDS, DataMeaning, MadeFrom, Meaning, Stages
from trustcache.cache.outcome import outcome
from trustcache.cache.provenance import check_fitted, precision_of
from trustcache.cache.publish import file_sha256, sole_writer
from trustcache.cache.versions import software_versions
from trustcache.cache.view import CacheView, open_cache
from trustcache.cache.workspace import Workspace
from trustcache.data.dataset import Dataset, open_dataset, require_files
from trustcache.data.machine import decoding_workers, device_option, workers_option
from trustcache.data.manifest import Manifest
from trustcache.data.pipeline import WorkLog, Writer, fetched, unheard
from trustcache.errors import TrustcacheError, UsageError
from trustcache.models.identity import McDropout
from trustcache.models.model_options import ModelOptions
from trustcache.models.precision import PRECISIONS, resolved
from trustcache.progress import Progress, silent
from trustcache.protocols import PROTOCOLS
from trustcache.registry import option

if TYPE_CHECKING:  # torch takes seconds to import, and the command line reads the settings
    import torch

    from trustcache.data.variants.variation import Batch
    from trustcache.models.classifiers import Classifier


@dataclass(frozen=True)
class ExtractSettings:
    """Settings of an extraction."""

    batch_size: int = option(64, "Images a forward pass.", min=1)
    workers: int | None = workers_option()
    device: str = device_option()
    precision: str = option(
        "auto",
        "Of the forward pass; auto: as the classifier's other caches, else bf16 on a GPU that has it, else float32.",
        choices=("auto", *PRECISIONS),
        envvar="TRUSTCACHE_PRECISION",
    )
    store: str = option("float16", "Dtype of the stored logits and features.", choices=("float16", "float32"))
    shard_rows: int = option(2048, "Samples a shard.", min=1, max=1 << 24)
    on_bad_image: str = option(
        "error", "Stop at an unreadable image, or record and skip it.", choices=("error", "skip")
    )
    mc_dropout: int = option(0, "Ask this often more, with dropout on, for the score mc-dropout; 0: do not.", min=0)
    mc_seed: int | None = option(None, "Draws what --mc-dropout drops (0).", min=0)
    features: str = option(
        "last",
        "What the last layer sees; for strong oracles every stage's output, pooled, and the mirror image's "
        "logits too, which takes twice the time; or none.",
        choices=("last", "stages", "none"),
    )

    def __post_init__(self) -> None:
        if self.mc_seed is not None and not self.mc_dropout:
            raise UsageError("--mc-seed: means nothing without --mc-dropout")

    def require_dropout(self, classifier: Classifier) -> None:
        """Raise UsageError for MC dropout of a classifier without dropout."""
        from trustcache.models.mc_dropout import require_dropout

        if self.mc_dropout:
            require_dropout(classifier)

    @property
    def dropout(self) -> McDropout | None:
        """The forward passes with dropout on, whose negative predictive entropy is stored."""
        return McDropout(self.mc_dropout, self.mc_seed or 0) if self.mc_dropout else None


@dataclass(frozen=True)
class ClassifierOptions(ModelOptions):
    """The classifier of an extraction as the command line names it."""

    weights: str | None = option(None, "Your own weights: a safetensors or torch file.")
    name: str | None = option(None, "The classifier's name in the workspace, where not its own.", name="--as")
    protocol: str = option(
        "equations",
        "released: images as the paper's released code shows them; the name gets -released.",
        choices=tuple(PROTOCOLS),
    )

    def load(self) -> tuple[Classifier, str]:
        """Return the classifier, as the protocol shows images to it, and its name in the workspace."""
        from trustcache.models.classifiers import load_classifier

        suffix = "" if self.protocol == "equations" else f"-{self.protocol}"
        classifier = load_classifier(self.spec(self.weights, PROTOCOLS[self.protocol].preprocessing))
        return classifier, self.name or self.classifier + suffix


def extract(
    classifier: Classifier,
    label: str,
    dataset: Dataset,
    data_root: Path,
    folder: Path,
    settings: ExtractSettings,
    progress: Progress = silent,
) -> CacheView:
    """Fill the cache in `folder`, shard by shard; shards that are there and sound are kept.

    label: the classifier's name in the workspace. data_root: the folder where the data set was found. Raises UsageError
    for a cache of another meaning, and for MC dropout of a classifier without dropout; TrustcacheError for bad images,
    non-finite logits, and a cache that another process is writing. What was published before stays, and the same call
    continues from there.
    """
    settings.require_dropout(classifier)
    return _Extraction(classifier, label, dataset, data_root, folder, settings).run(progress)


def extract_each(
    model: ClassifierOptions,
    manifests: Sequence[Manifest],
    data_root: Path,
    workspace: Workspace,
    settings: ExtractSettings,
    progress: Progress = silent,
    check_first: bool = False,
    note: Callable[[str], None] = unheard,
) -> Iterator[tuple[Manifest, CacheView | TrustcacheError]]:
    """Extract one data set after the other, and yield each one's cache, or the error that prevented it.

    check_first: raise UsageError for one that cannot be extracted, before hours of work on those before it. note: told
    the machine's settings before the work, and at the end where the time went. Raises UsageError for a classifier that
    cannot be loaded, and for MC dropout of one without dropout.
    """
    classifier, label = model.load()
    identity, log = classifier.identity(), WorkLog(note)
    for manifest in manifests if check_first else ():
        require_files(manifest, data_root)
        classes = manifest.classes or open_dataset(manifest, data_root).classes
        require_classes(classifier.num_classes, label, manifest.name, classes)
        require_known_classes(identity, label, manifest, classes, workspace)
    settings.require_dropout(classifier)
    for manifest in manifests:
        try:
            dataset = open_dataset(manifest, data_root)
            require_known_classes(identity, label, manifest, dataset.classes, workspace)
            folder = workspace.cache_folder(label, manifest.name)
            yield manifest, _Extraction(classifier, label, dataset, data_root, folder, settings, log).run(progress)
        except TrustcacheError as error:
            yield manifest, error
    log.end()


@dataclass(frozen=True)
class _Extraction:
    """One data set on its way into a cache, by a classifier that has what the settings need."""

    classifier: Classifier
    label: str
    dataset: Dataset
    data_root: Path
    folder: Path
    settings: ExtractSettings
    log: WorkLog = field(default_factory=WorkLog)

    def run(self, progress: Progress) -> CacheView:
        from trustcache.data.loader import choose_device

        require_classes(self.classifier.num_classes, self.label, self.dataset.manifest.name, self.dataset.classes)
        device = choose_device(self.settings.device)
        chosen = self.settings.precision
        if chosen == "auto":
            # The features that an oracle learns from and those that it is asked about must not differ in it.
            chosen = precision_of(self.folder, self.label) or chosen
        settings = replace(self.settings, precision=resolved(chosen, device))
        return replace(self, settings=settings)._run(device, progress)

    def _run(self, device: torch.device, progress: Progress) -> CacheView:
        with sole_writer(self.folder):
            index = self._create_or_continue(progress)
            missing = index.faults(progress)
            sound = (number for number in range(len(index.ranges())) if number not in missing)
            require_same_images(index, self.dataset, sound, progress)
            if self.settings.on_bad_image == "error":
                refuse_gaps(index, missing)
            self._fill(index, list(missing), device, progress)
        return open_cache(self.folder)

    def _create_or_continue(self, progress: Progress) -> Index:
        """Write the index, or continue the one that lies there. Raises UsageError where that is of another meaning."""
        try:
            return create_or_continue(self._index(), self.dataset.fingerprint)
        except OtherImages as error:
            differences = compare_images(read_index(self.folder), self.dataset, progress, contents=False)
            raise UsageError(f"{error}: {differences}; {OTHER_IMAGES}") from None

    def _fill(self, index: Index, missing: Sequence[int], device: torch.device, progress: Progress) -> None:
        """Make the shards of some numbers, in order."""
        if not missing:
            return
        from trustcache.data.loader import Viewer, machine_at_its_limits, shard_batches, viewed_batches

        classifier, dataset, settings = self.classifier, self.dataset, self.settings
        ranges = [index.ranges()[number] for number in missing]
        # Taken before the images are read: one that changes meanwhile is compared again.
        stamps = [dataset.stamp(start, stop) for start, stop in ranges]
        asked = shard_batches(ranges, settings.batch_size)
        waits = self.log.waits
        viewer = Viewer(classifier.preprocessing, device, settings.workers, judged=classifier, waits=waits)
        total = sum(stop - start for start, stop in ranges)
        workers = decoding_workers(settings.workers, total, device.type)
        self.log.begin(device, f"{settings.precision}, batches of {settings.batch_size}, {workers} decoding processes")
        with (
            waits.within(),
            machine_at_its_limits(),
            progress(f"{self.label} on {index.data}", total) as advance,
            Writer(waits) as write,
        ):
            classifier.model.to(device)
            seen = viewed_batches(dataset, viewer, asked)
            outputs = fetched(((batch, self._outputs(batch, index.stages)) for batch in seen), device, waits)
            batches = zip(asked, outputs, strict=True)
            for number, (start, stop), stamp in zip(missing, ranges, stamps, strict=True):
                parts: list[dict[str, np.ndarray]] = []
                skipped: dict[str, str] = {}
                done = start
                while done < stop:
                    numbers, (batch, arrays) = next(batches)
                    if batch.bad and settings.on_bad_image == "error":
                        raise TrustcacheError(next(iter(batch.bad.values())))
                    parts.append(self._columns(batch, arrays))
                    skipped |= {dataset.ids[i]: reason for i, reason in batch.bad.items()}
                    advance(len(numbers))
                    done += len(numbers)
                columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
                write(index.add, number, columns, skipped, dataset.fingerprint(start, stop), stamp)

    def _columns(self, batch: Batch, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return a shard's columns for the rows of one batch; predictions come from the logits before rounding."""
        ids = [self.dataset.ids[i] for i in batch.indices]
        return {
            "sample_indices": batch.indices,
            "sample_ids": np.array([name.encode("utf-8", "surrogateescape") for name in ids], dtype=bytes),
            "content": batch.content,
            **outcome(outputs["logits"], batch.labels),
            **{name: self._stored(name, values, ids) for name, values in outputs.items()},
        }

    def _outputs(self, batch: Batch, places: Sequence[str]) -> dict[str, torch.Tensor]:
        """Return the classifier's outputs by the names of a cache's columns, float32 (N, D), and `mc_dropout` (N,)."""
        import torch

        from trustcache.data.loader import computing
        from trustcache.models.mc_dropout import negative_predictive_entropy

        classifier, settings, rows = self.classifier, self.settings, len(batch.indices)
        # A column of no rows has a width too: that of a black image.
        pixels = batch.pixels if rows else classifier.black().byte()
        with (
            self.log.waits("model"),
            computing(classifier.spec.name, pixels, settings.precision),
            torch.inference_mode(),
        ):
            outputs = classifier.outputs(classifier.preprocessing.normalise(pixels), places, mirrored=bool(places))
            if settings.features == "none":
                del outputs["features"]
            if dropout := settings.dropout:
                outputs["mc_dropout"] = negative_predictive_entropy(classifier, pixels, batch.indices, dropout)
            return {name: output[:rows] for name, output in outputs.items()}

    def _stored(self, what: str, values: np.ndarray, ids: list[str]) -> np.ndarray:
        """Round to the stored dtype. Raises TrustcacheError for values that are not finite before or after it."""
        if what == "mc_dropout":
            return values
        with np.errstate(over="ignore"):
            rounded = values.astype(self.settings.store)
        finite = np.isfinite(rounded).all(axis=1)
        if finite.all():
            return rounded
        row = int(finite.argmin())
        where = f"{self.dataset.manifest.name}: {ids[row]}"
        if np.isfinite(values[row]).all():
            raise TrustcacheError(f"{where}: {what} too large for {self.settings.store}; use --store float32")
        raise TrustcacheError(
            f"{where}: the classifier's {what} are not finite; check its weights, or use --precision float32"
        )

    def _index(self) -> Index:
        from trustcache.models.stage_features import POOLINGS

        places = self.classifier.stage_places() if self.settings.features == "stages" else ()
        manifest = self.dataset.manifest
        if len(self.dataset) > MOST_SHARDS * self.settings.shard_rows:
            raise UsageError(
                f"--shard-rows {self.settings.shard_rows}: makes more than {MOST_SHARDS:,} shards; take more"
            )
        data = DataMeaning(
            manifest.name,
            self.dataset.fingerprint(),
            len(self.dataset),
            manifest.variant,
            manifest.shows_crops,
            self.settings.batch_size if self.dataset.variation and self.dataset.variation.needs_classifier else None,
            self.dataset.part,
        )
        meaning = Meaning(
            self.label,
            self.classifier.identity(),
            data,
            self.settings.precision,
            self.settings.store,
            self.settings.shard_rows,
            self.settings.features,
            self.settings.dropout,
            Stages(tuple(places), tuple(POOLINGS)) if places else None,
        )
        spec = self.classifier.spec
        weights = Path(spec.weights).resolve() if spec.weights else None
        if weights:
            check_fitted(weights)
        made_from = MadeFrom(
            manifest,
            tuple(self.dataset.classes),
            str(self.data_root.resolve()),
            str(weights) if weights else None,
            file_sha256(weights) if weights else None,
            spec.preprocessing,
        )
        return Index(self.folder, meaning, made_from, software_versions("torch", "numpy", "pillow", "h5py"))
