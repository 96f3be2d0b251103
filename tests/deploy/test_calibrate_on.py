"""`calibrate` for programs in Python: the threshold of the command line, on rows that nothing has learnt from."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from tests.caches_in_memory import cache_of
from tests.refusals import refusal_of, tells
from trustcache.cache import CacheView, open_cache
from trustcache.cache.workspace import Workspace
from trustcache.deploy.calibrate import calibrate_on
from trustcache.deploy.scorers import find_scorer
from trustcache.deploy.sets import PredictionSets, prediction_sets
from trustcache.deploy.threshold import Threshold
from trustcache.errors import TrustcacheError
from trustcache.metrics.selective import guaranteed
from trustcache.oracles.estimator import Oracle

TRAINING, HELD_OUT = cache_of(500, 1, name="train"), cache_of(400, 2, name="held-out")


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return Oracle("ce", epochs=10).fit(TRAINING)


@pytest.mark.parametrize("options", ["--max-risk 0.2 --delta 0.1", "--coverage 0.6 --part first-half --seed 3"])
def test_the_threshold_is_the_one_of_the_command_line(
    workspace: Workspace, run_cli: Callable[..., Result], options: str
) -> None:
    words = options.split()
    given = {word[2:].replace("-", "_"): value for word, value in zip(words[::2], words[1::2], strict=True)}
    numbers = {key: value if key == "part" else float(value) for key, value in given.items()}
    numbers |= {"seed": int(given["seed"])} if "seed" in given else {}
    assert run_cli("train", "--frozen", "--loss", "ce", "--epochs", 5, "--device", "cpu").exit_code == 0
    training, test = (open_cache(workspace.find_cache(role).folder) for role in ("train", "test"))
    oracle = Oracle("ce", epochs=5, device="cpu").fit(training)
    for name, method in (("digits-net-ce-frozen", oracle), ("mcp", "mcp")):
        done = run_cli("calibrate", name, "--data", "digits-test", *words)
        assert done.exit_code == 0, done.stderr
        wanted = find_scorer(workspace, name).threshold()
        found = calibrate_on(method, test, **numbers)  # type: ignore[arg-type]
        assert wanted
        assert (found.point, found.other_half, found.part) == (wanted.point, wanted.other_half, wanted.part)
        assert (found.goal, found.target, found.delta) == (wanted.goal, wanted.target, wanted.delta)
        assert (found.guarantee, found.judged) == (wanted.guarantee, wanted.judged)


def test_the_guarantee_is_that_of_the_metric(oracle: Oracle) -> None:
    found = calibrate_on(oracle, HELD_OUT, max_risk=0.2, delta=0.05)
    assert found.point == guaranteed(oracle.decision_function(HELD_OUT), HELD_OUT.correct, 0.2, 0.05)
    assert float(found) == found.point.threshold
    assert tells(found.guarantee, "0.95", "20 %")
    learnt = calibrate_on("knn", HELD_OUT, coverage=0.5, training=TRAINING)
    assert learnt.point.coverage >= 0.5


def test_it_shows_threshold_goal_and_figures(oracle: Oracle) -> None:
    found = calibrate_on(oracle, HELD_OUT, max_risk=0.3, delta=0.05)
    facts = f"{float(found):.6g}", "max-risk 0.3", "delta 0.05", f"{100 * found.point.coverage:.2f} %"
    assert all(fact in repr(found) for fact in facts)
    assert "threshold below every score" in repr(calibrate_on("mcp", HELD_OUT, coverage=1))


def test_a_threshold_is_the_same_when_it_is_loaded(oracle: Oracle, tmp_path: Path) -> None:
    for by in (None, "class"):
        found = calibrate_on(oracle, HELD_OUT, max_risk=0.3, delta=0.05, by=by)
        found.save(tmp_path / "sub" / "mine.json")
        assert Threshold.load(str(tmp_path / "sub" / "mine.json")) == found
    oracle.save(tmp_path / "oracle")
    assert tells(refusal_of(lambda: Threshold.load(tmp_path / "nowhere")), "nowhere", "Threshold.save")
    with pytest.raises(TrustcacheError, match=r"oracle: damaged"):
        Threshold.load(tmp_path / "oracle")
    prediction_sets(HELD_OUT).save(tmp_path / "sets.json")
    message = refusal_of(lambda: Threshold.load(tmp_path / "sets.json"))
    assert tells(message, "sets.json", "PredictionSets.load")
    message = refusal_of(lambda: PredictionSets.load(tmp_path / "sub" / "mine.json"))
    assert tells(message, "mine.json", "Threshold.load")


def test_a_cache_in_place_of_scores_is_told_how_they_are_made(oracle: Oracle) -> None:
    found = calibrate_on(oracle, HELD_OUT, coverage=0.5)
    with pytest.raises(TypeError, match=r"threshold\.trusts\(oracle\.decision_function\(cache\)"):
        found.trusts(HELD_OUT)
    assert repr(found.watch) == "<watch: like 400 scores, false alarms in at most 1.00 % of all streams>"


def test_rows_that_it_has_learnt_from_are_refused(oracle: Oracle) -> None:
    assert tells(refusal_of(lambda: calibrate_on(oracle, TRAINING[:50], coverage=0.5)), "Oracle('ce'", "learnt", "50")
    assert tells(refusal_of(lambda: calibrate_on("knn", TRAINING, coverage=0.5, training=TRAINING)), "knn", "500")
    half = Oracle("ce", epochs=1).fit(TRAINING[:250])
    assert calibrate_on(half, TRAINING[250:], coverage=0.5).point.samples == 250
    assert calibrate_on("mcp", TRAINING, coverage=0.5, training=TRAINING).point.samples == 500  # learns nothing


def renamed(cache: CacheView, rows: slice = slice(None), dtype: type = np.float32) -> CacheView:
    """Return some rows of a cache as a user brings them in again, with their labels and under another name."""
    arrays = cache.logits[rows].astype(dtype), cache.labels[rows]
    return CacheView.from_arrays(*arrays, features=cache.features[rows].astype(dtype), name="renamed")


def test_rows_that_it_has_learnt_from_are_refused_under_another_name_too(oracle: Oracle, tmp_path: Path) -> None:
    oracle.save(tmp_path / "oracle")
    for one in (oracle, Oracle.load(tmp_path / "oracle")):
        for rows, count in ((slice(None), "500"), (slice(100, 140), "40")):
            message = refusal_of(lambda one=one, rows=rows: calibrate_on(one, renamed(TRAINING, rows), coverage=0.5))  # type: ignore[misc]
            assert tells(message, "Oracle('ce'", f"{count} of the {count} rows of renamed")
    message = refusal_of(lambda: calibrate_on("knn", renamed(TRAINING), coverage=0.5, training=TRAINING))
    assert tells(message, "knn", "500")
    halves = Oracle("ce", epochs=1).fit(renamed(TRAINING, dtype=np.float16))
    assert tells(
        refusal_of(lambda: calibrate_on(halves, renamed(renamed(TRAINING, dtype=np.float16)), coverage=0.5)), "500"
    )
    assert calibrate_on(oracle, renamed(HELD_OUT), coverage=0.5).point.samples == 400


def test_other_rows_with_the_same_few_outputs_are_taken() -> None:
    def coarse(seed: int) -> CacheView:
        cache = cache_of(300, seed)
        return CacheView.from_arrays(np.round(cache.logits / 3), cache.labels, name=f"coarse {seed}")

    oracle = Oracle("ce", inputs=["log-probs"], head="mlp", epochs=1).fit(coarse(1))
    assert calibrate_on(oracle, coarse(2), coverage=0.5).point.samples == 300


def test_a_slice_of_rows_that_stand_class_by_class_is_warned_of() -> None:
    order = np.argsort(HELD_OUT.labels, kind="stable")[::-1]  # the last class first
    ordered = CacheView.from_arrays(HELD_OUT.logits[order], HELD_OUT.labels[order], name="ordered")
    with pytest.warns(UserWarning, match=r"calibrate.*200 rows.*ordered.*shuffle.*first-half") as caught:
        calibrate_on("mcp", ordered[200:], coverage=0.5)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=r"fit.*200 rows.*ordered"):
        Oracle("ce", inputs=["log-probs"], head="mlp", epochs=1).fit(ordered[:200])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for cache in (ordered, HELD_OUT[:200]):
            calibrate_on("mcp", cache, coverage=0.5, part="first-half")


def test_a_wrong_or_hopeless_target_is_refused(oracle: Oracle) -> None:
    assert tells(refusal_of(lambda: calibrate_on(oracle, HELD_OUT)), "max_risk", "coverage")
    assert tells(refusal_of(lambda: calibrate_on(oracle, HELD_OUT, max_risk=2)), "max_risk", "2")
    with pytest.raises(TypeError, match="ndarray"):
        calibrate_on("mcp", HELD_OUT.logits, coverage=0.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="max_rsk"):
        calibrate_on(oracle, HELD_OUT, max_rsk=0.1)
    with pytest.raises(TrustcacheError, match=r"max_risk 0.001.*held-out"):
        calibrate_on(lambda logits: np.arange(len(logits)), HELD_OUT[:50], max_risk=0.001)
