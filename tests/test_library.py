"""`import trustcache as tc`: it costs nothing, its names are what docs/library.md shows, and the notebook runs."""

from __future__ import annotations

import inspect
import json
import pydoc
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trustcache as tc
from trustcache.errors import TrustcacheError
from trustcache.extract.in_memory import extract_in_memory
from trustcache.report.written import write_page

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "library.md"
NOTEBOOK = ROOT / "docs" / "notebooks" / "own-arrays.ipynb"


def in_a_fresh_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_import_pulls_nothing() -> None:
    code = "import sys; known = set(sys.modules); import trustcache as tc; print(*sorted(set(sys.modules) - known))"
    new = set(in_a_fresh_process(code).split())
    assert not {
        name for name in new if not name.startswith("trustcache") and name.split(".")[0] not in sys.stdlib_module_names
    }
    assert {name for name in new if name.startswith("trustcache")} == {"trustcache"}


@pytest.mark.parametrize(
    ("before", "policy"),
    [("", "PASSIVE"), ("os.environ['OMP_WAIT_POLICY'] = 'ACTIVE'", "ACTIVE"), ("import torch", None)],
)
def test_threads_of_torch_wait_without_spinning_unless_it_is_too_late_or_the_user_says_so(
    before: str, policy: str | None
) -> None:
    clean = "import os; os.environ.pop('OMP_WAIT_POLICY', None)"
    code = f"{clean}\n{before}\nimport trustcache\nprint(os.environ.get('OMP_WAIT_POLICY'))"
    assert in_a_fresh_process(code) == str(policy)


def test_a_cache_of_arrays_needs_neither_torch_nor_scikit_learn() -> None:
    code = """
import sys
import trustcache as tc
cache = tc.Cache.from_arrays([[2.0, 0.5], [0.1, 0.3]], [0, 1])
print(len(cache), *(name for name in ("torch", "sklearn", "timm", "pandas") if name in sys.modules))
"""
    assert in_a_fresh_process(code) == "2"


def test_functions_that_are_modules_too_stay_callable_whoever_imports_them_first() -> None:
    code = """
import trustcache as tc
import trustcache.report.build
from trustcache.extract.settings import ExtractSettings
from trustcache import extract, report
print(callable(tc.report), callable(tc.extract), tc.report.build.__name__)
print(tc.extract.settings.ExtractSettings is ExtractSettings)
print(extract is tc.extract, report is tc.report)
"""
    assert in_a_fresh_process(code) == "True True trustcache.report.build\nTrue\nTrue True"


@pytest.mark.parametrize(("name", "function"), [("report", write_page), ("extract", extract_in_memory)])
def test_functions_that_are_modules_too_show_their_signature_and_docstring(name: str, function: object) -> None:
    called = getattr(tc, name)
    assert inspect.signature(called) == inspect.signature(function)  # type: ignore[arg-type]
    helped = pydoc.render_doc(called, renderer=pydoc.plaintext)  # type: ignore[attr-defined]
    for shown in (*inspect.signature(called).parameters, str(inspect.getdoc(function)).splitlines()[0]):
        assert shown in helped


