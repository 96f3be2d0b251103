"""The wheel: what it carries, and that it runs away from the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the sources, with the setuptools that is here (no network)."""
    source = tmp_path_factory.mktemp("source")
    for name in ("trustcache", "cli", "data_manifests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    target = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w"]
    subprocess.run([*build, str(target), str(source)], check=True)
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it; its dependencies are lent by the one that runs the tests."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    install = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install"]
    subprocess.run([*install, "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    (site / "lent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder


def test_the_wheel_carries_every_module_and_manifest(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    wanted = {path.relative_to(ROOT).as_posix() for path in (ROOT / "trustcache").rglob("*.py")}
    wanted |= {f"trustcache_cli/{path.name}" for path in (ROOT / "cli").glob("*.py")}
    wanted |= {f"trustcache/data_manifests/{path.name}" for path in (ROOT / "data_manifests").glob("*.toml")}
    assert wanted <= inside
    wanted = {path.relative_to(ROOT).as_posix() for path in (ROOT / "trustcache/report/templates").iterdir()}
    assert {"trustcache/py.typed", "trustcache/paper/published.csv", *wanted} <= inside


def test_the_wheel_puts_nothing_else_into_site_packages(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"trustcache", "trustcache_cli"}


def test_the_installed_program_runs_from_any_folder(environment: Path, tmp_path: Path) -> None:
    program = environment / "bin" / "trustcache"
    listed = subprocess.run([program, "data", "list"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "digits-test\ttest\tinside scikit-learn" in listed.stdout
    assert "cifar10-train\ttrain\tnot here" in listed.stdout


@pytest.mark.parametrize("module", ["cli", "data_manifests"])
def test_no_module_of_a_common_name_can_be_imported(environment: Path, tmp_path: Path, module: str) -> None:
    python = environment / "bin" / "python"
    done = subprocess.run([python, "-c", f"import {module}"], cwd=tmp_path, capture_output=True, text=True)
    assert f"No module named '{module}'" in done.stderr
