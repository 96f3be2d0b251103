"""Promises for every data set of the paper: a miniature, laid out as it is published, gives the right samples.

Each is laid out in every form that its manifest names, folders and tar files, which must give the same samples.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from tests.pictures import as_parquet
from trustcache.data.dataset import Dataset, available, open_dataset
from trustcache.data.known_data import find_manifests, packaged_manifests
from trustcache.data.manifest import Manifest
from trustcache.errors import UsageError

WNIDS = find_manifests("imagenet-val")[0].classes or ()
CHOSEN = (3, 970, 14, 999)
"""Label numbers that occur in the miniatures."""


def encoded(seed: int, format: str = "JPEG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((16, 12)).save(buffer, format, quality=95)
    return buffer.getvalue()


def folder(root: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def tar(path: Path, files: dict[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
    return buffer.getvalue()


def class_folders(labels: Iterable[int] = CHOSEN, suffix: str = ".JPEG") -> dict[str, bytes]:
    """Two images in each of some of ImageNet's class folders, in no order."""
    format = "PNG" if suffix == ".png" else "JPEG"
    return {
        f"{WNIDS[label]}/{WNIDS[label]}_{i}{suffix}": encoded(label + i, format) for label in labels for i in (1, 2)
    }


def samples(data: Dataset) -> list[tuple[int, bytes]]:
    return [(int(data.labels[i]), data.read(i).tobytes()) for i in range(len(data))]


def same_in_every_form(manifest: Manifest, root: Path, count: int) -> list[Dataset]:
    """Open each of the manifest's forms, all of which must be there, and hold their samples to the first one's."""
    data = [open_dataset(replace(manifest, files=(files,)), root) for files in manifest.files]
    assert len(data[0]) == count
    for other in data[1:]:
        assert sorted(samples(other)) == sorted(samples(data[0]))
    return data


# --- ImageNet --------------------------------------------------------------------------------------------------


def test_imagenet_train_as_folders_as_published_unpacked_once_and_as_webdataset(tmp_path: Path) -> None:
    (manifest,) = find_manifests("imagenet-train")
    files = class_folders()
    root = tmp_path / "imagenet"
    folder(root / "train", files)
    by_class = {wnid: {n.split("/")[1]: d for n, d in files.items() if n.startswith(wnid)} for wnid in WNIDS}
    inner = {f"{wnid}.tar": tar(root / f"{wnid}.tar", inside) for wnid, inside in by_class.items() if inside}
    tar(root / "ILSVRC2012_img_train.tar", inner)
    for shard, label in enumerate(CHOSEN):
        pairs: dict[str, bytes] = {}
        for number, (name, data) in enumerate((n, d) for n, d in files.items() if n.startswith(WNIDS[label])):
            key = f"{number:09d}"
            pairs |= {f"{key}.cls": str(label).encode(), f"{key}.jpg": data, f"{key}.json": b"{}"}
            assert name
        tar(root / f"train-{shard:06d}.tar", pairs)
    folder(root / "ILSVRC" / "Data" / "CLS-LOC" / "train", files)
    rows = [(data, WNIDS.index(name.split("/")[0])) for name, data in files.items()]
    for number, part in enumerate((rows[:4], rows[4:])):
        as_parquet(root / "data" / f"train-{number:05d}-of-00002.parquet", part, [f"word {wnid}" for wnid in WNIDS])
    data = same_in_every_form(manifest, tmp_path, 8)
    assert sorted(set(data[0].labels.tolist())) == sorted(CHOSEN)
    assert len(data[0].classes) == 1000
    folders, published, once, shards, kaggle, _ = data
    assert folders.ids == published.ids == once.ids == kaggle.ids
    assert folders.fingerprint() == published.fingerprint() == once.fingerprint() == kaggle.fingerprint()
    assert shards.ids[0] == "train-000000/000000000.jpg"


@pytest.fixture
def flat(tmp_path: Path) -> tuple[Path, list[int]]:
    """Twelve validation images side by side, and a devkit whose ids are not in the order of the WordNet ids."""
    rng = np.random.default_rng(0)
    ilsvrc_id = rng.permutation(1000) + 1  # by label
    labels = rng.integers(0, 1000, 12).tolist()
    root = tmp_path / "imagenet"
    folder(root / "val", {f"ILSVRC2012_val_{i + 1:08d}.JPEG": encoded(i) for i in range(12)})
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    synsets = np.zeros(1003, dtype=fields)
    for row, label in enumerate(rng.permutation(1000)):
        synsets[row] = (int(ilsvrc_id[label]), WNIDS[label], "some words, a name", 0)
    for row in range(1000, 1003):  # inner nodes of the hierarchy have ids too
        synsets[row] = (row + 1, f"n9999999{row - 1000}", "entity", 3)
    buffer = io.BytesIO()
    savemat(buffer, {"synsets": synsets.reshape(-1, 1)})
    truth = "".join(f"{ilsvrc_id[label]}\n" for label in labels)
    devkit = {"meta.mat": buffer.getvalue(), "ILSVRC2012_validation_ground_truth.txt": truth.encode()}
    folder(root / "ILSVRC2012_devkit_t12" / "data", devkit)
    return root, labels


