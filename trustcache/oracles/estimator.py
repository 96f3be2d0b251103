"""`Oracle`: a trust predictor with scikit-learn's manners, which learns from a cache in memory or on disk."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from torch import Tensor

from trustcache.cache import CacheView
from trustcache.cache.arrays import read_arrays, write_arrays
from trustcache.cache.index import judged_fingerprint
from trustcache.cache.joined import JoinedView
from trustcache.cache.learnt_rows import row_hashes, rows_again
from trustcache.cache.seal import require_saved
from trustcache.cache.view import require_cache, warn_of_sorted
from trustcache.data.progress import Progress, silent
from trustcache.data.splits import seed_list
from trustcache.errors import DamagedError, TrustcacheError, UsageError, did_you_mean, in_python
from trustcache.losses import LOSSES, loss_settings
from trustcache.metrics.ranking import trust_metrics
from trustcache.oracles.backbones import OracleModel
from trustcache.oracles.head_inputs import columns_of
from trustcache.oracles.head_training import Diverged
from trustcache.oracles.heads import AnyHead, HeadSpec, score_cache
from trustcache.oracles.learnable import few_errors
from trustcache.oracles.optim import Machine
from trustcache.oracles.plan import head_of, head_tensors, learn_heads, plan
from trustcache.oracles.presets.preset import Preset, preset_names, read_preset
from trustcache.oracles.request import TrainRequest, settle
from trustcache.oracles.runs import LogEntry, RunConfig
from trustcache.protocols import Optimiser
from trustcache.registry import check_options, option_name

_OWN = ("loss", "seed", "protocol", "signed_distance", "val_fraction", "device", "setting")


def _word(field: Field[Any], cls: type) -> str:
    """Return the name of a field's option: "ensemble" for the field "members"."""
    return option_name(field.name, cls).removeprefix("--").replace("-", "_")


_HEAD = {_word(field, HeadSpec): field.name for field in fields(HeadSpec)}
_OPTIMISER = {name: name for name in ("epochs", "batch_size", "lr")}
SETTINGS = ("method", *_OWN, *loss_settings(LOSSES.built_in), *_HEAD, *_OPTIMISER)
"""Names of an oracle's settings: those of `trustcache train --frozen`, with underscores."""
_CONTENT, _ROWS = "content", "rows"  # among the arrays of a file
_REMEDY = "fit the oracle and save it again"


@dataclass(frozen=True)
class SavedOracle:
    """The record of an oracle's file, beside its weights and the hashes of the images and rows it has learnt from.

    params: the settings that are given. classes: the number that its classifier tells apart.
    """

    SCHEMA: ClassVar[int] = 3

    params: dict[str, Any]
    classes: int
    config: RunConfig
    log: tuple[LogEntry, ...]


def _plain(value: Any) -> Any:
    """Return a setting as JSON has it: numbers of NumPy as those of Python."""
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value


