"""Files with any content at all: a sentence or an answer, never a traceback, and never without end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.cases import Tally, each
from tests.faults.fuzz import KINDS
from tests.faults.laboratory import Laboratory

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_any_content_is_answered_with_a_sentence(
    laboratory: Laboratory, tmp_path: Path, full: bool, tally: Callable[..., Tally], kind: str
) -> None:
    counts = tally("fuzz: manifests and files of the workspace", kind)
    bench = laboratory.bench(tmp_path / "bench")
    cases = [[kind, seed] for seed in range(KINDS[kind] * (800 if full else 12))]
    for case, (verdict, detail) in each(laboratory.forks, bench, "tests.faults.fuzz:judge", cases, batch=200):
        counts.add(verdict, case, detail)


def test_an_image_of_any_content_is_decoded_or_refused(
    laboratory: Laboratory, tmp_path: Path, full: bool, tally: Callable[..., Tally]
) -> None:
    counts = tally("fuzz: images")
    cases = [[seed] for seed in range(6000 if full else 600)]
    for case, (verdict, detail) in each(laboratory.forks, tmp_path, "tests.faults.fuzz:judge_image", cases, batch=500):
        counts.add(verdict, case, detail)