def test_imagenet_val_flat_takes_its_labels_from_the_devkit_through_meta_mat(
    flat: tuple[Path, list[int]], tmp_path: Path
) -> None:
    root, labels = flat
    data = open_dataset(find_manifests("imagenet-val")[0], tmp_path)
    assert data.labels.tolist() == labels
    assert data.ids[4] == "ILSVRC2012_val_00000005.JPEG"
    (root / "val" / "ILSVRC2012_val_00000001.JPEG").unlink()
    assert open_dataset(find_manifests("imagenet-val")[0], tmp_path).labels.tolist() == labels[1:], "numbers, not ranks"


def test_without_classes_of_its_own_a_flat_data_set_has_those_of_the_devkit(
    flat: tuple[Path, list[int]], tmp_path: Path
) -> None:
    data = open_dataset(replace(find_manifests("imagenet-val")[0], classes=None), tmp_path)
    assert data.classes == WNIDS, "the synsets with images, not the hierarchy above them"
    assert data.labels.tolist() == flat[1]


def test_imagenet_val_in_every_form(flat: tuple[Path, list[int]], tmp_path: Path) -> None:
    root, labels = flat
    images = {path.name: path.read_bytes() for path in sorted((root / "val").iterdir())}
    tar(root / "ILSVRC2012_img_val.tar", images)
    by_class = {f"{WNIDS[label]}/{name}": data for label, (name, data) in zip(labels, images.items(), strict=True)}
    tar(root / "val.tar", {f"val/{name}": data for name, data in by_class.items()})
    pairs = {f"{i:05d}.jpg": data for i, data in enumerate(images.values())}
    tar(root / "val-000000.tar", pairs | {f"{i:05d}.cls": f"{label}\n".encode() for i, label in enumerate(labels)})
    folder(root / "ILSVRC" / "Data" / "CLS-LOC" / "val", images)
    boxes = "".join(
        f"{Path(n).stem},{WNIDS[y]} 1 2 3 4 {WNIDS[y]} 5 6 7 8 \n" for n, y in zip(images, labels, strict=True)
    )
    (root / "LOC_val_solution.csv").write_text(f"ImageId,PredictionString\n{boxes}")
    as_parquet(root / "data" / "validation-00000.parquet", list(zip(images.values(), labels, strict=True)))
    (manifest,) = find_manifests("imagenet-val")
    as_folders = replace(manifest, files=tuple(f for f in manifest.files if f.keys.get("path") != "imagenet/val"))
    data = same_in_every_form(as_folders, tmp_path, 12)
    assert samples(open_dataset(manifest, tmp_path)) == samples(data[0])
    folder(tmp_path / "elsewhere" / "imagenet" / "val", by_class)
    elsewhere = open_dataset(manifest, tmp_path / "elsewhere")
    assert sorted(samples(elsewhere)) == sorted(samples(data[0]))
    assert elsewhere.fingerprint() == data[1].fingerprint(), "class folders, unpacked or not"
    named = {f"{Path(name).stem}_{WNIDS[label]}.JPEG": images[name] for name, label in zip(images, labels, strict=True)}
    folder(tmp_path / "hub" / "imagenet" / "val", named)
    assert samples(open_dataset(manifest, tmp_path / "hub")) == samples(data[0])


def test_the_devkit_is_read_as_it_is_published(flat: tuple[Path, list[int]], tmp_path: Path) -> None:
    root, labels = flat
    devkit = root / "ILSVRC2012_devkit_t12"
    files = {f"{devkit.name}/data/{path.name}": path.read_bytes() for path in (devkit / "data").iterdir()}
    devkit.rename(root / "put away")
    (manifest,) = find_manifests("imagenet-val")
    with pytest.raises(UsageError, match=r"ILSVRC2012_devkit_t12/data/meta.mat: cannot be read .*t12\.tar\.gz"):
        open_dataset(manifest, tmp_path)
    tar(root / "ILSVRC2012_devkit_t12.tar.gz", files, "w:gz")
    assert open_dataset(manifest, tmp_path).labels.tolist() == labels


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("ILSVRC2012_validation_ground_truth.txt", b"1\n2\n", r"val_00000003\.JPEG: "),
        ("ILSVRC2012_validation_ground_truth.txt", b"one\n", "not one number a line"),
        ("ILSVRC2012_validation_ground_truth.txt", b"5000\n" * 12, "has no class for it"),
        ("meta.mat", b"no matrix", r"meta\.mat: "),
    ],
)
def test_a_damaged_devkit_is_named(
    flat: tuple[Path, list[int]], tmp_path: Path, file: str, content: bytes, words: str
) -> None:
    (flat[0] / "ILSVRC2012_devkit_t12" / "data" / file).write_bytes(content)
    with pytest.raises(UsageError, match=words):
        open_dataset(find_manifests("imagenet-val")[0], tmp_path)


