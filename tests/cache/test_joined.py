"""Two networks' caches side by side: the columns of both, and only for the same images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.caches_in_memory import cache_of
from tests.refusals import refusal_of, tells
from trustcache.cache import CacheView, open_cache
from trustcache.cache.joined import side_by_side
from trustcache.cache.workspace import Workspace
from trustcache.errors import UsageError


def test_a_slice_has_the_columns_of_both_networks_and_else_the_first_ones() -> None:
    own, second = cache_of(50, 1), cache_of(50, 2, classifier="second")
    joined = side_by_side(own, second)
    part = joined[10:30]
    assert [len(piece) for piece in part.chunks(8)] == [8, 8, 4]
    read = [piece.columns(["logits", "second:features"]) for piece in part.chunks(8)]
    np.testing.assert_array_equal(np.concatenate([one["logits"] for one in read]), own.logits[10:30])
    np.testing.assert_array_equal(np.concatenate([one["second:features"] for one in read]), second.features[10:30])
    assert (part.correct == own.correct[10:30]).all()
    assert part.sample_ids == own.sample_ids[10:30]
    assert len({joined.fingerprint(), part.fingerprint(), own.fingerprint()}) == 3


def test_a_column_that_the_second_lacks_is_refused_by_its_own_name() -> None:
    joined = side_by_side(cache_of(50, 1), cache_of(50, 2, features=False, classifier="poor"))
    assert tells(refusal_of(lambda: joined.columns(["features", "second:features"])), "poor", "without features")


@pytest.mark.parametrize("ids", [range(49), [*range(49), "another"]])
def test_other_rows_are_refused(ids: Sequence[object]) -> None:
    other = CacheView.from_arrays(np.full((len(ids), 3), -1.0), ids=list(map(str, ids)))
    with pytest.raises(UsageError, match="1 of its rows"):
        side_by_side(cache_of(50, 1), other)


def test_images_of_equal_names_and_other_bytes_are_refused(prepared_workspace: Workspace) -> None:
    one, other = (open_cache(prepared_workspace.find_cache("test").folder)[:9] for _ in range(2))
    assert len(side_by_side(one, other)) == 9
    vars(other)["content"] = np.where(np.arange(9) < 4, other.content, 0)
    with pytest.raises(UsageError, match="5 of its rows"):
        side_by_side(one, other)
