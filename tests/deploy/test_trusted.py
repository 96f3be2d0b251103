"""The Python API: a run's answers for paths, PIL images and arrays, as the caches have them, in a bounded stream."""

from __future__ import annotations

import copy
import errno
import itertools
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image

from tests.refusals import refusal_of, tells
from tests.running import inherited
from tests.small_networks import BOTH, classifier_of, in_threads_of_their_own, noise, outputs_one_by_one
from trustcache import Answer, TrustedClassifier
from trustcache.cache import CacheView, open_cache
from trustcache.cache.index import read_index
from trustcache.cache.workspace import Workspace
from trustcache.data.pictures import Picture
from trustcache.deploy import trusted as deployed
from trustcache.deploy.calibrate import calibrate_on
from trustcache.deploy.network import PostHocScore, load_pair
from trustcache.deploy.scorers import find_scorer
from trustcache.errors import TrustcacheError, UsageError
from trustcache.extract.in_memory import extract_in_memory
from trustcache.models.classifiers import Classifier
from trustcache.oracles.estimator import Oracle
from trustcache.oracles.runs import finished_runs
from trustcache.scores import post_hoc_score
from trustcache.scores.logit_scores import maximum_class_probability

FROZEN, TUNED = "digits-net-ce-frozen", "digits-net-ce-fine-tuned"


