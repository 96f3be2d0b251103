"""Images in batches at a model's input size: decoded by worker processes, transformed on the device by the variant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch.nn import functional as F

from trustcache.data.dataset import Dataset
from trustcache.data.decoders import WORKER_DIED, Decoders
from trustcache.data.pipeline import Mover, Waits
from trustcache.data.ranks import ranks
from trustcache.data.sources import DatasetSource
from trustcache.data.variants.variation import Batch, joined
from trustcache.errors import TrustcacheError, UsageError, first_line, kind_and_line
from trustcache.models.classifiers import Classifier
from trustcache.models.memory import memory_is_full
from trustcache.models.precision import Repeatable, arithmetic
from trustcache.models.preprocessing import Preprocessing


def choose_device(name: str) -> torch.device:
    """Return the device of a name; `auto` is torch's accelerator if there is one (CUDA, ROCm, MPS, XPU), else the CPU.

    Of several processes on one machine each takes another one. Raises UsageError for a missing device.
    """
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        if accelerator and ranks().local_count > 1:
            return _own(accelerator.type)
        return accelerator or torch.device("cpu")
    try:
        device = torch.empty(0, device=name).device
        several = ranks().local_count > 1 and name == device.type and device.index is not None
        return _own(name) if several else device
    except (RuntimeError, AssertionError, ImportError) as error:
        unknown = isinstance(error, NotImplementedError | ImportError)  # torch would list all that it was built with
        why = "this torch was built without it" if unknown else first_line(error)
        raise UsageError(f"--device {name}: not available here ({why})") from None


def _own(kind: str) -> torch.device:
    """Return this process's device of an accelerator: as many processes here as GPUs have one each."""
    number = ranks().local_rank % torch.accelerator.device_count()
    torch.accelerator.set_device_index(number)  # what asks for no device, as pinned memory, would start the first one
    return torch.device(kind, number)


@dataclass(frozen=True)
class Viewer:
    """The view of a model on images: its preprocessing, its device, and the number of decoding processes.

    judged: the classifier that adversarial images are made against, needed for those alone. It sees them first, at its
    own size; a model with another input size gets them resized.
    transformed: given each batch and the function by which a variant transforms it, and returns the pixels to go on
    with, before they are resized.
    via: size to which images are decoded before they are resized.
    workers: None for as many as `decoding_workers` says. decoders: those of several data sets, in place of `workers`.
    decode: one of `DECODERS`; but "pil" only for images that are `plain_files`.
    """

    preprocessing: Preprocessing
    device: torch.device
    workers: int | None
    judged: Classifier | None = None
    transformed: Callable[[Batch, Callable[[], torch.Tensor]], torch.Tensor] | None = None
    via: tuple[int, int] | None = None
    waits: Waits = field(default_factory=Waits)
    decoders: Decoders | None = None
    decode: str = "pil"

    def resized(self, pixels: torch.Tensor) -> torch.Tensor:
        """Resize a batch (N, 3, H, W) of pixels 0 to 255 to the model's input size."""
        size = self.preprocessing.input_size
        if self.via and tuple(pixels.shape[2:]) != size:
            return F.interpolate(pixels, size, mode="nearest")
        return self.preprocessing.resized(pixels)


def viewed_batches(dataset: Dataset, viewer: Viewer, batches: Sequence[np.ndarray]) -> Iterator[Batch]:
    """Yield the samples of each batch of numbers (B,) as the model takes them, on its device, not yet normalised.

    Raises TrustcacheError if a decoding process dies. Callers run their models within `machine_at_its_limits`, which
    turns the errors of a full GPU into messages.
    """
    preprocessing = _decoding(dataset, viewer)
    source = DatasetSource(preprocessing, dataset, viewer.decode)
    repeatable = Repeatable(viewer.device)  # of all batches: what it finds impossible is not tried again
    with (
        nullcontext(viewer.decoders) if viewer.decoders else Decoders(viewer.workers, viewer.device) as decoders,
        Mover(viewer.device) as moved,
    ):
        decoded = decoders.decoded(source, batches)
        while True:
            with viewer.waits("images"), machine_at_its_limits():
                pieces = next(decoded, None)
            if pieces is None:
                return
            if any(piece.packed is not None for piece in pieces):
                from trustcache.data.gpu_decoding import unpacked

                batch = unpacked(joined(pieces), dataset.ids, preprocessing, viewer.device)
            else:
                batch = moved(pieces)
            if len(batch.indices):
                batch = replace(batch, pixels=_finished(dataset, batch, viewer, repeatable))
            yield batch


