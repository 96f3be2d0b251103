"""Caches of arrays: what goes in comes out, in memory as on disk, and what cannot be right is refused."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.refusals import refusal_of, tells
from trustcache.cache import CacheView, open_cache
from trustcache.cache.importing import ImportRequest, import_cache
from trustcache.cache.workspace import Workspace
from trustcache.deploy.calibrate import calibrate_on
from trustcache.scores import post_hoc_score

LOGITS = np.array([[2.0, 0.5, -1.0], [0.1, 0.3, 3.0], [0.0, 4.0, 1.0], [5.0, 1.0, 0.0]], np.float32)
LABELS = np.array([0, 1, 1, 2])


@st.composite
def outputs(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """Logits and features of one dtype, with labels; logits lie beyond one, so that none is a probability."""
    dtype = draw(st.sampled_from([np.float16, np.float32]))
    rows, classes, width = (draw(st.integers(low, 6)) for low in (1, 2, 1))
    numbers = st.floats(-1000, 1000, width=np.finfo(dtype).bits)
    logits = draw(hnp.arrays(dtype, (rows, classes), elements=st.floats(2, 1000, width=np.finfo(dtype).bits)))
    features = draw(hnp.arrays(dtype, (rows, width), elements=numbers))
    labels = draw(hnp.arrays(np.int64, rows, elements=st.integers(0, classes - 1)))
    return {"logits": logits, "labels": labels, "features": features}


@given(outputs())
def test_arrays_come_out_as_they_went_in(made: dict[str, np.ndarray]) -> None:
    cache = CacheView.from_arrays(**made)
    for name, array in made.items():
        column = cache.column(name)
        assert column.dtype == array.dtype
        np.testing.assert_array_equal(column, array)
    np.testing.assert_array_equal(cache.predictions, made["logits"].argmax(1))
    np.testing.assert_array_equal(cache.correct, cache.predictions == made["labels"])
    shifted = np.exp(made["logits"].astype(float) - made["logits"].max(1, keepdims=True).astype(float))
    wanted = (shifted / shifted.sum(1, keepdims=True))[np.arange(len(cache)), made["labels"]]
    np.testing.assert_allclose(cache.true_class_prob, wanted, rtol=1e-5, atol=1e-38)


@given(made=outputs(), suffix=st.sampled_from(["npy", "npz", "safetensors"]))
def test_files_come_out_as_they_went_in_and_the_cache_is_the_one_in_memory(
    made: dict[str, np.ndarray], suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("import")
    files = write(folder, made, suffix)
    cache = import_cache(Workspace(folder / "workspace"), ImportRequest("net", "birds", **files))
    for name, array in made.items():
        np.testing.assert_array_equal(cache.column(name), array)
    in_memory = CacheView.from_arrays(**made, name="birds", classifier="net")
    assert cache.fingerprint() == in_memory.fingerprint()
    assert cache.sample_ids == in_memory.sample_ids == [str(number) for number in range(len(cache))]
    assert not cache.index.faults()


def write(folder: Path, arrays: dict[str, np.ndarray], suffix: str) -> dict[str, str]:
    """Files of arrays, one each for npy and one for all else; and the options that name them."""
    if suffix == "npy":
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
        return {name: str(folder / f"{name}.npy") for name in arrays}
    file = folder / f"all.{suffix}"
    if suffix == "npz":
        np.savez(file, **arrays)
    else:
        from safetensors.numpy import save_file

        save_file(arrays, file)
    return {name: str(file) for name in arrays}


def test_float64_is_kept_as_float32_and_predictions_are_those_before_rounding() -> None:
    logits = np.array([[1.0, 1.0 + 1e-12, 3.0], [2.0, 2.0 - 1e-12, 0.0]])
    cache = CacheView.from_arrays(logits, [2, 0])
    assert cache.logits.dtype == np.float32
    assert cache.correct.tolist() == [True, True]


def test_reversed_arrays_are_those_of_their_copies() -> None:
    logits, features = np.array([[2.0, 0.5], [0.1, 0.3]]), np.arange(4.0).reshape(2, 2)
    cache = CacheView.from_arrays(logits[::-1], [1, 0], features=features[:, ::-1])
    assert cache.logits.tolist() == logits[::-1].astype(np.float32).tolist()
    assert min(*cache.logits.strides, *cache.features.strides) > 0  # torch takes no others


def test_logits_of_views_come_in_beside_those_of_the_images() -> None:
    logits = np.array([[2.0, 0.5], [0.1, 0.3]])
    cache = CacheView.from_arrays(logits, [0, 1], views={"mirrored": logits - 1})
    assert cache.column("mirrored_logits").tolist() == (logits - 1).astype(np.float32).tolist()
    assert np.isfinite(post_hoc_score("mcp-mirrored", cache)).all()
    bare = CacheView.from_arrays(logits, [0, 1])
    assert tells(refusal_of(lambda: post_hoc_score("mcp-mirrored", bare)), "views={'mirrored'")
    for views, facts in (({"turned": logits}, ("turned", "mirrored")), ({"mirrored": np.ones((2, 3))}, ("3", "2"))):
        message = refusal_of(lambda given=views: CacheView.from_arrays(logits, [0, 1], views=given))  # type: ignore[misc]
        assert tells(message, "views" if "turned" in views else "mirrored_logits", *facts)


def test_tensors_names_ids_and_probabilities_are_taken() -> None:
    import torch

    shares = torch.softmax(torch.tensor(LOGITS), 1)
    cache = CacheView.from_arrays(
        shares,
        ["owl", "wren", "wren", "jay"],
        classes=["owl", "wren", "jay"],
        ids=list("abcd"),
        outputs="probabilities",
    )
    assert cache.labels.tolist() == LABELS.tolist()
    assert cache.sample_ids == list("abcd")
    assert cache.index.made_from.classes == ("owl", "wren", "jay")
    np.testing.assert_allclose(np.exp(cache.logits), shares.numpy(), rtol=1e-5)
    half = CacheView.from_arrays(torch.tensor(LOGITS).bfloat16().requires_grad_(), torch.tensor(LABELS))
    np.testing.assert_allclose(half.logits, LOGITS, rtol=1e-2)
    certain = CacheView.from_arrays([[1.0, 0.0], [0.25, 0.75]], [0, 1], outputs="probabilities")
    assert np.isfinite(certain.logits).all()


def test_a_slice_is_a_cache_of_its_rows() -> None:
    cache = CacheView.from_arrays(LOGITS, LABELS)
    part = cache[1:3]
    np.testing.assert_array_equal(part.logits, LOGITS[1:3])
    assert part.sample_ids == ["1", "2"]
    assert part.classes == 3
    assert len({cache.fingerprint(), part.fingerprint(), cache[:2].fingerprint()}) == 3
    assert cache[:].fingerprint() == cache.fingerprint()


def test_other_outputs_labels_ids_or_names_are_another_cache() -> None:
    def fingerprint(**changed: Any) -> str:
        return CacheView.from_arrays(
            **{"logits": LOGITS, "labels": LABELS, "ids": list("abcd"), **changed}
        ).fingerprint()

    changes: list[dict[str, Any]] = [
        {},
        {"logits": LOGITS + np.float32(1)},
        {"labels": LABELS[::-1]},
        {"ids": list("abce")},
        {"features": LOGITS},
        {"name": "other"},
        {"classifier": "other"},
        {"classes": ["x", "y", "z"]},
    ]
    assert len({fingerprint(**change) for change in changes}) == len(changes)


NAN = LOGITS.copy()
NAN[2, 1] = np.nan


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        ({"labels": LABELS[:3]}, ("labels", "3", "4")),
        ({"features": LOGITS[:2]}, ("features", "2", "4")),
        ({"ids": ["a"]}, ("ids", "1", "4")),
        ({"ids": list("abca")}, ("ids", "'a'", "twice")),
        ({"logits": NAN}, ("logits", "row 2", "not finite")),
        ({"logits": LOGITS.astype(np.float64) * 1e39}, ("logits", "row 0", "float32")),
        ({"features": np.where(np.isnan(NAN), np.inf, LOGITS)}, ("features", "row 2")),
        ({"labels": [0, 1, 3, 2]}, ("labels", "row 2", "3", "0 to 2")),
        ({"labels": [0, -1, 1, 2]}, ("labels", "row 1", "-1")),
        ({"labels": [1, 2, 2, 3]}, ("labels", "3", "subtract 1")),
        ({"labels": [0.5, 1, 1, 2]}, ("labels", "whole numbers")),
        ({"labels": ["owl", "wren", "owl", "owl"]}, ("labels", "'owl'", "with classes")),
        ({"labels": ["a", "b", "x", "a"], "classes": ["a", "b", "c"]}, ("labels", "'x'", "a, b, c")),
        ({"labels": np.eye(4, 3)}, ("labels", "(4, 3)")),
        ({"classes": ["a", "b"]}, ("classes", "2", "3")),
        ({"classes": ["a", "b", "a"]}, ("classes", "'a'", "twice")),
        ({"logits": LOGITS[:, :1]}, ("logits", "one column")),
        ({"logits": LOGITS[0]}, ("logits", "(3,)")),
        ({"logits": np.array([["a", "b"]] * 4)}, ("logits", "numbers")),
        ({"logits": np.full((4, 3), 1 / 3)}, ("logits", "sum to one", "outputs='probabilities'")),
        ({"outputs": "probabilities"}, ("logits", "row", "no probabilities")),
        ({"outputs": "odds"}, ("odds", "logits", "probabilities")),
    ],
)
def test_what_cannot_be_right_is_refused(arguments: dict[str, Any], facts: tuple[str, ...]) -> None:
    message = refusal_of(lambda: CacheView.from_arrays(**{"logits": LOGITS, "labels": LABELS, **arguments}))
    assert tells(message, *facts)


def test_a_missing_column_says_how_to_get_it() -> None:
    cache = CacheView.from_arrays(LOGITS, LABELS, name="birds", classifier="net")
    assert tells(refusal_of(lambda: cache.features, "net/birds"), "without features", "features=ARRAY")
    assert tells(refusal_of(lambda: cache.column("mirrored_logits")), "views={'mirrored': ARRAY}")
    message = refusal_of(lambda: cache.columns(["stages", "features"]), "net/birds")
    assert tells(message, "stages, features", "images", "features=ARRAY")
    assert "--" not in message


def test_one_shard_after_another_holds_its_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    made = {"logits": rng.normal(size=(5000, 3)).astype(np.float32) * 9, "labels": rng.integers(0, 3, 5000)}
    cache = import_cache(Workspace(tmp_path), ImportRequest("net", "birds", **write(tmp_path, made, "npy")))
    assert len(cache.index.ranges()) > 1
    again = open_cache(cache.index.folder)
    np.testing.assert_array_equal(again.logits, made["logits"])
    assert again.fingerprint() == CacheView.from_arrays(**made, name="birds", classifier="net").fingerprint()


def test_new_rows_need_no_labels_to_be_scored_and_what_takes_labels_says_so() -> None:
    new, labelled = CacheView.from_arrays(LOGITS), CacheView.from_arrays(LOGITS, LABELS)
    np.testing.assert_array_equal(post_hoc_score("mcp", new), post_hoc_score("mcp", labelled))
    assert tells(repr(new), "4 rows", "no labels")
    assert "accuracy" not in repr(new)
    for action in (lambda: new.correct, lambda: new[:2].labels, lambda: calibrate_on("mcp", new, coverage=0.5)):
        assert tells(refusal_of(action), "model/data", "no labels", "from_arrays")


@pytest.mark.parametrize(
    ("scale", "shift", "facts"),
    [(100, 0, "logits.*sums to 100.*probabilities"), (0.5, 0, "logits.*sums to 0.5"), (0, 1, "labels.*chance")],
)
def test_arrays_that_can_hardly_be_meant_are_warned_of(scale: float, shift: int, facts: str) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    logits = 3 * np.eye(3)[labels] + rng.normal(size=(300, 3))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    with pytest.warns(UserWarning, match=facts) as caught:
        CacheView.from_arrays(scale * shares if scale else logits, np.roll(labels, shift))
    assert [one.filename for one in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CacheView.from_arrays(logits, labels)
        CacheView.from_arrays(logits)
