"""`trustcache import`: an ordinary cache, with which all works that needs no image; the rest says what it takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

from tests.refusals import tells
from trustcache.cache.publish import file_sha256
from trustcache.cache.workspace import Workspace

RunCli = Callable[..., Result]
RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(3, 6))


def write_arrays(folder: Path, role: str, rows: int) -> dict[str, np.ndarray]:
    """Logits that are right on most rows, and features that show where; in files named after the role."""
    rng = np.random.default_rng(len(role))
    labels = rng.integers(0, 3, rows)
    features = CENTRES[labels] + rng.normal(0, 0.8, (rows, 6))
    logits = features @ CENTRES.T + rng.normal(0, 2, (rows, 3))
    arrays = {"logits": logits.astype(np.float32), "labels": labels, "features": features.astype(np.float32)}
    for name, array in arrays.items():
        np.save(folder / f"{name}-{role}.npy", array)
    return arrays


@pytest.fixture
def import_both(run_cli: RunCli, tmp_path: Path) -> Callable[..., Result]:
    """`import_both("--ids", "a.txt")`: write arrays of both roles, import them as `net`, and return the last result."""

    def run(*options: object) -> Result:
        for role, rows in (("train", 400), ("test", 300)):
            write_arrays(tmp_path, role, rows)
            files = [word for key in ("logits", "labels", "features") for word in (f"--{key}", f"{key}-{role}.npy")]
            done = run_cli("import", *files, "--as", "net", "--data", f"photos-{role}", "--role", role, *options)
        return done

    return run


def test_all_that_needs_no_image_works(import_both: Callable[..., Result], run_cli: RunCli, tmp_path: Path) -> None:
    done = import_both()
    assert done.exit_code == 0, done.stderr
    arrays = write_arrays(tmp_path, "test", 300)
    right = (arrays["logits"].argmax(1) == arrays["labels"]).mean()
    assert tells(done.stdout, "photos-test", "net", f"{100 * right:.2f}", "300", "photos-test")
    for line in (
        "train --preset strong --batch-size 64 --epochs 3 --device cpu --seed 0",
        "train --frozen --loss ss --epochs 3 --device cpu",
        "evaluate",
        "report",
        "calibrate net-ss-frozen --data photos-test --coverage 0.5",
        "calibrate mcp --data photos-test --coverage 0.5",
        "cache verify",
        "verify",
    ):
        result = run_cli(*line.split())
        assert result.exit_code == 0, f"{line}: {result.stderr}"
    records = json.loads(Path("trustcache-workspace/report/results.json").read_text(encoding="utf-8"))
    methods = {record["method"] for record in records}
    assert {"ce", "ss", "mcp", "knn", "delta-knn+margin", "vim", "trust-score"} <= methods
    page = Path("trustcache-workspace/report/index.html").read_text(encoding="utf-8")
    assert str(tmp_path) not in page
    assert "trustcache calibrate" in page
    assert "trustcache predict" not in page  # there is no model that could see an image


def test_the_index_says_what_it_was_imported_from(import_both: Callable[..., Result], run_cli: RunCli) -> None:
    import_both("--classes", "owl,wren,jay")
    shown = json.loads(run_cli("cache", "show", "net/photos-test", "--json").stdout)
    assert shown["imported"] == {
        str(Path(f"{key}-test.npy").resolve()): file_sha256(Path(f"{key}-test.npy"))
        for key in ("logits", "labels", "features")
    }
    assert (shown["rows"], shown["classes"], shown["features"]) == (300, 3, 6)
    assert Workspace(Path("trustcache-workspace")).find_cache("test").made_from.classes == ("owl", "wren", "jay")


@pytest.mark.parametrize(
    "line",
    [
        "train --loss ss",
        "predict mcp photo.png",
        "export net-ss-frozen",
        "data check digits-test --against net/photos-test",
    ],
)
def test_what_needs_images_says_so_with_the_remedy(
    import_both: Callable[..., Result], run_cli: RunCli, line: str
) -> None:
    import_both()
    run_cli("train", "--frozen", "--loss", "ss", "--epochs", "1", "--device", "cpu")
    Path("photo.png").write_bytes(b"")
    refused = run_cli(*line.split())
    assert refused.exit_code == 2
    assert tells(refused.stderr, "imported", "images", "trustcache extract")


def test_without_features_scores_of_logits_and_oracles_on_logits_work(run_cli: RunCli, tmp_path: Path) -> None:
    for role, rows in (("train", 400), ("test", 300)):
        write_arrays(tmp_path, role, rows)
        files = "--logits", f"logits-{role}.npy", "--labels", f"labels-{role}.npy"
        assert run_cli("import", *files, "--as", "net", "--data", role, "--role", role).exit_code == 0
    done = run_cli("train", "--preset", "strong", "--epochs", 2, "--seed", 0, "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    report = run_cli("report")
    assert tells(report.stdout, "strong, no features, no views")
    assert tells(report.stderr, "knn", "--features")
    refused = run_cli("train", "--frozen", "--loss", "ss")
    assert refused.exit_code == 2
    assert tells(refused.stderr, "without features", "--features")


def test_scores_that_lack_training_data_say_how_to_import_some(run_cli: RunCli, tmp_path: Path) -> None:
    write_arrays(tmp_path, "test", 100)
    run_cli("import", "--logits", "logits-test.npy", "--labels", "labels-test.npy", "--as", "net", "--data", "photos")
    line = "trustcache import --logits FILE --labels FILE --as net --data TRAINING-DATA --role train"
    assert tells(run_cli("report").stderr, "temperature", line)


def test_the_same_import_is_checked_and_a_damaged_shard_is_made_again(
    import_both: Callable[..., Result], run_cli: RunCli
) -> None:
    import_both()
    shard = Path("trustcache-workspace/cache/net/photos-test/00000.h5")
    before = shard.read_bytes()
    shard.write_bytes(before[:-8] + b"damaged!")
    assert run_cli("cache", "verify").exit_code == 1
    assert import_both().exit_code == 0
    assert shard.read_bytes() == before


def test_other_arrays_under_the_same_name_are_refused(
    import_both: Callable[..., Result], run_cli: RunCli, tmp_path: Path
) -> None:
    import_both()
    base = ("import", "--logits", "z.npy", "--labels", "y.npy", "--features", "features-test.npy", "--as", "net")
    logits, labels = np.load("logits-test.npy"), np.load("labels-test.npy")
    np.save("z.npy", logits + 1)
    np.save("y.npy", labels)
    other_outputs = run_cli(*base, "--data", "photos-test")
    np.save("z.npy", logits)
    np.save("y.npy", labels[::-1])
    other_labels = run_cli(*base, "--data", "photos-test")
    for refused, what in ((other_outputs, "other outputs"), (other_labels, "other labels")):
        assert refused.exit_code == 2
        assert tells(refused.stderr, "photos-test", what, "remove that folder", "--as")
    np.save("z.npy", logits[:, :2])
    np.save("y.npy", labels % 2)
    fewer = run_cli(*base, "--data", "more")
    assert fewer.exit_code == 2
    assert tells(fewer.stderr, "--as net", "3 classes", "another name")


def test_an_extracted_classifier_keeps_its_name(workspace: Workspace, run_cli: RunCli, tmp_path: Path) -> None:
    write_arrays(tmp_path, "test", 30)
    files = "--logits", "logits-test.npy", "--labels", "labels-test.npy"
    refused = run_cli("import", *files, "--as", "digits-net", "--data", "photos")
    assert refused.exit_code == 2
    assert tells(refused.stderr, "--as digits-net", "extracted", "another name")


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        ("--labels labels-test.npy", ("--logits", "missing", "--last-layer")),
        ("--logits logits-test.npy", ("--labels", "missing")),
        ("--logits logits-test.npy --labels labels-test.npy --data a/../b", ("--data a/../b",)),
        ("--logits logits-test.npy --labels labels-train.npy", ("labels-train.npy", "20", "logits-test.npy", "30")),
        ("--logits logits-test.npy --labels labels-test.npy --last-layer w.npz", ("--last-layer", "--features")),
        ("--logits gone.npy --labels labels-test.npy", ("gone.npy", "no such file")),
        ("--logits logits-test.npy --labels labels-test.npy --classes a,b", ("--classes", "2", "3")),
    ],
)
def test_a_wrong_request_is_one_sentence(run_cli: RunCli, tmp_path: Path, options: str, facts: tuple[str, ...]) -> None:
    write_arrays(tmp_path, "test", 30)
    write_arrays(tmp_path, "train", 20)
    words = options.split()
    refused = run_cli("import", *words, "--as", "net", *([] if "--data" in words else ["--data", "photos"]))
    assert refused.exit_code == 2
    assert tells(refused.stderr, "error:", *facts)
    assert len(refused.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("trustcache-workspace/cache/**/*.h5"))


def test_labels_in_another_order_are_told_of(run_cli: RunCli, tmp_path: Path) -> None:
    labels = write_arrays(tmp_path, "test", 300)["labels"]
    np.save(tmp_path / "labels-test.npy", labels[np.random.default_rng(0).permutation(300)])
    words = ("import", "--logits", "logits-test.npy", "--labels", "labels-test.npy", "--as", "net", "--data", "photos")
    done = run_cli(*words)
    assert done.exit_code == 0
    assert tells(done.stderr, "labels", "300", "as if by chance")
