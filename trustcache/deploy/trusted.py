"""A classifier with a reject option: from a run in a workspace to a stream of answers for any images."""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from trustcache.cache.workspace import Workspace
from trustcache.data.archives import read_file
from trustcache.data.loader import choose_device, machine_at_its_limits
from trustcache.data.pipeline import Waits, fetched
from trustcache.data.samples import BadImage, decode_rgb, to_rgb
from trustcache.deploy.network import OracleScore, Pair, load_pair
from trustcache.deploy.scorers import Scorer, find_scorer
from trustcache.errors import UsageError, first_line
from trustcache.models.precision import arithmetic
from trustcache.scores import POST_HOC


@dataclass(frozen=True)
class Answer:
    """The classifier's prediction for one image, and the verdict.

    path: the image's file, if it has one. probability: softmax of the predicted class. score: the trust score;
    `trusted` is True above the threshold. error: why there is no prediction, which leaves the rest None.
    """

    path: str | None
    class_name: str | None = None
    class_number: int | None = None
    probability: float | None = None
    score: float | None = None
    trusted: bool = False
    error: str | None = None


@dataclass(frozen=True)
class Picture:
    """An image to be decoded when its turn comes. path: its file, if any. decode: returns RGB or raises BadImage."""

    path: str | None
    decode: Callable[[], Image.Image]


# The images of a batch, each decoded to pixels uint8 (3, H, W), or with the reason why it cannot be read.
_Decoded = list[tuple[Picture, torch.Tensor | str]]


class TrustedClassifier:
    """A frozen classifier together with a trust score and a threshold.

    Call it with images; it yields one `Answer` for each path, PIL image, or uint8 array (H, W) or (H, W, 3), in order.
    An image that cannot be read gets an answer with an `error`, which is never trusted.

    >>> trusted = TrustedClassifier.load(demo_workspace.root, "mcp", device="cpu")  # doctest: +SKIP
    >>> [answer.trusted for answer in trusted(["a.jpg", "b.jpg"])]  # doctest: +SKIP
    [True, False]
    """

    def __init__(self, pair: Pair, classes: tuple[str, ...], scorer: Scorer, device: torch.device) -> None:
        self.pair = pair.to(device)
        self.classes, self.device = classes, device
        self.threshold, self._cut = scorer.threshold(), scorer.working_threshold()
        self._transform = pair.classifier.preprocessing.transform()

    @classmethod
    def load(
        cls, workspace: str | Path, run: str, *, classifier: str | None = None, device: str = "auto"
    ) -> TrustedClassifier:
        """Load the classifier of a run, with the calibrated threshold; without one, z > 0 is trusted.

        run, classifier: as `find_scorer` takes them. Raises UsageError where there is no such run, the classifier's
        weights are gone, or a post-hoc score has no threshold.
        """
        scorer = find_scorer(Workspace(Path(workspace)), run, classifier)
        if scorer.run is None and "mc_dropout" in POST_HOC[scorer.name].columns:
            raise UsageError(
                f"{scorer.name}: takes many passes, and is only made by trustcache extract; name another score"
            )
        scorer.working_threshold()  # raises before the networks are loaded
        pair = load_pair(scorer)
        pair.precision = scorer.caches[0].meaning.precision
        if isinstance(pair.score, OracleScore) and scorer.run:
            pair.score.precision = scorer.run.config.precision
        return cls(pair, scorer.classes(pair.classifier.num_classes), scorer, choose_device(device))

    def __call__(
        self, images: Iterable[Any], *, batch_size: int = 64, workers: int = 2, ahead: int = 0
    ) -> Iterator[Answer]:
        """Yield answers in order, a batch at a time; `workers` threads decode.

        `1 + ahead` batches are in memory. While the model works on one, `ahead` more are decoded: faster, but an answer
        then waits for the images of later batches. Raises ValueError for what is no image, and for a single image that
        is not in a list.
        """
        alone = isinstance(images, np.ndarray) and (images.ndim < 3 or images.shape[2:] == (3,))
        if alone or isinstance(images, str | Path | Image.Image | Picture):
            raise ValueError("takes several images: put a single one in a list, as in trusted([image])")
        late = int(self.device.type == "cuda" and ahead > 0)
        decoded = self._decoded(iter(images), batch_size, workers, ahead - late)
        scored = ((batch, self._outputs(batch, batch_size)) for batch in decoded)
        with machine_at_its_limits():
            for batch, outputs in fetched(scored, self.device, Waits(), late):
                yield from self._answers(batch, outputs)

    def _decoded(self, stream: Iterator[Any], batch_size: int, workers: int, ahead: int) -> Iterator[_Decoded]:
        waiting: deque[list[tuple[Picture, Future[torch.Tensor | str]]]] = deque()
        with ThreadPoolExecutor(workers) as pool:
            while pictures := [_picture(image) for image in itertools.islice(stream, batch_size)]:
                waiting.append([(picture, pool.submit(self._decode, picture)) for picture in pictures])
                if len(waiting) > ahead:
                    yield [(picture, future.result()) for picture, future in waiting.popleft()]
            while waiting:
                yield [(picture, future.result()) for picture, future in waiting.popleft()]

    def _decode(self, picture: Picture) -> torch.Tensor | str:
        """Return the pixels of an image, or why it cannot be read."""
        try:
            return self._transform(picture.decode())
        except BadImage as error:
            return error.reason

    def _outputs(self, batch: _Decoded, batch_size: int) -> dict[str, torch.Tensor]:
        """Return logits (N, K) and z (N,) of the N images that could be read."""
        readable = [found for _, found in batch if isinstance(found, torch.Tensor)]
        if not readable:
            return {}
        rows, pixels = len(readable), torch.stack(readable)
        if self.device.type != "cpu":
            # A GPU sums in an order that depends on the batch's size, and with it an image's last digits.
            pixels = torch.cat([pixels, pixels[:1].expand(batch_size - rows, -1, -1, -1)])
        if self.device.type == "cuda":
            pixels = pixels.pin_memory()
        with torch.inference_mode(), arithmetic("float32", self.device):
            logits, z = self.pair(pixels.to(self.device, non_blocking=True))
        return {"logits": logits[:rows], "z": z[:rows]}

    def _answers(self, batch: _Decoded, outputs: dict[str, np.ndarray]) -> Iterator[Answer]:
        scored = iter(zip(*(values.astype(np.float64) for values in outputs.values()), strict=True))
        for picture, found in batch:
            yield Answer(picture.path, error=found) if isinstance(found, str) else self._answer(picture, *next(scored))

    def _answer(self, picture: Picture, logits: np.ndarray, z: np.float64) -> Answer:
        if not np.isfinite(z) or not np.isfinite(logits).all():
            return Answer(picture.path, error="the classifier's or the oracle's output is not finite")
        number = int(logits.argmax())
        probability = float(1 / np.exp(logits - logits[number]).sum())
        return Answer(picture.path, self.classes[number], number, probability, float(z), bool(z > self._cut))


