"""A classifier with a reject option: model, trust score and threshold, giving a stream of answers for any images."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from trustcache.cache import CacheView
from trustcache.cache.workspace import Workspace
from trustcache.data.copies import Copies
from trustcache.data.loader import choose_device, machine_at_its_limits
from trustcache.data.machine import decoding_workers
from trustcache.data.pictures import Picture, pictures_of, require_several
from trustcache.data.pipeline import Waits, fetched
from trustcache.deploy.alarm import Alarm, announcement
from trustcache.deploy.decoding import Decoded, by_processes, by_threads
from trustcache.deploy.goals import CLASS, GROUP
from trustcache.deploy.network import OracleScore, Pair, load_pair, pair_of
from trustcache.deploy.scorers import find_scorer
from trustcache.deploy.sets import PredictionSets
from trustcache.deploy.threshold import Threshold
from trustcache.errors import UsageError
from trustcache.extract.batch_size import USUAL
from trustcache.models.classifiers import Classifier, as_classifier
from trustcache.models.memory import keep_freed_memory
from trustcache.models.to_device import to_device
from trustcache.scores import POST_HOC
from trustcache.scores.methods import AnyMethod, methods_of

# Images that a CPU's networks are given at once: more are hardly faster, and one image takes as long as they do.
CPU_ROWS = 4


@dataclass(frozen=True)
class Answer:
    """The classifier's prediction for one image, and the verdict.

    path: the image's file, if it has one. probability: softmax of the predicted class. score: the trust score;
    `trusted` is True above the threshold. error: why there is no prediction, which leaves the rest None. alarm: True
    from the image on that raised it, which voids what the threshold promises. class_set: the names of the classes that
    it may well be, the most probable first, where sets are asked for.
    """

    path: str | None
    class_name: str | None = None
    class_number: int | None = None
    probability: float | None = None
    score: float | None = None
    trusted: bool = False
    error: str | None = None
    alarm: bool | None = None
    class_set: tuple[str, ...] | None = None


class TrustedClassifier:
    """A frozen classifier together with a trust score and a threshold.

    Call it with images; it yields one `Answer` for each path, PIL image, array or tensor, in order, or for each image
    in the batches of a DataLoader. An array holds pixels as uint8, (H, W) or (H, W, 3); a tensor as uint8 (3, H, W), or
    as floats that are resized and normalised as the model takes them.
    An image that cannot be read gets an answer with an `error`, which is never trusted. Threads may share one that has
    no alarm.
    alarm: tells when scores no longer look like those calibrated on, over all calls (`Alarm`); None where the threshold
    is no calibrated one.

    model: a torch module, which is copied, or a `Classifier`. oracle: a fitted `Oracle`, a post-hoc score by name, or a
    function of one's own. threshold: above it is trusted, as `calibrate` returns it; without one 0, for what has a
    natural zero. classes: names in the order of the logits. preprocess: entries that replace the model's own
    preprocessing, such as `input_size`. training: the cache that a post-hoc score learns from. second: the network
    whose outputs the oracle reads too, if it learnt from two `side_by_side`. sets: as `prediction_sets` returns them,
    for each answer's `class_set`; an attribute too, to be set after `load`.
    From then on the process keeps freed memory (`keep_freed_memory`).
    Raises UsageError where the oracle reads other outputs than the model has, and for a score without a threshold.

    >>> trusted = TrustedClassifier.load(demo_workspace.root, "mcp", device="cpu")  # doctest: +SKIP
    >>> [answer.trusted for answer in trusted(["a.jpg", "b.jpg"])]  # doctest: +SKIP
    [True, False]
    """

    sets: PredictionSets | None = None

    def __init__(
        self,
        model: Classifier | nn.Module,
        oracle: AnyMethod,
        threshold: Threshold | float | None = None,
        *,
        classes: Sequence[str] | None = None,
        preprocess: Mapping[str, Any] | None = None,
        training: CacheView | None = None,
        second: Classifier | nn.Module | None = None,
        sets: PredictionSets | None = None,
        device: str = "auto",
    ) -> None:
        classifier = as_classifier(model, preprocess)
        (method,) = methods_of([oracle], training)
        entry = method.entry
        if threshold is None and entry and not entry.natural_zero:
            raise UsageError(f"{method.name}: only orders samples and has no threshold of its own; give one")
        names = tuple(classes or map(str, range(classifier.num_classes)))
        pair = pair_of(classifier, method, None if second is None else as_classifier(second))
        self._ready(pair, names, threshold, choose_device(device))
        self.sets = sets

    def _ready(
        self, pair: Pair, classes: tuple[str, ...], threshold: Threshold | float | None, device: torch.device
    ) -> None:
        keep_freed_memory()
        with machine_at_its_limits("free it, or use another device"):
            self.pair = pair.to(device)
        self._copies = self._usual_copies()
        self.classes, self.device = classes, device
        calibrated = threshold if isinstance(threshold, Threshold) else None
        self.threshold, self._cut = threshold, calibrated.point.threshold if calibrated else float(threshold or 0.0)
        self.alarm = Alarm(calibrated.watch) if calibrated else None
        self._by = calibrated.by if calibrated else ""
        self._cuts = calibrated.of_groups() if calibrated else {}

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
        pair.first.do_as(scorer.caches[0].meaning)
        if pair.second and scorer.run:
            pair.second.do_as(scorer.cache_of(scorer.run.config.networks[1]).meaning)
        if isinstance(pair.score, OracleScore) and scorer.run:
            pair.score.precision = scorer.run.config.precision
        trusted = cls.__new__(cls)
        classes = scorer.classes(pair.classifier.num_classes)
        trusted._ready(pair, classes, scorer.threshold(), choose_device(device))
        return trusted

    def __call__(
        self,
        images: Iterable[Any],
        *,
        groups: Iterable[str | None] | None = None,
        batch_size: int = 64,
        workers: int | None = None,
        ahead: int = 0,
    ) -> Iterator[Answer]:
        """Yield answers in order, a batch at a time.

        workers: threads that decode, 0 for the caller's own, None for all cores but one beside a GPU, else 2.
        `1 + ahead` batches are in memory. While the model works on one, `ahead` more are decoded: faster, but an answer
        then waits for the images of later batches. groups: of each image, for thresholds by group; nothing of an
        unknown group is trusted. Raises ValueError for what is no image, and for a single image that is not in a list;
        UsageError for thresholds by group without groups.
        """
        late = int(self.device.type == "cuda" and ahead > 0)
        threads = decoding_workers(workers, sys.maxsize, self.device.type)  # of what comes there is no number
        stream = pictures_of(images)
        decoded = by_threads(stream, self.pair.takes, batch_size, threads, ahead - late)
        return self._all_answers(decoded, groups, batch_size, late)

    def of_files(
        self,
        files: Sequence[str | Path | Picture],
        *,
        groups: Iterable[str | None] | None = None,
        batch_size: int = 64,
        workers: int | None = None,
    ) -> Iterator[Answer]:
        """Yield answers for many image files, decoded by processes, which keep up with a GPU where threads do not.

        workers: None for all cores but one beside a GPU, else 2, and for few files none. groups, and what is raised: as
        of a call. A script that is run where processes are spawned needs `if __name__ == "__main__":`.
        """
        require_several(files)
        decoded = by_processes(files, self.pair.takes, batch_size, workers, self.device)
        return self._all_answers(decoded, groups, batch_size, late=1)

    def announcement(self, path: str | None = None, by_folder: bool = False) -> str:
        """Say what the raised alarm means. path: of the image that raised it. by_folder: images come so."""
        assert self.alarm
        assert isinstance(self.threshold, Threshold)
        return announcement(self.alarm, self.threshold, path, by_folder)

    def _all_answers(
        self, batches: Iterator[Decoded], groups: Iterable[str | None] | None, batch_size: int, late: int
    ) -> Iterator[Answer]:
        if (self._by == GROUP) != (groups is not None):
            what = "of each group, and no groups are given" if groups is None else "not of groups, which are given"
            raise UsageError(f"the thresholds are {what}; calibrate again, or give groups where they are by group")
        answers = self._answered(batches, batch_size, late)
        if groups is not None:
            return map(self._in_group, answers, itertools.chain(groups, itertools.repeat(None)))
        return answers

    def _answered(self, batches: Iterator[Decoded], batch_size: int, late: int) -> Iterator[Answer]:
        scored = ((batch, self._outputs(batch, batch_size)) for batch in batches)
        with machine_at_its_limits():
            for batch, outputs in fetched(scored, self.device, Waits(), late):
                yield from self._answers(batch, outputs)

    def _outputs(self, batch: Decoded, batch_size: int) -> dict[str, torch.Tensor]:
        """Return logits (N, K) and z (N,) of the images that could be read, after the number of their kind."""
        outputs: dict[str, torch.Tensor] = {}
        for kind, (_, pixels) in enumerate(batch.kinds):
            outputs[f"{kind} logits"], outputs[f"{kind} z"] = self._scored(pixels, batch_size)
        return outputs

    def _scored(self, pixels: Sequence[torch.Tensor], batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
        rows = min(batch_size, CPU_ROWS) if self.device.type == "cpu" else batch_size
        return self.pair.in_equal_batches([to_device(one, self.device) for one in pixels], rows, self._copies)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_copies"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._copies = self._usual_copies()

    def _usual_copies(self) -> Copies[Pair]:
        return self.pair.copies(USUAL)  # for the images that extraction has copies for

    def _answers(self, batch: Decoded, outputs: dict[str, np.ndarray]) -> Iterator[Answer]:
        exact = {name: values.astype(np.float64) for name, values in outputs.items()}
        scored = {
            place: (logits, z)
            for kind, (places, _) in enumerate(batch.kinds)
            for place, logits, z in zip(places, exact[f"{kind} logits"], exact[f"{kind} z"], strict=True)
        }
        for place, path in enumerate(batch.paths):
            if place in batch.bad:
                yield Answer(path, error=batch.bad[place])
            else:
                yield self._answer(path, *scored[place])

    def _answer(self, path: str | None, logits: np.ndarray, z: np.float64) -> Answer:
        if not np.isfinite(z) or not np.isfinite(logits).all():
            return Answer(path, error="the classifier's or the oracle's output is not finite")
        number = int(logits.argmax())
        probability = float(1 / np.exp(logits - logits[number]).sum())
        cut = self._cuts.get(str(number), math.inf) if self._by == CLASS else self._cut
        alarm = True if self.alarm and self.alarm.see([z], [number]) else None
        trusted = bool(z > cut)
        return Answer(
            path,
            self.classes[number],
            number,
            probability,
            float(z),
            trusted,
            alarm=alarm,
            class_set=self._class_set(logits),
        )

    def _class_set(self, logits: np.ndarray) -> tuple[str, ...] | None:
        if self.sets is None:
            return None
        (members,) = self.sets.sets(logits[None])
        return tuple(self.classes[number] for number in np.argsort(-logits, kind="stable") if members[number])

    def _in_group(self, answer: Answer, group: str | None) -> Answer:
        cut = math.inf if group is None else self._cuts.get(group, math.inf)
        return replace(answer, trusted=answer.score is not None and answer.score > cut)
