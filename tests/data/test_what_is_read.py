"""The table "What is read, what is passed over?" of docs/data.md: each row by the command line, on files made here."""

from __future__ import annotations

import gzip
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from typer.testing import Result

from tests.documented_tables import DOCS, DocumentedTable
from tests.pictures import as_parquet, encoded, packed, picture, put, read_rgb
from tests.refusals import tells
from trustcache.data.known_data import packaged_manifests
from trustcache.data.samples import IMAGE_FORMATS, IMAGE_SUFFIXES

TORCH = "tests/data/layouts/test_torch_dataset.py::test_what_a_function_returns_is_checked_and_extracted"
TABLE = DocumentedTable(
    "data.md",
    "What is read, what is passed over?",
    elsewhere={"a torch Dataset by `package.module:function`": (TORCH,)},
)
row = TABLE.row
PACKAGED = packaged_manifests()


class Shop:
    """A working folder, and what `trustcache data check` says of what lies in it."""

    def __init__(self, run_cli: Callable[..., Result]) -> None:
        self.run_cli = run_cli

    def check(self, request: str, *options: object) -> dict[str, Any]:
        done = self.run_cli("data", "check", request, "--data-root", ".", "--json", *options)
        assert done.exit_code == 0, done.stderr
        (found,) = json.loads(done.stdout)["data"]
        return found

    def labels(self, request: str) -> dict[str, str]:
        """The class of each image of a data set of at most three, by its id."""
        return {image["id"]: image["label"] for image in self.check(request)["images"]}

    def refusal(self, request: str, *options: object) -> str:
        done = self.run_cli("data", "check", request, "--data-root", ".", *options)
        assert done.exit_code == 2, done.stdout
        assert done.stderr.count("\n") == 1
        return done.stderr


