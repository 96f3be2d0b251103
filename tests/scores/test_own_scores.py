"""Post-hoc scores from outside the package: a user's function, a class that is fitted, an installed entry point."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from trustcache.cache import open_cache
from trustcache.cache.workspace import Workspace
from trustcache.errors import UsageError
from trustcache.registry.permission import allow_code
from trustcache.scores import POST_HOC, post_hoc_score
from trustcache.scores.entry import PostHoc, entry_of
from trustcache.scores.fits import KeptFits
from trustcache.scores.registry import Registry
from trustcache.scores.stored import ScoreStore

RunCli = Callable[..., Result]
OWN = '''
from dataclasses import dataclass

import numpy as np

from trustcache.scores import TooFew, post_hoc


def spread(logits, power=1.0):
    """Standard deviation of the logits.

    More is no part of the meaning.
    """
    return logits.astype(np.float32).std(axis=1) ** power


@post_hoc(meaning="agreement with the mirror image", columns=["logits", "mirrored_logits"], natural_zero=True)
def agreement(z, mirrored):
    return np.where(z.argmax(1) == mirrored.argmax(1), 1.0, -1.0) + z.max(1) / 1000


@post_hoc(meaning="feature norm over the training median")
@dataclass(frozen=True)
class Norm:
    median: float
    centre: np.ndarray

    @classmethod
    def fit(cls, data):
        if len(data.wrong) > 100000:
            raise TooFew("never")
        x = data.everyone.features.astype(float)
        return cls(float(np.median(np.linalg.norm(x, axis=1))), x.mean(axis=0))

    def score(self, rows):
        return np.linalg.norm(rows.features, axis=1) / self.median

    @property
    def chosen(self):
        return {"median": round(self.median, 3)}


def broken(logits):
    return logits.no_such_thing


def square(logits):
    return logits


def guess(images):
    return images


@post_hoc(columns=["logits", "labels"])
def cheat(logits, labels):
    return labels


class Unlearnt:
    def fit(data):
        return data.no_such_thing

    def score(self, rows):
        return rows.logits


nothing = 3


class Unfitted:
    pass
'''


@pytest.fixture
def own(in_tmp_path: Path) -> str:
    """The name of a user's module in the working directory, another for each test."""
    name = f"scores_of_{in_tmp_path.name}".replace("-", "_")
    (in_tmp_path / f"{name}.py").write_text(OWN, encoding="utf-8")
    allow_code(f"{name}:spread", f"{name}:Norm")
    return name


def methods(workspace: Workspace) -> dict[str, dict]:
    records = json.loads((workspace.report / "results.json").read_text())
    return {record["method"]: record for record in records}


def test_a_score_of_a_cached_column_goes_from_evaluate_over_the_report_to_predict(
    workspace: Workspace, run_cli: RunCli, extract_digits: Callable[..., Result], own: str, digit_files: Path
) -> None:
    name = f"{own}:agreement"
    assert extract_digits("--views", "mirrored", name="both-sides").exit_code == 0
    done = run_cli("evaluate", "--score", name)
    assert done.exit_code == 0, done.stderr
    assert f"{name} left out: digits-net/digits-test" in done.stderr
    assert "--views mirrored" in done.stderr
    sys.modules.pop(own)  # the report reads what is kept, and imports nothing of the user's
    POST_HOC._loaded.clear()
    (Path.cwd() / f"{own}.py").rename("elsewhere.py")
    done = run_cli("report")
    assert done.exit_code == 0, done.stderr
    assert own not in sys.modules
    record = methods(workspace)[name]
    cache = open_cache(workspace.find_cache("test", "both-sides").folder)
    same = cache.logits.argmax(1) == cache.column("mirrored_logits").argmax(1)
    assert record["classifier"] == "both-sides"
    assert record["metrics"]["tpr"] == np.count_nonzero(same & cache.correct) / np.count_nonzero(cache.correct)
    for file in ("report.md", "index.html"):
        assert "agreement with the mirror image" in (workspace.report / file).read_text()
    intervals = json.loads((workspace.report / "intervals.json").read_text())
    assert any(entry["method"] == name for entry in intervals)
    Path("elsewhere.py").rename(f"{own}.py")
    calibrated = run_cli("calibrate", name, "--classifier", "both-sides", "--data", "digits-test", "--coverage", "0.5")
    assert calibrated.exit_code == 0, calibrated.stderr
    done = run_cli("predict", name, digit_files, "--classifier", "both-sides")
    assert done.exit_code == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    stored = ScoreStore(workspace).read(cache.index, name)
    assert stored is not None
    # One rounding to float16 apart.
    np.testing.assert_allclose(sorted(a["score"] for a in answers), np.sort(stored.z), atol=1e-3)


