"""Promises of the amplitude exchange: what it keeps of the content, what it takes from the style, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from trustcache.data.variants.fourier import exchange_amplitude, mix_amplitudes

SIDES = st.integers(1, 12)
PICTURES = st.tuples(SIDES, SIDES, st.just(3)).flatmap(lambda shape: arrays(np.uint8, shape))
PAIRS = st.tuples(SIDES, SIDES, st.just(3)).flatmap(lambda s: st.tuples(arrays(np.uint8, s), arrays(np.uint8, s)))


def spectrum(image: np.ndarray) -> np.ndarray:
    return np.fft.fft2(image, axes=(0, 1))


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size=(height, width, 3)).astype(np.uint8)


# --- before rounding and clipping ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(8, 8), (32, 32), (17, 30), (30, 17), (15, 21), (1, 9), (9, 1)], ids=str)
def test_the_content_keeps_its_phase_and_takes_six_tenths_of_the_styles_amplitude(size: tuple[int, int]) -> None:
    content, style = noise(*size).astype(float), noise(*size, seed=1).astype(float)
    mixed = spectrum(mix_amplitudes(content, style))
    wanted = 0.4 * np.abs(spectrum(content)) + 0.6 * np.abs(spectrum(style))
    np.testing.assert_allclose(np.abs(mixed), wanted, rtol=1e-6)
    phase = np.exp(1j * np.angle(spectrum(content)))
    np.testing.assert_allclose(mixed / np.abs(mixed), phase, rtol=0, atol=1e-6)


def test_channels_do_not_mix() -> None:
    content, style = noise(9, 8).astype(float), noise(9, 8, seed=1).astype(float)
    single = mix_amplitudes(content[..., 1:2], style[..., 1:2])
    np.testing.assert_allclose(mix_amplitudes(content, style)[..., 1:2], single, atol=1e-9)


@given(PAIRS)
def test_the_mean_colour_is_the_mix_of_both(pair: tuple[np.ndarray, np.ndarray]) -> None:
    content, style = (image.astype(float) for image in pair)
    assume((content.mean(axis=(0, 1)) > 0).all())  # a black channel lacks every frequency, the mean's too
    mixed = mix_amplitudes(content, style)
    wanted = 0.4 * content.mean(axis=(0, 1)) + 0.6 * style.mean(axis=(0, 1))
    np.testing.assert_allclose(mixed.mean(axis=(0, 1)), wanted, atol=1e-6)


@given(PAIRS, st.integers(0, 11), st.integers(0, 11))
def test_where_things_lie_in_the_style_does_not_matter(
    pair: tuple[np.ndarray, np.ndarray], down: int, right: int
) -> None:
    content, style = (image.astype(float) for image in pair)
    moved = np.roll(style, (down, right), axis=(0, 1))
    np.testing.assert_allclose(mix_amplitudes(content, moved), mix_amplitudes(content, style), atol=1e-6)


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_a_flat_content_stays_flat_instead_of_showing_amplified_rounding_errors(level: int) -> None:
    mixed = mix_amplitudes(np.full((30, 31, 3), float(level)), noise(30, 31).astype(float))
    assert np.ptp(mixed, axis=(0, 1)).max() < 1e-6


# --- pictures --------------------------------------------------------------------------------------------------


@given(PICTURES)
def test_an_exchange_with_itself_gives_the_image_back(image: np.ndarray) -> None:
    assert np.array_equal(exchange_amplitude(image, image), image)


def test_an_exchange_with_itself_gives_a_large_image_back() -> None:
    image = noise(300, 451)
    assert np.array_equal(exchange_amplitude(image, image), image)


@given(PICTURES, PICTURES)
def test_the_result_has_bytes_of_the_contents_size_and_the_inputs_stay(content: np.ndarray, style: np.ndarray) -> None:
    before = content.copy(), style.copy()
    mixed = exchange_amplitude(content, style)
    assert mixed.shape == content.shape
    assert mixed.dtype == np.uint8
    assert np.array_equal(content, before[0])
    assert np.array_equal(style, before[1])


def test_a_style_of_another_size_is_resized_by_pillow() -> None:
    content, style = noise(20, 30), noise(57, 41, seed=1)
    resized = np.asarray(Image.fromarray(style).resize((30, 20), Image.Resampling.BILINEAR))
    assert np.array_equal(exchange_amplitude(content, style), exchange_amplitude(content, resized))


def test_results_are_rounded_and_clipped_not_wrapped() -> None:
    content, style = noise(16, 16), np.where(noise(16, 16, seed=1) < 128, 0, 255).astype(np.uint8)
    plain = mix_amplitudes(content.astype(float), style.astype(float))
    assert plain.min() < -1
    assert plain.max() > 256
    assert np.array_equal(exchange_amplitude(content, style), np.clip(np.round(plain), 0, 255))
