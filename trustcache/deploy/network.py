"""A classifier and its trust score in one network, from images to logits and z, for predictions and for export.

This is the one place that turns a classifier's outputs for an image into a run's score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trustcache.cache.index import Index
from trustcache.cache.provenance import original_model
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
        columns["predictions"] = columns["logits"].argmax(1)
        return torch.from_numpy(self.score(Outputs(columns.__getitem__))).to(outputs["logits"].device)


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


class Pair(nn.Module):
    """Network of images uint8 (N, 3, H, W), RGB at the classifier's input size, to float32 logits (N, K) and z (N,).

    stages, views: what the score reads beside logits and last features, as `Classifier.outputs` takes them.
    `precision` is that of the classifier's forward pass, None for plain operations that can be traced.
    """

    precision: str | None = None

    def __init__(
        self, classifier: Classifier, score: nn.Module, stages: Sequence[str] = (), views: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.stages, self.views = stages, views
        self.network = classifier.model  # the classifier is no module, and its weights must move along
        self.score = score
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.of_prepared(self.classifier.preprocessing.normalise(images), images)

    def of_prepared(self, x: Tensor, images: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the same for images as the classifier takes them, float32 (N, 3, H, W).

        images: what they were before, which a tuned oracle sees; it raises ValueError without them.
        """
        outputs = self._outputs(x)
        return outputs["logits"], self.score(images, outputs)

    def _outputs(self, x: Tensor) -> dict[str, Tensor]:
        with arithmetic(self.precision, x.device) if self.precision else nullcontext():
            return self.classifier.outputs(x, self.stages, self.views)

    def in_equal_batches(self, pixels: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """Return the same, each image's to the last bit in any company: the networks are always given `rows` images.

        The order in which they sum depends on how many there are. pixels: uint8, or float as `of_prepared` takes them.
        """
        filled = torch.cat([pixels, pixels[:1].expand(-len(pixels) % rows, -1, -1, -1)])
        batches = []
        for batch in filled.split(rows):
            images = None if batch.is_floating_point() else batch
            outputs = self._outputs(
                batch.float() if images is None else self.classifier.preprocessing.normalise(images)
            )
            if not isinstance(self.score, PostHocScore):  # those are NumPy's, and may search a training set
                outputs["z"] = self.score(images, outputs)
            batches.append(outputs)
        joined = {name: torch.cat([batch[name] for batch in batches])[: len(pixels)] for name in batches[0]}
        return joined["logits"], joined["z"] if "z" in joined else self.score(None, joined)


def load_pair(scorer: Scorer) -> Pair:
    """Load a scorer and its classifier as one network, on the CPU.

    Raises UsageError where the classifier's weights are gone or have changed.
    """
    index = scorer.caches[0]
    spec = original_model(index)
    classifier = load_classifier(spec)
    if classifier.identity().state_sha256 != index.identity.state_sha256:
        raise UsageError(
            f"{index.folder}: the weights of {spec.name} are no longer the ones it was extracted with; extract and "
            "train anew, or bring those back"
        )
    if scorer.run is None:
        return _with_post_hoc(classifier, scorer.post_hoc(), POST_HOC[scorer.name].columns)
    config = scorer.run.config
    return Pair(classifier, _run_score(scorer.run, index, classifier), config.stages, config.head.views)


def _with_post_hoc(classifier: Classifier, score: Callable[[Outputs], np.ndarray], columns: Sequence[str]) -> Pair:
    stages = classifier.stage_places() if "stages" in columns else ()
    return Pair(classifier, PostHocScore(score), stages, views_in(columns))


def pair_of(classifier: Classifier, method: Method) -> Pair:
    """Return a classifier and a method, a fitted oracle or a post-hoc score, as one network, on the CPU.

    Raises UsageError where the oracle has not learnt yet, judges a classifier of other weights, or reads other outputs
    than this one has; and for a score of one's own that has no function of outputs.
    """
    entry = method.entry
    if entry:
        if "mc_dropout" in entry.columns:
            raise UsageError(f"{method.name}: takes many passes, and is only made by extraction; name another score")
        return _with_post_hoc(classifier, method.of_outputs(), entry.columns)
    config = getattr(method.scorer, "config_", None)
    if config is None:
        raise UsageError(f"{method.name}: is no oracle that has learnt; call fit(cache) first")
    weights = config.backbone.state_sha256
    if weights and weights != state_sha256(classifier.model):
        raise UsageError(f"{method.name}: judges {config.classifier}, and this model has other weights than that")
    score = HeadScore(config, method.scorer.tensors())  # type: ignore[union-attr]
    pair = Pair(classifier, score, config.stages, config.head.views)
    try:
        with torch.no_grad():
            pair.eval()(classifier.black().byte())
    except (RuntimeError, AttributeError, KeyError) as error:
        raise UsageError(
            f"{method.name}: reads {', '.join(config.head.inputs)} of another width than {classifier.spec.name} gives "
            f"({first_line(error)}); fit it on outputs of this model"
        ) from None
    return pair
