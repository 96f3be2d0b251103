"""Images much smaller than a classifier's input, where nobody said that it takes them so large."""

from __future__ import annotations

from trustcache.data.dataset import Dataset
from trustcache.data.samples import BadImage
from trustcache.models.classifiers import Classifier
from trustcache.models.probing import not_known

# An image of 64 pixels a side in a model of 72 is nothing to warn of.
_TIMES = 2


def enlarged_warning(classifier: Classifier, dataset: Dataset) -> str:
    """Return a warning where both sides of the first image are at most half of an input size that is assumed, else "".

    One that cannot be read is reported when its turn comes.
    """
    height, width = classifier.preprocessing.input_size
    if "input_size" not in not_known(classifier):
        return ""
    try:
        image = dataset.prepared(0, dataset.samples.raw(0), (height, width))
    except BadImage:
        return ""
    if _TIMES * image.width > width or _TIMES * image.height > height:
        return ""
    size = f"{image.height}" if image.height == image.width else f"{image.height},{image.width}"
    return (
        f"warning: images of {dataset.manifest.name} of {image.width} x {image.height} are enlarged to {width} x "
        f"{height}, which is assumed; if {classifier.spec.name} learnt from them as they are, add --preprocess "
        f"input_size={size}"
    )
