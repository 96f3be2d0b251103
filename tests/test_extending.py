"""Losses from outside the package: those of the documentation's page, and one that an installed package brings."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from trustcache.cache.workspace import Workspace
from trustcache.losses import LOSSES
from trustcache.oracles.runs import finished_runs

RunCli = Callable[..., Result]
PAGE = (
    (Path(__file__).parent.parent / "docs" / "extending.md")
    .read_text(encoding="utf-8")
    .replace("digits-resnet8", "digits-net")  # the demo's classifier, and that of the tests' workspace
)


def files_of(page: str) -> dict[str, str]:
    """The Python files that a page shows, by the names in their first lines."""
    blocks = re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```", page, re.S | re.M)
    return dict(blocks)


def lines_with(page: str, word: str) -> list[str]:
    """The commands of the page's block that has a word in it."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.S | re.M)
    return next(block for block in blocks if word in block).splitlines()


@pytest.fixture
def photos(in_tmp_path: Path, digit_files: Path) -> None:
    """Some digits as the images of the page's commands."""
    (in_tmp_path / "photos").mkdir()
    for file in sorted(digit_files.iterdir())[:3]:
        shutil.copy(file, in_tmp_path / "photos")


@pytest.fixture
def installed(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's package, as pip leaves it in site-packages."""
    site = in_tmp_path / "site"
    metadata = site / "my_package-1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / "my_package.py").write_text(files_of(PAGE)["my_package.py"])
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (points,) = re.findall(r'^```toml\n\[project\.entry-points\."(\S+)"\]\n(\w+) = "(\S+)"\n```', PAGE, re.M)
    (metadata / "entry_points.txt").write_text("[{}]\n{} = {}\n".format(*points))
    monkeypatch.syspath_prepend(str(site))
    forget()
    yield
    forget()


def forget() -> None:
    """Have the registry look for entry points anew."""
    vars(LOSSES).pop("_points", None)
    LOSSES._loaded.clear()
    for name in ("my_losses", "my_package"):
        sys.modules.pop(name, None)


@pytest.fixture
def my_losses(in_tmp_path: Path) -> Iterator[Path]:
    """The page's file in the working folder."""
    file = in_tmp_path / "my_losses.py"
    file.write_text(files_of(PAGE)["my_losses.py"])
    forget()
    yield file
    forget()


def run_all(run_cli: RunCli, lines: list[str]) -> Result:
    """The last of some commands, all of which succeed."""
    for line in lines:
        done = run_cli(*shlex.split(line)[1:])
        assert done.exit_code == 0, f"{line}\n{done.stderr}"
    return done


def records(workspace: Workspace, method: str) -> list[dict]:
    return [r for r in json.loads((workspace.report / "results.json").read_text()) if r["method"] == method]


def test_the_page_s_own_loss_is_trained_both_ways_reported_and_predicted_with(
    workspace: Workspace, run_cli: RunCli, my_losses: Path, photos: None
) -> None:
    done = run_all(run_cli, lines_with(PAGE, "my_losses:hinge"))
    assert [json.loads(line)["score"] for line in done.stdout.splitlines()]
    runs = [run for run in finished_runs(workspace) if run.config.loss.name == "my_losses:hinge"]
    assert sorted((r.config.training, r.config.seed) for r in runs) == [
        ("fine-tuned", 0), ("frozen", 0), ("frozen", 1), ("frozen", 2)
    ]  # fmt: skip
    assert {r.config.loss.settings["slack"] for r in runs} == {0.5}
    found = records(workspace, "my_losses:hinge")
    assert {r["training"] for r in found} == {"frozen", "fine-tuned"}
    assert all(r["settings"]["slack"] == 0.5 and r["metrics"]["auc"] > 0.5 for r in found)
    intervals = json.loads((workspace.report / "intervals.json").read_text())
    assert any(row["method"] == "my_losses:hinge" and row["intervals"]["auc"] for row in intervals)


def test_an_installed_loss_is_swept_balanced_reported_and_predicted_with_by_its_short_name(
    workspace: Workspace, run_cli: RunCli, installed: None, photos: None
) -> None:
    run_all(run_cli, lines_with(PAGE, "--loss hinge"))
    runs = {run.config.loss.name: [] for run in finished_runs(workspace)}
    for run in finished_runs(workspace):
        runs[run.config.loss.name].append(run.config)
    assert sorted(c.loss.settings["slack"] for c in runs["hinge"]) == [0.5, 1.0, 2.0]
    assert {c.signed_distance for c in runs["hinge"]} == {True}
    (balanced,) = runs["class-balanced"]
    assert balanced.loss.settings == {"beta": 0.9999, "base": "hinge", "slack": 1.0}
    assert balanced.signed_distance
    assert len(records(workspace, "hinge")) == 3


def test_all_losses_include_installed_ones_and_a_preset_takes_their_settings(
    workspace: Workspace, run_cli: RunCli, installed: None, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text('losses = ["all"]\nseeds = [0]\n[settings]\nslack = 3\n')
    done = run_cli("train", "--frozen", "--preset", "mine.toml", "--epochs", 1)
    assert done.exit_code == 0, done.stderr
    found = {run.config.loss.name: run.config.loss.settings for run in finished_runs(workspace)}
    assert found.keys() == {*LOSSES}
    assert found["hinge"] == {"slack": 3.0}


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        (("--loss", "hinge", "--setting", "slack=11"), ("--slack", "from 0 to 10", "11")),
        (("--loss", "hinge", "--setting", "slack"), ("--setting slack", "KEY=VALUE")),
        (("--loss", "ce", "--setting", "slack=1"), ("--slack", "ce")),
        (("--loss", "focal", "--setting", "gamma=1", "--gamma", 2), ("--setting gamma", "--gamma")),
        (("--loss", "hinge", "--protocol", "released"), ("--loss hinge", "--protocol released", "ce, focal, tcp, ss")),
        (("--loss", "hing"), ("--loss hing", "ce, focal, tcp, ss, class-balanced, hinge")),
    ],
)
def test_a_request_that_an_installed_loss_cannot_meet_is_refused(
    workspace: Workspace, run_cli: RunCli, installed: None, options: tuple[str, ...], facts: tuple[str, ...]
) -> None:
    done = run_cli("train", "--frozen", *options)
    assert done.exit_code == 2
    assert all(fact in done.stderr for fact in facts), done.stderr


