"""SVHN's cropped digits: a MATLAB file with the images `X` (32, 32, 3, N) and the labels `y` (N, 1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trustcache.data.layouts.numbers import checked_labels, class_names
from trustcache.data.samples import ArraySamples
from trustcache.errors import UsageError, first_line


def bare_svhn(path: Path) -> dict[str, Any] | None:
    """Return the keys for a .mat file."""
    return {"path": str(path)} if path.suffix.lower() == ".mat" else None


def read_svhn(data_root: Path, classes: tuple[str, ...] | None, path: str) -> ArraySamples:
    """Read the images of a file such as test_32x32.mat; the label 10 is the digit 0."""
    from scipy.io import loadmat

    file = data_root / path
    try:
        tables = loadmat(file, variable_names=["X", "y"])
        pixels, numbers = tables["X"], tables["y"].ravel().astype(np.int64)
    except NotImplementedError:
        raise UsageError(f"{file}: is of MATLAB 7.3; SVHN's own cropped digits are not, or save it with -v7") from None
    except Exception as error:  # scipy raises many kinds for a damaged file
        raise UsageError(
            f"{file}: not SVHN's cropped digits with X and y ({first_line(error)}); fetch it again"
        ) from None
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[2] != 3 or numbers.shape != pixels.shape[3:]:
        raise UsageError(
            f"{file}: expected uint8 images (H, W, 3, N) and N labels, not {pixels.dtype} {pixels.shape} and "
            f"{numbers.size}; fetch it again"
        )
    ids = [f"{file.stem}/{row:05d}" for row in range(len(numbers))]
    images = np.ascontiguousarray(pixels.transpose(3, 0, 1, 2))
    names = class_names(classes)
    return ArraySamples(images, ids, checked_labels(np.where(numbers == 10, 0, numbers), names, file), names)