def readable(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yield the batches. Raises TrustcacheError at the first with an image that could not be read."""
    for batch in batches:
        if batch.bad:
            raise TrustcacheError(next(iter(batch.bad.values())))
        yield batch


def shard_batches(ranges: Sequence[tuple[int, int]], size: int) -> list[np.ndarray]:
    """Return sample numbers in batches of at most `size`, none of which spans two ranges [start, stop)."""
    return [np.arange(i, min(i + size, stop)) for start, stop in ranges for i in range(start, stop, size)]


def _decoding(dataset: Dataset, viewer: Viewer) -> Preprocessing:
    """Return the preprocessing of images as they are decoded, before a variant transforms batches of them."""
    variant = dataset.manifest.variant
    whose = replace(viewer.preprocessing, input_size=viewer.via) if viewer.via else viewer.preprocessing
    if dataset.variation and dataset.variation.needs_classifier:
        assert viewer.judged is not None
        whose = viewer.judged.preprocessing
    if dataset.variation and dataset.variation.in_batches and variant and variant.crop:
        whose = replace(whose, input_size=(variant.crop, variant.crop))
    # A centre crop is seen whole.
    return replace(whose, crop_pct=1.0) if dataset.manifest.shows_crops else whose


def _finished(dataset: Dataset, batch: Batch, viewer: Viewer, repeatable: Repeatable) -> torch.Tensor:
    """Return the pixels of a batch, transformed by their variant, at the model's input size."""
    variation = dataset.variation
    if not variation or not variation.in_batches:
        return viewer.resized(batch.pixels)
    judged = viewer.judged.logits_of if viewer.judged else None
    remedy = "extract other data, or check --preprocess input_size"

    def transform() -> torch.Tensor:
        # A model that lets no gradients through, images that are too small.
        with (
            viewer.waits("attacks and styles"),
            model_at_work(f"{dataset.manifest.name}: its variant", batch.pixels, remedy),
            arithmetic("float32", viewer.device),
        ):
            return repeatable(lambda: variation.batch(batch, judged))

    return viewer.resized(viewer.transformed(batch, transform) if viewer.transformed else transform())


_NO_FILES = "Too many open files"
_NO_GPU = "CUDA error"


@contextmanager
def machine_at_its_limits(remedy: str = "use a smaller --batch-size, or another --device") -> Iterator[None]:
    """Turn the errors of a dead decoding process (raised anywhere in the main process) and a full GPU into messages.

    remedy: what helps against a full GPU.
    """
    try:
        yield
    except RuntimeError as error:
        if memory_is_full(error):
            raise TrustcacheError(f"the GPU's memory is full ({first_line(error)}); {remedy}") from error
        if str(error).startswith(_NO_GPU):
            raise TrustcacheError(
                f"the GPU cannot be used ({first_line(error)}); free it, or use --device cpu"
            ) from error
        if not str(error).startswith((WORKER_DIED, _NO_FILES)):
            raise
        raise TrustcacheError(
            f"a decoding process died ({first_line(error)}); often memory, shared memory or open files (ulimit -n) "
            "ran out: run the same command again with fewer --workers (0 decodes in the main process)"
        ) from error


@contextmanager
def model_at_work(
    name: str, pixels: torch.Tensor, remedy: str = "check --preprocess input_size, or the model"
) -> Iterator[None]:
    """Name the model in the error that it raises for images (N, 3, H, W), with a remedy."""
    try:
        yield
    except TrustcacheError:
        raise
    except Exception as error:  # a user's own model may raise anything
        if str(error).startswith(WORKER_DIED) or memory_is_full(error):
            raise
        if "the same device" in str(error):
            remedy = "it makes tensors on the CPU, wherever its images are: use --device cpu, or mend it"
        raise TrustcacheError(
            f"{name}: fails on images of {pixels.shape[-2]} x {pixels.shape[-1]} pixels "
            f"({kind_and_line(error)}); {remedy}"
        ) from error


@contextmanager
def computing(name: str, pixels: torch.Tensor, precision: str) -> Iterator[None]:
    """Run a model on images (N, 3, H, W) in one of `PRECISIONS`, and name it in the error that it raises."""
    with model_at_work(name, pixels), arithmetic(precision, pixels.device):
        yield
