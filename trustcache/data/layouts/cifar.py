"""CIFAR-10's and CIFAR-100's batches, pickled or binary, and the arrays of CIFAR-10-C."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from trustcache.data.layouts.numbers import checked_labels, class_names
from trustcache.data.samples import ArraySamples
from trustcache.errors import UsageError

_KINDS = ("fine", "coarse")
_HUNDRED = 'holds CIFAR-100\'s labels; choose them in its manifest: labels = "fine" or labels = "coarse"'
CIFAR_C_SEVERITIES = 5
"""Number of severities of the test images stacked in each array of CIFAR-10-C."""


def batches_exist(data_root: Path, path: str, members: tuple[str, ...], labels: str = "") -> bool:
    """Return True if the first batch is there."""
    return (data_root / path / members[0]).is_file()


def read_python_batches(
    data_root: Path, classes: tuple[str, ...] | None, path: str, members: tuple[str, ...], labels: str = ""
) -> ArraySamples:
    """Read the pickled batches of cifar-10-python.tar.gz, or with labels "fine" or "coarse" of CIFAR-100's."""
    return _read_batches(data_root / path, members, classes, _chosen(data_root / path, labels), _load_python_batch)


def read_binary_batches(
    data_root: Path, classes: tuple[str, ...] | None, path: str, members: tuple[str, ...], labels: str = ""
) -> ArraySamples:
    """Read the records of cifar-10-binary.tar.gz, or with labels "fine" or "coarse" of CIFAR-100's."""
    return _read_batches(data_root / path, members, classes, _chosen(data_root / path, labels), _load_binary_batch)


def _chosen(folder: Path, labels: str) -> str:
    """Return the kind of labels, "" for CIFAR-10's. Raises UsageError for another word."""
    if labels not in ("", *_KINDS):
        raise UsageError(f"{folder}: 'labels' in its manifest must be one of {', '.join(_KINDS)}, not '{labels}'")
    return labels


def read_cifar_c(data_root: Path, classes: tuple[str, ...] | None, images: str, labels: str, part: int) -> ArraySamples:
    """Read part `part`, the severity from 1, of an array (5 N, 32, 32, 3) and of its labels (5 N,)."""
    images_path, labels_path = data_root / images, data_root / labels
    if not 1 <= part <= CIFAR_C_SEVERITIES:
        raise UsageError(f"{images_path}: 'part' in its manifest must be from 1 to {CIFAR_C_SEVERITIES}, not {part}")
    names = class_names(classes)
    # Mapped, not read: one severity is a fifth of it.
    pixels, numbers = _load_array(images_path), _load_array(labels_path)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3 or len(pixels) % CIFAR_C_SEVERITIES:
        raise UsageError(
            f"{images_path}: expected uint8 images (5 N, H, W, 3), not {pixels.dtype} {pixels.shape}; fetch it again"
        )
    if numbers.shape != (len(pixels),):
        raise UsageError(f"{labels_path}: {numbers.size} labels for the {len(pixels)} images in {images_path}")
    size = len(pixels) // CIFAR_C_SEVERITIES
    rows = slice((part - 1) * size, part * size)
    ids = [f"{images_path.name}/{row:05d}" for row in range(rows.start, rows.stop)]
    return ArraySamples(pixels[rows], ids, checked_labels(np.asarray(numbers[rows]), names, labels_path), names)


def _load_array(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UsageError(f"{path}: missing; unpack CIFAR-10-C.tar again") from None
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{path}: not a NumPy array ({error}); unpack CIFAR-10-C.tar again") from None


class _Dtype:
    """A pickled dtype of plain numbers. NumPy's own would take fields and flags of the file, and bytes as pointers."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.dtype = np.dtype(code)
        if self.dtype.kind not in "biuf":
            raise pickle.UnpicklingError(f"it holds {self.dtype}, and no plain numbers")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order: Any = state[1].decode() if isinstance(state[1], bytes) else state[1]
        self.dtype = self.dtype.newbyteorder(order)

    def array(self, raw: bytes, shape: tuple[int, ...], order: Any = "C") -> np.ndarray:
        return np.frombuffer(raw, self.dtype).reshape(shape, order=order)


class _Array:
    """A pickled array."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        self._array = dtype.array(raw, shape, "F" if fortran else "C")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self._array, dtype)


_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("numpy._core.multiarray", "scalar"): lambda dtype, raw: dtype.array(raw, ())[()],
    ("numpy._core.numeric", "_frombuffer"): lambda raw, dtype, shape, order: dtype.array(raw, shape, order),
    ("_codecs", "encode"): lambda text, encoding: text.encode(encoding),
}