def test_the_reference_lists_every_function_and_class_with_what_it_has_and_where_it_is() -> None:
    reference = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(tc\.)?(\w+)` \| (.+) \| `(trustcache/[\w/]+)\.py` \|$", reference, re.M)
    assert {name for public, name, _, _ in rows if public} == {*tc.__all__} - {"__version__"}
    for public, name, about, path in rows:
        module = import_module(path.replace("/", "."))
        if public:
            place = (tc._PLACES | tc._CALLED)[name]  # type: ignore[attr-defined]
            assert f"trustcache.{place.partition(':')[0]}" == module.__name__
        found = getattr(tc, name) if public else getattr(module, name)
        assert found
        described = about.partition(": ")[2] if isinstance(found, type) else ""
        assert not [one for one in re.findall(r"`(\w+)`", described) if one not in members_of(found)]


def members_of(kind: type) -> set[str]:
    """Return the names of a class's methods, properties and fields."""
    return {*dir(kind), *getattr(kind, "__dataclass_fields__", ()), *getattr(kind, "__annotations__", ())}


LOGITS, LABELS = 4 * np.eye(3)[[0, 1, 2] * 10], [0, 1, 1] * 10
CACHE = tc.Cache.from_arrays(LOGITS, LABELS, features=LOGITS)


@pytest.mark.parametrize(
    ("call", "parameter"),
    [
        (lambda: tc.calibrate("mcp", CACHE, max_risk=0.01), "max_risk"),
        (lambda: tc.calibrate("mcp", CACHE, max_risk=0.5, coverage=0.5), "coverage"),
        (lambda: tc.plan(max_risk=2), "max_risk"),
        (lambda: tc.plan(max_risk=0.1, delta=0), "delta"),
        (lambda: tc.Oracle("steep").fit(CACHE), "steep"),
        (lambda: tc.Oracle("ss", alpha_neg=-1).fit(CACHE), "alpha_neg"),
        (lambda: tc.Cache.from_arrays(LOGITS, LABELS, classes="ab"), "classes"),
        (lambda: tc.Cache.from_arrays(LOGITS, LABELS, outputs="probabilities"), "outputs"),
        (lambda: tc.Cache.from_arrays(LOGITS, ["a"] * 30), "classes"),
        (lambda: tc.post_hoc_score("knn", CACHE), "training"),
    ],
)
def test_messages_speak_of_parameters_and_not_of_options(call: Callable[[], object], parameter: str) -> None:
    with pytest.raises(TrustcacheError) as caught:
        call()
    message = str(caught.value)
    assert parameter in message
    assert not re.search("(?<!trustcache )--[a-z]", re.sub("trustcache [a-z][^;,()]*", "", message))


def test_a_notebook_shows_a_users_error_in_one_sentence_and_any_other_whole() -> None:
    shell = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell()
    shown: list[str] = []
    shell._showtraceback = lambda kind, error, lines: shown.append("\n".join(lines))
    shell.run_cell("import trustcache as tc; tc.plan(max_risk=2)")
    shell.run_cell("1 / 0")
    assert shown[0].startswith("UsageError: max_risk 2")
    assert "\n" not in shown[0]
    assert "Traceback" in shown[1]


def test_a_plan_has_the_rows_that_the_command_prints(run_cli) -> None:
    printed = run_cli("calibrate", "--plan", "--max-risk", 0.1, "--delta", 0.05, "--json")
    assert [row.risk for row in tc.plan(max_risk=0.08)] == [0, 0.02, 0.04, 0.06, 0.072]
    rows = [{"risk": row.risk, "images": row.images} for row in tc.plan(max_risk=0.1, delta=0.05)]
    assert rows == json.loads(printed.stdout)["plan"]


def test_every_name_is_there_and_no_other() -> None:
    for name in tc.__all__:
        assert getattr(tc, name) is not None
    assert set(dir(tc)) == set(tc.__all__)
    with pytest.raises(AttributeError, match="cach"):
        _ = tc.cach
    shown = set(re.findall(r"\btc\.(\w+)", PAGE.read_text(encoding="utf-8")))
    assert shown <= set(tc.__all__)
    assert set(tc.__all__) - shown <= {"Answer", "__version__"}


@pytest.mark.slow
def test_the_page_about_the_library_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("altair")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M):
        exec(block, names)
    printed = capsys.readouterr().out
    assert "strong" in printed
    assert (tmp_path / "report.html").is_file()
    assert re.search(r"^False True \d+$", printed, re.M)  # the alarm
    # What the page promises: the oracle ranks better than the classifier's own confidence, the interval says so too.
    frame = names["table"].to_dataframe()  # type: ignore[attr-defined]
    assert frame.filter(like="strong", axis=0)["auc_gain_low"].item() > 0


@pytest.mark.slow
def test_the_notebook_runs_and_shows_what_it_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient, _ = map(pytest.importorskip, ("nbformat", "nbclient", "altair"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    kept = kinds_of_outputs(notebook.cells)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = json.dumps([output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])])
    assert "strong" in shown
    assert (tmp_path / "report.html").is_file()
    assert kinds_of_outputs(notebook.cells) == kept  # what it shows may differ by rounding, on another machine


def test_the_notebook_is_kept_with_what_it_shows_and_nothing_of_a_machine() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    assert all(kinds_of_outputs(cells))
    assert {"image/png", "text/html"} <= {kind for kinds in kinds_of_outputs(cells) for kind in kinds}
    assert len(text) < 100_000
    assert not re.search("Warning|Error:|/(home|root|tmp|Users)/", text)


def kinds_of_outputs(cells: list[Any]) -> list[list[str]]:
    """Return for each code cell what kinds of output it has, such as text/html."""
    outputs = [cell["outputs"] for cell in cells if cell["cell_type"] == "code"]
    return [sorted({kind for one in each for kind in one.get("data", [one["output_type"]])}) for each in outputs]
