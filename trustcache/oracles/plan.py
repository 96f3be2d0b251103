"""Stage two: the configs of runs, and both ways of training them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from trustcache.cache import CacheView, open_cache
from trustcache.cache.claims import dealt, lock_beside
from trustcache.cache.content import require_same_images
from trustcache.cache.index import Index, judged_fingerprint
from trustcache.cache.joined import by_network
from trustcache.cache.provenance import original_dataset
from trustcache.cache.workspace import Workspace
from trustcache.data.loader import choose_device, machine_at_its_limits
from trustcache.data.pipeline import unheard
from trustcache.data.progress import Progress, silent
from trustcache.data.ranks import ranks
from trustcache.data.splits import VAL_FRACTION, training_rows, validation_rows
from trustcache.errors import TrustcacheError, UsageError
from trustcache.losses import LossChoice
from trustcache.oracles.backbones import OracleModel, read_together
from trustcache.oracles.finetune import CHECKPOINT, finetune
from trustcache.oracles.head_inputs import columns_of, held_inputs, of_second, with_second
from trustcache.oracles.head_rows import CachedRows, learnt_rows
from trustcache.oracles.head_training import Diverged, HeadTask, Trained, train_heads
from trustcache.oracles.heads import LINEAR, AnyHead, HeadSpec, LinearHead
from trustcache.oracles.learnable import few_errors, require_both_outcomes
from trustcache.oracles.mlp_heads import MlpHead
from trustcache.oracles.networks import SecondNetwork
from trustcache.oracles.optim import Machine
from trustcache.oracles.process_group import ALONE, ProcessGroup, process_group
from trustcache.oracles.runs import Run, RunConfig, open_run
from trustcache.oracles.tracking import Track, untracked
from trustcache.protocols import PROTOCOLS, Optimiser, negative_threshold

_NONE = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class TrainSettings:
    """The settings that all runs of one call share. `signed_distance` None leaves the head's form to the loss.

    also: caches of the judged classifier that heads learn from beside the first. second: a second network's caches of
    the images of the first, and of those of `also`; () without one.
    """

    frozen: bool
    optimiser: Optimiser
    seeds: tuple[int, ...] = (0,)
    val_fraction: float = VAL_FRACTION
    signed_distance: bool | None = None
    protocol: str = "equations"
    head: HeadSpec = LINEAR
    part: str = ""
    also: tuple[Index, ...] = ()
    second: tuple[Index, ...] = ()


@dataclass(frozen=True)
class Training:
    """Planned runs, all frozen or all fine-tuned, and what they learn from: `index`, and for heads `also`, `second`.

    together: fine-tune those of one seed in one pass over the images, which come in an order that the seed draws.
    """

    index: Index
    oracle: OracleModel
    configs: list[RunConfig]
    also: tuple[Index, ...]
    second: tuple[Index, ...] = ()
    together: bool = False

    def run(
        self,
        workspace: Workspace,
        data_root: Path,
        machine: Machine,
        progress: Progress = silent,
        track: Track = untracked,
        note: Callable[[str], None] = unheard,
    ) -> list[Run]:
        """Train the runs that are not finished yet; return all of them.

        track: told of their epochs. note: told where cached columns are read in blocks.

        Heads on cached features are trained all at once; fine-tunings one after the other, or `together`, each resumed
        where it was stopped. Processes that can meet take each step of a fine-tuning together; what is trained at once
        is else done by one of them, while the others do other work, or wait. Raises UsageError where the cache has
        nothing to learn from, or a seed leaves nothing of it, and TrustcacheError where a loss is no longer finite.
        """
        if machine.memory and self.configs[0].training != "frozen":
            raise UsageError("--memory: is of heads on cached outputs; add --frozen")
        _require_both_outcomes(self.configs[0], open_cache(self.index.folder))
        runs = [open_run(workspace, config) for config in self.configs]
        for run in runs:
            if run.finished and ranks().first:  # a disk that failed may have left its checkpoint
                (run.folder / CHECKPOINT).unlink(missing_ok=True)
        if all(run.finished for run in runs):
            return runs
        if self.configs[0].training == "frozen":
            self._train([runs], ALONE, lambda some: self._heads(some, machine, progress, track, note))
            return runs
        tune = self._tuner(runs, data_root, machine, progress, track, note)
        with process_group(choose_device(machine.device)) as group:
            self._train(self._passes(runs), group, lambda some: tune(some, group=group))
        return runs

    def _passes(self, runs: Sequence[Run]) -> list[list[Run]]:
        """Return the fine-tunings that share a pass over the images."""
        passes: dict[object, list[Run]] = {}
        for run in runs:
            passes.setdefault(run.config.seed if self.together else run.name, []).append(run)
        return [*passes.values()]

    def _train(self, passes: Sequence[list[Run]], group: ProcessGroup, train: Callable[[list[Run]], object]) -> None:
        """Train the runs of each pass that are not finished; of processes that do not meet, each takes free passes."""
        by_name = {some[0].name: some for some in passes if not all(run.finished for run in some)}
        locks = {name: lock_beside(some[0].folder) for name, some in by_name.items()}

        def finished(name: str) -> bool:
            return all(run.finished for run in by_name[name])

        for names in dealt(locks, ranks().count // group.count, finished):
            for name in names:
                train(by_name[name])

    def _heads(
        self, runs: Sequence[Run], machine: Machine, progress: Progress, track: Track, note: Callable[[str], None]
    ) -> None:
        cache, *also = (open_cache(index.folder) for index in (self.index, *self.also))
        beside = [[index] for index in self.second] or [[] for _ in (cache, *also)]
        features = read_together(cache, [self.oracle.features(), *beside[0]])
        also = [read_together(one, [one.index, *more]) for one, more in zip(also, beside[1:], strict=True)]
        # Finished ones beside the others, as what a head is trained with decides its last digits.
        _publish(runs, learn_heads(self.configs, cache, features, machine, also, progress, note), track)

    def _tuner(
        self,
        runs: Sequence[Run],
        data_root: Path,
        machine: Machine,
        progress: Progress,
        track: Track,
        note: Callable[[str], None],
    ) -> Callable[..., None]:
        """Return the function that fine-tunes some of the runs, whose images are those of the cache."""
        cache, new = open_cache(self.index.folder), [run for run in runs if not run.finished]
        _require_both_kinds([run.config for run in new], cache.correct)
        dataset, spec = original_dataset(self.index, data_root), self.oracle.spec()
        require_same_images(self.index, dataset, range(len(self.index.ranges())), progress)

        def tune(some: Sequence[Run], group: ProcessGroup) -> None:
            left = [run for run in some if not run.finished]
            finetune(left, spec, dataset, cache, machine, progress, track, group, note)

        return tune

    def few_errors(self) -> str:
        """Return a warning of too few errors to learn from, "" where there are enough."""
        cache = open_cache(self.index.folder)
        also = [open_cache(index.folder).correct for index in self.also]
        learnt = cache.correct[self.configs[0].learnt_rows(cache)]
        return few_errors(self.index.data, np.concatenate([learnt, *also]))

    def note(self) -> str:
        """Return how the cache's classifier saw images otherwise than the protocol shows them, "" where it did not."""
        protocol, model = self.configs[0].protocol, self.index.identity
        if self.index.imported or PROTOCOLS[protocol].preprocessing.items() <= vars(model.images).items():
            return ""
        return (
            f"{self.index.classifier} saw {self.index.data} with its own preprocessing, not with that of protocol "
            f"{protocol}; trustcache extract --protocol {protocol} makes such a cache"
        )


