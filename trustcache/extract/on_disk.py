"""Stage one: run a frozen classifier once over a data set and keep its outputs in a cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trustcache.cache.claims import dealt, require_unclaimed, shard_lock
from trustcache.cache.content import compare_images, refuse_gaps, require_same_images
from trustcache.cache.index import ANEW, KEEP_BOTH, Index, OtherImages, create_or_continue, read_index
from trustcache.cache.known_classes import require_classes, require_known_classes
from trustcache.cache.provenance import precision_of
from trustcache.cache.publish import sole_writer
from trustcache.cache.view import CacheView, open_cache
from trustcache.cache.workspace import Workspace
from trustcache.data.dataset import Dataset, open_dataset, require_files
from trustcache.data.manifest import Manifest
from trustcache.data.pipeline import WorkLog, Writer, fetched, unheard
from trustcache.data.progress import Progress, silent
from trustcache.data.ranks import ranks
from trustcache.errors import TrustcacheError, UsageError
from trustcache.extract.batch_size import USUAL
from trustcache.extract.kept_images import ImageKeeper
from trustcache.extract.made_before import refuse_other_settings
from trustcache.extract.rows import Forward, columns_of
from trustcache.extract.settings import ClassifierOptions, ExtractSettings
from trustcache.extract.subject import Subject
from trustcache.models.precision import resolved

if TYPE_CHECKING:  # torch takes seconds to import, and the command line reads the settings
    import torch

    from trustcache.data.decoders import Decoders
    from trustcache.models.classifiers import Classifier


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
    settings.require_ready(classifier)
    with settings.decoders() as decoders:
        subject = Subject(classifier, label)
        return _Extraction(subject, dataset, data_root, folder, settings, WorkLog(), decoders).run(progress)


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
    from trustcache.extract.enlarged import enlarged_warning
    from trustcache.models.label_spaces import judging

    named = manifests if check_first else ()
    refuse_other_settings(model.label, named, workspace, settings)  # before seconds of loading
    classifier, label = model.load(note), model.label
    settings.require_ready(classifier, note)
    opened: dict[str, Dataset] = {}  # listed for their classes; once, as that takes minutes for a million files

    def classes_of(manifest: Manifest) -> Sequence[str]:
        if not manifest.classes and manifest.name not in opened:
            opened[manifest.name] = open_dataset(manifest, data_root, progress)
        return manifest.classes or opened[manifest.name].classes

    classifier = judging(classifier, manifests[0].name, lambda: classes_of(manifests[0]), note)
    subject, log = Subject(classifier, label), WorkLog(note)
    refuse_other_settings(label, named, workspace, settings, subject.identity)
    for manifest in named:
        require_files(manifest, data_root)
        classes = classes_of(manifest)
        require_classes(classifier.num_classes, label, manifest.name, classes)
        require_known_classes(subject.identity, label, manifest, classes, workspace)
    with settings.decoders(len(manifests)) as decoders:
        for manifest in manifests:
            try:
                dataset = opened.pop(manifest.name, None) or open_dataset(manifest, data_root, progress)
                for line in dataset.notes():
                    note(f"{manifest.name}: {line}")
                if manifest is manifests[0] and (warning := enlarged_warning(classifier, dataset)):
                    note(warning)
                require_known_classes(subject.identity, label, manifest, dataset.classes, workspace)
                folder = workspace.cache_folder(label, manifest.name)
                one = _Extraction(subject, dataset, data_root, folder, settings, log, decoders, workspace)
                yield manifest, one.run(progress)
            except TrustcacheError as error:
                yield manifest, error
    log.end()


@dataclass(frozen=True)
class _Extraction:
    """One data set on its way into a cache, by a classifier that has what the settings need."""

    subject: Subject
    dataset: Dataset
    data_root: Path
    folder: Path
    settings: ExtractSettings
    log: WorkLog
    decoders: Decoders
    workspace: Workspace | None = None  # whose other caches may hold the same adversarial images

    def run(self, progress: Progress) -> CacheView:
        from trustcache.data.loader import machine_at_its_limits

        label, manifest = self.subject.label, self.dataset.manifest
        require_classes(self.subject.classifier.num_classes, label, manifest.name, self.dataset.classes)
        device = self.decoders.device
        chosen = self.settings.precision
        if self.settings.decode == "gpu":
            from trustcache.data.gpu_decoding import require_gpu_decoding

            require_gpu_decoding(device, self.subject.classifier.preprocessing)
        if chosen == "auto":
            # The features that an oracle learns from and those that it is asked about must not differ in it.
            chosen = precision_of(self.folder, label) or chosen
        settings, processes = replace(self.settings, precision=resolved(chosen, device)), ranks().count
        with ExitStack() as held:
            held.enter_context(sole_writer(self.folder, together=processes > 1))
            if processes == 1:
                require_unclaimed(self.folder)
            with machine_at_its_limits():
                size = self.subject.batch_size(self.dataset, self.folder, settings, device)
            sized = replace(self, settings=replace(settings, batch_size=size))
            survey = self.dataset.surveyed(progress, settings.assume_unchanged)
            index = sized._create_or_continue(survey, progress)
            if processes > 1:
                held.close()  # the others, too, may go on with the index
            sized._complete(index, survey, processes, device, progress)
        return open_cache(self.folder)

    def _complete(
        self, index: Index, survey: Dataset, processes: int, device: torch.device, progress: Progress
    ) -> None:
        """Check the shards that are there, and make the others; of several processes each makes its share."""
        missing = index.faults(progress)
        sound = (number for number in range(len(index.ranges())) if number not in missing)
        require_same_images(index, survey, sound, progress)
        if self.settings.on_bad_image == "error":
            refuse_gaps(index, missing)
        locks = {number: shard_lock(self.folder, number) for number in missing}
        for share in dealt(locks, processes, index.sound):
            self._fill(index, survey, share, device, progress)

    def _create_or_continue(self, survey: Dataset, progress: Progress) -> Index:
        """Write the index, or continue the one that lies there. Raises UsageError where that is of another meaning."""
        index = self.subject.index(survey, self.data_root, self.folder, self.settings)
        anew = f"extract again after {self.workspace.removal_line([index])}" if self.workspace else ANEW
        try:
            return create_or_continue(index, survey.fingerprint, anew)
        except OtherImages as error:
            differences = compare_images(read_index(self.folder), survey, progress, contents=False)
            raise UsageError(f"{error}: {differences}; put those back, {anew}, {KEEP_BOTH}") from None

    def _fill(
        self, index: Index, survey: Dataset, missing: Sequence[int], device: torch.device, progress: Progress
    ) -> None:
        """Make the shards of some numbers, in order. survey: the data set as it was before an image was read."""
        if not missing:
            return
        from trustcache.data.loader import Viewer, machine_at_its_limits, shard_batches, viewed_batches

        classifier, dataset, settings = self.subject.classifier, self.dataset, self.settings
        ranges = [index.ranges()[number] for number in missing]
        # Taken before the images are read: one that changes meanwhile is compared again.
        stamps = [survey.stamp(start, stop) for start, stop in ranges]
        asked = shard_batches(ranges, settings.batch_size or USUAL)
        waits, decoders = self.log.waits, self.decoders
        kept = index.meaning.data.kept_images
        keeper = ImageKeeper(index, self.workspace.caches() if self.workspace and kept else (), waits)
        viewer = Viewer(
            classifier.preprocessing,
            device,
            None,
            classifier,
            keeper if kept else None,
            waits=waits,
            decoders=decoders,
            decode=index.meaning.data.decode,
        )
        total = sum(stop - start for start, stop in ranges)
        workers = decoders.begin(total)
        self.log.begin(device, f"{settings.precision}, batches of {settings.batch_size}, {workers} decoding processes")
        with (
            waits.within(),
            machine_at_its_limits(),
            progress(f"{self.subject.label} on {index.data}", total) as advance,
            Writer(waits) as write,
            ExitStack() as held,
        ):
            self.subject.moved(device)
            seen = viewed_batches(dataset, viewer, asked)
            forward = Forward(index.stages, settings, self.log.note)
            copies = self.subject.copies(settings.batch_size or USUAL)
            outputs = fetched(held.enter_context(closing(copies.each(forward, seen, waits))), device, waits)
            batches = zip(asked, outputs, strict=True)
            for number, (start, stop), stamp in zip(missing, ranges, stamps, strict=True):
                parts: list[dict[str, np.ndarray]] = []
                skipped: dict[str, str] = {}
                done = start
                while done < stop:
                    numbers, (batch, arrays) = next(batches)
                    if batch.bad and settings.on_bad_image == "error":
                        raise TrustcacheError(next(iter(batch.bad.values())))
                    parts.append(columns_of(dataset, batch, arrays, settings))
                    skipped |= {dataset.ids[i]: reason for i, reason in batch.bad.items()}
                    advance(len(numbers))
                    done += len(numbers)
                columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
                images = dataset.fingerprint(start, stop)
                write(index.add, number, columns, skipped, images, stamp, keeper.of_shard(number))
