"""Identity of a frozen classifier, as cache indices and run configs hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trustcache.models.preprocessing import Preprocessing


@dataclass(frozen=True)
class Reading:
    """Reading of a classifier from its file of weights and from its output.

    use_ema: averaged weights where the file holds them. outputs: "logits", or "probabilities", whose
    logarithms are taken.
    kept: numbers of the outputs that are judged, in the order of the data's classes; () for all as they are,
    -1 for a class that has none: its logit is the lowest of the others.
    """

    use_ema: bool = True
    outputs: str = "logits"
    kept: tuple[int, ...] = ()


@dataclass(frozen=True)
class Identity:
    """Everything that decides a classifier's numbers; its name in a workspace does not.

    name: what `--classifier` names. architecture: the full name behind `vit` and `resnet`. arguments: of its builder.
    state_sha256: SHA-256 of its weights. A classifier whose outputs were imported is known by its name alone: its
    architecture and weights are "", its preprocessing None.
    """

    name: str
    architecture: str
    arguments: dict[str, Any]
    state_sha256: str
    preprocessing: Preprocessing | None
    reading: Reading = Reading()

    @property
    def images(self) -> Preprocessing:
        """The preprocessing of a classifier that is here to see images."""
        assert self.preprocessing is not None
        return self.preprocessing


@dataclass(frozen=True)
class McDropout:
    """Forward passes with dropout on, and the seed of what is dropped."""

    passes: int
    seed: int = 0
