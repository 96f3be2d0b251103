"""Do the bounds of pyproject.toml hold? `python benchmarks/dependencies.py`, then options of pytest after `--`.

For each interpreter, and for the lowest and the newest releases that pyproject.toml admits, it makes an environment,
installs the package with its dev extra, runs the demo and the tests, prints a line of a table, and removes the
environment. Needs `pip install uv`, and some 10 GB of disk for one environment at a time. An interpreter that is not
here is told and passed over.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
RESOLUTIONS = ("lowest-direct", "highest")
SHOWN = ("torch", "timm", "numpy", "scipy", "scikit-learn", "h5py", "pillow", "typer")
_VERSIONS = f"from importlib.metadata import version\nprint(*(f'{{n}} {{version(n)}}' for n in {SHOWN}), sep=', ')"


def last_line(words: Sequence[str | Path], folder: Path = ROOT) -> tuple[bool, str]:
    """Run a command; return True if it succeeds, and the last line it prints."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode == 0, ((done.stdout + done.stderr).strip().splitlines() or [""])[-1]


def tried(python: str, resolution: str, pytest: list[str]) -> list[str]:
    """Return the outcome in an environment: the versions, and how the demo and the tests end."""
    uv: list[str | Path] = [sys.executable, "-m", "uv"]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        inside = folder / "venv" / "bin"
        here, why = last_line([*uv, "venv", "--no-python-downloads", "--python", python, folder / "venv"])
        if not here:
            return [f"not here: {why.strip()}"]
        install: list[str | Path] = [
            "pip",
            "install",
            "--python",
            inside / "python",
            "--resolution",
            resolution,
            ".[dev]",
        ]
        installed, why = last_line([*uv, *install])
        if not installed:
            return [f"cannot be installed: {why.strip()}"]
        _, versions = last_line([inside / "python", "-c", _VERSIONS])
        shown, said = last_line([inside / "trustcache", "demo", "--workspace", folder / "demo"], folder)
        _, tests = last_line([inside / "python", "-m", "pytest", "-p", "no:cacheprovider", *pytest])
        return [versions, "the demo runs" if shown else f"the demo fails: {said}", tests]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="*", default=PYTHONS, help="versions, or paths of interpreters")
    parser.add_argument("--resolution", nargs="*", default=RESOLUTIONS, choices=RESOLUTIONS)
    parser.add_argument("pytest", nargs="*", help="options of pytest, after --")
    options = parser.parse_args()
    for python in options.python:
        for resolution in options.resolution:
            started = time.monotonic()
            outcome = tried(python, resolution, options.pytest)
            print(
                f"| {python} | {resolution} | {' | '.join(outcome)} | {time.monotonic() - started:.0f} s |", flush=True
            )


if __name__ == "__main__":
    main()
