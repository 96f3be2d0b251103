"""trustcache: run a frozen image classifier once; then learn, compare and ship predictors of when to trust it.

In Python, `import trustcache as tc` has all that docs/library.md shows. It imports nothing else until a name is used.
"""

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

# Torch's threads otherwise spin while they wait for each other, which makes decoding processes (or anything else on
# the same cores) slow them down several times. Read when torch is first imported, so of no use after it.
if "torch" not in sys.modules:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from trustcache.cache.joined import side_by_side
    from trustcache.cache.view import CacheView as Cache
    from trustcache.cache.view import open_cache
    from trustcache.deploy.alarm import Alarm
    from trustcache.deploy.calibrate import calibrate_on as calibrate
    from trustcache.deploy.planning import plan_for as plan
    from trustcache.deploy.sets import PredictionSets, prediction_sets
    from trustcache.deploy.threshold import Threshold
    from trustcache.deploy.trusted import Answer, TrustedClassifier
    from trustcache.extract.in_memory import extract_in_memory as extract
    from trustcache.metrics.ranking import trust_metrics
    from trustcache.oracles.estimator import Oracle
    from trustcache.report.compared import compare
    from trustcache.report.written import write_page as report
    from trustcache.scores.registry import post_hoc_score

    __version__: str

__all__ = [
    "Alarm",
    "Answer",
    "Cache",
    "Oracle",
    "PredictionSets",
    "Threshold",
    "TrustedClassifier",
    "__version__",
    "calibrate",
    "compare",
    "extract",
    "open_cache",
    "plan",
    "post_hoc_score",
    "prediction_sets",
    "report",
    "side_by_side",
    "trust_metrics",
]

_PLACES = {
    "Alarm": "deploy.alarm:Alarm",
    "Answer": "deploy.trusted:Answer",
    "Cache": "cache.view:CacheView",
    "Oracle": "oracles.estimator:Oracle",
    "PredictionSets": "deploy.sets:PredictionSets",
    "Threshold": "deploy.threshold:Threshold",
    "TrustedClassifier": "deploy.trusted:TrustedClassifier",
    "calibrate": "deploy.calibrate:calibrate_on",
    "compare": "report.compared:compare",
    "open_cache": "cache.view:open_cache",
    "plan": "deploy.planning:plan_for",
    "post_hoc_score": "scores.registry:post_hoc_score",
    "prediction_sets": "deploy.sets:prediction_sets",
    "side_by_side": "cache.joined:side_by_side",
    "trust_metrics": "metrics.ranking:trust_metrics",
}
# Modules of these names are functions too, since importing one binds its name here.
_CALLED = {"extract": "extract.in_memory:extract_in_memory", "report": "report.written:write_page"}


def _find(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(f"trustcache.{module}"), name)


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return _find(_PLACES[name])
    if name in _CALLED:
        return import_module(f"trustcache.{name}")
    if name == "__version__":
        from trustcache.cache.versions import trustcache_version

        return trustcache_version()
    raise AttributeError(f"module 'trustcache' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)


class _Called(ModuleType):
    # A module that can be called as the function that `_CALLED` names, whose signature and docstring it shows.

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function()(*args, **kwargs)

    def _function(self) -> Any:
        return _find(_CALLED[self.__name__.rpartition(".")[2]])

    @property
    def __signature__(self) -> Any:
        import inspect

        return inspect.signature(self._function())

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        """The function's docstring, below its signature: `help` prints that of a module without one."""
        import inspect

        name = self.__name__.rpartition(".")[2]
        return f"{name}{self.__signature__}\n\n{inspect.getdoc(self._function())}"


class _Package(ModuleType):
    """The package, which makes modules callable as the import of one binds its name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CALLED and type(value) is ModuleType:
            value.__class__ = _Called
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
