"""Runs: trained oracles on disk, each a folder with its config, weights, log and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from trustcache.cache import CacheView
from trustcache.cache.arrays import MADE_ANEW, metadata, read_arrays, read_whole, scores_in, write_arrays
from trustcache.cache.index import Index, judged_fingerprint
from trustcache.cache.joined import by_network
from trustcache.cache.provenance import original_name
from trustcache.cache.records import fingerprint, read_lines, read_record, write_lines, write_record
from trustcache.cache.seal import publish_sealed
from trustcache.cache.workspace import Workspace, data_path
from trustcache.data.splits import HALVES, half_rows, other_half
from trustcache.errors import DamagedError, TrustcacheError, first_line
from trustcache.losses import LossChoice
from trustcache.models.identity import Identity
from trustcache.oracles.head_inputs import columns_of
from trustcache.oracles.heads import LINEAR, HeadSpec
from trustcache.oracles.networks import Network, SecondNetwork
from trustcache.protocols import PROTOCOLS, Optimiser

if TYPE_CHECKING:
    import torch

    from trustcache.models.building import ModelSpec


CONFIG, LOG, WEIGHTS = "config.json", "log.jsonl", "weights.safetensors"
"""Files of a run."""
CARD = "README.md"
"""Its model card, which a report writes."""
_HASH = 8  # letters of the config's hash at the end of a run's name


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides what an oracle becomes, `config.json` in its run.

    classifier, data: names of the training cache. cache, judged: fingerprints of that cache and of its classifier.
    oracle, backbone: name and identity of the model that the oracle is built on. features: fingerprint of the cache of
    that model's features, "" for a fine-tuned oracle.
    training: "frozen" or "fine-tuned". protocol: a key of `PROTOCOLS`. start: the run whose weights it begins with.
    head: the head, and for a frozen one its inputs. stages: the modules whose outputs are its input `stages`.
    part: a key of `HALVES` if it learns from half of the cache, else "". samples: the cache's size if so.
    also: fingerprints of further training caches, by the names of their data.
    precision: of a fine-tuned oracle's network, in training and scoring, one of `TUNING`. accumulate: number of forward
    passes of a fine-tuning's step.
    second: the network whose outputs a head reads too, where there is one.
    """

    SCHEMA: ClassVar[int] = 6

    classifier: str
    data: str
    cache: str
    judged: str
    oracle: str
    backbone: Identity
    features: str
    training: str
    loss: LossChoice
    signed_distance: bool
    seed: int
    optimiser: Optimiser
    val_fraction: float
    protocol: str = "equations"
    start: str = ""
    head: HeadSpec = LINEAR
    stages: tuple[str, ...] = ()
    part: str = ""
    samples: int = 0
    also: dict[str, str] = field(default_factory=dict)
    precision: str = "float32"
    accumulate: int = 1
    second: SecondNetwork | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for what no training has, as a config of a stranger may say it."""
        known = {"protocol": PROTOCOLS, "part": ("", *HALVES)}
        for name, values in known.items():
            if (value := getattr(self, name)) not in values:
                raise ValueError(f"its {name} is '{value:.40}'")
        if not (0 <= self.seed < 2**63 and 0 <= self.val_fraction < 1):
            raise ValueError("its seed or val_fraction is out of range")

    @property
    def name(self) -> str:
        """A readable name, with a hash of all settings."""
        pair = self.classifier if self.oracle == self.classifier else f"{self.oracle}-on-{self.classifier}"
        pair += f"-with-{self.second.label}" if self.second else ""
        head = self.head.kind if self.head.kind != LINEAR.kind else ""
        words = [pair, self.loss.name, head, self.training, self.part, f"seed{self.seed}", fingerprint(self)[:_HASH]]
        return "-".join(filter(None, words))

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks whose outputs a head on cached outputs reads, in the order of `side_by_side`."""
        (own, beside), second = by_network(columns_of(self.head.inputs)), self.second
        first = Network(self.oracle, self.backbone, own, self.stages)
        return (first, Network(second.label, second.identity, beside, second.stages)) if second else (first,)

    def learnt_rows(self, cache: CacheView) -> np.ndarray:
        """Return the rows of its training cache that it takes, for validation too, as sorted numbers."""
        if not self.part:
            return np.arange(len(cache))
        return np.flatnonzero(in_half(cache, self.part))

    def learnt_images_of(self, index: Index, caches: Sequence[Index]) -> bool:
        """Return True if it learnt from a cache's images, or from a variant of them. caches: all of the workspace."""
        learnt = {original_name(data, caches) for data in (self.data, *self.also)}
        return original_name(index.data, caches) in learnt

    def mixed_up(self, index: Index, caches: Sequence[Index]) -> bool:
        """Return True if a cache holds images of the half that it learnt from, but which ones is unknown.

        Halves are drawn by sample number, and a cache of another size, as of another subset, numbers them differently.
        """
        return bool(self.part) and index.samples != self.samples and self.learnt_images_of(index, caches)

    def oracle_spec(self) -> ModelSpec:
        """Return the model that the oracle is built on, without weights, which a finished run has itself."""
        from trustcache.models.building import ModelSpec

        backbone = self.backbone
        return ModelSpec(backbone.name, None, backbone.arguments, asdict(backbone.images))


