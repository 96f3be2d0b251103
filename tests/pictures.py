"""Small pictures on disk, and what reading them is answered with."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.refusals import refusal_of
from trustcache.data.dataset import open_dataset
from trustcache.data.manifest import Manifest
from trustcache.data.samples import decode_rgb


def picture(seed: int, height: int = 12, width: int = 16) -> np.ndarray:
    """A smooth random RGB image that survives JPEG."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encoded(seed: int = 0, format: str = "PNG") -> bytes:
    """The file of a small image."""
    buffer = io.BytesIO()
    Image.fromarray(picture(seed)).save(buffer, format)
    return buffer.getvalue()


def packed(contents: Mapping[str, bytes | str]) -> bytes:
    """A tar file of these members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in contents.items():
            data = content if isinstance(content, bytes) else content.encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def read_rgb(path: Path) -> Image.Image:
    return decode_rgb(path.read_bytes(), str(path))


def put(folder: Path, *names: str) -> None:
    """Write a small image under each of the names."""
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(i)).save(path, format="PNG")


def as_parquet(path: Path, rows: Sequence[tuple[bytes, Any]], names: Sequence[str] = (), rows_a_group: int = 3) -> None:
    """Write images with labels as the library `datasets` does: with class names, its notes are in the schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [{"bytes": data, "path": f"{row}.jpg"} for row, (data, _) in enumerate(rows)]
    table = pa.table({"image": images, "label": [label for _, label in rows]})
    if names:
        label = {"names": list(names), "_type": "ClassLabel"}
        about = {"info": {"features": {"image": {"_type": "Image"}, "label": label}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=rows_a_group)


def refusal(manifest: Manifest, root: Path) -> str:
    return refusal_of(lambda: open_dataset(manifest, root))