def file_picture(path: str, read: Callable[[], bytes]) -> Picture:
    """Return the picture of an image file. read: returns its bytes or raises OSError.

    >>> file_picture("a.png", lambda: b"").path
    'a.png'
    """

    def decode() -> Image.Image:
        try:
            data = read()
        except OSError as error:
            raise BadImage(path, error.strerror or error) from None
        return decode_rgb(data, path)

    return Picture(path, decode)


def _picture(image: Any) -> Picture:
    if isinstance(image, Picture):
        return image
    if isinstance(image, str | Path):
        return file_picture(str(image), functools.partial(read_file, str(image)))
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.shape[2:] not in ((), (3,)) or image.ndim < 2:
            raise ValueError(
                f"an array must hold an image as uint8 of shape (H, W) or (H, W, 3), not {image.dtype} of {image.shape}"
            )
        return _held(Image.fromarray(image))
    if isinstance(image, Image.Image):
        return _held(image)
    raise ValueError(f"an image must be a path, a PIL image or a NumPy array, not {type(image).__name__}")


def _held(image: Image.Image) -> Picture:
    """Return the picture of a PIL image, in memory or opened and to be decoded."""
    path = getattr(image, "filename", None) or None

    def decode() -> Image.Image:
        try:
            if not all(image.size):
                raise ValueError("has no pixels")
            return to_rgb(image)
        except Exception as error:  # Pillow's plugins may raise anything
            raise BadImage(str(path or "an image"), first_line(error)) from None

    return Picture(None if path is None else str(path), decode)