class Oracle(BaseEstimator):
    """Learns from a cache to tell the right answers of its classifier from the wrong ones.

    method: the preset "strong", or a loss: "ss", "ce", "focal", "tcp", "class-balanced", "package.module:function".
    settings: as `trustcache train --frozen` has them, with underscores; None, the default, leaves a setting to the
    preset or the loss. setting: a dictionary of the settings of a loss of your own.

    After `fit`: `config_`, all that decided what it became; `head_`, its weights; `log_`, an entry an epoch;
    `training_`, the cache, which pickling leaves out.

    >>> rng = np.random.default_rng(0)
    >>> logits, features = rng.normal(size=(200, 3)), rng.normal(size=(200, 5))
    >>> labels = np.where(rng.random(200) < 0.5, logits.argmax(axis=1), 0)
    >>> cache = CacheView.from_arrays(logits, labels, features=features)
    >>> oracle = Oracle("ss", alpha_neg=2, epochs=3).fit(cache)
    >>> oracle, oracle.decision_function(cache[:4]).shape
    (Oracle('ss', alpha_neg=2, epochs=3), (4,))
    """

    def __init__(self, method: str = "strong", **settings: Any) -> None:
        if unknown := settings.keys() - set(SETTINGS):
            raise TypeError(f"Oracle has no setting {min(unknown)!r}; it has {', '.join(SETTINGS[1:])}")
        _require_method(method)
        self.method = method
        for name in SETTINGS[1:]:
            setattr(self, name, settings.get(name))

    def __repr__(self) -> str:
        given = {name: getattr(self, name) for name in SETTINGS[1:] if getattr(self, name) is not None}
        return f"Oracle({', '.join([repr(self.method), *(f'{name}={value!r}' for name, value in given.items())])})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "training_"}

    @in_python()
    def fit(self, cache: CacheView, y: None = None, *, progress: Progress = silent) -> Oracle:
        """Learn from a cache, whose labels say where its classifier is right. y: ignored.

        It reads both networks of a cache that `side_by_side` returned, and then scores such caches alone.

        Raises UsageError for a setting that is unknown or out of range, and where there is nothing to learn from or the
        cache lacks a column; TrustcacheError where the loss is no longer finite.
        """
        require_cache(cache)
        warn_of_sorted(cache, "fit")
        if few := few_errors(cache.index.data, cache.correct):
            warnings.warn(f"fit: {few}", stacklevel=3)
        preset, losses = self._preset()
        given = self._options(TrainRequest, {name: name for name in ("protocol", "signed_distance", "val_fraction")})
        request = TrainRequest(loss=losses, frozen=True, seed=seed_list([self.seed or 0]), **given)
        names = [*loss_settings(LOSSES.built_in)]
        values = {**self._given(dict(zip(names, names, strict=True))), **(self.setting or {})}
        settings = {name: [value] for name, value in values.items()}
        head, optimiser = self._options(HeadSpec, _HEAD), self._options(Optimiser, _OPTIMISER)
        chosen, shared = settle(request, preset, settings, head, optimiser, len(cache))
        if isinstance(cache, JoinedView):
            shared = replace(shared, second=(cache.second.index,))
        model = OracleModel(cache.index.classifier, cache.index.identity, cache.index)
        (config,) = plan(cache.index, model, chosen, shared).configs
        config = replace(config, cache=cache.fingerprint(), features=cache.fingerprint())
        (trained,) = learn_heads([config], cache, cache, Machine(self.device or "auto"), progress=progress)
        if isinstance(trained, Diverged):
            raise TrustcacheError(
                f"{self!r}: the loss is no longer finite in epoch {trained.epoch}; use a smaller lr, or milder settings"
            )
        self.config_: RunConfig = config
        self.head_: AnyHead = trained.head
        self.log_ = [LogEntry(**entry) for entry in trained.log]
        self.content_ = np.unique(cache.content)
        self.rows_ = row_hashes(cache, columns_of(config.head.inputs))
        self.n_classes_ = cache.classes
        self.training_: CacheView = cache
        return self

    def decision_function(self, cache: CacheView) -> np.ndarray:
        """Return the trust score z of every row, float64 (N,): above 0 it trusts the classifier's answer.

        Raises UsageError for a cache of another classifier than it learnt from, or one that lacks a column it reads.
        """
        self._require_fitted()
        require_cache(cache)
        index, config = cache.index, self.config_
        if judged_fingerprint(index) != config.judged:
            raise UsageError(
                f"{self!r}: judges {config.classifier}, and the cache is of another classifier, {index.classifier}; "
                "fit it on a cache of that"
            )
        if cache.classes != self.n_classes_:
            raise UsageError(
                f"{self!r}: judges a classifier of {self.n_classes_} classes, and {index.data} has {cache.classes}; "
                "fit it on a cache of those"
            )
        if config.second and not (
            isinstance(cache, JoinedView) and cache.second.index.identity == config.second.identity
        ):
            raise UsageError(
                f"{self!r}: reads what {config.second.label} says too; give side_by_side(cache, the cache of that)"
            )
        if "stages" in config.head.inputs and index.stages != config.stages:
            raise UsageError(f"{self!r}: reads the stages {', '.join(config.stages)}; {index.lacks('stages')}")
        return score_cache([self.head_], config.head.inputs, cache)[:, 0]

    def predict(self, cache: CacheView) -> np.ndarray:
        """Return True for every row whose answer it trusts, z > 0: bool (N,)."""
        return self.decision_function(cache) > 0

    def score(self, cache: CacheView, y: None = None) -> float:
        """Return the AUC: the chance that a right answer gets a higher score than a wrong one. y: ignored."""
        return trust_metrics(self.decision_function(cache), cache.correct)["auc"]

    def learnt_rows(self, cache: CacheView) -> int:
        """Return how many rows of a cache it has learnt from: of the same images, or the same in all that it reads."""
        self._require_fitted()
        return rows_again(cache, columns_of(self.config_.head.inputs), self.content_, self.rows_)

    def save(self, path: str | Path) -> None:
        """Write what it has learnt to a file, which holds numbers and no code; the cache stays out, as in pickling.

        Raises UsageError before `fit`, and OSError where the file cannot be written.
        """
        self._require_fitted()
        given = {name: _plain(value) for name, value in self.get_params().items() if value is not None}
        arrays = {name: tensor.numpy() for name, tensor in self.tensors().items()}
        write_arrays(
            Path(path),
            {**arrays, _CONTENT: self.content_, _ROWS: self.rows_},
            SavedOracle(given, self.n_classes_, self.config_, tuple(self.log_)),
        )

    @classmethod
    def load(cls, path: str | Path) -> Oracle:
        """Return the oracle that `save` wrote.

        Raises UsageError where it is no such file, DamagedError where it is not as it was written.
        """
        if Path(path).is_dir():
            raise UsageError(
                f"{path}: is a folder, not a file that an oracle's save wrote; a run of the command line is loaded by "
                "TrustedClassifier.load(workspace, run)"
            )
        require_saved(Path(path), cls.__name__)
        about, arrays = read_arrays(Path(path), SavedOracle, _REMEDY)
        try:
            oracle = cls(**about.params)
            oracle.content_, oracle.rows_ = arrays.pop(_CONTENT), arrays.pop(_ROWS)
            oracle.head_ = head_of(about.config, arrays)
        except (KeyError, TypeError) as error:
            raise DamagedError(f"{path}: damaged ({error}); {_REMEDY}") from None
        oracle.config_, oracle.log_, oracle.n_classes_ = about.config, [*about.log], about.classes
        return oracle

    def _require_fitted(self) -> None:
        if not hasattr(self, "head_"):
            raise UsageError(f"{self!r}: has not learnt yet; call fit(cache) first")

    def tensors(self) -> dict[str, Tensor]:
        """Return its weights by the names that a run's file has."""
        return head_tensors(self.head_)

    def _preset(self) -> tuple[Preset, tuple[str, ...]]:
        """Return the preset that it is named after, else an empty one, and the losses asked for beside it."""
        named = (self.loss,) if self.loss else ()
        _require_method(self.method)
        if self.method not in preset_names():
            if self.loss:
                raise UsageError(f"{self!r}: names two losses; leave one of them out")
            return Preset(), (self.method,)
        preset = read_preset(self.method)
        if preset.head is None:
            raise UsageError(f"{self!r}: tunes a network on images; run trustcache train --preset {self.method}")
        return preset, named

    def _given(self, names: Mapping[str, str]) -> dict[str, Any]:
        """Return those of its settings that are given, by the names that `names` turns theirs into."""
        return {own: value for name, own in names.items() if (value := getattr(self, name)) is not None}

    def _options(self, cls: type, names: Mapping[str, str]) -> dict[str, Any]:
        """Return those that are given of the fields of a dataclass of options, each in its range."""
        given = self._given(names)
        check_options(cls, given, repr(self))
        return given


def _require_method(method: str) -> None:
    """Raise UsageError for what is neither a preset nor a loss; a user's own loss is found when it is used."""
    known = ["strong", *LOSSES]
    if method not in known and method not in preset_names() and ":" not in method:
        near = did_you_mean(method, known)
        raise UsageError(
            f"Oracle({method!r}): unknown; one of {', '.join(known)}, or package.module:function of a loss{near}"
        )


def _signature() -> inspect.Signature:
    """Return the signature that scikit-learn and notebooks see: every setting by its name."""
    settings = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in SETTINGS[1:]]
    own = list(inspect.signature(Oracle.__init__).parameters.values())[:2]
    return inspect.Signature([*own, *settings])


Oracle.__init__.__signature__ = _signature()  # type: ignore[attr-defined]
