"""A classifier and its trust score in one network, from images to logits and z, for predictions and for export.

This is the one place that turns a classifier's outputs for an image into a run's score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trustcache.cache.index import Index
from trustcache.cache.joined import SECOND
from trustcache.cache.meaning import Meaning
from trustcache.cache.provenance import original_model
from trustcache.data.copies import Copies, any_image
from trustcache.data.pipeline import Waits
from trustcache.deploy.scorers import Scorer
from trustcache.errors import UsageError, first_line
from trustcache.models.checkpoints import state_sha256
from trustcache.models.classifiers import Classifier, load_classifier
from trustcache.models.precision import arithmetic
from trustcache.models.preprocessing import Preprocessing
from trustcache.models.views import views_in
from trustcache.oracles.finetune import load_oracle
from trustcache.oracles.head_inputs import head_inputs
from trustcache.oracles.mlp_heads import mlp_scores
from trustcache.oracles.network import Oracle
from trustcache.oracles.networks import Network
from trustcache.oracles.runs import Run, RunConfig
from trustcache.scores import POST_HOC
from trustcache.scores.fitting import Outputs
from trustcache.scores.methods import Method

# Each score is a network of the images uint8 (N, 3, H, W) and the classifier's outputs for them, giving z (N,).


class HeadScore(nn.Module):
    """A trained head on the classifier's own outputs: last features, stage features, logits, logits of views."""

    def __init__(self, config: RunConfig, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.head, self.signed_distance = config.head, config.signed_distance
        for name, tensor in weights.items():
            self.register_buffer(name, tensor)
        self.norm = float(self.get_buffer("weight").norm()) if self.signed_distance else 1.0

    def forward(self, images: Tensor | None, outputs: dict[str, Tensor]) -> Tensor:
        buffer = self.get_buffer
        # Scaled before the product, not folded into it as for many heads at once: float32 keeps its digits so.
        x = (head_inputs(self.head.inputs, outputs) - buffer("mean")) / buffer("std")
        if self.head.kind == "linear":
            return (x @ buffer("weight") + buffer("bias")) / self.norm
        layers = [buffer(name) for name in ("first_weight", "first_bias", "weight", "bias")]
        return mlp_scores(x, layers, self.signed_distance).mean(1)


class OracleScore(nn.Module):
    """A fine-tuned oracle, which sees the images. precision: of its forward pass, as `Pair` has the classifier's."""

    precision: str | None = None

    def __init__(self, oracle: Oracle) -> None:
        super().__init__()
        self.oracle = oracle

    def forward(self, images: Tensor | None, outputs: dict[str, Tensor]) -> Tensor:
        if images is None:
            raise ValueError(
                "an oracle that was tuned on images takes images, not tensors that are prepared for a model"
            )
        preprocessing = self.oracle.preprocessing
        x = preprocessing.normalise(preprocessing.resized(images))
        with arithmetic(self.precision, images.device) if self.precision else nullcontext():
            return self.oracle(x)


class PostHocScore(nn.Module):
    """A post-hoc score, computed by NumPy, which cannot be traced into a graph."""

    def __init__(self, score: Callable[[Outputs], np.ndarray]) -> None:
        super().__init__()
        self.score = score

    def forward(self, images: Tensor | None, outputs: dict[str, Tensor]) -> Tensor:
        columns = {name: tensor.cpu().numpy() for name, tensor in outputs.items()}
        return torch.from_numpy(self.score(Outputs(columns.__getitem__)))  # on the CPU: Apple's GPUs have no float64


def _run_score(run: Run, judged: Index, classifier: Classifier) -> nn.Module:
    """Return the network of a run's score. Raises UsageError where its oracle sees other features or images."""
    if run.config.training == "frozen":
        if run.config.backbone != judged.identity:
            raise UsageError(f"{run.name}: a head on the features of {run.config.oracle}; {_OWN_VIEW}")
        return HeadScore(run.config, run.weights())
    oracle = load_oracle(run)
    if _geometry(oracle.preprocessing) != _geometry(classifier.preprocessing):
        raise UsageError(f"{run.name}: its oracle sees images at another size or crop than the classifier; {_OWN_VIEW}")
    return OracleScore(oracle)


_OWN_VIEW = (
    "predictions and exports decode an image once, so they take heads on the classifier's own features, and tuned "
    "oracles of its size and crop"
)


def _geometry(preprocessing: Preprocessing) -> tuple[Any, ...]:
    p = preprocessing
    return p.input_size, p.crop_pct, p.crop_mode, p.interpolation


class Reads(nn.Module):
    """A frozen network, from its normalised images to its outputs: those of stages and views too.

    stages, views: as `Classifier.outputs` takes them. `precision` is that of the forward pass, None for plain
    operations that can be traced. `store` is the dtype that scores take its outputs in: a cache's, or their own.
    """

    precision: str | None = None
    store: str = "float32"

    def do_as(self, cache: Meaning) -> None:
        """Compute in a cache's precision, and round as it does, so that images have the scores that they have there."""
        self.precision, self.store = cache.precision, cache.store

    def __init__(self, classifier: Classifier, stages: Sequence[str] = (), views: Sequence[str] = ()) -> None:
        super().__init__()
        self.classifier, self.stages, self.views = classifier, stages, views
        self.network = classifier.model  # the classifier is no module, and its weights must move along

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        with arithmetic(self.precision, x.device) if self.precision else nullcontext():
            return self.classifier.outputs(x, self.stages, self.views)

    def kept(self, column: Tensor) -> Tensor:
        """Return a column of outputs as a cache has it: rounded, to the largest number where it is above."""
        if self.store == "float32":
            return column
        dtype = getattr(torch, self.store)
        largest = torch.finfo(dtype).max
        return column.clamp(-largest, largest).to(dtype).to(column.dtype)


class Pair(nn.Module):
    """Network of images uint8 (N, 3, H, W), RGB at the classifier's input size, to float32 logits (N, K) and z (N,).

    second: a network whose outputs the score reads too. Where it takes images at another size or crop, these come
    second; `takes` has the preprocessing of each.
    """

    def __init__(self, first: Reads, score: nn.Module, second: Reads | None = None) -> None:
        super().__init__()
        self.first, self.score, self.second = first, score, second
        self.requires_grad_(False).eval()

    @property
    def classifier(self) -> Classifier:
        """The classifier that is judged."""
        return self.first.classifier

    @property
    def takes(self) -> tuple[Preprocessing, ...]:
        """The preprocessing of each batch of images: one, or two where a second network sees others."""
        own = self.classifier.preprocessing
        other = self.second.classifier.preprocessing if self.second else own
        return (own,) if _geometry(own) == _geometry(other) else (own, other)

    def forward(self, images: Tensor, second_images: Tensor | None = None) -> tuple[Tensor, Tensor]:
        outputs = self._outputs(images, second_images)
        return outputs["logits"], self._scored(images, outputs)

    def _scored(self, images: Tensor | None, outputs: dict[str, Tensor]) -> Tensor:
        """Return z of outputs as their caches have them, which the score learnt from and was calibrated on.

        Predictions are of the logits before they are rounded, as in a cache.
        """
        of = {True: self.second or self.first, False: self.first}
        kept = {name: of[name.startswith(SECOND)].kept(column) for name, column in outputs.items()}
        if isinstance(self.score, PostHocScore):
            kept["predictions"] = outputs["logits"].argmax(1)
        z: Tensor = self.score(images, kept)
        return z

    def _outputs(self, images: Tensor, second_images: Tensor | None = None) -> dict[str, Tensor]:
        """Return the outputs for images uint8, or float as the classifier takes them."""
        prepared = images.is_floating_point()
        outputs = self.first(images.float() if prepared else self.classifier.preprocessing.normalise(images))
        if self.second is None:
            return outputs
        if prepared:
            raise ValueError("an oracle that reads two networks takes images, not tensors that are prepared for one")
        x = self.second.classifier.preprocessing.normalise(images if second_images is None else second_images)
        return outputs | {SECOND + name: column for name, column in self.second(x).items()}

    def copies(self, batch_size: int) -> Copies[Pair]:
        """Return `Copies` of it for batches of so many images."""
        device = self.classifier.black().device
        images = [any_image(takes.input_size, device) for takes in self.takes]
        return Copies(self, self, lambda one: one._batch(images), batch_size * max(map(torch.numel, images)))

    def in_equal_batches(self, pixels: Sequence[Tensor], rows: int, copies: Copies[Pair]) -> tuple[Tensor, Tensor]:
        """Return the same, each image's to the last bit in any company: the networks are always given `rows` images.

        The order in which they sum depends on how many there are. pixels: uint8, one for each of `takes`; or one of
        images as the classifier takes them, float. copies: of itself, which work at once. Raises ValueError where the
        score cannot do with these.
        """
        count = len(pixels[0])
        filled = [torch.cat([one, one[:1].expand(-count % rows, -1, -1, -1)]).split(rows) for one in pixels]
        batches = [made for _, made in copies.each(Pair._batch, zip(*filled, strict=True), Waits())]
        joined = {name: torch.cat([batch[name] for batch in batches])[:count] for name in batches[0]}
        with _exactly(pixels[0].device):
            return joined["logits"], joined["z"] if "z" in joined else self._scored(None, joined)

    def _batch(self, pixels: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the outputs for a batch, and z, unless the score is NumPy's, which may search a training set."""
        images = pixels[0]
        with _exactly(images.device):
            outputs = self._outputs(*pixels)
            if not isinstance(self.score, PostHocScore):
                outputs["z"] = self._scored(None if images.is_floating_point() else images, outputs)
            return outputs


@contextmanager
def _exactly(device: torch.device) -> Iterator[None]:
    with torch.inference_mode(), arithmetic("float32", device):
        yield


def load_pair(scorer: Scorer) -> Pair:
    """Load a scorer and its classifier as one network, on the CPU.

    Raises UsageError where the classifier's weights are gone or have changed.
    """
    index = scorer.caches[0]
    classifier = _loaded(index)
    if scorer.run is None:
        return _with_post_hoc(classifier, scorer.post_hoc(), POST_HOC[scorer.name].columns)
    score, (own, *others) = _run_score(scorer.run, index, classifier), scorer.run.config.networks
    second = [_reads(_loaded(scorer.cache_of(network)), network) for network in others]
    return Pair(_reads(classifier, own), score, *second)


def _reads(classifier: Classifier, network: Network) -> Reads:
    return Reads(classifier, network.stages, network.views)


def _loaded(index: Index) -> Classifier:
    """Return the classifier of a cache. Raises UsageError where its weights are gone or have changed."""
    spec = original_model(index)
    classifier = load_classifier(spec)
    if classifier.identity().state_sha256 != index.identity.state_sha256:
        raise UsageError(
            f"{index.folder}: the weights of {spec.name} are no longer the ones it was extracted with; extract and "
            "train anew, or bring those back"
        )
    return classifier


def _with_post_hoc(classifier: Classifier, score: Callable[[Outputs], np.ndarray], columns: Sequence[str]) -> Pair:
    stages = classifier.stage_places() if "stages" in columns else ()
    return Pair(Reads(classifier, stages, views_in(columns)), PostHocScore(score))


def pair_of(classifier: Classifier, method: Method, second: Classifier | None = None) -> Pair:
    """Return a classifier and a method, a fitted oracle or a post-hoc score, as one network, on the CPU.

    second: the network whose outputs the oracle reads too.
    Raises UsageError where the oracle has not learnt yet, judges a classifier of other weights, or reads other outputs
    than this one has; where it reads a second network that is not given or another, or none and one is given; and for
    a score of one's own that has no function of outputs.
    """
    entry, config = method.entry, getattr(method.scorer, "config_", None)
    if (second is not None) != bool(config and config.second):
        what = "reads a second network; give it as second=" if second is None else "reads one network; leave out second"
        raise UsageError(f"{method.name}: {what}")
    if entry:
        if "mc_dropout" in entry.columns:
            raise UsageError(f"{method.name}: takes many passes, and is only made by extraction; name another score")
        return _with_post_hoc(classifier, method.of_outputs(), entry.columns)
    if config is None:
        raise UsageError(f"{method.name}: is no oracle that has learnt; call fit(cache) first")
    given = [classifier, *([second] if second else [])]
    for number, (one, network) in enumerate(zip(given, config.networks, strict=True)):
        weights = network.identity.state_sha256
        if weights and weights != state_sha256(one.model):
            what = "reads" if number else "judges"
            raise UsageError(f"{method.name}: {what} {network.label}, and this model has other weights than that")
    score = HeadScore(config, method.scorer.tensors())  # type: ignore[union-attr]
    first, *others = [_reads(one, network) for one, network in zip(given, config.networks, strict=True)]
    pair = Pair(first, score, *others)
    try:
        with torch.no_grad():
            pair.eval()(*(one.black().byte() for one in given[: len(pair.takes)]))
    except (RuntimeError, AttributeError, KeyError) as error:
        raise UsageError(
            f"{method.name}: reads {', '.join(config.head.inputs)} of another width than {classifier.spec.name} gives "
            f"({first_line(error)}); fit it on outputs of this model"
        ) from None
    return pair