def plan(index: Index, oracle: OracleModel, losses: Sequence[LossChoice], settings: TrainSettings) -> Training:
    """Plan a run for each loss and seed, of an oracle that learns from one cache of the judged classifier."""
    head = settings.head
    if settings.frozen and oracle.features().imported:  # nothing would add what it lacks
        head = replace(head, inputs=held_inputs(head.inputs, oracle.features().holds))
    if (asked := of_second(head.inputs)) and not settings.second:
        raise UsageError(f"--inputs {asked[0]}: is of a second network; name its caches with --also-features")
    second = None
    if settings.second:
        first = settings.second[0]
        same_classes = first.made_from.classes == index.made_from.classes
        head = replace(head, inputs=with_second(head.inputs, first.holds, same_classes))
        caches = {one.data: one.fingerprint() for one in settings.second}
        reads_stages = "stages" in by_network(columns_of(head.inputs))[1]
        second = SecondNetwork(first.classifier, first.identity, caches, first.stages if reads_stages else ())
    configs = [
        RunConfig(
            classifier=index.classifier,
            data=index.data,
            cache=index.fingerprint(),
            judged=judged_fingerprint(index),
            oracle=oracle.label,
            backbone=oracle.identity,
            features=oracle.features().fingerprint() if settings.frozen else "",
            training="frozen" if settings.frozen else "fine-tuned",
            loss=loss,
            signed_distance=loss.core.signed_distance if settings.signed_distance is None else settings.signed_distance,
            seed=seed,
            optimiser=settings.optimiser,
            val_fraction=settings.val_fraction,
            protocol=settings.protocol,
            head=head,
            stages=oracle.features().stages if "stages" in head.inputs else (),
            part=settings.part,
            samples=index.samples if settings.part else 0,
            also={other.data: other.fingerprint() for other in settings.also},
            second=second,
        )
        for loss in losses
        for seed in settings.seeds
    ]
    return Training(index, oracle, configs, settings.also, settings.second)


