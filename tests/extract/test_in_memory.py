"""`extract` for programs in Python: the numbers of the command line's caches, from any source of images."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn

from tests.refusals import refusal_of, tells
from tests.small_networks import BOTH, classifier_of, in_threads_of_their_own, noise, outputs_one_by_one
from trustcache.cache import CacheView, open_cache
from trustcache.cache.workspace import Workspace
from trustcache.data.dataset import Dataset, open_dataset
from trustcache.data.known_data import find_manifests
from trustcache.extract.in_memory import extract_in_memory
from trustcache.models.classifiers import Classifier
from trustcache.models.views import VIEWS
from trustcache.oracles.estimator import Oracle

SMALL = {"input_size": (8, 8)}


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return open_dataset(find_manifests("digits-test")[0], Path())


def extracted(classifier: Classifier | torch.nn.Module, data: Any, **settings: Any) -> CacheView:
    usual = {"device": "cpu", "workers": 0, "batch_size": 100, "features": "last"}
    return extract_in_memory(classifier, data, **{**usual, **settings})


def test_the_numbers_are_those_of_the_cache_on_disk(
    prepared_workspace: Workspace, digits_classifier: Classifier
) -> None:
    kept = open_cache(prepared_workspace.find_cache("test").folder)
    cache = extracted(digits_classifier, "digits-test")
    for name in ("logits", "features", "labels", "predictions", "correct", "true_class_prob"):
        np.testing.assert_array_equal(cache.column(name), kept.column(name))
        assert cache.column(name).dtype == kept.column(name).dtype
    assert cache.sample_ids == kept.sample_ids
    assert cache.index.made_from.classes == kept.index.made_from.classes
    assert cache.index.identity == kept.index.identity


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("network", BOTH)
def test_small_images_in_several_threads_have_the_outputs_of_one_by_one(network: Callable[[], nn.Module]) -> None:
    images = noise(60)
    with in_threads_of_their_own(network):
        pairs = [(image, 0) for image in images]
        cache = extracted(classifier_of(network()), pairs, batch_size=4, store="float32")
    logits, features = outputs_one_by_one(images)
    np.testing.assert_allclose(cache.logits, logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(cache.features, features, rtol=1e-4, atol=1e-5)


def test_memory_that_runs_out_halves_the_passes_with_a_warning(digits_classifier: Classifier) -> None:
    whole, most = digits_classifier.outputs, list[int]()

    def outputs(x: torch.Tensor, *more: object) -> dict[str, torch.Tensor]:
        if len(x) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        most.append(len(x))
        return whole(x, *more)

    small = extracted(digits_classifier, "digits-test", batch_size=10, store="float32")
    with mock.patch.object(digits_classifier, "outputs", outputs), pytest.warns(UserWarning, match="parts of 16"):
        halved = extracted(digits_classifier, "digits-test", batch_size=64, store="float32")
    assert max(most) == 16
    np.testing.assert_allclose(halved.logits, small.logits, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("three_threads")
def test_stages_and_views_are_the_same_in_several_threads_and_in_one(digits_classifier: Classifier) -> None:
    many = extracted(digits_classifier, "digits-test", features="stages", views=("all",), store="float32")
    torch.set_num_threads(1)
    one = extracted(digits_classifier, "digits-test", features="stages", views=("all",), store="float32")
    for name in ("logits", "features", "stages", *(f"{view}_logits" for view in VIEWS)):
        np.testing.assert_allclose(many.column(name), one.column(name), rtol=1e-4, atol=1e-4)


def test_pairs_datasets_and_loaders_are_the_same_images(digits_classifier: Classifier, digits: Dataset) -> None:
    wanted = extracted(digits_classifier, "digits-test")[:30]
    pairs = [(digits.read(i), int(digits.labels[i])) for i in range(30)]
    transform, normalise = digits_classifier.preprocessing.transform(), digits_classifier.preprocessing.normalise
    x = normalise(torch.stack([transform(image) for image, _ in pairs]))
    tensors = torch.utils.data.TensorDataset(x, torch.tensor([label for _, label in pairs]))
    loader = torch.utils.data.DataLoader(tensors, batch_size=7)
    arrays = [{"image": np.asarray(image), "label": label} for image, label in pairs]
    for data in (pairs, iter(pairs), arrays, tensors, loader):
        cache = extracted(digits_classifier, data)
        np.testing.assert_array_equal(cache.labels, wanted.labels)
        np.testing.assert_allclose(cache.logits, wanted.logits, atol=2e-2)


def test_assumed_preprocessing_is_warned_of_where_images_are_prepared_by_it() -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3))
    arrays = [(np.zeros((8, 8, 3), np.uint8), i) for i in range(3)]
    with pytest.warns(UserWarning, match="crop_pct, mean, std of its images are assumed.*with preprocess") as told:
        cache = extracted(net, arrays, preprocess=SMALL)
    assert (len(told), cache.index.made_from.assumed) == (1, ("crop_pct", "mean", "std"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        extracted(net, [(torch.zeros(3, 8, 8), i) for i in range(3)], preprocess=SMALL)
        extracted(net, arrays, preprocess={**SMALL, "crop_pct": 1.0, "mean": (0.5,) * 3, "std": (0.5,) * 3})


def test_torchvision_s_image_folder_is_the_folder(
    digits_classifier: Classifier, digits: Dataset, tmp_path: Path
) -> None:
    from torchvision.datasets import ImageFolder

    for label in range(10):
        (tmp_path / str(label)).mkdir()
        for number in np.flatnonzero(digits.labels == label)[:2].tolist():
            digits.read(number).save(tmp_path / str(label) / f"{digits.ids[number]}.png")
    folder, dataset = extracted(digits_classifier, tmp_path), extracted(digits_classifier, ImageFolder(str(tmp_path)))
    for name in ("logits", "features", "labels"):
        np.testing.assert_array_equal(dataset.column(name), folder.column(name))
    assert dataset.index.made_from.classes == folder.index.made_from.classes


def test_a_module_is_copied_and_left_as_it_is(digits_classifier: Classifier, digits: Dataset) -> None:
    import copy

    model = copy.deepcopy(digits_classifier.model).requires_grad_(True).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    cache = extract_in_memory(model, digits, preprocess=SMALL, device="cpu", workers=0, name="digits")
    np.testing.assert_allclose(cache.logits, extracted(digits_classifier, digits).logits, atol=2e-2)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    assert cache.index.data == "digits"
    oracle = Oracle("strong", epochs=1, device="cpu").fit(cache[:400])
    assert set(VIEWS) < set(oracle.config_.head.inputs)  # unless told otherwise, it keeps all that a strong one reads
    other = extracted(digits_classifier, digits, features="stages", views=())
    assert tells(refusal_of(lambda: oracle.decision_function(other)), "judges")  # a classifier of another name


@pytest.mark.parametrize(
    ("data", "settings", "facts"),
    [
        ([], {}, ("no images",)),
        ("digits-c", {}, ("digits-c", "data sets")),
        ("unheard", {}, ("unheard",)),
        ([], {"views": ["upside-down"]}, ("views", "upside-down", *VIEWS)),
        ([], {"features": "all"}, ("extract", "features", "last, stages, none", "'all'")),
        ([], {"batch_size": 0}, ("batch_size", "0")),
        ([], {"classes": ["a", "b"]}, ("2 classes", "10")),
    ],
)
def test_a_wrong_request_is_refused(
    digits_classifier: Classifier, data: Any, settings: dict[str, Any], facts: tuple[str, ...]
) -> None:
    assert tells(refusal_of(lambda: extracted(digits_classifier, data, **settings)), *facts)


def test_what_is_no_model_and_images_without_labels_are_refused(digits_classifier: Classifier, digits: Dataset) -> None:
    assert tells(refusal_of(lambda: extract_in_memory("resnet18", digits)), "torch.nn.Module", "str")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="mc_dropout"):
        extracted(digits_classifier, digits, mc_dropout=5)
    with pytest.raises(ValueError, match="labels"):
        extracted(digits_classifier, [digits.read(0)])


def test_labels_may_be_words_where_the_classes_are_named(digits_classifier: Classifier, digits: Dataset) -> None:
    names = [f"digit {number}" for number in range(10)]
    pairs = [(digits.read(i), names[digits.labels[i]]) for i in range(5)]
    assert extracted(digits_classifier, pairs, classes=names).labels.tolist() == digits.labels[:5].tolist()
    assert tells(refusal_of(lambda: extracted(digits_classifier, pairs)), "extract", pairs[0][1], "'classes'")


class Named(torch.utils.data.Dataset):
    """Ten digits, and the names of their classes."""

    def __init__(self, digits: Dataset, classes: list[str]) -> None:
        self.digits, self.classes = digits, classes

    def __len__(self) -> int:
        return 10

    def __getitem__(self, i: int) -> tuple[Any, int]:
        return self.digits.read(i), int(self.digits.labels[i])


def test_joined_data_sets_name_their_classes_alike(digits_classifier: Classifier, digits: Dataset) -> None:
    names = [f"digit {number}" for number in range(10)]
    whole, part = Named(digits, names), torch.utils.data.Subset(Named(digits, names), range(5))
    joined = torch.utils.data.ConcatDataset([whole, part])
    cache = extracted(digits_classifier, torch.utils.data.DataLoader(joined, batch_size=4, collate_fn=lists))
    assert cache.index.made_from.classes == tuple(names)
    assert cache.labels.tolist() == digits.labels[[*range(10), *range(5)]].tolist()
    odd = torch.utils.data.ConcatDataset([whole, Named(digits, names[::-1])])
    refused = refusal_of(lambda: extracted(digits_classifier, odd))
    assert tells(refused, "extract", "class 0", "digit 0", "number 2", "digit 9", "'classes'")
    assert extracted(digits_classifier, odd, classes=names).index.made_from.classes == tuple(names)


def lists(rows: list[tuple[Any, int]]) -> tuple[list[Any], list[int]]:
    return [image for image, _ in rows], [label for _, label in rows]


def test_files_that_are_passed_over_are_told_in_python_too(
    digits_classifier: Classifier, digits: Dataset, tmp_path: Path
) -> None:
    for number in range(10):
        (tmp_path / str(number)).mkdir()
        digits.read(0).save(tmp_path / str(number) / "a.png")
    (tmp_path / "0" / "notes.txt").touch()
    with pytest.warns(UserWarning, match=r"passed over 1 file: 1 with the suffix \.txt"):
        cache = extracted(digits_classifier, tmp_path)
    assert len(cache) == 10
