"""`trustcache import`: a cache from logits and labels that are there already."""

from __future__ import annotations

from trustcache.cache.importing import ImportRequest
from trustcache.errors import percent

from .program import Place, command, console, print_line, say


@command("import")
def import_(place: Place, request: ImportRequest) -> None:
    """Make a cache of logits and labels that you have already: as files of arrays, or dumps of fd-shifts or OpenOOD.

    All that needs no image then works with it: train --frozen, evaluate, report, calibrate.
    """
    from trustcache.cache.importing import import_cache
    from trustcache.cache.workspace import Workspace

    cache = import_cache(Workspace(place.workspace), request, console, lambda doubt: say(f"note: {doubt}"))
    accuracy = percent(cache.correct.mean())
    print_line(
        f"{cache.index.data}: {cache.index.classifier} is right on {accuracy} of {len(cache):,} samples"
        f"  →  {cache.index.folder}"
    )
