"""Promises of data sets ready to read: samples, their variants, and the fingerprint that pins them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.pictures import put, refusal
from trustcache.data.dataset import open_dataset
from trustcache.data.known_data import find_manifests, folder_manifest
from trustcache.data.manifest import Variant
from trustcache.data.samples import spread_evenly


def test_the_digits_are_scikit_learn_s() -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    names = ("digits-fit", "digits-train", "digits-test")
    parts = [open_dataset(find_manifests(name)[0], Path("nowhere")) for name in names]
    assert [len(p) for p in parts] == [450, 700, 647]
    assert np.concatenate([p.labels for p in parts]).tolist() == digits.target.tolist()
    assert len({i for p in parts for i in p.ids}) == 1797, "no sample is in two parts"
    grey = np.stack([np.asarray(p.read(i))[..., 0] for p in parts for i in range(len(p))])
    np.testing.assert_array_equal(grey, np.round(digits.images * 255 / 16))
    assert (grey.min(), grey.max()) == (0, 255)


def test_a_variant_s_images_do_not_depend_on_the_order() -> None:
    (manifest,) = find_manifests("digits-c/shot_noise/3")
    forward, backward = open_dataset(manifest, Path()), open_dataset(manifest, Path())
    rows = range(0, 60, 3)
    first = {i: forward.read(i).tobytes() for i in rows}
    assert {i: backward.read(i).tobytes() for i in reversed(rows)} == first
    assert {i: forward.read(i).tobytes() for i in rows} == first, "nor on how often"
    clean = open_dataset(find_manifests("digits-test")[0], Path())
    assert all(first[i] != clean.read(i).tobytes() for i in rows)
    assert clean.ids == forward.ids


def test_each_image_has_noise_of_its_own() -> None:
    noisy = open_dataset(find_manifests("digits-c/gaussian_noise/5")[0], Path())
    clean = open_dataset(find_manifests("digits-test")[0], Path())
    black = (np.asarray(clean.read(0)) == 0) & (np.asarray(clean.read(1)) == 0)
    assert black.sum() > 30
    assert (np.asarray(noisy.read(0))[black] != np.asarray(noisy.read(1))[black]).any()


def test_seed_and_severity_change_a_variant() -> None:
    (manifest,) = find_manifests("digits-c/gaussian_noise/3")
    made = {
        open_dataset(replace(manifest, variant=Variant("corruption", "gaussian_noise", severity, seed)), Path())
        .read(0)
        .tobytes()
        for severity, seed in [(3, 0), (3, 1), (4, 0)]
    }
    assert len(made) == 3


def test_an_unknown_corruption_is_refused_before_any_image_is_read() -> None:
    (manifest,) = find_manifests("digits-test")
    message = refusal(replace(manifest, variant=Variant("corruption", "fogg", 3)), Path())
    assert message.startswith("digits-test: ")
    assert " fog," in message


def fingerprint(root: Path, **changes: object) -> str:
    return open_dataset(replace(folder_manifest(root), **changes), root).fingerprint()  # type: ignore[arg-type]


def test_a_fingerprint_changes_with_a_label_a_name_or_a_size_and_with_nothing_else(tmp_path: Path) -> None:
    data = tmp_path / "data"
    put(data, "a/1.png", "a/2.png", "b/1.png")
    classes = ("a", "b", "c")
    before = fingerprint(data, classes=classes)
    assert len(before) == 64

    os.utime(data / "a" / "1.png", (0, 0))
    (data / "a" / "notes.txt").write_text("x")
    assert fingerprint(data, classes=classes) == before, "dates and other files"
    moved = data.rename(tmp_path / "moved")
    assert fingerprint(moved, classes=classes) == before, "where it lies"
    assert fingerprint(moved, classes=classes, role="train", title="another", name="x") == before, "what it is called"

    assert fingerprint(moved, classes=("b", "a", "c")) != before, "labels"
    assert fingerprint(moved, classes=("a", "b", "d")) != before, "class names"
    assert fingerprint(moved, classes=classes, rows=(0, 2)) != before, "rows"
    seen = {before}
    (moved / "a" / "1.png").rename(moved / "a" / "0.png")
    seen.add(fingerprint(moved, classes=classes))
    (moved / "a" / "0.png").rename(moved / "b" / "0.png")
    seen.add(fingerprint(moved, classes=classes))
    with (moved / "b" / "0.png").open("ab") as file:
        file.write(b"\0")
    seen.add(fingerprint(moved, classes=classes))
    put(moved, "c/1.png")
    seen.add(fingerprint(moved, classes=classes))
    assert len(seen) == 5, "a name, a class, a size, one image more"


@given(st.lists(st.integers(0, 5), min_size=1, max_size=200), st.data())
def test_a_part_holds_every_class_in_its_share_and_no_sample_twice(labels: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(labels)))
    taken = spread_evenly(np.array(labels), count)
    assert len(taken) == count
    assert (np.diff(taken) > 0).all()
    for label in set(labels):
        share = labels.count(label) * count / len(labels)
        assert abs(np.array(labels)[taken].tolist().count(label) - share) < 1


def test_a_thinned_data_set_holds_the_same_images_of_the_whole_every_time() -> None:
    (manifest,) = find_manifests("digits-test")
    whole = open_dataset(manifest, Path())
    thin = open_dataset(replace(manifest, thinned_to=100), Path())
    assert (len(thin), thin.part, whole.part) == (100, "100 of 647", None)
    where = [whole.ids.index(name) for name in thin.ids]
    np.testing.assert_array_equal(thin.labels, whole.labels[where])
    assert all(thin.read(i).tobytes() == whole.read(there).tobytes() for i, there in enumerate(where))
    assert open_dataset(replace(manifest, thinned_to=100), Path()).fingerprint() == thin.fingerprint()
    assert open_dataset(replace(manifest, thinned_to=101), Path()).fingerprint() != thin.fingerprint()


def test_a_part_as_large_as_the_whole_is_the_whole() -> None:
    (manifest,) = find_manifests("digits-test")
    whole, all_of_it = open_dataset(manifest, Path()), open_dataset(replace(manifest, thinned_to=5000), Path())
    assert all_of_it.part is None
    assert all_of_it.fingerprint() == whole.fingerprint()


HEAVY = """
import sys
from pathlib import Path
from trustcache.data.dataset import open_dataset
from trustcache.data.default_selection import everything
from trustcache.data.known_data import find_manifests, packaged_manifests
from trustcache.models.timm_models import classifier_names
assert packaged_manifests() and classifier_names()
everything(Path())
for name in ("digits-test", "digits-c/contrast/1", "digits-fourier", "digits-pgd"):
    open_dataset(find_manifests(name)[0], Path()).read(0)
print(*sorted({"torch", "torchvision", "timm"} & set(sys.modules)))
"""


def test_data_sets_are_listed_and_read_without_torch() -> None:
    command = [sys.executable, "-c", HEAVY]
    assert not subprocess.check_output(command, text=True, cwd=Path(__file__).parents[2]).strip()