class _ArrayUnpickler(pickle.Unpickler):
    """Reads pickled arrays and lists, and refuses everything else: a data file must not run code."""

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core.", "numpy._core.")  # NumPy's home before 2.0, as in the original files
        if (module, name) in _STAND_INS:
            return _STAND_INS[module, name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _read_batches(
    folder: Path,
    members: tuple[str, ...],
    classes: tuple[str, ...] | None,
    kind: str,
    load: Callable[[Path, str], tuple[np.ndarray, np.ndarray]],
) -> ArraySamples:
    names = class_names(classes or _published_names(folder, kind))
    pixels, labels, ids = [], [], []
    for member in members:
        path = folder / member
        if not path.is_file():
            raise UsageError(f"{path}: missing; unpack the archive again")
        batch, label = load(path, kind)
        if batch.ndim != 2 or batch.shape[1] != 3072 or label.shape != (len(batch),):
            raise UsageError(f"{path}: expected rows of 3072 bytes with a label each; unpack the archive again")
        pixels.append(batch.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels.append(checked_labels(label, names, path))
        ids += [f"{member}/{row:05d}" for row in range(len(label))]
    return ArraySamples(np.concatenate(pixels), ids, np.concatenate(labels), names)


def _published_names(folder: Path, kind: str) -> tuple[str, ...] | None:
    """Return CIFAR-100's class names from the file beside its batches, None for CIFAR-10 and where there is none."""
    try:
        if kind and (folder / "meta").is_file():
            names = _unpickled(folder / "meta")[f"{kind}_label_names".encode()]
            return tuple(name.decode() for name in names)
        text = (folder / f"{kind}_label_names.txt").read_text(encoding="utf-8") if kind else ""
        return tuple(text.split()) or None
    except FileNotFoundError:
        return None
    except Exception as error:  # a broken pickle may raise almost anything
        raise UsageError(f"{folder}: its class names cannot be read ({error}); unpack the archive again") from error


def _unpickled(path: Path) -> Any:
    with path.open("rb") as file:
        return _ArrayUnpickler(file, encoding="bytes").load()


def _load_python_batch(path: Path, kind: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        batch = _unpickled(path)
        hundred = not kind and b"labels" not in batch and b"fine_labels" in batch
        labels = [] if hundred else batch[f"{kind}_labels".encode() if kind else b"labels"]
        pixels, numbers = np.asarray(batch[b"data"], dtype=np.uint8), np.asarray(labels, dtype=np.int64)
    except Exception as error:  # a broken pickle may raise almost anything
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(f"{path}: not a CIFAR python batch ({reason}); unpack the archive again") from error
    if hundred:
        raise UsageError(f"{path}: {_HUNDRED}")
    return pixels, numbers


def _load_binary_batch(path: Path, kind: str) -> tuple[np.ndarray, np.ndarray]:
    flat = np.fromfile(path, dtype=np.uint8)
    size = 3074 if kind else 3073  # CIFAR-100's records begin with both labels, the coarse one first
    if not kind and flat.size and flat.size % size and not flat.size % 3074:
        raise UsageError(f"{path}: {_HUNDRED}")
    if flat.size == 0 or flat.size % size:
        raise UsageError(
            f"{path}: its {flat.size} bytes are not a whole number of {size}-byte records; unpack the archive again"
        )
    rows = flat.reshape(-1, size)
    return rows[:, -3072:], rows[:, int(kind == "fine")].astype(np.int64)
