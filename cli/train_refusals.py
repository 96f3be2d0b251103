"""What `trustcache train` refuses: options that would do nothing, or not together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trustcache.errors import UsageError

if TYPE_CHECKING:
    from trustcache.oracles.heads import HeadSpec


def refuse_idle(frozen: bool, oracle: str | None, own: Mapping[str, object], tuning: Mapping[str, object]) -> None:
    """Refuse an oracle's own options where no oracle is named, and for heads these and those of fine-tuning."""
    if frozen and (idle := _first({**own, **tuning})):
        reason = "reads cached features: extract the oracle with those options" if idle in own else "uses Adam"
        raise UsageError(f"{idle}: means nothing to --frozen, which {reason if idle != '--start' else 'tunes nothing'}")
    if oracle is None and (idle := _first(own)):
        raise UsageError(f"{idle}: says something of an oracle's model; name that with --oracle")


def refuse_without_frozen(frozen: bool, head: HeadSpec, given: Mapping[str, object]) -> None:
    """Refuse what only heads on cached outputs can do."""
    from trustcache.oracles.heads import LINEAR

    if not frozen and head != LINEAR:
        raise UsageError("--head and --inputs: are of heads on cached outputs; add --frozen")
    if not frozen and (idle := _first(given)):
        raise UsageError(f"{idle}: is of heads on cached outputs; add --frozen")


def refuse_beside_also(also: str | None, given: Mapping[str, object]) -> None:
    """Refuse what cannot be said of several caches at once."""
    if also and (other := _first(given)):
        raise UsageError(f"--also: cannot be combined with {other}; leave one of them out")


def _first(given: Mapping[str, object]) -> str | None:
    return next((name for name, value in given.items() if value), None)