# --- its variants ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["imagenet-stylized", "imagenet-a", "imagenet-r", "imagenet-sketch"])
def test_a_variant_in_class_folders_and_in_tar_files(tmp_path: Path, name: str) -> None:
    (manifest,) = find_manifests(name)
    occurring = manifest.subset or WNIDS
    labels = [WNIDS.index(occurring[i]) for i in (0, 5, -1)]
    files = class_folders(labels, ".png" if name == "imagenet-stylized" else ".jpg")
    for form in manifest.files:
        if form.keys["path"].endswith(".tar"):
            inside = Path(form.keys["path"]).stem
            tar(
                tmp_path / form.keys["path"],
                {f"{inside}/README.txt": b""} | {f"{inside}/{n}": d for n, d in files.items()},
            )
        else:
            folder(tmp_path / form.keys["path"], files)
    data = same_in_every_form(manifest, tmp_path, 6)
    assert len({d.fingerprint() for d in data}) == 1
    assert sorted(set(data[0].labels.tolist())) == sorted(labels)
    assert len(data[0].classes) == 1000


def test_imagenet_a_and_r_name_the_200_classes_that_occur(tmp_path: Path) -> None:
    for name in ("imagenet-a", "imagenet-r"):
        (manifest,) = find_manifests(name)
        assert manifest.subset is not None
        assert len(manifest.subset) == 200
        assert set(manifest.subset) < set(WNIDS)


def test_every_member_of_imagenet_c_in_folders_and_in_its_archive(tmp_path: Path) -> None:
    members = find_manifests("imagenet-c")
    assert len(members) == 95
    files = class_folders([7, 8])
    archives: dict[str, dict[str, bytes]] = {}
    for manifest in members:
        unpacked, archived = manifest.files
        folder(tmp_path / unpacked.keys["path"], files)
        archive, inside = archived.keys["path"].split(".tar/")
        archives.setdefault(f"{archive}.tar", {}).update({f"{inside}/{n}": d for n, d in files.items()})
    for archive, content in archives.items():
        tar(tmp_path / archive, content)
    assert sorted(Path(archive).name for archive in archives) == [
        "blur.tar",
        "digital.tar",
        "extra.tar",
        "noise.tar",
        "weather.tar",
    ]
    for manifest in members:
        assert manifest.cropped
        assert len({d.fingerprint() for d in same_in_every_form(manifest, tmp_path, 4)}) == 1


@pytest.mark.parametrize("manifest", find_manifests("imagenet-v2"), ids=lambda m: m.name)
def test_imagenet_v2_s_folders_are_numbers_that_sort_wrongly_as_texts(manifest: Manifest, tmp_path: Path) -> None:
    files = {f"{label}/{i}.jpeg": encoded(label + i) for label in (0, 2, 10, 999) for i in (0, 1)}
    unpacked, archived = (tmp_path / files_.keys["path"] for files_ in manifest.files)
    folder(unpacked, files)
    tar(archived, {f"{unpacked.name}/{name}": data for name, data in files.items()})
    data, packed = same_in_every_form(manifest, tmp_path, 8)
    assert data.ids == packed.ids
    assert data.labels.tolist() == [0, 0, 2, 2, 10, 10, 999, 999]
    assert data.fingerprint() == packed.fingerprint()
    for stranger in ("1000", "01x"):
        folder(tmp_path / "odd" / manifest.files[0].keys["path"], {f"{stranger}/0.jpeg": encoded(0)})
        with pytest.raises(UsageError, match=f"'{stranger}'.* 1000 classes"):
            open_dataset(manifest, tmp_path / "odd")
        (tmp_path / "odd" / manifest.files[0].keys["path"] / stranger / "0.jpeg").unlink()
        (tmp_path / "odd" / manifest.files[0].keys["path"] / stranger).rmdir()


