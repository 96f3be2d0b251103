"""Promises of the variants as data sets: what each does to images, in any order and process, and what it needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms import CenterCrop, Compose, Resize

from trustcache.data.dataset import Dataset, open_dataset
from trustcache.data.known_data import find_manifests, folder_manifest
from trustcache.data.loader import Viewer, viewed_batches
from trustcache.data.manifest import Manifest, Variant
from trustcache.data.variants.adain import StyleTransfer
from trustcache.data.variants.corruptions import corrupt, sample_rng
from trustcache.data.variants.fourier import exchange_amplitude
from trustcache.data.variants.variation import centre_crop
from trustcache.errors import TrustcacheError, UsageError
from trustcache.models.classifiers import Classifier
from trustcache.models.preprocessing import Preprocessing

CPU = torch.device("cpu")
SIDE = 32


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten photographs of 40 x 36 pixels in two classes, three styles, and weights for AdaIN."""
    rng = np.random.default_rng(0)

    def draw(path: Path, size: tuple[int, int]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)

    for number in range(10):
        draw(tmp_path / "photos" / ("cat" if number % 2 else "dog") / f"{number}.png", (40, 36))
    for number in range(3):
        draw(tmp_path / "styles" / f"{number}.png", (60, 50))
    save_transfer(tmp_path, seed=0)
    return tmp_path


def save_transfer(root: Path, seed: int) -> StyleTransfer:
    """Random weights that keep the size of activations from layer to layer, as torch's own do not."""
    torch.manual_seed(seed)
    transfer = StyleTransfer()
    for layer in transfer.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    *_, last = (layer for layer in transfer.decoder if isinstance(layer, torch.nn.Conv2d))
    with torch.no_grad():
        last.weight *= 0.2
        last.bias += 0.5  # type: ignore[operator]
    save_file(transfer.encoder.state_dict(), root / "vgg.safetensors")
    save_file(transfer.decoder.state_dict(), root / "decoder.safetensors")
    return transfer


ADAIN: dict[str, Any] = {"vgg": "vgg.safetensors", "decoder": "decoder.safetensors", "styles": "styles"}


def photos(root: Path, **variant: Any) -> Dataset:
    manifest = replace(folder_manifest(root / "photos"), variant=Variant(**variant) if variant else None)
    return open_dataset(manifest, root)


def viewed(data: Dataset, batches: list[list[int]], workers: int = 0, side: int = SIDE) -> np.ndarray:
    """The images as a model of `side` pixels sees them, float32 (N, 3, side, side)."""
    preprocessing = Preprocessing((side, side), 1.0, "center", "bilinear", (0.5,) * 3, (0.5,) * 3)
    viewer = Viewer(preprocessing, CPU, workers)
    seen = list(viewed_batches(data, viewer, [np.array(batch) for batch in batches]))
    assert [batch.indices.tolist() for batch in seen] == batches
    return np.concatenate([batch.pixels.float().numpy() for batch in seen])


def read(data: Dataset, index: int) -> np.ndarray:
    return np.asarray(data.read(index))


# --- what each kind does ---------------------------------------------------------------------------------------


def test_a_corruption_is_of_the_crop_with_the_sample_s_own_noise(root: Path) -> None:
    plain = photos(root)
    data = photos(root, kind="corruption", name="shot_noise", severity=3, seed=5, crop=24)
    for index in (0, 7):
        cropped = np.asarray(centre_crop(plain.read(index), 24))
        expected = corrupt(cropped, "shot_noise", 3, sample_rng(5, "shot_noise", 3, index))
        np.testing.assert_array_equal(read(data, index), expected)


def test_frost_takes_its_textures_from_a_folder_where_one_is_set(root: Path) -> None:
    own = photos(root, kind="corruption", name="frost", severity=2)
    given = photos(root, kind="corruption", name="frost", severity=2, textures="styles")
    textures = [np.asarray(Image.open(root / "styles" / f"{number}.png")) for number in range(3)]
    rng = sample_rng(0, "frost", 2, 4)
    expected = corrupt(read(photos(root), 4), "frost", 2, rng, textures=textures)
    np.testing.assert_array_equal(read(given, 4), expected)
    assert (read(own, 4) != read(given, 4)).any()


def test_fourier_takes_the_amplitudes_of_another_image_of_the_data_set(root: Path) -> None:
    plain, data = photos(root), photos(root, kind="fourier")
    partners = set()
    for index in range(10):
        mixed = [exchange_amplitude(read(plain, index), read(plain, other)) for other in range(10)]
        partner = [other for other in range(10) if (mixed[other] == read(data, index)).all()]
        assert partner != [index]
        partners.update(partner)
    assert len(partners) > 3


