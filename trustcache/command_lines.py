"""The command lines that messages and reports print for a user to run."""

from __future__ import annotations

from trustcache.cache.index import Index
from trustcache.cache.meaning import Meaning
from trustcache.cache.workspace import plain_name
from trustcache.protocols import PROTOCOLS, shows_as_released


def extraction_options(index: Index) -> list[str]:
    """Return the options of `extract` that make a cache's columns of other data: its classifier, and what is kept."""
    model, meaning, made_from = index.identity, index.meaning, index.made_from
    words = ["--classifier", model.name]
    if made_from.weights:
        words += ["--weights", made_from.weights]
    for key, value in model.arguments.items():
        words += ["--model-arg", f"{key}={value}"]
    released = shows_as_released(model) and index.classifier == plain_name(f"{model.name}-released")
    if released:
        words += ["--protocol", "released"]
    elif index.classifier != plain_name(model.name):
        words += ["--as", index.classifier]
    by_protocol = PROTOCOLS["released"].preprocessing if released else {}
    for key, entry in made_from.preprocessing.items():
        if by_protocol.get(key) != entry:
            text = ",".join(map(str, entry)) if isinstance(entry, tuple) else entry
            words += ["--preprocess", f"{key}={text}"]
    for key in ("precision", "store", "features"):
        if (chosen := getattr(meaning, key)) != getattr(Meaning, key):
            words += [f"--{key}", chosen]
    return words