@pytest.mark.parametrize(
    ("source", "facts"),
    [
        ("def f(z, labels): return z", ("my_losses:f", "f(z, correct, **settings)")),
        ("def f(z, correct, kind='x'): return z", ("my_losses:f", "kind", "number")),
        ("def f(z, correct): return z.mean()", ("my_losses:f", "()", "(5,)")),
        ("def f(z, correct, k=1.0): return z * float(k)", ("my_losses:f", "ValueError")),
        ("def f(z, correct): return z.detach()", ("my_losses:f", "grad")),
        ("def f(z, correct): return unknown(z)", ("my_losses:f", "NameError", "unknown")),
        ("f = 3", ("my_losses:f", "f(z, correct, **settings)")),
        ("def g(z, correct): return z", ("my_losses:f", "AttributeError")),
        ("raise OSError('broken')", ("my_losses:f", "OSError", "broken")),
    ],
)
def test_a_function_that_is_no_loss_is_refused_before_anything_is_trained(
    workspace: Workspace, run_cli: RunCli, my_losses: Path, source: str, facts: tuple[str, ...]
) -> None:
    my_losses.write_text(f"{source}\n")
    done = run_cli("train", "--frozen", "--loss", "ce,my_losses:f")
    assert done.exit_code == 2
    assert all(fact in done.stderr for fact in ("--loss", *facts)), done.stderr
    assert not finished_runs(workspace)


def test_a_loss_that_regresses_a_probability_is_judged_at_chance_level(
    workspace: Workspace, run_cli: RunCli, my_losses: Path
) -> None:
    my_losses.write_text("def f(z, true_class_prob): return (z.sigmoid() - true_class_prob).abs()\n")
    done = run_cli("train", "--frozen", "--loss", "my_losses:f,tcp", "--val-fraction", 0.3)
    assert done.exit_code == 0, done.stderr
    assert run_cli("report").exit_code == 0
    from trustcache.cache import open_cache
    from trustcache.metrics.ranking import trust_metrics

    index = workspace.find_cache("test")
    (run,) = (run for run in finished_runs(workspace) if run.config.loss.name == "my_losses:f")
    expected = trust_metrics(run.scores(index), open_cache(index.folder).correct, negative_threshold=0.1)
    (record,) = records(workspace, "my_losses:f")
    assert record["metrics"]["tnr"] == pytest.approx(expected["tnr"])


def test_a_package_that_fails_to_import_is_named(
    workspace: Workspace, run_cli: RunCli, installed: None, in_tmp_path: Path
) -> None:
    (in_tmp_path / "site" / "my_package.py").write_text("import no_such_module\n")
    done = run_cli("train", "--frozen", "--loss", "hinge")
    assert done.exit_code == 2
    assert all(fact in done.stderr for fact in ("--loss hinge", "no_such_module", "my_package:loss")), done.stderr
