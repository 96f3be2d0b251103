"""From a cache back to the images and weights it was made of, unless they have changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import Result

from trustcache.cache.index import Index, read_index
from trustcache.cache.provenance import original_dataset, original_model
from trustcache.cache.workspace import Workspace
from trustcache.command_lines import extraction_options
from trustcache.errors import UsageError
from trustcache.models.checkpoints import state_sha256
from trustcache.models.classifiers import load_classifier

Cli = Callable[..., Result]


@pytest.fixture
def pets(
    run_cli: Cli,
    own_model: Callable[..., str],
    image_folder: Callable[..., Path],
    manifest_file: Callable[..., Path],
    tmp_path: Path,
) -> Index:
    """A cache of images in `tmp_path`/old/pets, by a manifest that says `pets`."""
    image_folder({"cat": 2, "dog": 3}, name="old/pets")
    manifest = manifest_file("pets", Path("pets"))
    model = ("--classifier", own_model(), "--model-arg", "classes=2", "--as", "m")
    done = run_cli("extract", *model, "--data", manifest, "--data-root", "old", "--workers", 0)
    assert done.exit_code == 0, done.stderr
    return read_index(tmp_path / "trustcache-workspace/cache/m/pets")


def test_the_images_are_found_where_they_were(pets: Index, tmp_path: Path) -> None:
    dataset = original_dataset(pets, tmp_path / "elsewhere")
    assert dataset.samples.read(4).getpixel((0, 0)) == (20, 10, 128)
    assert dataset.ids[4] == "dog/002.png"


def test_the_images_are_found_where_they_were_moved_to(pets: Index, tmp_path: Path) -> None:
    (tmp_path / "old").rename(tmp_path / "new")
    assert original_dataset(pets, tmp_path / "new").ids == [
        f"{label}/{number:03d}.png" for label, count in (("cat", 2), ("dog", 3)) for number in range(count)
    ]


def test_other_images_of_that_name_do_not_hide_the_right_ones(pets: Index, image_folder: Callable[..., Path]) -> None:
    root = image_folder({"cat": 1, "dog": 1}, name="here/pets")
    assert len(original_dataset(pets, root.parent)) == 5


def test_images_that_are_gone_are_named_with_both_places(pets: Index, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "old")
    with pytest.raises(UsageError) as caught:
        original_dataset(pets, tmp_path / "new")
    assert f"looked for {tmp_path}/new/pets/<class>/*.jpg" in str(caught.value)
    assert f"looked for {tmp_path}/old/pets/<class>/*.jpg" in str(caught.value)


def test_images_that_have_changed_are_refused(pets: Index, tmp_path: Path) -> None:
    Image.effect_noise((8, 8), 90).save(tmp_path / "old/pets/dog/000.png")
    with pytest.raises(UsageError) as caught:
        original_dataset(pets, tmp_path / "old")
    said = str(caught.value)
    assert said.startswith("pets: ")
    assert all(fact in said for fact in (f"{tmp_path}/old", str(pets.folder), "extract again"))


def test_the_classifier_is_built_anew_with_all_its_settings(workspace: Workspace) -> None:
    index = workspace.find_cache("train")
    classifier = load_classifier(original_model(index))
    assert state_sha256(classifier.model) == index.identity.state_sha256
    assert classifier.preprocessing.input_size == (8, 8)


@pytest.fixture
def moved_weights(workspace: Workspace, extract_digits: Cli, classifier_file: Path, tmp_path: Path) -> Path:
    """A copy of the weights that digits-test's cache was last extracted with."""
    weights = tmp_path / "moved.safetensors"
    shutil.copy(classifier_file, weights)
    assert extract_digits(weights=weights).exit_code == 0
    return weights


def test_weights_that_have_moved_are_found_after_the_same_extract_named_them(
    workspace: Workspace, moved_weights: Path, extract_digits: Cli, tmp_path: Path
) -> None:
    assert original_model(workspace.find_cache("test")).weights == str(moved_weights)
    again = moved_weights.rename(tmp_path / "again.safetensors")
    with pytest.raises(UsageError, match=r"moved\.safetensors: .*gone or changed"):
        original_model(workspace.find_cache("test"))
    assert extract_digits(weights=again).exit_code == 0
    assert original_model(workspace.find_cache("test")).weights == str(again)


def test_weights_that_have_changed_are_refused(workspace: Workspace, moved_weights: Path) -> None:
    data = bytearray(moved_weights.read_bytes())
    data[-1] ^= 1
    moved_weights.write_bytes(data)
    with pytest.raises(UsageError, match=r"moved\.safetensors: .*digits-test"):
        original_model(workspace.find_cache("test"))


def test_the_options_that_extract_again_make_the_same_classifier(
    workspace: Workspace, extract_digits: Cli, run_cli: Cli
) -> None:
    """Down to the last digit of CLIP's mean: a seventh digit is another classifier, whose caches do not go together."""
    given = ("--preprocess", "mean=0.48145466,0.4578275,0.40821073", "--preprocess", "crop_pct=0.9")
    assert extract_digits(*given, "--features", "none", name="clip").exit_code == 0
    first = read_index(workspace.cache_folder("clip", "digits-test"))
    again = ("--data", "digits-c/contrast/4", "--workers", 0)
    done = run_cli("extract", *extraction_options(first), *again)
    assert done.exit_code == 0, done.stderr
    second = read_index(workspace.cache_folder("clip", "digits-c/contrast/4"))
    assert second.identity == first.identity
    assert second.meaning.features == "none"