def test_fourier_takes_its_styles_from_a_folder_where_one_is_set(root: Path) -> None:
    data = photos(root, kind="fourier", styles="styles", crop=16)
    content = np.asarray(centre_crop(photos(root).read(3), 16))
    styles = [np.asarray(centre_crop(Image.open(root / "styles" / f"{number}.png"), 16)) for number in range(3)]
    assert any((exchange_amplitude(content, style) == read(data, 3)).all() for style in styles)


def test_one_image_alone_has_no_other_to_take_its_style_from(root: Path) -> None:
    data = open_dataset(replace(folder_manifest(root / "photos"), rows=(0, 1), variant=Variant("fourier")), root)
    with pytest.raises(UsageError, match=r"photos: .*'styles'"):
        data.read(0)


def test_adain_restyles_the_crop_after_a_style_s_crop_and_shows_it_at_the_model_s_size(root: Path) -> None:
    data = photos(root, kind="adain", crop=24, **ADAIN)
    assert data.variation is not None
    transfer = save_transfer(root, seed=0)

    def tensor(image: Image.Image | None) -> torch.Tensor:
        assert image is not None
        return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float() / 255

    style = data.variation.companion(6)
    assert style is not None
    assert style.size == (24, 24)
    with torch.no_grad():
        expected = transfer(tensor(centre_crop(photos(root).read(6), 24)), tensor(style)).numpy() * 255
    seen = viewed(data, [[6]], side=24)
    np.testing.assert_allclose(seen, expected, atol=1e-3)
    assert viewed(data, [[6]], side=48).shape == (1, 3, 48, 48)
    weak = photos(root, kind="adain", crop=24, settings={"alpha": 0}, **ADAIN)
    assert np.abs(viewed(weak, [[6]], side=24) - seen).max() > 1


def test_an_attack_works_against_the_classifier_at_its_size_and_a_larger_viewer_sees_it_enlarged(
    digits_classifier: Classifier,
) -> None:
    data = open_dataset(find_manifests("digits-pgd")[0], Path())
    plain = open_dataset(find_manifests("digits-test")[0], Path())
    indices = [np.arange(200)]
    own = Viewer(digits_classifier.preprocessing, CPU, 0, judged=digits_classifier)
    (attacked,) = viewed_batches(data, own, indices)
    (clean,) = viewed_batches(plain, own, indices)
    change = (attacked.pixels - clean.pixels.float()).abs().max()
    assert 1 < float(change) <= 255 * 4 / 255 + 1e-3
    right = [
        (digits_classifier(batch.pixels)[0].argmax(1).numpy() == batch.labels).mean() for batch in (clean, attacked)
    ]
    assert right[1] < right[0] - 0.03
    larger = replace(own, preprocessing=replace(digits_classifier.preprocessing, input_size=(16, 16)))
    (seen,) = viewed_batches(data, larger, indices)
    torch.testing.assert_close(seen.pixels, larger.preprocessing.resized(attacked.pixels))


# --- the same images in any order, batch and process -----------------------------------------------------------

EACH = {
    "corruption": {"kind": "corruption", "name": "gaussian_noise", "severity": 4},
    "fourier": {"kind": "fourier"},
    "fourier of a folder": {"kind": "fourier", "styles": "styles"},
    "adain": {"kind": "adain", "crop": 24, **ADAIN},
}


@pytest.mark.parametrize("variant", EACH)
def test_a_sample_s_image_does_not_depend_on_order_batches_or_processes(root: Path, variant: str) -> None:
    data = photos(root, **EACH[variant])
    alone = viewed(data, [[i] for i in range(10)])
    together = viewed(data, [[3, 9, 1, 0], [7, 8, 2, 6, 5, 4]], workers=2)
    atol = 1e-2 if variant == "adain" else 0  # of 255: a convolution's rounding in batches of other sizes
    np.testing.assert_allclose(together, alone[[3, 9, 1, 0, 7, 8, 2, 6, 5, 4]], atol=atol)
    assert (viewed(photos(root), [[3]]) != alone[3:4]).any(), "it is a variant at all"


@pytest.mark.parametrize("variant", EACH)
def test_another_seed_makes_other_images(root: Path, variant: str) -> None:
    everything = [list(range(10))]
    first, second = (viewed(photos(root, seed=seed, **EACH[variant]), everything) for seed in (0, 1))
    assert (first != second).any()


def test_attacked_images_are_the_same_bits_in_the_same_batches(digits_classifier: Classifier) -> None:
    data = open_dataset(find_manifests("digits-pgd")[0], Path())
    batches = [np.arange(0, 50), np.arange(50, 80)]
    made = [
        torch.cat([b.pixels for b in viewed_batches(data, viewer, batches)])
        for viewer in (Viewer(digits_classifier.preprocessing, CPU, w, judged=digits_classifier) for w in (0, 2))
    ]
    assert torch.equal(*made)


