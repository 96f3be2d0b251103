"""`trustcache predict`: a line an image, whatever the place it lies in, and broken ones do not stop it."""

from __future__ import annotations

import csv
import io
import json
import shutil
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path
from subprocess import TimeoutExpired

import pytest
from click.testing import Result

from tests.command_process import CommandProcess
from tests.refusals import refusal_of, tells
from trustcache.cache.workspace import Workspace
from trustcache.deploy.predict import Pictures, csv_lines, json_lines
from trustcache.deploy.trusted import Answer

RunCli = Callable[..., Result]
FROZEN = "digits-net-ce-frozen"
KEYS = ["path", "class_name", "class_number", "probability", "score", "trusted"]


@pytest.fixture
def photos(digit_files: Path, tmp_path: Path) -> Path:
    """200 images in two folders, and among them a truncated one, a text called .jpg, an empty file, and a note."""
    root = tmp_path / "photos"
    for number, path in enumerate(sorted(digit_files.iterdir())[:200]):
        folder = root / ("a" if number < 120 else "b/deep")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)
    (root / "a" / "0000-half.png").write_bytes(path.read_bytes()[:70])
    (root / "b" / "text.jpg").write_text("this is no image")
    (root / "b" / "deep" / "zero.JPEG").touch()
    (root / "b" / "note.txt").write_text("taken on Sunday")
    return root


def lines(done: Result) -> list[dict]:
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_folder_with_broken_files_among_200_images(with_runs: Workspace, run_cli: RunCli, photos: Path) -> None:
    done = run_cli("predict", FROZEN, photos, "--batch-size", 32)
    found = lines(done)
    errors = {line["path"]: line for line in found if "error" in line}
    assert len(found) == 203
    assert set(errors) == {f"{photos}/a/0000-half.png", f"{photos}/b/text.jpg", f"{photos}/b/deep/zero.JPEG"}
    for line in errors.values():
        assert list(line) == ["path", "trusted", "error"]
        assert line["trusted"] is False
        assert line["error"].startswith("cannot be read")
        assert "--on-bad-image" not in line["error"]
    assert [line["path"] for line in found] == sorted(line["path"] for line in found)
    answered = [line for line in found if "error" not in line]
    assert all(list(line) == KEYS for line in answered)
    assert all(line["trusted"] is (line["score"] > 0) for line in answered)
    assert tells(done.stderr, "200 images", "3 without")
    assert "a score above 0 is trusted" in done.stderr
    trusted = sum(line["trusted"] for line in answered)
    assert f"{trusted} of 200 images trusted" in done.stderr
    command = next(line for line in done.stderr.splitlines() if "trustcache calibrate" in line)
    assert run_cli(*command.split("trustcache ")[1].split()).exit_code == 0
    again = run_cli("predict", FROZEN, photos).stderr
    assert tells(again, "images trusted", "no promise: coverage 80.0 % was reached", "digits-test")
    assert run_cli("calibrate", FROZEN, "--data", "digits-test", "--max-risk", 0.3, "--delta", 0.1).exit_code == 0
    assert tells(run_cli("predict", FROZEN, photos).stderr, "at most 30 %", "confidence 0.9", "digits-test")


def test_it_decodes_in_its_own_thread_where_no_others_are_wanted(
    with_runs: Workspace, run_cli: RunCli, photos: Path
) -> None:
    assert run_cli("predict", FROZEN, photos, "--workers", 0).stdout == run_cli("predict", FROZEN, photos).stdout


def test_numbers_have_six_digits_and_verdicts_all_of_them() -> None:
    near = Answer("a.png", "cat", 1, 0.12345678, 1.00000004, True), Answer("b.png", "cat", 1, 1 - 1e-9, 1e-17, False)
    found = [json.loads(line) for line in json_lines(near)]
    assert [(one["probability"], one["score"], one["trusted"]) for one in found] == [
        (0.123457, 1.0, True),
        (1.0, 1e-17, False),
    ]
    assert [row.split(",")[3:5] for row in csv_lines(near)][1:] == [["0.123457", "1.0"], ["1.0", "1e-17"]]


def test_strict_makes_it_a_failure_after_all_lines(with_runs: Workspace, run_cli: RunCli, photos: Path) -> None:
    done = run_cli("predict", FROZEN, photos, "--strict")
    assert done.exit_code == 1
    assert len(done.stdout.splitlines()) == 203
    assert tells(done.stderr, "error: 3 of 203", "--strict")
    assert run_cli("predict", FROZEN, photos / "a" / "1150.png", "--strict").exit_code == 0


