"""`trustcache demo`: the whole program on data that ships with scikit-learn."""

from __future__ import annotations

from .program import Output, Place, command, console, say
from .report import written


@command("demo")
def demo(place: Place) -> Output:
    """Both stages on scikit-learn's digits, nothing to download: classifier, cache, every loss both ways, report."""
    say("Fits a small classifier on handwritten digits, caches what it says, and trains oracles that tell when it is")
    say("right: five losses x three seeds, as heads on cached features and as fine-tuned networks. Under a minute.")
    from trustcache.cache.workspace import Workspace
    from trustcache.paper.demo import run_demo

    run_demo(Workspace(place.workspace), place.data_root, console)
    return written(place, [])
