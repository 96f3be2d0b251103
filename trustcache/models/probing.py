"""A look at a classifier's output before hours of work on it: logits of its last layer, or something else?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch.nn import functional as F

from trustcache.errors import UsageError
from trustcache.models.classifiers import Classifier
from trustcache.models.hub_folders import folder_of
from trustcache.models.preprocessing import assumed

_IMAGES = 2
_SUMS_TO_ONE = 1e-3
# Of the largest logit: more than float32 loses, less than another head would change.
_EQUAL = 1e-2


def probed(classifier: Classifier, features: bool = True) -> Iterator[str]:
    """Yield lines on a classifier for the user: how it sees images, and an output that is not that of its last layer.

    It is shown noise. features: they are to be kept. Raises UsageError where its output is not what it is taken for:
    probabilities, the scores of single labels, or, with features, logits of another layer than the last.
    """
    name, preprocessing = classifier.spec.name, classifier.preprocessing
    yield f"images as by --preprocess {preprocessing}{_remark(classifier)}"
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (_IMAGES, 3, *preprocessing.input_size), generator=generator)
    with torch.inference_mode():
        output, seen = classifier.raw(preprocessing.normalise(pixels.to(classifier.black().device)))
    output = output.float()
    sums = output.sum(1)
    distribution = bool((output >= 0).all() and ((sums - 1).abs() < _SUMS_TO_ONE).all())
    if classifier.spec.reading.outputs == "probabilities":
        if not distribution:
            raise UsageError(f"--outputs probabilities: those of {name} sum to {sums[0]:.4g}, not to 1; leave it out")
        return
    if distribution:
        raise UsageError(
            f"{name}: its outputs are probabilities (each row sums to 1), where logits are needed; return what comes "
            "before the softmax, or add --outputs probabilities, which takes their logarithms"
        )
    if not classifier.has_features:
        return
    if last := classifier.last_layer():
        weight, bias = last
        own = F.linear(seen, weight.float(), None if bias is None else bias.float())
        if _near(torch.sigmoid(own), output):
            raise UsageError(
                f"{name}: its outputs are sigmoids, scores of single labels, where logits of one class among others "
                "are needed; return what comes before the sigmoid"
            )
        # Log-probabilities are logits as good as any.
        if classifier.last_is_map or _near(own, output) or _near(own.log_softmax(1), output):
            return
        differs = f"it differs by up to {(own - output).abs().max():.3g}"
        scale = (own * output).sum() / (own * own).sum()
        if features and not _near(own * scale.clamp_min(0), output):
            raise UsageError(
                f"{name}: its output is not that of '{classifier.last_names}', taken for its last layer ({differs}), "
                "so that its features are not known; name the right one in the module's pretrained_cfg = "
                "{'classifier': NAME}, or add --features none"
            )
        yield f"note: the output of {name} is not that of its last layer alone: {differs}; it is taken as logits"


def not_known(classifier: Classifier) -> tuple[str, ...]:
    """Return the entries of preprocessing that need not be those of the training, () where somebody says that they are.

    >>> from trustcache.models.classifiers import as_classifier
    >>> not_known(as_classifier(torch.nn.Linear(12, 3), {"input_size": (2, 2)}))
    ('crop_pct', 'mean', 'std')
    """
    spec = classifier.spec
    # What a model declares is how its published weights were trained; a folder has its own weights' configuration.
    if not assumed(classifier.model, spec.preprocessing) and (not spec.weights or folder_of(spec.name)):
        return ()
    return tuple(key for key in ("input_size", "crop_pct", "mean", "std") if key not in spec.preprocessing)


def _remark(classifier: Classifier) -> str:
    """Return a remark on preprocessing that is not known, "" where it is."""
    spec, usual = classifier.spec, not_known(classifier)
    if not usual:
        return ""
    if not spec.weights or assumed(classifier.model, spec.preprocessing):
        return " (assumed, as the model declares none: name what differs)"
    return (
        f" ({', '.join(usual)}: the default of {spec.name}, not known to be what {Path(spec.weights).name} was trained "
        "with; name what differs)"
    )


def _near(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).abs().max() <= _EQUAL * b.abs().max().clamp_min(torch.finfo(b.dtype).tiny))
