"""torchvision, which timm needs and which works only with the torch that it was built for."""

from __future__ import annotations

from trustcache.errors import UsageError, kind_and_line


def require_torchvision() -> None:
    """Import torchvision. Raises UsageError naming its version and torch's where it does not work with that torch."""
    try:
        import torchvision  # noqa: F401
    except Exception as error:  # an operator is missing, a module half imported, a library not found
        installed, torch = _installed()
        raise UsageError(
            f"torchvision {installed} cannot be used with torch {torch} ({kind_and_line(error)}); "
            "install two that fit, from one index: pip install --upgrade torch torchvision"
        ) from error


def _installed() -> tuple[str, str]:
    """Return the versions of torchvision, with the torch that it was built for where it says so, and of torch."""
    from importlib.metadata import PackageNotFoundError, requires, version  # commands that need no model start sooner

    torch = version("torch")
    try:
        built_for = [line for line in requires("torchvision") or () if line.startswith("torch==")]
        return version("torchvision") + "".join(f", made for {line.replace('==', ' ')}," for line in built_for), torch
    except PackageNotFoundError:
        return "(not installed)", torch