@dataclass(frozen=True)
class LogEntry:
    """An epoch of training: its mean loss, and where it validated the metrics, None for undefined ones."""

    epoch: int
    loss: float
    validation: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class RunWeights:
    """The record of a run's weights. config: the fingerprint of the run's config."""

    SCHEMA: ClassVar[int] = 1

    config: str


@dataclass(frozen=True)
class RunScores:
    """The record of a run's scores. cache: the fingerprint of the cache whose rows they are for."""

    SCHEMA: ClassVar[int] = 1

    cache: str


def in_half(cache: CacheView, half: str) -> np.ndarray:
    """Return the rows of a cache that are in one of `HALVES` of its data set, bool (N,)."""
    return np.isin(cache.sample_indices, half_rows(cache.index.samples, half))


class Run:
    """One run's folder: config.json, weights.safetensors, log.jsonl, scores/<data set>.safetensors."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self.folder, self.config = folder, config

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def finished(self) -> bool:
        """True if its weights are there."""
        return self.weights_path.is_file()

    @property
    def weights_path(self) -> Path:
        return self.folder / WEIGHTS

    def begin(self) -> None:
        """Write the config."""
        write_record(self.folder / CONFIG, self.config)

    def finish(self, weights: dict[str, torch.Tensor], log: list[dict[str, Any]]) -> None:
        """Write the log, an entry an epoch, then the weights, which make it a finished run."""
        from safetensors.torch import save

        write_lines(self.folder / LOG, log)
        whole = {name: tensor.cpu().contiguous() for name, tensor in weights.items()}
        publish_sealed(self.weights_path, save(whole, metadata(RunWeights(fingerprint(self.config)))))

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the trained weights. Raises DamagedError as `weights_bytes`."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        data = weights_bytes(self.folder)
        try:
            return load(data)
        except SafetensorError as error:
            raise DamagedError(f"{self.weights_path}: damaged ({error}); {_remedy(self.folder)}") from None

    def misfit(self, error: Exception) -> DamagedError:
        """Return the error for weights that are not this run's oracle's, as another version of timm may build it."""
        reason = first_line(error)
        return DamagedError(f"{self.weights_path}: does not fit this run's oracle ({reason}); {_remedy(self.folder)}")

    def log(self) -> list[LogEntry]:
        """Return what training reported, epoch by epoch; the last entry is of the epoch whose weights were kept."""
        return read_log(self.folder)

    @cached_property
    def held_out(self) -> dict[str, float | None]:
        """The metrics on what it held out for validation, of the epoch whose weights were kept; {} without any."""
        log = self.log()
        return log[-1].validation if log else {}

    def save_scores(self, index: Index, z: np.ndarray, counts: np.ndarray) -> None:
        """Write z (N,) for the rows of a cache where `counts`, bool (N,), is True, and nan for the others.

        Raises TrustcacheError where a score that counts is not finite.
        """
        if not np.isfinite(z[counts]).all():
            raise TrustcacheError(
                f"{self.name}: its scores of {index.data} are not finite; remove {self.folder} and train it again "
                "with a smaller --lr"
            )
        kept = {"z": np.where(counts, z, np.nan)}
        write_arrays(self.scores_path(index), kept, RunScores(index.fingerprint()))

    def scores(self, index: Index) -> np.ndarray | None:
        """Return z, float64 (N,), for the rows of a cache, None if this run has not scored it as it is now.

        Raises DamagedError where the file is not as it was written.
        """
        path = self.scores_path(index)
        try:
            about, arrays = read_arrays(path, RunScores, MADE_ANEW)
        except FileNotFoundError:
            return None
        return scores_in(path, arrays, index.rows) if about.cache == index.fingerprint() else None

    def unseen(self, cache: CacheView, caches: Sequence[Index]) -> np.ndarray:
        """Return the rows of an evaluation cache that it has not learnt from, bool (N,).

        caches: all of the workspace. No row counts where images are `mixed_up`.
        """
        config = self.config
        if not config.part or not config.learnt_images_of(cache.index, caches):
            return np.ones(len(cache), dtype=bool)
        if config.mixed_up(cache.index, caches):
            return np.zeros(len(cache), dtype=bool)
        return in_half(cache, other_half(config.part))

    def judges(self, index: Index) -> bool:
        """Return True if a cache's classifier is the one this run was trained to judge."""
        return self.config.judged == judged_fingerprint(index)

    def scores_path(self, index: Index) -> Path:
        """Return the file of its scores on a cache."""
        path = self.folder / "scores" / data_path(index.data)
        return path.with_name(f"{path.name}.safetensors")  # a data set's name may have a dot