def test_cifar_10_c_is_five_severities_in_one_array(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (5 * 4, 32, 32, 3), dtype=np.uint8)
    labels = np.tile(np.array([3, 1, 4, 9]), 5)
    root = tmp_path / "CIFAR-10-C"
    root.mkdir()
    np.save(root / "fog.npy", pixels)
    np.save(root / "labels.npy", labels)
    for severity in range(1, 6):
        data = open_dataset(find_manifests(f"cifar10-c/fog/{severity}")[0], tmp_path)
        assert data.labels.tolist() == [3, 1, 4, 9]
        assert data.ids[0] == f"fog.npy/{4 * (severity - 1):05d}"
        for row in range(4):
            np.testing.assert_array_equal(np.asarray(data.read(row)), pixels[4 * (severity - 1) + row])
    assert not available(find_manifests("cifar10-c/snow/1")[0], tmp_path)


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda root: (root / "labels.npy").unlink(), r"labels\.npy: missing"),
        (lambda root: np.save(root / "labels.npy", np.arange(7)), r"labels\.npy: 7 labels .* 10 images"),
        (lambda root: np.save(root / "labels.npy", np.full(10, 10)), r"labels\.npy: .* 10 to 10"),
        (lambda root: (root / "fog.npy").write_bytes(b"no array"), r"fog\.npy: not a NumPy array"),
        (lambda root: np.save(root / "fog.npy", np.zeros((10, 32, 32, 3))), r"fog\.npy: expected uint8 images"),
        (lambda root: np.save(root / "fog.npy", np.zeros((9, 32, 32, 3), np.uint8)), r"fog\.npy: expected uint8"),
    ],
)
def test_damaged_arrays_of_cifar_10_c_are_named(tmp_path: Path, break_it: Callable[[Path], object], words: str) -> None:
    root = tmp_path / "CIFAR-10-C"
    root.mkdir()
    np.save(root / "fog.npy", np.zeros((10, 32, 32, 3), np.uint8))
    np.save(root / "labels.npy", np.zeros(10, np.int64))
    break_it(root)
    with pytest.raises(UsageError, match=words):
        open_dataset(find_manifests("cifar10-c/fog/2")[0], tmp_path)


# --- webdataset ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ({"0.jpg": encoded(0)}, r"0\.jpg: .*'train-0/0\.cls'"),
        ({"0.jpg": encoded(0), "0.cls": b"tench"}, r"0\.jpg: has the label tench"),
        ({"0.jpg": encoded(0), "0.cls": b"1000"}, r"0\.jpg: has the label 1000 .*1000 classes"),
    ],
)
def test_a_shard_without_a_good_label_is_named(tmp_path: Path, pairs: dict[str, bytes], words: str) -> None:
    tar(tmp_path / "imagenet" / "train-0.tar", pairs)
    with pytest.raises(UsageError, match=words):
        open_dataset(find_manifests("imagenet-train")[0], tmp_path)


def test_another_image_of_a_webdataset_sample_is_not_a_sample(tmp_path: Path) -> None:
    tar(tmp_path / "imagenet" / "train-0.tar", {"0.jpg": encoded(0), "0.seg.png": encoded(1, "PNG"), "0.cls": b"7"})
    data = open_dataset(find_manifests("imagenet-train")[0], tmp_path)
    assert (data.ids, data.labels.tolist()) == (["train-0/0.jpg"], [7])


# --- all of them -----------------------------------------------------------------------------------------------


def test_a_tar_file_as_data_reads_as_the_folder_it_was_packed_from(tmp_path: Path) -> None:
    files = {f"{c}/{i}.jpg": encoded(i) for c in ("cat", "dog") for i in (1, 2)}
    folder(tmp_path / "pets", files)
    tar(tmp_path / "pets.tar", {f"pets/{name}": data for name, data in files.items()})
    (unpacked,), (packed,) = find_manifests(str(tmp_path / "pets")), find_manifests(str(tmp_path / "pets.tar"))
    assert (packed.name, packed.role) == (unpacked.name, unpacked.role) == ("pets", "test")
    a, b = open_dataset(unpacked, tmp_path), open_dataset(packed, tmp_path)
    assert (a.ids, a.classes) == (b.ids, b.classes)
    assert samples(a) == samples(b)
    assert a.fingerprint() == b.fingerprint()


def test_every_packaged_data_set_is_absent_where_nothing_is_and_says_so(tmp_path: Path) -> None:
    for manifest in packaged_manifests():
        if manifest.files[0].layout != "digits":
            with pytest.raises(UsageError, match=f"^{manifest.name}: .*{tmp_path}/"):
                open_dataset(manifest, tmp_path)
