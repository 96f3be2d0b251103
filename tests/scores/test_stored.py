"""Scores in a workspace: made once, kept, made anew where their caches changed, and explained where they cannot be."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from tests.refusals import refusal_of, tells
from tests.sealed import edit_record
from trustcache.cache import open_cache
from trustcache.cache.arrays import read_arrays, write_arrays
from trustcache.cache.workspace import Workspace
from trustcache.models.views import VIEWS
from trustcache.scores import POST_HOC, fits, post_hoc_score
from trustcache.scores.fits import KeptFits
from trustcache.scores.fitting import TooFew
from trustcache.scores.stored import ScoreRecord, ScoreStore

RunCli = Callable[..., Result]
# Of the digits' caches, none holds what MC dropout says.
COMPUTED = [name for name, entry in POST_HOC.items() if not {"mc_dropout", "mirrored_logits"} & {*entry.columns}]
FITTED = [name for name in COMPUTED if POST_HOC[name].fitted]


def results(workspace: Workspace) -> dict[str, dict]:
    records = json.loads((workspace.report / "results.json").read_text())
    return {record["method"]: record for record in records}


def times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_evaluate_makes_every_score_and_the_report_shows_it(workspace: Workspace, run_cli: RunCli) -> None:
    assert run_cli("evaluate").stdout.splitlines()[0] == f"{len(COMPUTED)} scores made"
    assert "already" in run_cli("evaluate").stdout
    done = run_cli("report")
    assert "left out" not in done.stderr
    found = results(workspace)
    assert found.keys() == set(COMPUTED)
    for name, record in found.items():
        assert (record["oracle"], record["training"], record["seed"]) == (None, None, None)
        thresholded = record["metrics"]["tpr"] is not None and record["metrics"]["tnr"] is not None
        assert thresholded == (name in ("mcp", "temperature"))
        assert record["metrics"]["auc"] > 0.5
    assert found["knn"]["settings"].keys() == {"k"}


def test_kept_scores_are_those_of_the_caches(workspace: Workspace) -> None:
    store, index = ScoreStore(workspace), workspace.find_cache("test")
    store.fill([index])
    cache, training = open_cache(index.folder), open_cache(workspace.find_cache("train").folder)
    for name in COMPUTED:
        stored = store.read(index, name)
        assert stored is not None
        np.testing.assert_allclose(stored.z, post_hoc_score(name, cache, training), rtol=1e-9, atol=1e-9)


def test_all_that_a_cache_lacks_for_a_score_is_named_with_the_options_that_keep_it(
    workspace: Workspace, run_cli: RunCli
) -> None:
    index = workspace.find_cache("test")
    options = f"--views {','.join(VIEWS)}"
    assert options in str(ScoreStore(workspace).why_not(index, "mcp-views"))
    assert options in refusal_of(lambda: post_hoc_score("mcp-views", open_cache(index.folder)))
    refused = run_cli("calibrate", "mcp-views", "--data", "digits-test", "--coverage", 0.5)
    assert refused.exit_code == 2
    assert options in refused.stderr


def test_the_report_makes_only_what_needs_no_fitting_and_says_the_rest(workspace: Workspace, run_cli: RunCli) -> None:
    done = run_cli("report")
    assert results(workspace).keys() == set(COMPUTED) - set(FITTED)
    (line,) = [line for line in done.stderr.splitlines() if ", ".join(FITTED) in line]
    assert "digits-test" in line
    assert "`trustcache evaluate`" in line


def test_without_a_training_cache_the_report_says_what_makes_one(workspace: Workspace, run_cli: RunCli) -> None:
    index = workspace.find_cache("test")
    shutil.rmtree(workspace.find_cache("train").folder)
    assert run_cli("evaluate").stdout.splitlines()[0] == f"{len(COMPUTED) - len(FITTED)} scores made"
    done = run_cli("report")
    assert results(workspace).keys() == set(COMPUTED) - set(FITTED)
    command = f"`trustcache extract --classifier cifar-resnet8 --weights {index.made_from.weights} --as digits-net "
    command += "--preprocess input_size=8,8 "
    (line,) = [line for line in done.stderr.splitlines() if ", ".join(FITTED) in line]
    assert "no training cache of digits-net" in line
    assert command in line
    assert line.endswith(" --data TRAINING-DATA`")


def test_a_training_cache_of_another_classifier_is_not_learnt_from(workspace: Workspace) -> None:
    path = workspace.find_cache("train").folder / "index.json"
    edit_record(path, {"meaning.classifier.state_sha256": "0" * 64})
    store, index = ScoreStore(workspace), workspace.find_cache("test")
    assert "no training cache" in (store.why_not(index, "knn") or "")
    assert store.missing(index) == [name for name in COMPUTED if name not in FITTED]


def test_an_evaluation_cache_that_comes_later_learns_nothing_again(
    workspace: Workspace, run_cli: RunCli, classifier_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_cli("evaluate")
    before = times(workspace.root / "scores")
    run_cli(
        "extract", "--classifier", "cifar-resnet8", "--weights", classifier_file, "--as", "digits-net",
        "--preprocess", "input_size=8", "--data", "digits-c/contrast/4", "--workers", "0",
    )  # fmt: skip
    monkeypatch.setattr(fits, "fitting_data", lambda cache: pytest.fail("read the training cache again"))
    assert run_cli("evaluate").stdout.splitlines()[0] == f"{len(COMPUTED)} scores made"
    after = times(workspace.root / "scores")
    assert {path: after[path] for path in before} == before
    assert (workspace.root / "scores/digits-net/digits-c/contrast/4/knn.safetensors").is_file()


def test_what_comes_back_from_disk_scores_as_when_it_was_learnt(workspace: Workspace, tmp_path: Path) -> None:
    training, cache = workspace.find_cache("train"), open_cache(workspace.find_cache("test").folder)
    fresh, kept = KeptFits(tmp_path, training), KeptFits(tmp_path, training)
    for name in FITTED:
        assert fresh.chosen(name) == kept.chosen(name)
        np.testing.assert_array_equal(fresh.scores([name], cache)[name], kept.scores([name], cache)[name])


@pytest.mark.parametrize("role", ["train", "test"])
def test_scores_of_a_cache_that_changed_are_made_anew(workspace: Workspace, role: str) -> None:
    index = workspace.find_cache("test")
    ScoreStore(workspace).fill([index])
    path = workspace.find_cache(role).folder / "index.json"
    edit_record(path, {"meaning.data.fingerprint": "0" * 64})
    stale = COMPUTED if role == "test" else FITTED
    assert ScoreStore(workspace).missing(workspace.find_cache("test")) == stale


def test_what_was_learnt_from_a_cache_that_changed_is_learnt_anew(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = workspace.find_cache("train")
    assert KeptFits(tmp_path, training)["p-norm"] == KeptFits(tmp_path, training)["p-norm"]
    other = dataclasses.replace(training, meaning=dataclasses.replace(training.meaning, precision="another"))

    def asked(cache: object) -> None:
        raise TooFew("asked anew")

    monkeypatch.setattr(fits, "fitting_data", asked)
    KeptFits(tmp_path, training)["p-norm"]
    with pytest.raises(TooFew, match="asked anew"):
        KeptFits(tmp_path, other)["p-norm"]


def test_what_an_older_recipe_made_is_made_anew(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    index = workspace.find_cache("test")
    ScoreStore(workspace).fill([index])
    assert not ScoreStore(workspace).missing(index)
    monkeypatch.setattr(fits, "RECIPE", fits.RECIPE + 1)
    assert ScoreStore(workspace).missing(index) == COMPUTED


def test_a_training_cache_without_mistakes_is_tried_once_and_named(
    workspace: Workspace, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fits.fitting_data

    def never_wrong(cache: object) -> object:
        data = real(cache)  # type: ignore[arg-type]
        none = type(data.wrong)(cache, np.empty(0, int))  # type: ignore[call-arg]
        return type(data)(data.validation, data.everyone, data.right, none)

    monkeypatch.setattr(fits, "fitting_data", never_wrong)
    lacking = ["rel-u", "delta-knn", "delta-mahalanobis", "delta-knn+margin", "delta-mahalanobis+margin"]
    assert run_cli("evaluate").stdout.splitlines()[0] == f"{len(COMPUTED) - len(lacking)} scores made"
    monkeypatch.setattr(fits, "fitting_data", lambda cache: pytest.fail("tried again"))
    assert "already" in run_cli("evaluate").stdout
    (line,) = [line for line in run_cli("report").stderr.splitlines() if ", ".join(lacking) in line]
    assert "digits-train" in line
    assert "right and wrong" in line


@pytest.mark.parametrize("file", ["digits-test/mcp.safetensors", "digits-train/knn.fit.safetensors"])
def test_a_damaged_file_is_named_and_made_anew(workspace: Workspace, run_cli: RunCli, file: str) -> None:
    index = workspace.find_cache("test")
    ScoreStore(workspace).fill([index])
    path = workspace.root / "scores" / "digits-net" / file
    sound = path.read_bytes()
    path.write_bytes(b"no such thing")
    done = run_cli("evaluate")
    assert done.exit_code == 0
    assert tells(done.stderr, f"{file}: damaged", "trustcache evaluate")
    assert done.stdout.startswith("1 ")
    assert path.read_bytes() == sound
    assert run_cli("evaluate").stderr == ""


def test_a_damaged_score_is_refused_by_the_report(workspace: Workspace, run_cli: RunCli) -> None:
    ScoreStore(workspace).fill([workspace.find_cache("test")])
    path = workspace.root / "scores" / "digits-net" / "digits-test" / "knn.safetensors"
    about, arrays = read_arrays(path, ScoreRecord, "")
    z = arrays["z"]
    for other in ({"z": z[:-1]}, {"z": z[:, None]}, {"z": z.astype(np.float32)}, {"y": z}, {}):
        write_arrays(path, other, about)
        refused = run_cli("report")
        assert refused.exit_code == 1
        assert tells(refused.stderr, "knn.safetensors: damaged", "647 rows", "trustcache evaluate")


def test_scores_that_are_not_finite_are_named_and_the_others_are_kept(
    workspace: Workspace, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(logits: np.ndarray) -> np.ndarray:
        return np.where(np.arange(len(logits)) == 3, np.nan, 0.0)

    monkeypatch.setitem(POST_HOC._built_in, "energy", dataclasses.replace(POST_HOC["energy"], compute=broken))
    for command, code in (("evaluate", 1), ("report", 0)):
        done = run_cli(command)
        assert done.exit_code == code
        assert "energy of digits-net/digits-test" in done.stderr
        assert "not finite" in done.stderr
    assert results(workspace).keys() == set(COMPUTED) - {"energy"}


def test_a_stored_score_of_an_older_program_that_is_no_number_is_a_gap_in_the_report(
    workspace: Workspace, run_cli: RunCli
) -> None:
    run_cli("evaluate")
    path = workspace.root / "scores" / "digits-net" / "digits-test" / "mcp.safetensors"
    about, arrays = read_arrays(path, ScoreRecord, "")
    z = arrays["z"].copy()
    z[5] = np.nan
    write_arrays(path, {"z": z}, about)
    done = run_cli("report")
    assert done.exit_code == 0, done.stderr
    named = path.relative_to(Path.cwd())
    (line,) = [line for line in done.stderr.splitlines() if f"remove {named}" in line]
    assert "mcp is left out on digits-test" in line
    assert results(workspace).keys() == set(COMPUTED) - {"mcp"}
    path.unlink()
    run_cli("evaluate")
    assert "left out" not in run_cli("report").stderr