def open_run(workspace: Workspace, config: RunConfig) -> Run:
    """Return the run of a config, new or not."""
    return Run(workspace.run_folder(config.name), config)


def read_runs(workspace: Workspace) -> list[Run]:
    """Return all runs, finished or not, sorted by name. Raises TrustcacheError for a config that cannot be read."""
    return [read_run(path.parent) for path in sorted(workspace.runs.glob(f"*/{CONFIG}"))]


def finished_runs(workspace: Workspace) -> list[Run]:
    """Return all finished runs, sorted by name. Raises TrustcacheError for a config that cannot be read."""
    return [run for run in read_runs(workspace) if run.finished]


def without_cache(runs: Sequence[Run], caches: Sequence[Index]) -> list[Run]:
    """Return the runs that judge no classifier of some caches, as after an extraction that was made anew otherwise."""
    here = {judged_fingerprint(index) for index in caches}
    return [run for run in runs if run.config.judged not in here]


def read_run(folder: Path) -> Run:
    """Return the run of a folder. Raises TrustcacheError where its config cannot be read, or is another run's."""
    path = folder / CONFIG
    config = read_record(path, RunConfig, _remedy(folder))
    if not folder.name.endswith(config.name[-_HASH:]):
        raise DamagedError(f"{path}: not the config of this run, but of {config.name}; {_remedy(folder)}")
    return Run(folder, config)


def read_log(folder: Path) -> list[LogEntry]:
    """Return the log of a run's folder. Raises DamagedError where it is not as it was written."""
    return read_lines(folder / LOG, LogEntry, _remedy(folder))


def weights_bytes(folder: Path) -> bytes:
    """Return the weights in a run's folder, as safetensors.

    Raises DamagedError where they are not as they were written, or are another run's.
    """
    path = folder / WEIGHTS
    about, data = read_whole(path, RunWeights, _remedy(folder))
    if not folder.name.endswith(about.config[:_HASH]):
        raise DamagedError(f"{path}: the weights of another run; {_remedy(folder)}")
    return data


def _remedy(folder: Path) -> str:
    return f"remove {folder} and train it again"
