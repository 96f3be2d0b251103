"""What an installed package adds goes the whole way: images in its layout, judged by its model, to a report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import Result

from trustcache.data.layouts import LAYOUTS
from trustcache.models.zoo.registry import MODELS

LAYOUT = '''
from pathlib import Path

from trustcache.data.archives import open_tree
from trustcache.data.samples import FileSamples


def listed(data_root: Path, classes: tuple[str, ...] | None, table: str) -> FileSamples:
    """Images beside a table that lists a name and a class a line."""
    rows = [line.split() for line in (data_root / table).read_text().splitlines()]
    classes = classes or tuple(sorted({label for _, label in rows}))
    tree = open_tree((data_root / table).parent)
    return FileSamples(tree, [name for name, _ in rows], [classes.index(label) for _, label in rows], classes)
'''


def pets(role: str, images: int) -> Path:
    """A manifest of images of one colour each, under data/, whose labels are drawn: half of the answers are right."""
    folder = Path("data", role)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(len(role))
    rows = []
    for number in range(images):
        Image.new("RGB", (8, 8), (*map(int, rng.integers(0, 256, 2)), 0)).save(folder / f"{number}.png")
        rows.append(f"{number}.png {('cat', 'dog')[rng.integers(2)]}")
    (folder / "table.txt").write_text("\n".join(rows), encoding="utf-8")
    manifest = Path(f"pets-{role}.toml")
    files = f'[[files]]\nlayout = "listed"\ntable = "{role}/table.txt"\n'
    manifest.write_text(f'name = "pets-{role}"\nrole = "{role}"\n{files}', encoding="utf-8")
    return manifest


def test_a_layout_and_a_model_of_a_package_are_extracted_trained_on_reported_and_predicted_with(
    run_cli: Callable[..., Result], own_model: Callable[..., str], install_entry_point: Callable[..., None]
) -> None:
    def done(*words: object) -> Result:
        result = run_cli(*words)
        assert result.exit_code == 0, result.stderr
        return result

    Path("layouts_of_a_package.py").write_text(LAYOUT, encoding="utf-8")
    install_entry_point(LAYOUTS, "listed", "layouts_of_a_package:listed")
    install_entry_point(MODELS, "pixel-model", own_model())
    data = [word for role, images in (("train", 60), ("test", 30)) for word in ("--data", pets(role, images))]
    done("extract", "--classifier", "pixel-model", "--model-arg", "classes=2", *data, "--workers", 0)
    done("train", "--frozen", "--loss", "ce", "--epochs", 2, "--device", "cpu")
    done("report")
    records = json.loads(Path("trustcache-workspace/report/results.json").read_text(encoding="utf-8"))
    scored = {(one["dataset"], one["classifier"], one["method"]) for one in records}
    assert {("pets-test", "pixel-model", "ce"), ("pets-test", "pixel-model", "mcp")} <= scored
    (run,) = [path.name for path in Path("trustcache-workspace/runs").iterdir()]
    for judge in (run, "mcp"):
        (line,) = done("predict", judge, "data/test/0.png", "--workers", 1).stdout.splitlines()
        assert json.loads(line)["class_name"] in ("cat", "dog")
