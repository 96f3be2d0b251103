"""`trustcache verify`: every file of a workspace, checked."""

from __future__ import annotations

from trustcache.errors import TrustcacheError, UsageError

from .program import Place, command, console, print_line, say


@command("verify")
def verify(place: Place) -> None:
    """Re-read every file of the workspace and name each damaged or missing one, with what mends it."""
    from trustcache.cache.workspace import Workspace
    from trustcache.report.verify import verify as run

    if not place.workspace.is_dir():
        raise UsageError(f"{place.workspace}: there is no such workspace; name another with --workspace")
    found = run(Workspace(place.workspace), console)
    for fault in found.faults:
        print_line(fault)
    if found.unknown:
        names = ", ".join(str(path) for path in found.unknown[:5])
        say(f"note: not checked, as trustcache did not write them: {len(found.unknown)} files ({names})")
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(found.checked.items()))
    print_line(f"{sum(found.checked.values())} files checked: {kinds or 'none'}")
    if found.faults:
        raise TrustcacheError(f"{len(found.faults)} faults in {place.workspace}; each line above says what mends it")
