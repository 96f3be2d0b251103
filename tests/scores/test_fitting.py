"""Samples of a training cache: which rows are drawn, that they are the cache's, and how few suffice."""

from __future__ import annotations

import numpy as np
import pytest

from trustcache.cache import CacheView, open_cache
from trustcache.cache.workspace import Workspace
from trustcache.scores import fitting
from trustcache.scores.entry import arrays_of
from trustcache.scores.feature_scores import VirtualLogit
from trustcache.scores.fitted_logit_scores import RelU
from trustcache.scores.fitting import Rows, TooFew, fitting_data


@pytest.fixture
def cache(prepared_workspace: Workspace) -> CacheView:
    return open_cache(prepared_workspace.find_cache("train").folder)


def test_nothing_is_learnt_from_what_is_chosen_on(cache: CacheView) -> None:
    data = fitting_data(cache)
    assert len(data.validation) == round(len(cache) / 10)
    assert len(data.everyone) == len(cache) - len(data.validation)
    assert len(data.right) + len(data.wrong) == len(data.everyone)
    held_out = {row.tobytes() for row in data.validation.features}
    assert not held_out & {row.tobytes() for kind in (data.everyone, data.right, data.wrong) for row in kind.features}


def test_right_and_wrong_are_what_they_are_called(cache: CacheView) -> None:
    data = fitting_data(cache)
    assert data.right.correct.all()
    assert not data.wrong.correct.any()
    assert (data.wrong.predictions != data.wrong.labels).all()


def test_no_more_rows_are_drawn_than_fit_in_memory(cache: CacheView, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "FITTING_ROWS", 50)
    monkeypatch.setattr(fitting, "VALIDATION_ROWS", 20)
    data, again = fitting_data(cache), fitting_data(cache)
    assert [len(kind) for kind in (data.validation, data.everyone, data.right)] == [20, 50, 50]
    assert 0 < len(data.wrong) <= 50
    np.testing.assert_array_equal(data.everyone.features, again.everyone.features)
    # All shards are drawn from, not the first rows.
    assert not np.array_equal(data.everyone.labels, cache.labels[:50])


def test_rows_are_the_caches_in_its_order_and_dtype(cache: CacheView, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.array([0, 3, 199, 200, 201, 399, len(cache) - 1])
    chunks = cache.chunks
    monkeypatch.setattr(cache, "chunks", lambda: chunks(150))  # borders within and between the shards
    rows = Rows(cache, numbers)
    for column in ("logits", "features", "predictions", "labels", "correct"):
        expected = getattr(cache, column)[numbers]
        assert getattr(rows, column).dtype == expected.dtype
        np.testing.assert_array_equal(getattr(rows, column), expected)
    assert Rows(cache, numbers[:0]).features.shape == (0, cache.features.shape[1])


def test_what_is_learnt_from_blocks_of_a_file_has_the_bits_of_what_is_learnt_from_columns_in_memory(
    cache: CacheView, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fitting_data(cache)
    fits = [arrays_of(kind.fit(whole)) for kind in (VirtualLogit, RelU)]
    monkeypatch.setattr(fitting, "HELD_BYTES", 0)
    blocked = fitting_data(cache)
    for kind, expected in zip((VirtualLogit, RelU), fits, strict=True):
        found = arrays_of(kind.fit(blocked))
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert "logits" in vars(whole.everyone)
    assert "logits" not in vars(blocked.everyone)  # nothing kept it
    parts = list(blocked.right.blocks(100, "labels", "logits"))
    np.testing.assert_array_equal(np.concatenate([labels for labels, _ in parts]), whole.right.labels)
    assert {len(labels) for labels, _ in parts[:-1]} == {100}


def test_a_handful_of_samples_is_too_few(cache: CacheView) -> None:
    with pytest.raises(TooFew, match="too few"):
        fitting_data(cache[:4])