def _require_both_outcomes(config: RunConfig, cache: CacheView) -> None:
    require_both_outcomes(config.data, config.classifier, cache.correct[config.learnt_rows(cache)])


def _require_both_kinds(configs: Sequence[RunConfig], correct: np.ndarray, shown_again: np.ndarray = _NONE) -> None:
    """Raise UsageError where a run's validation part takes all right or all wrong answers from what it learns."""
    for config in {config.seed: config for config in configs}.values():
        held_out = validation_rows(len(correct) - len(shown_again), config.val_fraction, config.seed)
        learnt = correct[training_rows(held_out, shown_again)]
        if learnt.all() or not learnt.any():
            raise UsageError(
                f"{config.data}: seed {config.seed} sets all {'wrong' if learnt.all() else 'right'} answers aside for "
                "validation, which leaves nothing to tell apart; take a smaller --val-fraction or another --seed"
            )


def learn_heads(
    configs: Sequence[RunConfig],
    cache: CacheView,
    features: CacheView,
    machine: Machine,
    also: Sequence[CacheView] = (),
    progress: Progress = silent,
    note: Callable[[str], None] = unheard,
) -> list[Trained | Diverged]:
    """Train heads of one kind that learn from the same rows in the same way, differing in loss and seed.

    features: of the oracle's model for the images of `cache`. also: further training caches of the judged classifier.
    note: told where columns are read in blocks.
    Raises UsageError where there is nothing to learn from, or a seed leaves nothing of it.
    """
    config = configs[0]
    _require_both_outcomes(config, cache)
    taken = config.learnt_rows(cache) if config.part else None
    numbers = {sample: number for number, sample in enumerate(cache.sample_ids)} if also else {}
    shown_again = np.array([numbers.get(sample, -1) for other in also for sample in other.sample_ids], dtype=np.int64)
    targets = [_target(name, cache, taken, also) for name in ("correct", "true_class_prob")]
    _require_both_kinds(configs, targets[0], shown_again)
    tasks = [
        HeadTask(c.loss, c.signed_distance, c.seed, c.protocol, negative_threshold(c.loss.name, cache.classes))
        for c in configs
    ]
    parts = [(features, taken), *((other, None) for other in also)]
    device = choose_device(machine.device)
    with machine_at_its_limits("use a smaller --memory, or another --device"):
        rows = learnt_rows(CachedRows(parts, columns_of(config.head.inputs)), device, machine.memory, note)
        correct, true_class_prob = (torch.from_numpy(target).to(device) for target in targets)
        return train_heads(
            rows,
            correct,
            true_class_prob,
            tasks,
            config.optimiser,
            config.val_fraction,
            config.head,
            progress,
            shown_again,
        )


def _target(name: str, cache: CacheView, taken: np.ndarray | None, also: Sequence[CacheView]) -> np.ndarray:
    """Return a column of one number a row of all rows that a head learns from."""
    own = getattr(cache, name)
    return np.concatenate([own if taken is None else own[taken], *(getattr(other, name) for other in also)])


def _publish(runs: Sequence[Run], trained: Sequence[Trained | Diverged], track: Track) -> None:
    """Finish the runs whose heads are sound. Raises TrustcacheError naming the others, of which nothing is kept."""
    diverged = []
    for run, one in zip(runs, trained, strict=True):
        if isinstance(one, Diverged):
            diverged.append(f"{run.name} (epoch {one.epoch})")
        elif not run.finished:
            run.begin()
            run.finish(head_tensors(one.head), one.log)
            for entry in one.log:
                track(run, entry)
    if diverged:
        others = len(runs) - len(diverged)
        kept = f"; the {others} others are trained, and trustcache evaluate scores them" if others else ""
        raise TrustcacheError(
            f"{', '.join(diverged)}: the loss is no longer finite; use a smaller --lr, or milder settings of the loss"
            + kept
        )


def frozen_head(run: Run) -> AnyHead:
    """Return the head of a finished run that was trained on cached features.

    Raises DamagedError where its weights are not those of such a head.
    """
    try:
        return head_of(run.config, {name: tensor.numpy() for name, tensor in run.weights().items()})
    except TypeError as error:
        raise run.misfit(error) from None


def head_of(config: RunConfig, weights: Mapping[str, np.ndarray]) -> AnyHead:
    """Return the head of a config and its arrays. Raises TypeError where they are not those of such a head."""
    kind = MlpHead if config.head.kind == "mlp" else LinearHead
    return kind(**weights, signed_distance=config.signed_distance)


def head_tensors(head: AnyHead) -> dict[str, torch.Tensor]:
    """Return the arrays of a trained head as a run's file has them."""
    return {name: torch.as_tensor(array) for name, array in vars(head).items() if name != "signed_distance"}