def test_a_tar_file_a_folder_in_it_and_single_files_give_the_lines_of_the_folder(
    with_runs: Workspace, run_cli: RunCli, photos: Path, tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        tar.add(photos, "x")

    def seen(*paths: Path) -> list[tuple]:
        found = lines(run_cli("predict", FROZEN, *paths))
        return [
            (Path(line["path"]).name, line.get("class_name"), round(line.get("score", 0), 4), line["trusted"])
            for line in found
        ]

    folder = seen(photos)
    assert seen(tmp_path / "photos.tar") == folder
    assert seen(tmp_path / "photos.tar" / "x" / "b") == seen(photos / "b") == folder[121:]
    singles = [photos / "b" / "text.jpg", photos / "a" / "1150.png"]
    assert seen(*singles) == [folder[-1], folder[1]]


def test_a_folder_and_a_file_alone_agree_on_what_an_image_is(
    with_runs: Workspace, run_cli: RunCli, photos: Path
) -> None:
    image = photos / "a" / "1150.png"
    others = {
        "b/UPPER.PNG": True,
        "b/none": True,
        "b/x.jfif": True,
        "b/x.dat": False,
        "b/README": False,
        "b/.hid.png": False,
    }
    for name, is_image in others.items():
        (photos / name).write_bytes(image.read_bytes() if is_image or name in ("b/x.dat", "b/.hid.png") else b"words")
    done = run_cli("predict", FROZEN, photos / "b")
    answered = {line["path"] for line in lines(done) if "error" not in line}
    assert {name for name in others if f"{photos / name}" in answered} == {n for n, found in others.items() if found}
    reasons = ("1 hidden", "1 with the suffix .dat", "1 with the suffix .txt", "1 without the suffix or the content")
    assert "passed over 4 files" in done.stderr
    assert all(reason in done.stderr for reason in reasons)
    alone = lines(run_cli("predict", FROZEN, *(photos / name for name in others)))
    assert [("error" not in line) for line in alone] == list(others.values())
    assert tells(alone[3]["error"], ".dat", "rename")
    assert tells(alone[5]["error"], "hidden", "rename")


def test_a_line_break_in_a_name_splits_no_row_of_csv(with_runs: Workspace, run_cli: RunCli, photos: Path) -> None:
    odd = (photos / "a" / "1150.png").rename(photos / "a" / "line\nbreak.png")
    done = run_cli("predict", FROZEN, odd, "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert (row["path"], row["error"]) == (str(odd), "")


def test_csv_has_the_same_values_under_a_header(with_runs: Workspace, run_cli: RunCli, photos: Path) -> None:
    (photos / "a" / "1150.png").rename(photos / "a" / 'x, "y".png')
    table = lines(run_cli("predict", FROZEN, photos))
    done = run_cli("predict", FROZEN, photos, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert list(rows[0]) == [*KEYS, "error", "alarm", "class_set"]
    for line, row in zip(table, rows, strict=True):
        assert row["trusted"] == json.dumps(line["trusted"])
        assert {key: row[key] for key in row if key != "trusted"} == {
            key: str(line.get(key, "")) for key in row if key != "trusted"
        }


def test_a_calibrated_threshold_is_used(with_runs: Workspace, run_cli: RunCli, digit_files: Path) -> None:
    for name in (FROZEN, "mcp"):
        run_cli("calibrate", name, "--data", "digits-test", "--coverage", 0.4)
        done = run_cli("predict", name, digit_files)
        share = sum(line["trusted"] for line in lines(done)) / 647
        assert share == pytest.approx(0.4, abs=0.01)
        assert "no threshold" not in done.stderr


def test_a_place_where_nothing_is_is_refused_before_the_first_line(
    with_runs: Workspace, run_cli: RunCli, photos: Path, tmp_path: Path
) -> None:
    for wrong in (tmp_path / "absent", tmp_path / "absent.tar"):
        refused = run_cli("predict", FROZEN, photos, wrong)
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert f"error: {wrong}: " in refused.stderr
    (tmp_path / "empty").mkdir()
    refused = run_cli("predict", FROZEN, tmp_path / "empty")
    assert refused.exit_code == 2
    assert f"{tmp_path / 'empty'}: holds no image files" in refused.stderr
    (tmp_path / "junk.tar").write_bytes(b"no tar file" * 99)
    for wrong in ("empty", "junk.tar"):  # none of what comes before is answered and then lost
        refused = run_cli("predict", FROZEN, photos, tmp_path / wrong)
        assert (refused.exit_code, refused.stdout) == (2, "")


def test_lines_appear_as_batches_are_done(
    with_runs: Workspace,
    own_model: Callable[..., str],
    run_cli: RunCli,
    start_cli: Callable[..., CommandProcess],
    digit_files: Path,
) -> None:
    model = ("--classifier", own_model(), "--as", "own")
    assert run_cli("extract", *model, "--data", "digits-test", "--workers", 0).exit_code == 0
    files = sorted(digit_files.iterdir())[:30]  # all their lines would fit into a pipe's buffer
    options = ("--classifier", "own", "--batch-size", 2, "--device", "cpu")
    slow = start_cli("predict", "mcp", *files, *options, SECONDS_A_BATCH="0.5", PYTHONUNBUFFERED="")
    assert slow.stdout is not None
    for file in files[:6]:
        assert json.loads(slow.stdout.readline())["path"] == str(file)
    with pytest.raises(TimeoutExpired):  # twelve batches are to come
        slow.wait(timeout=2.5)
    slow.send_signal(signal.SIGTERM)
    assert tells(slow.stderr.read().splitlines()[-1], "interrupted", "anew")


def test_a_mistyped_path_is_answered_by_the_nearest_one_that_is_there(photos: Path) -> None:
    said = refusal_of(lambda: Pictures([photos.with_name("phtos") / "a"]))
    assert tells(said, str(photos.with_name("phtos")), "no such", f"did you mean {photos / 'a'}?")
