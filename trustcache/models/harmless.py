"""Values beside the weights in checkpoints that may be read: of types that hold data and run nothing."""

from __future__ import annotations

import argparse
import datetime
import pathlib
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray

# The function that NumPy's pickles of scalars call; older files know its module by the name before NumPy 2.
_NUMPY = [
    (function, f"{module}.multiarray.{function.__name__}")
    for function in (multiarray.scalar, multiarray._reconstruct)
    for module in ("numpy._core", "numpy.core")
]
# Both kinds, as a checkpoint from Windows is read on Linux: a pure path touches no disk.
_PATHS = [
    (pure, f"{module}.{name}")
    for module in ("pathlib", "pathlib._local")
    for pure, names in (
        (pathlib.PurePosixPath, ("PosixPath", "PurePosixPath")),
        (pathlib.PureWindowsPath, ("WindowsPath", "PureWindowsPath")),
    )
    for name in names
]


def _latin1(text: str, encoding: str) -> bytes:
    """Return the bytes of old pickles, for `_codecs.encode`, which would look up any encoding."""
    if encoding != "latin1":
        raise ValueError(f"bytes encoded as {encoding}")
    return text.encode("latin1")


def _plain_dict(*_: Any) -> dict[Any, Any]:
    return {}


def _plain_list(*_: Any) -> list[Any]:
    return []


def allowed_globals() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Return what `torch.serialization.safe_globals` takes: types of settings and numbers, and their names in files."""
    kinds = {type(np.dtype(code)) for code in "?bhilqBHILQefdSU"}
    return [
        argparse.Namespace,
        datetime.datetime,
        datetime.timedelta,
        datetime.date,
        *(list, dict, int, float),
        # As plain ones, which are all that torch fills.
        (_plain_dict, "collections.defaultdict"),
        (_plain_list, "collections.deque"),
        (_latin1, "_codecs.encode"),
        np.ndarray,
        np.dtype,
        *kinds,
        *_NUMPY,
        *_PATHS,
    ]


def refused_globals(path: Path, error: Exception) -> list[str]:
    """Return the names in a torch file that are not allowed; of a file before torch 1.6 the first, and of modules."""
    if "GLOBAL" not in str(error):  # another fault, such as half a file, which looks as if it held strange names
        return []
    try:
        with torch.serialization.safe_globals(allowed_globals()):
            found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # no zip file, or a broken one
        found = []
    return sorted(found) or [*re.findall(r"GLOBAL (\S+[^\s.]) was not an allowed global", str(error)), *_modules(path)]


def _modules(path: Path) -> list[str]:
    """Return the modules of torch's that a file before torch 1.6 names, by its four pickles, which are not run."""
    try:
        with path.open("rb") as file:
            named = {
                str(arg).replace(" ", ".")
                for _ in range(4)
                for op, arg, _ in pickletools.genops(file)
                if op.name == "GLOBAL"
            }
    except Exception:  # of other kinds of files
        return []
    return sorted(name for name in named if name.startswith("torch.nn.modules."))