class LockedScore:
    """The largest logit, by an object that cannot be copied."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        with self.lock:
            largest: np.ndarray = logits.max(1)
        return largest


def loaded(workspace: Workspace, run: str = FROZEN) -> TrustedClassifier:
    return TrustedClassifier.load(workspace.root, run, device="cpu")


@pytest.mark.parametrize("name", [FROZEN, TUNED, "mcp", "temperature"])
def test_answers_are_what_the_caches_and_scores_hold(runs_workspace: Workspace, digit_files: Path, name: str) -> None:
    cache = open_cache(runs_workspace.find_cache("test").folder)
    run = find_scorer(runs_workspace, name).run
    training = open_cache(runs_workspace.find_cache("train").folder)
    z = run.scores(cache.index) if run else post_hoc_score(name, cache, training)
    files = [digit_files / f"{sample}.png" for sample in cache.sample_ids]
    answers = list(loaded(runs_workspace, name)(files, batch_size=50))
    assert [answer.path for answer in answers] == list(map(str, files))
    assert [answer.class_number for answer in answers] == cache.predictions.tolist()
    assert [answer.class_name for answer in answers] == [str(number) for number in cache.predictions]
    # Both round the outputs to float16; few lie so near the middle of two that the batch decides.
    scores = np.array([answer.score for answer in answers])
    np.testing.assert_allclose(scores, z, rtol=1e-3, atol=8e-3)
    assert (np.abs(scores - z) < 1e-6).mean() > 0.9
    assert [answer.trusted for answer in answers] == [answer.score > 0 for answer in answers]
    odds = maximum_class_probability(cache.logits)
    np.testing.assert_allclose([answer.probability for answer in answers], 1 / (1 + np.exp(-odds)), atol=1e-2)


def test_paths_images_and_arrays_are_the_same_image(runs_workspace: Workspace, digit_files: Path) -> None:
    path = min(digit_files.iterdir())
    with Image.open(path) as image:
        grey = np.asarray(image.convert("L"))
    forms = [path, str(path), Image.open(path), Image.fromarray(grey), grey, np.stack([grey] * 3, axis=2)]
    answers = list(loaded(runs_workspace)(forms))
    assert len({(answer.class_number, round(answer.score, 5)) for answer in answers}) == 1
    assert [answer.path for answer in answers] == [str(path)] * 3 + [None] * 3


def test_sixteen_bit_images_in_memory_are_scaled_as_those_in_files_are(
    runs_workspace: Workspace, tmp_path: Path
) -> None:
    deep = Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000)
    deep.save(tmp_path / "deep.png")
    one, other = loaded(runs_workspace)([deep, tmp_path / "deep.png"])
    assert one.score == pytest.approx(other.score, abs=1e-6)


def test_the_threshold_of_the_run_decides(
    with_runs: Workspace, digit_files: Path, run_cli: Callable[..., Result]
) -> None:
    assert loaded(with_runs).threshold is None
    run_cli("calibrate", FROZEN, "--data", "digits-test", "--coverage", 0.6)
    trusted = loaded(with_runs)
    answers = list(trusted(sorted(digit_files.iterdir())))
    assert [a.trusted for a in answers] == [a.score > trusted.threshold.point.threshold for a in answers]
    assert np.mean([answer.trusted for answer in answers]) == pytest.approx(0.6, abs=0.01)


def test_what_cannot_be_read_gets_an_error_and_is_not_trusted(
    runs_workspace: Workspace, digit_files: Path, tmp_path: Path
) -> None:
    good = min(digit_files.iterdir())
    (tmp_path / "text.jpg").write_text("this is no image")
    (tmp_path / "half.png").write_bytes(good.read_bytes()[:60])
    asked = [tmp_path / "text.jpg", good, tmp_path / "half.png", tmp_path / "absent.png", tmp_path, good]
    asked.append(Image.open(tmp_path / "half.png"))  # type: ignore[arg-type]
    answers = list(loaded(runs_workspace)(asked))
    assert [answer.error is None for answer in answers] == [False, True, False, False, False, True, False]
    text = answers[0]
    assert "cannot be read as an image" in (text.error or "")
    assert text == Answer(str(tmp_path / "text.jpg"), None, None, None, None, False, text.error)
    assert os.strerror(errno.ENOENT) in (answers[3].error or "")
    assert not any(answer.trusted for answer in answers if answer.error)
    assert answers[1].score == pytest.approx(answers[5].score, abs=1e-5)


@pytest.mark.parametrize(
    "thing", [np.zeros((8, 8)), np.zeros((8, 8, 5), np.uint8), np.zeros(8, np.uint8), 3, b"bytes"], ids=repr
)
def test_what_is_no_image_is_a_value_error(runs_workspace: Workspace, thing: object) -> None:
    with pytest.raises(ValueError, match=r"^an (array|image) must"):
        list(loaded(runs_workspace)([thing]))


def test_a_single_image_is_not_taken_for_many(runs_workspace: Workspace, digit_files: Path) -> None:
    trusted, path = loaded(runs_workspace), min(digit_files.iterdir())
    image = Image.open(path).convert("RGB")
    for alone in (path, str(path), image, np.asarray(image), np.asarray(image)[:, :, 0]):
        for call in (trusted, trusted.of_files):
            with pytest.raises(ValueError, match="in a list"):
                list(call(alone))  # type: ignore[arg-type]
    assert len(list(trusted(np.asarray(image)[None]))) == 1


def test_an_image_without_pixels_is_an_error_of_its_own(runs_workspace: Workspace) -> None:
    answers = list(loaded(runs_workspace)([np.zeros((0, 5), np.uint8), np.zeros((8, 8), np.uint8)]))
    assert answers[0].error is not None
    assert "no pixels" in answers[0].error
    assert answers[1].error is None


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_no_more_images_are_taken_than_the_batches_in_hand(runs_workspace: Workspace, ahead: int) -> None:
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield np.full((8, 8), taken % 256, np.uint8)

    answers = loaded(runs_workspace)(endless(), batch_size=4, ahead=ahead)
    for number in range(1, 30):
        next(answers)
        assert taken == 4 * ((number + 3) // 4 + ahead)


def test_batches_and_threads_change_nothing(runs_workspace: Workspace, digit_files: Path) -> None:
    trusted = loaded(runs_workspace)
    files = sorted(digit_files.iterdir())[:21]
    wanted = list(trusted(files, batch_size=21))
    for size, workers, ahead in itertools.product((3, 4, 16), (1, 5), (0, 2)):
        found = list(trusted(files, batch_size=size, workers=workers, ahead=ahead))
        assert [a.path for a in found] == [a.path for a in wanted]
        # To the last bit, but for batches that are smaller than what a CPU's networks are given at once.
        np.testing.assert_allclose([a.score for a in found], [a.score for a in wanted], atol=1e-5 if size < 4 else 0)
    assert list(trusted([])) == []


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("network", BOTH)
@pytest.mark.parametrize("score", ["max-logit", LockedScore()])
def test_small_images_in_several_threads_get_the_answers_of_one_by_one(
    network: Callable[[], torch.nn.Module], score: Any
) -> None:
    trusted, images = TrustedClassifier(classifier_of(network()), score, 0.0, device="cpu"), noise(60)
    logits, _ = outputs_one_by_one(images)
    with in_threads_of_their_own(network):
        many = list(trusted(list(images)))
    np.testing.assert_allclose([answer.score for answer in many], logits.max(1), rtol=1e-4)
    assert [answer.class_number for answer in many] == logits.argmax(1).tolist()
    assert [answer.score for image in images for answer in trusted([image])] == [answer.score for answer in many]


def sum_of_features(features: np.ndarray) -> np.ndarray:
    total: np.ndarray = features.sum(1)
    return total


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("network", BOTH)
def test_threads_that_share_one_get_their_own_answers(network: Callable[[], torch.nn.Module]) -> None:
    trusted = TrustedClassifier(classifier_of(network()), sum_of_features, 0.0, device="cpu")
    parts = np.split(noise(80), 8)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda images: [answer.score for answer in trusted(list(images))], parts))
    for scores, images in zip(found, parts, strict=True):
        np.testing.assert_allclose(scores, outputs_one_by_one(images)[1].sum(1), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda trusted: pickle.loads(pickle.dumps(trusted))])
def test_one_that_has_answered_can_be_copied_and_sent(runs_workspace: Workspace, copied: Callable[..., Any]) -> None:
    trusted, image = loaded(runs_workspace), np.zeros((8, 8), np.uint8)
    answers = list(trusted([image]))
    assert list(copied(trusted)([image])) == answers


@pytest.mark.parametrize("workers", [None, 0, 1])
@pytest.mark.parametrize("name", [FROZEN, TUNED, "mcp"])
def test_processes_answer_as_threads_do(
    runs_workspace: Workspace, digit_files: Path, tmp_path: Path, name: str, workers: int | None
) -> None:
    trusted = loaded(runs_workspace, name)
    files: list[str | Path] = sorted(digit_files.iterdir())[:90]
    (tmp_path / "text.jpg").write_text("this is no image")
    files[3], files[40:60], files[89] = tmp_path / "text.jpg", 20 * [tmp_path / "absent.png"], str(files[89])
    wanted = list(trusted(files, batch_size=20))
    for size in (20, 64, 200):  # of twenty, one batch has no image that can be read
        assert list(trusted.of_files(files, batch_size=size, workers=workers)) == wanted
    assert list(trusted.of_files([], workers=workers)) == []


def test_answers_that_nobody_waits_for_leave_no_process(runs_workspace: Workspace, digit_files: Path) -> None:
    answers = loaded(runs_workspace).of_files(sorted(digit_files.iterdir())[:100], batch_size=10, workers=2)
    before = set(multiprocessing.active_children())
    assert next(answers).error is None
    assert len(set(multiprocessing.active_children()) - before) == 2
    answers.close()  # type: ignore[attr-defined]
    assert not set(multiprocessing.active_children()) - before


@inherited
def test_a_decoding_process_that_dies_is_told(runs_workspace: Workspace) -> None:
    with pytest.raises(TrustcacheError, match=r"decoding process died.*--workers"):
        list(loaded(runs_workspace).of_files([Picture("deadly.png", killed)], workers=1))


def killed() -> Image.Image:
    assert torch.utils.data.get_worker_info(), "it would be the tests' own process"
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


@pytest.mark.parametrize("name", [FROZEN, TUNED, "knn", "vim", "delta-knn+margin", "trust-score"])
def test_a_file_has_the_same_score_to_the_last_bit_whatever_it_is_scored_with(
    runs_workspace: Workspace, digit_files: Path, name: str
) -> None:
    scorer = find_scorer(runs_workspace, name)
    pair = load_pair(scorer)
    trusted = TrustedClassifier(pair.classifier, "mcp", device="cpu")
    trusted._ready(pair, trusted.classes, None, trusted.device)
    first, *others = sorted(digit_files.iterdir())[:30]
    for usual, size in ((64, 4), (1, 1)):
        (alone,) = trusted([first], batch_size=usual)
        for files in ([first] * 3, [*others, first], [first, *others[:7]], [*others[:11], first, first]):
            scores = {a.score for a in trusted(files, batch_size=size) if a.path == str(first)}
            assert scores == {alone.score}


def test_a_single_image_is_not_filled_up_to_a_batch(runs_workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted, given = loaded(runs_workspace), []
    whole = trusted.pair.classifier.outputs
    monkeypatch.setattr(trusted.pair.classifier, "outputs", lambda x, *more: given.append(len(x)) or whole(x, *more))
    list(trusted([np.zeros((8, 8), np.uint8)]))
    given.clear()  # where torch has several threads, copies were asked too
    list(trusted([np.zeros((8, 8), np.uint8)], batch_size=1))
    list(trusted([np.zeros((8, 8), np.uint8)]))
    assert given == [1, 4]


def test_weights_that_are_gone_or_others_are_refused(with_runs: Workspace, own_model: Callable[..., str]) -> None:
    from trustcache.data.dataset import open_dataset
    from trustcache.data.known_data import find_manifests
    from trustcache.extract.on_disk import extract
    from trustcache.extract.settings import ExtractSettings
    from trustcache.models.building import ModelSpec
    from trustcache.models.classifiers import load_classifier
    from trustcache.registry.permission import allow_code

    def extracted(scale: int) -> None:
        allow_code(name := own_model(f"x * {scale}"))
        classifier = load_classifier(ModelSpec(name))
        classifier.model.last.weight *= scale  # type: ignore[union-attr,operator]
        dataset = open_dataset(find_manifests("digits-test")[0], Path())
        folder = with_runs.cache_folder("own", "digits-test")
        extract(classifier, "own", dataset, Path(), folder, ExtractSettings(workers=0, device="cpu"))

    extracted(1)
    assert TrustedClassifier.load(with_runs.root, "mcp", classifier="own", device="cpu")
    shutil.rmtree(with_runs.cache_folder("own", "digits-test"))
    extracted(2)
    with pytest.raises(UsageError, match=r"weights of .*extract"):
        TrustedClassifier.load(with_runs.root, "mcp", classifier="own")


def test_importing_the_package_or_its_command_line_does_not_import_torch() -> None:
    code = "import trustcache, cli, sys; print('torch' in sys.modules, 'TrustedClassifier' in dir(trustcache))"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.stdout.split()[0] == "False", done.stderr
    code = "from trustcache import TrustedClassifier; import sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr


def test_an_unknown_name_is_an_attribute_error() -> None:
    import trustcache

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = trustcache.nothing


def test_the_classifier_is_asked_in_the_precision_of_its_cache(
    workspace: Workspace, run_cli: Callable[..., Result], extract_digits: Callable[..., Result], digit_files: Path
) -> None:
    extract_digits("--data", "digits-train", "--precision", "bf16", name="half")
    options = ("--epochs", 2, "--device", "cpu", "--classifier", "half")
    assert run_cli("train", "--loss", "ce", "--frozen", *options).exit_code == 0
    (run,) = finished_runs(workspace)
    trusted = TrustedClassifier.load(workspace.root, run.name, device="cpu")
    found = [answer.score for answer in trusted(sorted(digit_files.iterdir())[:100], batch_size=100)]
    stored = run.scores(read_index(workspace.cache_folder("half", "digits-test")))
    np.testing.assert_allclose(found, stored[:100], rtol=1e-4, atol=1e-4)


# --- a model and an oracle of one's own ---------------------------------------------------------------------------

SMALL = {"input_size": (8, 8)}


def test_a_model_with_an_oracle_has_the_scores_of_its_cache(digits_classifier: Classifier, digit_files: Path) -> None:
    training, test = (extracted(digits_classifier, name) for name in ("digits-train", "digits-test"))
    own = TrustedClassifier(digits_classifier.model, Oracle("strong", epochs=2).fit(training), 0.5, preprocess=SMALL)
    files = [digit_files / f"{name}.png" for name in test.sample_ids[:40]]
    answers = list(own(files))
    z = Oracle("strong", epochs=2).fit(training).decision_function(test)[:40]
    np.testing.assert_allclose([answer.score for answer in answers], z, rtol=1e-2, atol=2e-2)
    assert [answer.trusted for answer in answers] == [answer.score > 0.5 for answer in answers]
    assert [answer.class_name for answer in answers] == [str(number) for number in test.predictions[:40]]


def test_tensors_and_loaders_are_the_same_images(digits_classifier: Classifier, digit_files: Path) -> None:
    trusted = TrustedClassifier(digits_classifier, "mcp", classes=list("abcdefghij"), device="cpu")
    images = [Image.open(path).convert("RGB") for path in sorted(digit_files.iterdir())[:10]]
    wanted = [answer.score for answer in trusted(images)]
    raw = [torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images]
    transform = digits_classifier.preprocessing.transform()
    x = digits_classifier.preprocessing.normalise(torch.stack([transform(image) for image in images]))
    data = torch.utils.data.TensorDataset(x, torch.arange(10))
    loader = torch.utils.data.DataLoader(data, batch_size=4)
    mixed = [x[0], images[1], raw[2], x[3]]
    for given, scores in ((raw, wanted), (list(x), wanted), (loader, wanted), (mixed, wanted[:4])):
        answers = list(trusted(given, batch_size=3))
        np.testing.assert_allclose([answer.score for answer in answers], scores, rtol=1e-4, atol=1e-4)
    assert {answer.class_name for answer in answers} <= set("abcdefghij")


def test_a_gpu_is_asked_no_double_precision(digits_classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = list[torch.dtype]()
    monkeypatch.setattr(deployed, "to_device", lambda tensor, device: moved.append(tensor.dtype) or tensor)
    trusted, x = TrustedClassifier(digits_classifier, "mcp", device="cpu"), torch.rand(3, 8, 8)
    (single,), (double,) = trusted([x]), trusted([x.double()])
    assert double == single
    assert moved == [torch.float32, torch.float32]
    # Stands for outputs on Apple's GPUs, which have no float64.
    there = SimpleNamespace(cpu=lambda: torch.zeros(2, 3), device=torch.device("meta"))
    z = PostHocScore(lambda rows: rows.logits.sum(1).astype(np.float64))(None, {"logits": there})
    assert (z.tolist(), z.device.type) == ([0, 0], "cpu")


def test_a_threshold_as_calibrate_gives_it_decides(digits_classifier: Classifier, digit_files: Path) -> None:
    training, test = (extracted(digits_classifier, name) for name in ("digits-train", "digits-test"))
    threshold = calibrate_on("temperature", test, coverage=0.4, training=training)
    trusted = TrustedClassifier(digits_classifier, "temperature", threshold, training=training, device="cpu")
    assert trusted.threshold is threshold
    answers = list(trusted(sorted(digit_files.iterdir())[:50]))
    assert {answer.trusted for answer in answers} == {True, False}
    assert [answer.trusted for answer in answers] == [answer.score > float(threshold) for answer in answers]


def test_what_does_not_fit_is_refused(digits_classifier: Classifier) -> None:
    training = extracted(digits_classifier, "digits-train")
    oracle = Oracle("ce", epochs=1).fit(training)
    other = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 10))
    message = refusal_of(lambda: TrustedClassifier(other, oracle, preprocess=SMALL))
    assert tells(message, "Oracle('ce'", "weights")
    arrays = CacheView.from_arrays(training.logits, training.labels, features=training.features)
    by_arrays = Oracle("ce", epochs=1).fit(arrays)  # nothing tells whose outputs these are
    assert TrustedClassifier(digits_classifier, by_arrays, device="cpu").threshold is None
    assert tells(refusal_of(lambda: TrustedClassifier(other, by_arrays, preprocess=SMALL)), "features", "width")
    assert tells(refusal_of(lambda: TrustedClassifier(digits_classifier, "margin")), "margin", "threshold")
    assert tells(refusal_of(lambda: TrustedClassifier(digits_classifier, "knn", 0.0)), "training")
    assert tells(refusal_of(lambda: TrustedClassifier(digits_classifier, Oracle("ce"))), "fit(cache)")
    assert tells(refusal_of(lambda: TrustedClassifier(digits_classifier, "mc-dropout", 0.0)), "mc-dropout")


def extracted(classifier: Classifier, name: str) -> CacheView:
    return extract_in_memory(classifier, name, device="cpu", workers=0, batch_size=100)
