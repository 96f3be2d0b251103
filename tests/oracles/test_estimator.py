"""`Oracle`: what the command line trains, with scikit-learn's manners."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_checks
from sklearn.utils.validation import check_is_fitted

from tests.caches_in_memory import cache_of
from tests.refusals import refusal_of, tells
from trustcache.cache import CacheView, open_cache
from trustcache.cache.arrays import write_arrays
from trustcache.cache.workspace import Workspace
from trustcache.deploy.calibrate import calibrate_on
from trustcache.errors import TrustcacheError
from trustcache.metrics.ranking import trust_metrics
from trustcache.oracles.estimator import SETTINGS, Oracle, SavedOracle
from trustcache.oracles.runs import RunScores, finished_runs
from trustcache.protocols import LEAST_STEPS
from trustcache.registry.permission import allow_code


def hinge(z, correct, slack=1.0):
    """Hinge loss."""
    return (slack - (2 * correct - 1) * z).relu()


@pytest.fixture(scope="module")
def training() -> CacheView:
    return cache_of(600, 1, name="train")


@pytest.fixture(scope="module")
def test() -> CacheView:
    return cache_of(300, 2, name="test")


@pytest.fixture(scope="module")
def fitted(training: CacheView) -> Oracle:
    return Oracle("ss", alpha_neg=2, epochs=20).fit(training)


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ("--loss ss --alpha-neg 2 --seed 3", {"method": "ss", "alpha_neg": 2, "seed": 3}),
        ("--loss tcp --epochs 5 --lr 0.01", {"method": "tcp", "epochs": 5, "lr": 0.01}),
        ("--loss class-balanced --base focal --gamma 1", {"method": "class-balanced", "base": "focal", "gamma": 1}),
        (
            "--loss ce --head mlp --inputs features,log-probs --hidden 8 --ensemble 2 --dropout 0.2 --epochs 4",
            {"method": "ce", "head": "mlp", "inputs": ["features", "log-probs"], "hidden": 8, "ensemble": 2}
            | {"dropout": 0.2, "epochs": 4},
        ),
        (
            "--loss ce --protocol released --val-fraction 0.2",
            {"method": "ce", "protocol": "released", "val_fraction": 0.2},
        ),
        ("--loss ce --signed-distance", {"method": "ce", "signed_distance": True}),
    ],
)
def test_it_is_the_run_that_the_command_line_trains(
    workspace: Workspace,
    run_cli: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    settings: dict[str, Any],
) -> None:
    monkeypatch.setitem(LEAST_STEPS, "adam", 50)
    done = run_cli("train", "--frozen", *words.split(), "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    (run,) = finished_runs(workspace)
    training, test = (open_cache(workspace.find_cache(role).folder) for role in ("train", "test"))
    oracle = Oracle(**settings, device="cpu").fit(training)
    assert oracle.config_ == run.config
    np.testing.assert_array_equal(oracle.decision_function(test), run.scores(test.index))
    assert [vars(entry) for entry in oracle.log_] == [vars(entry) for entry in run.log()]


def test_score_is_the_auc_and_predict_trusts_above_zero(fitted: Oracle, test: CacheView) -> None:
    z = fitted.decision_function(test)
    assert z.shape == (len(test),)
    assert fitted.score(test) == trust_metrics(z, test.correct)["auc"] > 0.6
    np.testing.assert_array_equal(fitted.predict(test), z > 0)
    np.testing.assert_array_equal(fitted.decision_function(test[50:60]), z[50:60])


def test_the_preset_reads_all_that_the_cache_holds(training: CacheView, test: CacheView) -> None:
    oracle = Oracle("strong", batch_size=64, epochs=5).fit(training)
    assert oracle.config_.head.inputs == ("features", "log-probs", "sorted-log-probs", "prediction")
    assert oracle.config_.head.patience == 6
    assert oracle.score(test) > 0.6
    bare = Oracle("strong", batch_size=64, epochs=2).fit(cache_of(300, 1, features=False))
    assert bare.config_.head.inputs == ("log-probs", "sorted-log-probs", "prediction")


def test_slices_of_one_cache_are_different_data(training: CacheView) -> None:
    oracles = [Oracle("ce", epochs=1).fit(part) for part in (training, training[:300], training[300:])]
    assert len({oracle.config_.cache for oracle in oracles}) == 3
    assert [len(oracle.content_) for oracle in oracles] == [600, 300, 300]


# --- scikit-learn's manners -------------------------------------------------------------------------------------

CHECKS = [
    "check_get_params_invariance",
    "check_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_valid_tag_types",
    "check_parameters_default_constructible",
]


@pytest.mark.parametrize("name", CHECKS)
def test_the_checks_of_scikit_learn_that_pass_no_matrix_hold(name: str) -> None:
    if not (check := getattr(estimator_checks, name, None)):
        pytest.skip("not in this scikit-learn")
    check("Oracle", Oracle("ss", alpha_neg=2))


def test_params_are_those_of_the_command_line(fitted: Oracle) -> None:
    assert set(fitted.get_params()) == set(SETTINGS) >= {"alpha_pos", "ensemble", "epochs", "val_fraction", "head"}
    assert repr(Oracle("strong", seed=2, lr=0.1)) == "Oracle('strong', seed=2, lr=0.1)"
    assert fitted.get_params()["alpha_neg"] == 2
    assert Oracle().set_params(method="ss", alpha_neg=4).alpha_neg == 4
    with pytest.raises(TypeError, match="alpha_negative"):
        Oracle("ss", alpha_negative=2)
    with pytest.raises(ValueError, match="alpha_negative"):
        fitted.set_params(alpha_negative=2)


def test_a_clone_has_the_settings_and_has_learnt_nothing(fitted: Oracle, training: CacheView, test: CacheView) -> None:
    other = clone(fitted)
    assert other.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        check_is_fitted(other)
    assert tells(refusal_of(lambda: other.decision_function(test)), "Oracle('ss'", "fit(cache)")
    np.testing.assert_array_equal(other.fit(training).decision_function(test), fitted.decision_function(test))


def test_pickling_keeps_what_it_learnt_and_leaves_the_cache_behind(fitted: Oracle, test: CacheView) -> None:
    data = pickle.dumps(fitted)
    again = pickle.loads(data)
    assert not hasattr(again, "training_")
    assert len(data) < 20_000
    np.testing.assert_array_equal(again.decision_function(test), fitted.decision_function(test))


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("ss", {"alpha_neg": np.float64(2), "epochs": 2}),
        ("strong", {"epochs": 2, "ensemble": 2, "inputs": ["features", "log-probs"]}),
        ("tests.oracles.test_estimator:hinge", {"setting": {"slack": 0.5}, "epochs": 1}),
    ],
)
def test_a_saved_oracle_is_the_same_when_it_is_loaded(
    training: CacheView, test: CacheView, tmp_path: Path, method: str, settings: dict[str, Any]
) -> None:
    if ":" in method:
        allow_code(method)
    oracle = Oracle(method, **settings).fit(training)
    oracle.save(tmp_path / "sub" / "oracle.trust")
    again = Oracle.load(str(tmp_path / "sub" / "oracle.trust"))
    np.testing.assert_array_equal(again.decision_function(test), oracle.decision_function(test))
    assert (again.get_params(), again.config_, again.log_) == (oracle.get_params(), oracle.config_, oracle.log_)
    assert tells(refusal_of(lambda: calibrate_on(again, training, coverage=0.5)), "600")
    check_is_fitted(again)


def test_a_file_that_is_no_saved_oracle_is_refused(fitted: Oracle, tmp_path: Path) -> None:
    path = tmp_path / "oracle"
    assert tells(refusal_of(lambda: Oracle("ss").save(path)), "Oracle('ss'", "fit(cache)")
    fitted.save(path)
    whole = path.read_bytes()
    writes: list[Callable[[], object]] = [
        lambda: path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1])),
        lambda: write_arrays(path, {"z": np.zeros(3)}, RunScores("cache")),
        lambda: write_arrays(path, {"weight": np.zeros(3)}, SavedOracle({"method": "ss"}, 3, fitted.config_, ())),
        lambda: write_arrays(path, {"weight": np.zeros(3)}, SavedOracle({"epoch": 1}, 3, fitted.config_, ())),
    ]
    for write in writes:
        write()
        with pytest.raises(TrustcacheError) as caught:
            Oracle.load(path)
        assert tells(str(caught.value), str(path), "save it again")
    np.save(tmp_path / "z.npy", np.zeros(3))
    for stranger in ("nowhere", "z.npy"):
        assert tells(refusal_of(lambda name=stranger: Oracle.load(tmp_path / name)), stranger, "no", "Oracle.save")  # type: ignore[misc]
    assert tells(refusal_of(lambda: Oracle.load(tmp_path)), str(tmp_path), "folder", "TrustedClassifier.load")


# --- refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"method": "ss", "alpha_neg": -1}, ("alpha_neg", "-1")),
        ({"method": "ss", "gamma": 1}, ("gamma", "ss")),
        ({"method": "ss", "dropout": 0.5}, ("dropout", "linear")),
        ({"method": "ss", "epochs": 0}, ("epochs", "0")),
        ({"method": "ss", "epochs": 1.5}, ("epochs", "1.5")),
        ({"method": "ss", "lr": "fast"}, ("lr", "'fast'")),
        ({"method": "ss", "head": "tree"}, ("head", "linear, mlp", "'tree'")),
        ({"method": "ss", "inputs": ["pixels"]}, ("pixels", "features")),
        ({"method": "ss", "protocol": "mine"}, ("protocol", "equations", "'mine'")),
        ({"method": "ss", "val_fraction": 2}, ("val_fraction", "2")),
        ({"method": "ss", "seed": -1}, ("seed", "-1")),
        ({"method": "ss", "loss": "ce"}, ("two losses",)),
        ({"method": "paper-mnist"}, ("images", "trustcache train --preset paper-mnist")),
        ({"method": "ss", "inputs": ["stages"]}, ("stages",)),
    ],
)
def test_what_cannot_be_learnt_is_refused(
    training: CacheView, settings: dict[str, Any], facts: tuple[str, ...]
) -> None:
    assert tells(refusal_of(lambda: Oracle(**settings).fit(training[:100])), *facts)


def test_few_errors_to_learn_from_are_warned_of(training: CacheView) -> None:
    few = training[:100]
    wrong = int((~few.correct).sum())
    assert 0 < wrong < 30
    with pytest.warns(UserWarning, match=rf"fit.*wrong on {wrong} of the 100 samples of train.*30.*mcp") as caught:
        Oracle("ce", epochs=1).fit(few)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Oracle("ce", epochs=1).fit(training)


def test_an_unknown_method_is_refused_before_it_learns(training: CacheView) -> None:
    unset = Oracle().set_params(method="stronk")
    for action in (lambda: Oracle("stronk"), lambda: unset.fit(training)):
        assert tells(refusal_of(action), "Oracle('stronk')", "strong, ce", "ss", "did you mean strong?")


def test_a_classifier_that_is_never_wrong_teaches_nothing() -> None:
    perfect = CacheView.from_arrays([[2.0, 0.5], [0.1, 3.0]] * 20, [0, 1] * 20, features=np.ones((40, 2)))
    assert tells(refusal_of(lambda: Oracle("ss").fit(perfect)), "always", "40")


def test_arrays_in_place_of_a_cache_are_told_how_to_become_one(fitted: Oracle) -> None:
    for action in (Oracle("ss").fit, fitted.predict):
        with pytest.raises(TypeError, match=r"ndarray.*Cache\.from_arrays"):
            action(np.ones((3, 2)))  # type: ignore[arg-type]


def test_caches_of_another_classifier_and_other_columns_are_refused(fitted: Oracle) -> None:
    other = cache_of(20, 3, classifier="another")
    assert tells(refusal_of(lambda: fitted.decision_function(other)), "Oracle('ss'", "another")
    bare = cache_of(20, 3, features=False)
    assert tells(refusal_of(lambda: fitted.decision_function(bare)), "without features")


def test_caches_of_other_widths_or_numbers_of_classes_are_refused(fitted: Oracle, tmp_path: Path) -> None:
    logits, labels = 4 * np.eye(3)[[0, 1, 2]], [0, 1, 1]
    narrow = CacheView.from_arrays(logits, labels, features=np.ones((3, 2)))
    assert tells(refusal_of(lambda: fitted.score(narrow)), "data", "features", "2", "5")
    fitted.save(tmp_path / "oracle")
    fewer = CacheView.from_arrays(logits[:, :2], labels, features=np.ones((3, 5)))
    for oracle in (fitted, Oracle.load(tmp_path / "oracle")):
        assert tells(refusal_of(lambda one=oracle: one.score(fewer)), "3 classes", "has 2")  # type: ignore[misc]
