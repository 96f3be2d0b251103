"""A classifier and its judge in one network: from images to logits and a trust score, for predictions and for export.

This is the one place that turns what a classifier says about an image into a run's score; whatever else an oracle is
to see (other layers, the logits), it gets here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trustcache.cache.index import Index
from trustcache.cache.provenance import original_model
from trustcache.deploy.scorers import Judge
from trustcache.errors import UsageError
from trustcache.models.classifiers import Classifier, load_classifier
from trustcache.models.preprocessing import Preprocessing
from trustcache.oracles.backbones import identity
from trustcache.oracles.finetune import load_oracle
from trustcache.oracles.head_inputs import head_inputs
from trustcache.oracles.heads import AnyHead, LinearHead
from trustcache.oracles.mlp_heads import MlpHead, mlp_scores
from trustcache.oracles.network import Oracle
from trustcache.oracles.plan import frozen_head
from trustcache.oracles.runs import Run
from trustcache.scores import POST_HOC
from trustcache.scores.fitting import Outputs

# Each score is a network of the images uint8 (N, 3, H, W) and of what the classifier said about them, giving z (N,).


class HeadScore(nn.Module):
    """A head on what the classifier itself said: its features, those of its stages, its logits."""

    def __init__(self, head: AnyHead, inputs: Sequence[str]) -> None:
        super().__init__()
        self.inputs = inputs
        # Scaled before the product, not folded into it as for many heads at once: float32 keeps its digits so.
        for name in ("mean", "std"):
            self.register_buffer(name, torch.from_numpy(getattr(head, name)).float())
        self.head = _Mlp(head) if isinstance(head, MlpHead) else _Linear(head)

    def forward(self, images: Tensor, said: dict[str, Tensor]) -> Tensor:
        return self.head((head_inputs(self.inputs, said) - self.get_buffer("mean")) / self.get_buffer("std"))


class _Linear(nn.Module):
    def __init__(self, head: LinearHead) -> None:
        super().__init__()
        self.register_buffer("weight", torch.from_numpy(head.weight).float())
        self.bias = head.bias
        self.norm = float(self.get_buffer("weight").norm()) if head.signed_distance else 1.0

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.get_buffer("weight") + self.bias) / self.norm


class _Mlp(nn.Module):
    def __init__(self, head: MlpHead) -> None:
        super().__init__()
        for name, parameter in zip(("v", "c", "w", "b"), head.parameters(), strict=True):
            self.register_buffer(name, parameter)
        self.signed_distance = head.signed_distance

    def forward(self, x: Tensor) -> Tensor:
        v, c, w, b = (self.get_buffer(name) for name in ("v", "c", "w", "b"))
        return mlp_scores(x, v, c, w, b, self.signed_distance).mean(1)


class OracleScore(nn.Module):
    """A network of its own that looks at the images."""

    def __init__(self, oracle: Oracle) -> None:
        super().__init__()
        self.oracle = oracle

    def forward(self, images: Tensor, said: dict[str, Tensor]) -> Tensor:
        preprocessing = self.oracle.preprocessing
        return self.oracle(preprocessing.normalise(preprocessing.resized(images)))


class PostHocScore(nn.Module):
    """A post-hoc score, which NumPy computes: it cannot be traced into a graph."""

    def __init__(self, score: Callable[[Outputs], np.ndarray]) -> None:
        super().__init__()
        self.score = score

    def forward(self, images: Tensor, said: dict[str, Tensor]) -> Tensor:
        heard = {name: tensor.cpu().numpy() for name, tensor in said.items()}
        rows = SimpleNamespace(**heard, predictions=heard["logits"].argmax(1))
        return torch.from_numpy(self.score(rows)).to(said["logits"].device)


def _run_score(run: Run, judged: Index, classifier: Classifier) -> nn.Module:
    """The network that gives a run's score. Raises UsageError where its oracle looks at something else."""
    if run.config.training == "frozen":
        if run.config.backbone != identity(judged):
            raise UsageError(f"{run.name}: a head on the features of {run.config.oracle}; {_OWN_VIEW}")
        return HeadScore(frozen_head(run), run.config.head.inputs)
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
    """Images uint8 (N, 3, H, W), RGB at the classifier's input size, to float32 logits (N, K) and z (N,)."""

    def __init__(
        self, classifier: Classifier, score: nn.Module, stages: Sequence[str] = (), mirrored: bool = False
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.stages, self.mirrored = stages, mirrored  # what the score looks at too
        self.network = classifier.model  # the classifier is no module, and its weights must move along
        self.score = score
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        said = self.classifier.outputs(self.classifier.preprocessing.normalise(images), self.stages, self.mirrored)
        return said["logits"], self.score(images, said)


def require_one_pass(judge: Judge) -> None:
    """Raise UsageError for a score that asks the classifier many times, which only an extraction does."""
    if judge.run is None and POST_HOC[judge.name].column == "mc_dropout":
        raise UsageError(f"{judge.name}: takes many passes, and is only made by trustcache extract; name another score")


def load_pair(judge: Judge) -> Pair:
    """The pair of a judge and its classifier, on the CPU.

    Raises UsageError where the classifier's weights are gone, or no longer the ones that it judges.
    """
    index = judge.caches[0]
    spec = original_model(index)
    classifier = load_classifier(spec)
    if classifier.identity()["state_sha256"] != index.meaning["classifier"]["state_sha256"]:
        raise UsageError(
            f"{index.folder}: the weights of {spec.name} are no longer the ones it was extracted with; extract and "
            "train anew, or bring those back"
        )
    if judge.run is None:
        mirrored = POST_HOC[judge.name].column == "mirrored_logits"
        return Pair(classifier, PostHocScore(judge.post_hoc()), mirrored=mirrored)
    config = judge.run.config
    return Pair(classifier, _run_score(judge.run, index, classifier), config.stages, config.head.mirrored)