def files(contents: dict[str, bytes | str], root: str = ".") -> None:
    for name, content in contents.items():
        path = Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def manifest(layout: str, **keys: object) -> str:
    """Write own.toml of a data set in a layout."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    head = 'name = "own"\nrole = "test"\n[[files]]'
    Path("own.toml").write_text("\n".join([head, f'layout = "{layout}"', *lines]), encoding="utf-8")
    return "own.toml"


# --- which files are images ------------------------------------------------------------------------------------


@row("a folder or file without a manifest")
def a_bare_folder_is_named_by_itself_or_after_the_one_above(shop: Shop) -> None:
    named = {"photos/pool": "photos-pool", "photos/Val": "photos-Val", "a/birds": "birds", "p/images": "p-images"}
    for place, name in named.items():
        put(Path(place), "cat/a.png", "dog/b.png")
        assert shop.check(place)["name"] == name


@row("a file with one of these suffixes")
def suffixes_in_any_case(shop: Shop) -> None:
    names = [f"{spelling}/{i}{getattr(suffix, spelling)()}" for i, suffix in enumerate(sorted(IMAGE_SUFFIXES))
             for spelling in ("lower", "upper", "title")]  # fmt: skip
    put(Path("photos"), *names)
    found = shop.check("photos")
    assert (found["samples"], found["passed_over"]) == (len(names), {})
    table = (DOCS / "data.md").read_text(encoding="utf-8")
    assert all(f"`{suffix}`" in table for suffix in IMAGE_SUFFIXES)


@row("a file without a suffix")
def by_content_without_a_suffix(shop: Shop) -> None:
    files({f"cat/{format}": encoded(0, format) for format in IMAGE_FORMATS}, "photos")
    files({"cat/README": "Python, and other words", "cat/LICENSE": "BMP is no image here", "cat/empty": b""}, "photos")
    for tree in (b"", packed({str(p.relative_to("photos")): p.read_bytes() for p in Path("photos").rglob("*/*")})):
        Path("photos.tar").write_bytes(tree)
        found = shop.check("photos.tar" if tree else "photos")
        assert found["samples"] == len(IMAGE_FORMATS)
        assert found["passed_over"] == {"without the suffix or the content of an image": 3}


@row("a file with another suffix")
def another_suffix(shop: Shop) -> None:
    put(Path("photos"), "cat/a.png", "cat/a.png.bak", "cat/b.HEIC", "cat/notes.txt")
    expected = {"with the suffix .bak": 1, "with the suffix .heic": 1, "with the suffix .txt": 1}
    assert shop.check("photos")["passed_over"] == expected


@row("hidden files and folders, and `__MACOSX`, `@eaDir`, `Thumbs.db`, `desktop.ini`")
def what_systems_put_there(shop: Shop) -> None:
    hidden = [".DS_Store", "cat/._a.png", "cat/.ipynb_checkpoints/a.png", ".git/x/y.png", ".git/x/z"]
    put(Path("photos"), "cat/a.png", *hidden, "__MACOSX/cat/a.png", "cat/Thumbs.db", "cat/@eaDir/a.jpg", "desktop.ini")
    found = shop.check("photos")
    assert (found["samples"], found["classes_of"]) == (1, 1)
    assert found["passed_over"] == {
        "hidden": 5, "named __MACOSX": 1, "named Thumbs.db": 1, "named @eaDir": 1, "named desktop.ini": 1,
    }  # fmt: skip


@row("files beside the class folders")
def beside_the_class_folders(shop: Shop) -> None:
    put(Path("photos"), "wrapped/cat/a.png", "wrapped/dog/a.png", "wrapped/b.png")
    files({"README": "x"}, "photos")
    Path("photos/wrapped/b.png").rename("photos/b.txt")
    found = shop.check("photos")
    assert (found["samples"], found["passed_over"]) == (2, {"beside the class folders": 2})


@row("an empty, broken or dangling file with an image's suffix")
def an_unreadable_image(shop: Shop) -> None:
    files({"cat/a.png": b""}, "photos")
    done = shop.run_cli("data", "check", "photos")
    assert (done.exit_code, tells(done.stderr, "photos/cat/a.png", "--on-bad-image skip")) == (1, True)
    Path("photos/cat/a.png").unlink()
    Path("photos/cat/a.png").symlink_to("nowhere.png")
    assert "photos/cat/a.png" in shop.run_cli("data", "check", "photos").stderr


@row("a folder named `x.jpg`")
def a_folder_named_like_an_image(shop: Shop) -> None:
    put(Path("photos"), "cat/x.jpg/a.png", "cat/b.png")
    assert shop.labels("photos") == {"cat/b.png": "cat", "cat/x.jpg/a.png": "cat"}


@row("a folder that links lead back to")
def links_in_a_circle(shop: Shop) -> None:
    put(Path("photos"), "cat/a.png")
    Path("photos/cat/loop").symlink_to("..")
    assert tells(shop.refusal("photos"), "photos", "remove the link")
    Path("photos/cat/loop").unlink()
    Path("photos/dog").symlink_to("dog")
    assert shop.check("photos")["passed_over"] == {"beside the class folders": 1}
    said = shop.refusal(manifest("folders", path="photos/dog/deeper"))
    assert "permissions" not in said
    Path("loop.csv").symlink_to("loop.csv")
    assert "permissions" not in shop.refusal("loop.csv")


# --- tar files -------------------------------------------------------------------------------------------------

TWO = {"cat/a.png": encoded(0), "dog/b.png": encoded(1)}


@row("a compressed archive")
def compressed_archives(shop: Shop) -> None:
    zipped = b"PK\x03\x04 and so on"
    whole = {"photos.tar.gz": gzip.compress(packed(TWO)), "photos.zip": zipped, "gzipped.tar": gzip.compress(b"")}
    files(whole)
    for name, command in (("photos.tar.gz", "tar -xzf"), ("photos.zip", "unzip"), ("gzipped.tar", "tar -xzf")):
        assert tells(shop.refusal(name), name, command)
        assert tells(shop.refusal(manifest("folders", path=name)), name, command)
    files({f"s-{number}.tar.gz": gzip.compress(packed(TWO)) for number in range(2)})
    for name in ("s-{0..1}.tar.gz", "s-*.tar.gz"):
        assert tells(shop.refusal(name), name, "gunzip", name, ".tar files")


@row("two members of one name in a tar file")
def members_of_one_name(shop: Shop) -> None:
    one, two = packed({"cat/a.png": encoded(1)}), packed(TWO)
    Path("twice.tar").write_bytes(one[: 512 + (len(encoded(1)) + 511) // 512 * 512] + two)
    found = shop.check("twice.tar")
    assert (found["samples"], found["passed_over"]) == (2, {"replaced by a later one of the same name": 1})


@row("a tar file that is cut short, or has bytes behind its end mark")
def tar_files_that_do_not_end_at_their_end(shop: Shop) -> None:
    whole = packed(TWO)
    member = 512 + (len(TWO["cat/a.png"]) + 511) // 512 * 512
    cases = {"between members": whole[:member], "without an end": whole[: 2 * member], "twice": whole + whole}
    for name, content in cases.items():
        Path("photos.tar").write_bytes(content)
        assert tells(shop.refusal("photos.tar"), "photos.tar", "--concatenate" if name == "twice" else "head -c 1024")
        Path("outer.tar").write_bytes(packed({"photos.tar": content}))
        assert "outer.tar" in shop.refusal("outer.tar")
    Path("photos.tar").write_bytes(whole[: 2 * member] + b"\0" * 1024)
    assert shop.check("photos.tar")["samples"] == 2, "the command of the message mends it"


@row("`'shards/s-{0000..0011}.tar'`, `'shards/*.tar'`, `'s-?.tar'`, `'s-[0-4].tar'`, `'{a,b}.tar'`")
def lists_of_files(shop: Shop) -> None:
    for number in range(8, 12):
        files({f"shards/s-{number:04d}.tar": packed({"0.png": encoded(number), "0.cls": str(number % 2)})})
    for request in ("shards/s-{0008..0011}.tar", "shards/*.tar", "shards/s-00{08,09,10,11}.tar"):
        found = shop.check(request)
        assert (found["samples"], found["classes"], found["passed_over"]) == (4, 2, {})
    assert shop.check("shards/s-{0008..0011}.tar")["name"] == "s"
    assert shop.check("shards/*.tar")["name"] == "shards"
    assert tells(shop.refusal("shards/s-{0000..0011}.tar"), "s-0000.tar", "8 of the 12")
    as_parquet(Path("hub/train-0.parquet"), [(encoded(0), 0)])
    as_parquet(Path("hub/train-1.parquet"), [(encoded(1), 1)])
    assert shop.check("hub/train-{0..1}.parquet")["samples"] == 2


# --- pixels ----------------------------------------------------------------------------------------------------


@row("transparency")
def transparency(shop: Shop) -> None:
    Image.new("RGBA", (2, 2), (250, 130, 20, 0)).save("a.png")
    assert read_rgb(Path("a.png")).getpixel((0, 0)) == (250, 130, 20)


@row("EXIF orientation")
def orientation(shop: Shop) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (4, 2)).save("a.jpg", exif=exif)
    assert read_rgb(Path("a.jpg")).size == (4, 2)


@row("16 bits a value")
def sixteen_bits(shop: Shop) -> None:
    for high in (255, 256, 65535):
        Image.fromarray(np.array([[0, 255, high]], dtype=np.uint16)).save("a.png")
        grey = np.asarray(read_rgb(Path("a.png")))[0, :, 0].tolist()
        assert grey == [0, 0, high // 256], "no value decides what another means"


@row("several frames")
def frames(shop: Shop) -> None:
    first, second = (Image.new("L", (4, 4), value) for value in (200, 50))
    first.save("a.gif", save_all=True, append_images=[second])
    assert read_rgb(Path("a.gif")).getpixel((0, 0)) == (200, 200, 200)


@row("floating-point values")
def floats(shop: Shop) -> None:
    Path("photos/cat").mkdir(parents=True)
    Image.fromarray(np.zeros((4, 4), np.float32)).save("photos/cat/a.tif")
    assert tells(shop.run_cli("data", "check", "photos").stderr, "photos/cat/a.tif", "floating-point")


# --- labels ----------------------------------------------------------------------------------------------------


@row("Kaggle's `LOC_val_solution.csv`")
def kaggle(shop: Shop) -> None:
    put(Path("ILSVRC/Data/CLS-LOC/val"), "ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000002.JPEG")
    rows = ["ImageId,PredictionString", "ILSVRC2012_val_00000002,n02 1 2 3 4 n02 5 6 7 8 "]
    Path("LOC_val_solution.csv").write_text("\n".join([*rows, "ILSVRC2012_val_00000001,n01 1 2 3 4 \n"]))
    expected = {"ILSVRC2012_val_00000002.JPEG": "n02", "ILSVRC2012_val_00000001.JPEG": "n01"}
    assert shop.labels("LOC_val_solution.csv") == expected


@row("Tiny-ImageNet's `val_annotations.txt`")
def tiny_imagenet(shop: Shop) -> None:
    put(Path("val/images"), "val_0.JPEG", "val_1.JPEG", "val_2.JPEG")
    Path("val/val_annotations.txt").write_text("val_0.JPEG\tn03\t0\t0\t1\t1\nval_1.JPEG\tn01\t0\t0\t1\t1\n")
    for request in ("val", "val/val_annotations.txt"):
        assert shop.labels(request) == {"val_0.JPEG": "n03", "val_1.JPEG": "n01"}
        assert shop.check(request)["passed_over"] == {"without a row in val_annotations.txt": 1}


TABLES = {
    "a header": ("labels.csv", "filename,class\na.png,dog\nb.png,cat\n"),
    "no header": ("labels.csv", "a.png,dog\nb.png,cat\n"),
    "columns in another order": ("labels.csv", "id,label,Image Path\n7,dog,a.png\n8,cat,b.png\n"),
    "tabs": ("labels.tsv", "path\tlabel\na.png\tdog\nb.png\tcat\n"),
    "semicolons": ("labels.csv", "path;label\na.png;dog\nb.png;cat\n"),
    "blanks": ("list.txt", "a.png dog\n\nb.png cat\n"),
    "a byte order mark": ("labels.csv", "\ufefffile,label\r\na.png,dog\r\nb.png,cat\r\n"),
    "quotes": ("labels.csv", 'path,label\n"a.png","dog"\n"b.png","cat"\n'),
    "an index by pandas": ("labels.csv", ",path,label\n0,a.png,dog\n1,b.png,cat\n"),
    "names in the plural": ("labels.csv", "class id,filepaths,labels,data set\n0,a.png,dog,train\n1,b.png,cat,test\n"),
    "no suffixes": ("labels.csv", "id,label\na,dog\nb,cat\n"),
    "Windows": ("labels.csv", "path,label\n.\\a.png,dog\n.\\b.png,cat\n"),
    "JSON lines": ("labels.jsonl", '{"label": "dog", "image": "a.png"}\n{"label": "cat", "image": "b.png"}\n'),
}


@row("any CSV, JSON lines or text list with a path and a label a row")
def tables(shop: Shop) -> None:
    put(Path("set"), "a.png", "b.png")
    for name, (file, text) in TABLES.items():
        Path("set", file).write_text(text, encoding="utf-8")
        assert shop.labels(f"set/{file}") == {"a.png": "dog", "b.png": "cat"}, name
        Path("set", file).unlink()
    Path("set/labels.csv").write_text("a.png,image\nb.png,label\n")
    assert shop.labels("set/labels.csv") == {"a.png": "image", "b.png": "label"}, "words of headers as classes"
    Path("set/labels.csv").write_text("a,class0\nb,class1\n")
    assert shop.labels("set/labels.csv") == {"a.png": "class0", "b.png": "class1"}, "a class is no heading"
    Path("set/captions.jsonl").write_text('{"file_name": "a.png", "text": "a dog runs"}')
    assert tells(shop.refusal("set/captions.jsonl"), "captions.jsonl", "text", "label_column")
    Path("names.csv").write_text("foto,klasse,n\na.png,dog,1\nb.png,cat,2\n")
    said = shop.refusal(manifest("table", table="names.csv", images="set"))
    assert tells(said, "names.csv", "'foto'", "path_column", "label_column")
    named = manifest("table", table="names.csv", images="set", path_column="foto", label_column="klasse")
    assert shop.labels(named) == {"a.png": "dog", "b.png": "cat"}
    Path("set.tar").write_bytes(packed({"a.png": encoded(0), "b.png": encoded(1)}))
    named = manifest("table", table="names.csv", images="set.tar", path_column="foto", label_column="klasse")
    assert shop.labels(named) == {"a.png": "dog", "b.png": "cat"}


@row("a table's paths from the working folder, from a folder above, or absolute")
def paths_of_tables(shop: Shop) -> None:
    put(Path("photos/set"), "a.png", "b.png")
    Path("via").symlink_to("photos")
    here = Path.cwd()
    for start in ("photos/set/", "set/", "../set/", f"{here}/photos/set/", f"{here}/via/set/"):
        files({"photos/set/own.csv": f"path,label\n{start}a.png,dog\n{start}b.png,cat\n"})
        assert shop.labels("photos/set/own.csv") == {"a.png": "dog", "b.png": "cat"}, start
    for start in (f"{here}/photos/set/", "photos/set/", "../photos/set/"):
        files({"tables/own.csv": f"path,label\n{start}a.png,dog\n{start}b.png,cat\n"})
        assert shop.labels("tables/own.csv") == {"a.png": "dog", "b.png": "cat"}, start
    for start in (f"{here}/photos/set/", "../photos/set/"):
        files({"tables/own.csv": f"path,label\n{start}a.png,dog\n"})
        said = shop.run_cli("data", "check", "tables/own.csv", "--data-root", "tables")
        assert said.exit_code == 2
        assert tells(said.stderr, "tables/own.csv", str(here / "photos" / "set"), "--data-root", "'images'")


@row("Kaggle's `labels.csv` and `train.csv`")
def tables_of_kaggle(shop: Shop) -> None:
    put(Path("dogs"), "train/x.png", "train_images/y.png", "test/z.png")
    for file, image in {"labels": "x", "train": "x.png", "test": "z"}.items():
        files({f"dogs/{file}.csv": f"id,breed\n{image},pug\n"})
        assert list(shop.labels(f"dogs/{file}.csv").values()) == ["pug"], file
    files({"dogs/train.csv": "image_id,label\ny.png,3\n"})
    assert shop.labels("dogs/train.csv") == {"y.png": "3"}


@row("an image without a row, a row without an image")
def tables_and_images_at_odds(shop: Shop) -> None:
    put(Path("set"), "a.png", "b.png", "b.jpg")
    files({"set/labels.csv": "a.png,cat\n"})
    assert shop.check("set/labels.csv")["passed_over"] == {"without a row in labels.csv": 2}
    files({"set/labels.csv": "a.png,cat\nc.png,dog\nd.png,dog\n"})
    assert tells(shop.refusal("set/labels.csv"), "row 2", "'c.png'", "1 more")
    files({"set/labels.csv": "a.png,cat\na.png,cat\n"})
    assert tells(shop.refusal("set/labels.csv"), "'a.png'", "two rows")
    files({"set/labels.csv": "a,cat\nb,cat\n"})
    assert tells(shop.refusal("set/labels.csv"), "'b'")
    for text in ("a.png\n", "a.png,\n", ",cat\n"):
        files({"set/labels.csv": text})
        assert tells(shop.refusal("set/labels.csv"), "labels.csv", "row 1")
    files({"set/labels.jsonl": '{"path": "a.png", "label": 1}\n{"path": "b.png", "label": null}\n'})
    assert tells(shop.refusal("set/labels.jsonl"), "labels.jsonl", "row 2")
    for content in (b"\x00\xff", b"", b'{"a": ', b'"'):
        files({"set/labels.jsonl": content})
        assert "labels.jsonl" in shop.refusal("set/labels.jsonl")


@row("Hugging Face's `metadata.csv` and `metadata.jsonl` in a folder of images")
def hub_metadata(shop: Shop) -> None:
    put(Path("flat"), "a.png", "b.png")
    files({"flat/metadata.csv": "file_name,label\na.png,wren\nb.png,ant\n"})
    assert shop.labels("flat") == {"a.png": "wren", "b.png": "ant"}
    put(Path("one"), "train/a.png", "train/b.png")
    files(
        {"one/metadata.jsonl": '{"file_name": "train/a.png", "label": 1}\n{"file_name": "train/b.png", "label": 0}\n'}
    )
    assert shop.labels("one/metadata.jsonl") == {"train/a.png": "1", "train/b.png": "0"}
    assert shop.check("one")["passed_over"] == {"beside the class folders": 1}, "class folders are class folders"


@row("`ILSVRC2012_val_00000001_n01440764.JPEG`")
def classes_in_names(shop: Shop) -> None:
    names = ["ILSVRC2012_val_00000001_n01440764.JPEG", "n01440764_10026_n01440764.JPEG"]
    put(Path("val"), *names)
    Path("val.tar").write_bytes(packed({name: encoded(0) for name in names}))
    for request in ("val", "val.tar"):
        assert shop.labels(request) == dict.fromkeys(names, "n01440764")


@row("Parquet files with a column of images")
def parquet(shop: Shop) -> None:
    rows = [(encoded(number), number % 2) for number in range(7)]
    as_parquet(Path("hub/data/train-00000.parquet"), rows, ["robin", "wren"])
    expected = {f"train-00000/{number:06d}": ("robin", "wren")[number % 2] for number in (0, 3, 6)}
    for request in ("hub", "hub/data/train-00000.parquet", "hub/data/*.parquet"):
        assert shop.labels(request) == expected
    assert shop.check("hub")["samples"] == 7
    put(Path("photos"), "cat/a.png")
    as_parquet(Path("photos/metadata.parquet"), rows)
    assert shop.check("photos")["passed_over"] == {"beside the class folders": 1}
    as_parquet(Path("words.parquet"), [(encoded(0), "wren"), (encoded(1), "ant")])
    assert shop.labels("words.parquet") == {"words/000000": "wren", "words/000001": "ant"}
    assert tells(shop.refusal(manifest("parquet", path="words.parquet", label="bird")), "'bird'", "image, label")


@row("classes in folders of folders, as Places365's `a/abbey`")
def nested_classes(shop: Shop) -> None:
    put(Path("places"), "a/abbey/1.png", "b/balcony/exterior/1.png", "b/balcony/interior/1.png")
    files({"top.png": encoded(), "a/notes.txt": "x"}, "places")
    found = shop.check(manifest("nested-folders", path="places"))
    assert [image["label"] for image in found["images"]] == ["a/abbey", "b/balcony/exterior", "b/balcony/interior"]
    assert found["passed_over"] == {"beside the class folders": 1, "with the suffix .txt": 1}
    files({"places/places365_val.txt": "/a/abbey/1.png 0\n/b/balcony/exterior/1.png 1\n"})
    assert shop.labels("places/places365_val.txt") == {"a/abbey/1.png": "0", "b/balcony/exterior/1.png": "1"}


def hundred() -> tuple[np.ndarray, list[int], list[int]]:
    return np.arange(2 * 3072, dtype=np.int64).reshape(2, 3072).astype(np.uint8), [99, 1], [19, 0]


@row("CIFAR-100's python and binary batches")
def cifar_100(shop: Shop) -> None:
    pixels, fine, coarse = hundred()
    batch = {b"data": pixels, b"fine_labels": fine, b"coarse_labels": coarse}
    binary = np.concatenate([np.array([coarse, fine], np.uint8).T, pixels], axis=1)
    names = {
        b"fine_label_names": [b"f%d" % i for i in range(100)],
        b"coarse_label_names": [b"c%d" % i for i in range(20)],
    }
    files({"cifar-100-python/test": pickle.dumps(batch), "cifar-100-python/meta": pickle.dumps(names)})
    files({"cifar-100-binary/test.bin": binary.tobytes()})
    files({f"cifar-100-binary/{k.decode()}.txt": b"\n".join(v) for k, v in names.items()})
    for kind, wanted in (("fine", ["f99", "f1"]), ("coarse", ["c19", "c0"])):
        for form, member in (("python", "test"), ("binary", "test.bin")):
            keys = {"path": f"cifar-100-{form}", "members": [member]}
            assert list(shop.labels(manifest(f"cifar-{form}", labels=kind, **keys)).values()) == wanted
            assert tells(shop.refusal(manifest(f"cifar-{form}", **keys)), "CIFAR-100", 'labels = "fine"')
            assert tells(shop.refusal(manifest(f"cifar-{form}", labels="both", **keys)), "fine, coarse", "'both'")
    done = shop.run_cli("data", "check", "cifar100-test", "--data-root", ".")
    assert tells(done.stdout, "2 of 10,000", "class worm")


@row("SVHN's cropped digits")
def svhn(shop: Shop) -> None:
    pixels = np.stack([picture(i, 32, 32) for i in range(3)], axis=3)
    savemat("test_32x32.mat", {"X": pixels, "y": np.array([[10], [1], [9]], np.uint8)})
    expected = {"test_32x32/00000": "0", "test_32x32/00001": "1", "test_32x32/00002": "9"}
    assert shop.labels("test_32x32.mat") == expected
    files({"test_32x32.mat": b"no matrix"})
    assert tells(shop.refusal("test_32x32.mat"), "test_32x32.mat", "fetch it again")
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM"
    files({"test_32x32.mat": header.ljust(600, b"\0")})
    assert tells(shop.refusal("test_32x32.mat"), "test_32x32.mat", "-v7")


@row("webdataset shards")
def webdataset(shop: Shop) -> None:
    plain = {"0.png": encoded(), "0.cls": "2", "1.png": encoded(), "1.json": '{"label": 0, "caption": "x"}'}
    Path("a.tar").write_bytes(packed(plain))
    assert shop.labels("a.tar") == {"0.png": "2", "1.png": "0"}
    dots = {
        "n01.5.jpg": encoded(),
        "n01.5.cls": "1",
        "n01.6.jpg": encoded(),
        "n01.6.cls": "0",
        "7.photo.png": encoded(),
    }
    Path("b.tar").write_bytes(packed({**dots, "7.cls": "1", "n01.5.txt": "a caption"}))
    found = shop.check("b.tar")
    assert [image["label"] for image in found["images"]] == ["1", "1", "0"]
    assert found["passed_over"] == {"with the suffix .txt": 1}
    Path("c.tar").write_bytes(packed({"0.png": encoded(), "0.cls": "0", "0.seg.png": encoded(1)}))
    assert shop.check("c.tar")["passed_over"] == {"other parts of samples": 1}
    Path("c.tar").write_bytes(
        packed({"0.PNG": encoded(), "0.CLS": "0", "0.jpg": encoded(1, "JPEG"), "0.png": encoded(1)})
    )
    assert shop.check("c.tar")["passed_over"] == {"other parts of samples": 2}
    Path("d.tar").write_bytes(packed({"0.png": encoded(), "0.json": '{"label": "wren"}'}))
    assert shop.labels("d.tar") == {"0.png": "wren"}
    Path("e.tar").write_bytes(packed({"0.png": encoded(), "0.json": '{"caption": "wren"}'}))
    assert tells(shop.refusal("e.tar"), "0.png", "0.json", "label")
    Path("f.tar").write_bytes(packed({"cat/0.png": encoded(), "cat/0.json": '{"shapes": []}', "dog/0.png": encoded()}))
    assert shop.labels("f.tar") == {"cat/0.png": "cat", "dog/0.png": "dog"}, "notes beside images of class folders"
    files({"shards/f.tar": Path("f.tar").read_bytes()})
    assert tells(shop.refusal("shards"), "'", "shards/*.tar'")
    assert tells(shop.refusal("shards/*.tar"), "f/cat/0.png", "label"), "shards are no classes"


# --- all of them -----------------------------------------------------------------------------------------------


def test_each_row_of_the_document_has_its_test() -> None:
    TABLE.require_tests()


@pytest.mark.parametrize("name", TABLE.tests)
def test_a_row_is_true(run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    # Read once for all the commands here: they take longer than what is tested.
    monkeypatch.setattr("trustcache.data.known_data.packaged_manifests", lambda: PACKAGED)
    for test in TABLE.tests[name]:
        test(Shop(run_cli))


def test_extract_counts_aloud_what_it_passes_over(
    run_cli: Callable[..., Result], own_model: Callable[..., str], image_folder: Callable[..., Path]
) -> None:
    folder = image_folder({"cat": 2, "dog": 2})
    files({"cat/.hidden.png": b"", "cat/notes.txt": "x"}, os.fspath(folder))
    model = ("--classifier", own_model(), "--model-arg", "classes=2", "--workers", 0)
    done = run_cli("extract", *model, "--data", folder)
    assert (done.exit_code, tells(done.stdout, "photos", "2 files", "1 hidden", "1 with the suffix .txt")) == (0, True)
