"""A metric from outside the package: one entry of METRICS, and results, bootstrap, tables and legend have it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trustcache.cache.workspace import Workspace
from trustcache.metrics.bootstrap import draw_counts, resampled_metrics
from trustcache.metrics.ranking import METRICS, Metric, trust_metrics
from trustcache.metrics.released import released_trust_metrics

ROOT = Path(__file__).parents[2]
WRONG_AT_HALF = """
from trustcache.metrics.ranking import METRICS, Metric

def wrong_at_half(ranking, cutoffs):
    return float(ranking.risk[(ranking.coverage >= 0.5).argmax()])

METRICS["risk_at_half"] = Metric("Risk@50", "Error rate at half coverage.", False, frozenset(), wrong_at_half, column=8)
"""


@pytest.fixture
def risk_at_half(monkeypatch: pytest.MonkeyPatch) -> str:
    names: dict[str, Metric] = {}
    exec(WRONG_AT_HALF.replace('METRICS["', 'found["'), names | {"found": names})
    monkeypatch.setitem(METRICS, "risk_at_half", names["risk_at_half"])
    return "risk_at_half"


def test_it_is_computed_and_resampled_beside_the_others(risk_at_half: str) -> None:
    rng = np.random.default_rng(0)
    correct, z = rng.random(90) < 0.7, rng.integers(9, size=90).astype(float)
    assert risk_at_half in trust_metrics(z, correct)
    assert risk_at_half in released_trust_metrics(z, correct)
    counts = draw_counts(90, 20)
    found = resampled_metrics(z, correct, counts)[risk_at_half]
    rows = [np.repeat(np.arange(90), count) for count in counts]
    assert found.tolist() == [trust_metrics(z[r], correct[r])[risk_at_half] for r in rows]


@pytest.mark.parametrize("name", list(METRICS))
def test_resampling_a_metric_one_by_one_is_what_its_formula_gives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    correct, z = rng.random(60) < 0.9, rng.integers(12, size=60).astype(float)
    counts = draw_counts(60, 30)
    expected = resampled_metrics(z, correct, counts)[name]
    monkeypatch.setitem(METRICS, "again", METRICS[name])
    np.testing.assert_allclose(resampled_metrics(z, correct, counts)["again"], expected, rtol=1e-12)


def test_the_report_shows_it_in_results_tables_legend_and_intervals(workspace: Workspace, tmp_path: Path) -> None:
    script = tmp_path / "report.py"
    script.write_text(WRONG_AT_HALF + "from cli import app\napp(['report'])\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((workspace.report / "results.json").read_text())[0]
    assert 0 <= record["metrics"]["risk_at_half"] <= 1
    interval = json.loads((workspace.report / "intervals.json").read_text())[0]["intervals"]["risk_at_half"]
    assert interval[0] <= record["metrics"]["risk_at_half"] <= interval[1]
    document = (workspace.report / "report.md").read_text()
    assert "Risk@50 ↓" in document
    assert "Error rate at half coverage." in document
    assert "Risk@50 ↓" in done.stdout


def test_every_metric_has_its_line_in_the_docs() -> None:
    lines = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8").splitlines()
    for name, metric in METRICS.items():
        (line,) = [line for line in lines if line.startswith(f"| `{name}` |")]
        assert metric.label in line
