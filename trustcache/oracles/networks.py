"""The frozen networks whose outputs a head reads: that of the oracle, and a second one beside it."""

from __future__ import annotations

from dataclasses import dataclass

from trustcache.models.identity import Identity
from trustcache.models.views import views_in


@dataclass(frozen=True)
class Network:
    """A frozen network that a head reads outputs of. label: its name in the workspace. columns: as its cache has them.

    stages: the modules whose outputs are its column `stages`.
    """

    label: str
    identity: Identity
    columns: tuple[str, ...]
    stages: tuple[str, ...]

    @property
    def views(self) -> tuple[str, ...]:
        """The views of an image whose logits are read."""
        return views_in(self.columns)


@dataclass(frozen=True)
class SecondNetwork:
    """The network whose outputs a head reads beside those of the classifier.

    caches: fingerprints of its caches of the training data, by the names of these. Others are as of `Network`.
    """

    label: str
    identity: Identity
    caches: dict[str, str]
    stages: tuple[str, ...] = ()
