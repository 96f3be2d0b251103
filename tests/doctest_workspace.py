"""Names for the examples in docstrings: `demo_workspace`, with one small cache, and the folder `tmp`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.index_builder import build_index
from trustcache.cache.index import create_or_continue
from trustcache.cache.workspace import Workspace


@pytest.fixture(scope="session", autouse=True)
def _doctest_names(doctest_namespace: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    """The workspace has a cache of the classifier `net` on `birds`: 30 images of 4 classes, in three shards."""
    workspace = Workspace(tmp_path_factory.mktemp("doctest") / "trustcache-workspace")
    index = create_or_continue(build_index(workspace.cache_folder("net", "birds")), lambda start, stop: "")
    rng = np.random.default_rng(0)
    for number, (start, stop) in enumerate(index.ranges()):
        logits = rng.standard_normal((stop - start, 4)).astype(np.float16)
        labels = rng.integers(0, 4, stop - start)
        columns = {
            "sample_indices": np.arange(start, stop),
            "sample_ids": np.array([f"{i}.jpg".encode() for i in range(start, stop)]),
            "content": np.arange(start, stop, dtype=np.uint64),
            "labels": labels,
            "predictions": logits.argmax(1),
            "correct": logits.argmax(1) == labels,
            "true_class_prob": np.full(stop - start, 0.25, np.float32),
            "logits": logits,
            "features": rng.standard_normal((stop - start, 3)).astype(np.float16),
        }
        index.add(number, columns, {}, "")
    doctest_namespace |= {"demo_workspace": workspace, "tmp": Path(tmp_path_factory.mktemp("example"))}