def test_a_score_that_is_fitted_is_learnt_once_and_shown_with_what_it_chose(
    workspace: Workspace, run_cli: RunCli, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{own}:Norm"
    assert run_cli("evaluate", "--score", name).exit_code == 0
    assert "already" in run_cli("evaluate", "--score", name).stdout
    run_cli("report")
    record = methods(workspace)[name]
    assert record["settings"].keys() == {"median"}
    assert (record["metrics"]["tpr"], record["metrics"]["tnr"]) == (None, None)
    index = workspace.find_cache("test")
    stored, training = ScoreStore(workspace).read(index, name), open_cache(workspace.find_cache("train").folder)
    assert stored is not None
    np.testing.assert_array_equal(stored.z, post_hoc_score(name, open_cache(index.folder), training))
    learnt = KeptFits(workspace.scores_folder("digits-net", "digits-train"), training.index)
    monkeypatch.setattr(POST_HOC[name].compute, "fit", lambda data: pytest.fail("fitted again"))
    assert learnt.chosen(name) == record["settings"]


def test_scores_of_code_that_changed_are_made_anew(workspace: Workspace, own: str) -> None:
    name, index = f"{own}:spread", workspace.find_cache("test")
    store = ScoreStore(workspace, [name])
    store.fill([index])
    assert ScoreStore(workspace, [name]).missing(index) == []
    before, pinned = store.read(index, name), store.learnt_from(index, name)
    Path(f"{own}.py").write_text(OWN.replace("std(axis=1)", "std(axis=1) + 1"), encoding="utf-8")
    sys.modules.pop(own)
    POST_HOC._loaded.clear()
    store = ScoreStore(workspace, [name])
    assert store.missing(index) == [name]
    assert store.learnt_from(index, name) != pinned
    store.fill([index])
    after = store.read(index, name)
    assert before is not None
    assert after is not None
    np.testing.assert_allclose(after.z, before.z + 1, rtol=1e-6)


def test_a_bare_function_reads_the_columns_its_parameters_are_named_after(own: str) -> None:
    entry = POST_HOC.find(f"{own}:spread")
    assert (entry.meaning, entry.columns, entry.fitted) == ("Standard deviation of the logits.", ("logits",), False)


@pytest.mark.parametrize(
    ("function", "facts"),
    [
        ("missing", ["missing"]),
        ("broken", ["no_such_thing"]),
        ("square", ["(647, 10)", "one score"]),
        ("guess", ["'images'", "mirrored_logits"]),
        ("cheat", ["'labels'"]),
        ("nothing", ["int"]),
        ("Unfitted", ["fit", "score"]),
    ],
)
def test_what_is_no_score_is_refused_by_its_name(
    workspace: Workspace, run_cli: RunCli, own: str, function: str, facts: list[str]
) -> None:
    done = run_cli("evaluate", "--score", f"{own}:{function}")
    assert done.exit_code == 2
    assert f"--score {own}:{function}" in done.stderr
    for fact in facts:
        assert fact in done.stderr


def test_an_unknown_name_is_refused_with_those_there_are(workspace: Workspace, run_cli: RunCli) -> None:
    done = run_cli("evaluate", "--score", "knm")
    assert done.exit_code == 2
    assert "--score knm" in done.stderr
    assert "knn" in done.stderr


def test_a_cache_that_lacks_a_users_score_is_a_gap_with_the_command_that_fills_it(
    workspace: Workspace, run_cli: RunCli, extract_digits: Callable[..., Result], own: str
) -> None:
    name = f"{own}:spread"
    run_cli("evaluate", "--score", name)
    extract_digits(name="another")
    assert f"trustcache evaluate --score {name}" in run_cli("report").stderr
    run_cli("evaluate", "--score", name)
    assert f"--score {name}" not in run_cli("report").stderr


def test_an_installed_package_adds_scores_that_are_known_like_built_in_ones(
    workspace: Workspace, run_cli: RunCli, own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "site-packages"
    info = installed / "plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[trustcache.scores]\nlogit-spread = {own}:spread\n")
    shutil.move(f"{own}.py", installed)
    monkeypatch.syspath_prepend(str(installed))
    POST_HOC.__dict__.pop("_points", None)
    try:
        assert "logit-spread" in list(POST_HOC)
        assert run_cli("evaluate").exit_code == 0
        assert run_cli("report").exit_code == 0
        assert "logit-spread" in methods(workspace)
        assert run_cli("calibrate", "logit-spread", "--data", "digits-test", "--coverage", "0.5").exit_code == 0
    finally:
        POST_HOC.__dict__.pop("_points", None)


def test_an_entry_point_may_lead_to_a_ready_entry() -> None:
    ready = PostHoc("ones", lambda logits: np.ones(len(logits)))
    registry = Registry("trustcache.scores", "--score", {}, entry_of)
    assert registry._adapt("ones", ready).meaning == "ones"
    with pytest.raises(UsageError, match="colour"):
        entry_of("colours", PostHoc("", len, ("colour",)))


def test_a_users_score_that_fails_is_named_at_the_end_and_the_others_are_kept(
    workspace: Workspace, run_cli: RunCli, own: str
) -> None:
    index = workspace.find_cache("test")
    names = {kind: f"{own}:{kind}" for kind in ("broken", "Unlearnt", "spread")}
    done = run_cli("evaluate", *(part for name in names.values() for part in ("--score", name)))
    assert done.exit_code == 2
    for kind in ("broken", "Unlearnt"):
        assert f"--score {names[kind]}: " in done.stderr
    allow_code(*names.values())
    store = ScoreStore(workspace, list(names.values()))
    kept = {name for name in [*POST_HOC, *names.values()] if store.read(index, name)}
    assert {"mcp", "knn", names["spread"]} <= kept
    assert not kept & {names["broken"], names["Unlearnt"]}