# --- what they need, and what pins them ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ({"kind": "corruption", "name": "rain", "severity": 1}, "variant: unknown corruption 'rain'"),
        (
            {"kind": "corruption", "name": "fog", "severity": 1, "textures": "styles"},
            "'textures' means nothing to 'fog'",
        ),
        (
            {"kind": "corruption", "name": "frost", "severity": 1, "textures": "none"},
            r".*/none must be there",
        ),
        ({"kind": "fourier", "styles": "none"}, r".*/none must be there"),
        ({"kind": "adain", **ADAIN, "decoder": "none.pth"}, r".*/none\.pth must be there"),
        ({"kind": "adain", **ADAIN, "settings": {"beta": 1}}, "variant: unknown setting 'beta'"),
        ({"kind": "adain", **ADAIN, "settings": {"alpha": 2}}, "'alpha' .* from 0 to 1, not 2"),
        ({"kind": "attack", "name": "fgsm"}, r".*'fgsm'"),
        ({"kind": "attack", "name": "recolor", "settings": {"boundary": 1}}, "recolor: has no setting 'boundary'"),
        (
            {"kind": "attack", "name": "pgd-l2", "settings": {"iterations": -1}},
            "pgd-l2: its 'iterations' .* of 0 up, not -1",
        ),
    ],
)
def test_what_a_variant_lacks_is_named(root: Path, variant: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=f"^photos: {words}"):
        photos(root, **variant)


def test_images_too_small_for_a_style_are_one_sentence(root: Path) -> None:
    with pytest.raises(TrustcacheError, match=r"photos: .* 8 x 8 pixels"):
        viewed(photos(root, kind="adain", crop=8, **ADAIN), [[0]])


def test_what_a_variant_draws_on_is_part_of_the_fingerprint(root: Path) -> None:
    def fingerprints() -> list[str]:
        frost = photos(root, kind="corruption", name="frost", severity=1, textures="styles")
        return [
            d.fingerprint()
            for d in (photos(root, **EACH["adain"]), photos(root, kind="fourier", styles="styles"), frost)
        ]

    before = fingerprints()
    assert before == fingerprints()
    (root / "styles" / "1.png").rename(root / "styles" / "9.png")
    assert all(a != b for a, b in zip(before, fingerprints(), strict=True))
    (root / "styles" / "9.png").rename(root / "styles" / "1.png")
    save_transfer(root, seed=1)
    assert [a == b for a, b in zip(before, fingerprints(), strict=True)] == [False, True, True], "AdaIN's weights"
    weak, strong = (photos(root, kind="attack", name="recolor", settings={"bound": b}) for b in (0.01, 0.06))
    assert weak.fingerprint() != strong.fingerprint() == photos(root, kind="attack", name="recolor").fingerprint()


# --- crops -----------------------------------------------------------------------------------------------------


def test_of_images_that_are_crops_already_a_model_sees_the_whole(root: Path) -> None:
    framed = np.zeros((40, 40, 3), np.uint8)
    framed[0, :], framed[-1, :], framed[:, 0], framed[:, -1] = 255, 255, 255, 255
    for number in range(2):
        path = root / "framed" / "cat" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(framed).save(path)

    def corner(manifest: Manifest) -> float:
        viewer = Viewer(Preprocessing((40, 40), 0.875, "center", "bilinear", (0.5,) * 3, (0.5,) * 3), CPU, 0)
        (batch,) = viewed_batches(open_dataset(manifest, root), viewer, [np.array([0])])
        return float(batch.pixels[0, 0, 0, 0])

    manifest = folder_manifest(root / "framed")
    assert corner(manifest) == 0
    assert corner(replace(manifest, cropped=True)) == 255
    identity = Variant("corruption", "contrast", 1, crop=40)
    assert corner(replace(manifest, cropped=True, variant=replace(identity, crop=None))) > 100
    assert corner(replace(manifest, variant=identity)) < 100, "the crop itself cuts the frame away"


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (224, 224), (256, 256), (101, 333), (333, 257), (64, 1000)])
def test_the_crop_is_torchvision_s_resize_to_256_and_centre_crop_to_224(size: tuple[int, int]) -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize(size)
    expected = Compose([Resize(256), CenterCrop(224)])(image)
    np.testing.assert_array_equal(np.asarray(centre_crop(image, 224)), np.asarray(expected))


@pytest.mark.parametrize("side", [8, 32, 99])
def test_crops_of_other_sides_keep_the_same_margin(side: int) -> None:
    assert centre_crop(Image.new("RGB", (70, 50)), side).size == (side, side)
