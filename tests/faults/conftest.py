"""What the fault suite shares: forks, the laboratory, and the verdicts of all its tests in one table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.faults.cases import Tally
from tests.faults.forks import Forks
from tests.faults.laboratory import Laboratory


@pytest.fixture(scope="session")
def laboratory(tmp_path_factory: pytest.TempPathFactory, forks: Forks, worker_id: str) -> Laboratory:
    """A workspace with a file of every kind, built once for all processes of this run."""
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "laboratory"
    made = Laboratory(folder, forks)
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "built").exists():
            made.build()
            (folder / "built").touch()
    return made


@pytest.fixture(scope="session")
def full(pytestconfig: pytest.Config) -> bool:
    """True for the long run."""
    return bool(pytestconfig.getoption("--faults-full"))


WENT_THROUGH = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Note whether a test tried all of its cases: the verdicts of one that was stopped are not kept."""
    report = yield
    if call.when == "call":
        item.stash[WENT_THROUGH] = call.excinfo is None
    return report


@pytest.fixture
def tally(request: pytest.FixtureRequest, full: bool) -> Iterator[Callable[[str, str], Tally]]:
    """`tally("flipped bit or cut", "run config")`: collects verdicts; a bad one fails the test.

    The long run keeps them in `--faults-folder`, and does not repeat a test that is there.
    """
    folder = Path(request.config.getoption("--faults-folder"))
    kept = folder / (re.sub(r"\W+", "-", request.node.nodeid.partition("faults/")[2]).strip("-") + ".json")
    if full and kept.exists() and not any(one["bad"] for one in json.loads(kept.read_text(encoding="utf-8"))):
        pytest.skip(f"done already: {kept}")
    made: list[Tally] = []

    def start(kind: str, what: str = "") -> Tally:
        made.append(Tally(kind, what))
        return made[-1]

    yield start
    table = [one.record() for one in made]
    request.node.user_properties.append(("faults", table))
    if full and request.node.stash.get(WENT_THROUGH, False):
        folder.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(table, indent=1), encoding="utf-8")
    assert made
    for one in made:
        one.require_none_bad()
