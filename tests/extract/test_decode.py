"""`extract --decode`: ways of decoding that change pixels are part of what a cache means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import Result

from trustcache.cache import open_cache
from trustcache.command_lines import extract_line

Cli = Callable[..., Result]
CACHE = Path("trustcache-workspace/cache")


def test_a_draft_is_recorded_and_not_mixed_with_other_images(
    run_cli: Cli, own_model: Callable[..., str], tmp_path: Path
) -> None:
    for label in range(10):
        (tmp_path / "large" / str(label)).mkdir(parents=True)
        small = np.random.default_rng(label).integers(0, 256, (30, 30, 3), dtype=np.uint8)
        Image.fromarray(small).resize((900, 800)).save(tmp_path / "large" / str(label) / "0.jpg")
    args = ("extract", "--classifier", own_model(), "--data", tmp_path / "large")
    assert run_cli(*args, "--as", "plain").exit_code == 0
    assert run_cli(*args, "--as", "draft", "--decode", "draft").exit_code == 0
    plain, draft = (open_cache(CACHE / name / "large") for name in ("plain", "draft"))
    assert draft.index.meaning.data.decode == "draft"
    assert "--decode draft" in extract_line(draft.index, "more")
    assert not np.array_equal(plain.logits, draft.logits)
    refused = run_cli(*args, "--as", "draft")
    assert refused.exit_code == 2
    assert "decode" in refused.stderr
    assert "'draft'" in refused.stderr


def test_images_of_arrays_and_variants_are_decoded_as_ever(extract_digits: Cli) -> None:
    assert extract_digits("--decode", "draft").exit_code == 0
    assert open_cache(CACHE / "digits-net" / "digits-test").index.meaning.data.decode == "pil"


def test_a_gpu_that_is_not_there_is_a_usage_error(extract_digits: Cli) -> None:
    refused = extract_digits("--decode", "gpu")
    assert refused.exit_code == 2
    assert "--decode gpu" in refused.stderr
