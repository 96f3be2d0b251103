"""What --keep-images promises: the same adversarial images for every model, on any machine, and for `extract` again."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import Result

from tests.conftest import LABEL
from tests.refusals import tells
from trustcache.cache import open_cache
from trustcache.cache.index import Index, read_index
from trustcache.cache.kept_images import read_images
from trustcache.cache.provenance import original_model
from trustcache.cache.workspace import Workspace
from trustcache.command_lines import extract_line
from trustcache.data.variants import attacks
from trustcache.models.classifiers import load_classifier
from trustcache.oracles.finetune import load_oracle
from trustcache.oracles.runs import finished_runs

Cli = Callable[..., Result]
KEEP = ("--data", "digits-pgd", "--keep-images")
FEW = ("--subset", 90, "--batch-size", 20, "--shard-rows", 40)
TUNE = ("train", "--epochs", 1, "--workers", 0, "--device", "cpu", "--loss")


def again(extract_digits: Cli, *options: object, **named: object) -> Result:
    return extract_digits(*KEEP, *FEW, *options, **named)


@pytest.fixture
def kept(workspace: Workspace, run_cli: Cli, extract_digits: Cli, classifier_file: Path, tmp_path: Path) -> Index:
    """The cache of 90 attacked digits, in batches of 20 and shards of 40, with its images."""
    done = run_cli("cache", "rm", f"{LABEL}/digits-test", f"{LABEL}/digits-train", "--yes")
    assert done.exit_code == 0, done.stderr
    weights = Path(shutil.copy(classifier_file, tmp_path / "net.safetensors"))
    done = again(extract_digits, "--data", "digits-train", weights=weights)
    assert done.exit_code == 0, done.stderr
    assert re.search(r"adversarial images kept: 1[89]\.\d kB|adversarial images kept: 2\d\.\d kB", done.stdout)
    return workspace.find_cache("test", data="digits-pgd")


@pytest.fixture
def no_attacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where an attack is run."""

    def refused(*_: object) -> torch.Tensor:
        raise AssertionError("an attack was run")

    monkeypatch.setattr(attacks, "attack", refused)


def pixels_of(index: Index) -> torch.Tensor:
    parts = [read_images(path, sha256).pixels for path, sha256 in index.kept_images.items()]
    return torch.from_numpy(np.concatenate(parts))


def test_the_images_are_the_ones_that_the_classifier_was_shown(kept: Index) -> None:
    pixels, classifier = pixels_of(kept), load_classifier(original_model(kept))
    logits = [classifier(batch.float())[0].numpy() for batch in [*pixels[:80].split(20), pixels[80:]]]
    np.testing.assert_array_equal(np.concatenate(logits).astype(np.float16), open_cache(kept.folder).logits)


def test_a_fine_tuned_oracle_scores_them_to_the_bit_without_the_classifier_and_without_an_attack(
    kept: Index, run_cli: Cli, workspace: Workspace, tmp_path: Path, no_attacks: None
) -> None:
    kept.folder.rename(tmp_path / "away")
    assert run_cli(*TUNE, "ce").exit_code == 0
    (tmp_path / "away").rename(kept.folder)
    (tmp_path / "net.safetensors").unlink()
    done = run_cli("evaluate", "--workers", 0, "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    (run,) = finished_runs(workspace)
    oracle = load_oracle(run).eval()
    with torch.inference_mode():
        pixels = pixels_of(kept)
        parts = [*pixels[:80].split(20), pixels[80:]]
        z = torch.cat([oracle(oracle.preprocessing.normalise(part.float())) for part in parts]).double().numpy()
    np.testing.assert_array_equal(run.scores(kept), z)


def test_another_model_s_heads_are_shown_the_kept_images(
    kept: Index, run_cli: Cli, extract_digits: Cli, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ("--data", "digits-train", "--subset", 90, "--preprocess", "input_size=16")
    assert extract_digits(*other, name="other").exit_code == 0
    monkeypatch.setattr(attacks, "attack", None)
    done = run_cli("train", "--frozen", "--loss", "ce", "--oracle", "other", "--classifier", LABEL, "--epochs", 2)
    assert done.exit_code == 0, done.stderr
    (run,) = finished_runs(workspace)
    z = run.scores(kept)
    assert z is not None
    assert len(z) == 90


def test_the_same_command_rebuilds_shards_from_the_images_that_are_kept(
    kept: Index, extract_digits: Cli, no_attacks: None
) -> None:
    before = {path.name: path.read_bytes() for path in kept.folder.glob("*0*")}
    (kept.folder / "00001.h5").write_bytes(b"damaged")
    done = again(extract_digits)
    assert done.exit_code == 0, done.stderr
    assert {path.name: path.read_bytes() for path in kept.folder.glob("*0*")} == before


def test_the_same_classifier_s_other_cache_takes_them_over(
    kept: Index, extract_digits: Cli, workspace: Workspace, no_attacks: None
) -> None:
    done = again(extract_digits, "--features", "stages", name="staged")
    assert done.exit_code == 0, done.stderr
    other = read_index(workspace.cache_folder("staged", "digits-pgd"))
    assert [path.read_bytes() for path in other.kept_images] == [path.read_bytes() for path in kept.kept_images]


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"?")


@pytest.mark.parametrize("spoil", [damage, Path.unlink])
def test_a_bad_file_of_images_is_named_by_verify_and_evaluate_and_made_anew_by_extract(
    kept: Index, run_cli: Cli, extract_digits: Cli, workspace: Workspace, spoil: Callable[[Path], None]
) -> None:
    assert run_cli(*TUNE, "ce").exit_code == 0
    (run,) = finished_runs(workspace)
    z = run.scores(kept)
    run.scores_path(kept).unlink()
    bad, whole = kept.folder / "images-00000040.safetensors", kept.fingerprint()
    spoil(bad)
    for command in ("verify", "evaluate"):
        failed = run_cli(command)
        assert failed.exit_code == 1
        assert tells(failed.stdout + failed.stderr, f"digits-pgd/{bad.name}", "trustcache extract"), command
    assert again(extract_digits).exit_code == 0
    assert read_index(kept.folder).fingerprint() == whole
    assert run_cli("verify").exit_code == 0
    assert run_cli("evaluate", "--workers", 0, "--device", "cpu").exit_code == 0
    np.testing.assert_array_equal(run.scores(kept), z)


def test_without_the_option_it_is_another_cache_and_the_command_of_a_message_has_it(
    kept: Index, extract_digits: Cli
) -> None:
    refused = extract_digits("--data", "digits-pgd", *FEW)
    assert refused.exit_code == 1
    assert tells(refused.stderr, "--keep-images", "True", "False")
    assert "--keep-images" in extract_line(kept, "digits-pgd")


def test_images_of_no_attack_are_not_kept(workspace: Workspace, extract_digits: Cli) -> None:
    assert extract_digits("--keep-images").exit_code == 0
    assert not workspace.find_cache("test").kept_images
