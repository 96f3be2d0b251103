"""Promises of the manifests: what the packaged ones describe, what a user may write, and how a mistake is named."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.refusals import refusal_of, tells
from trustcache.cache.records import as_read
from trustcache.data.dataset import open_dataset
from trustcache.data.known_data import find_manifests, folder_manifest, load_manifests, packaged_manifests
from trustcache.data.manifest import CLASS_LISTS, ROLES, Files, Manifest, Variant
from trustcache.data.toml_tables import parse_table
from trustcache.errors import UsageError

Write = Callable[[str], Path]
Folder = Callable[..., Path]

BIRDS = """
name = "birds-test"
title = "Birds of the garden"
role = "test"
classes = ["blackbird", "robin", "wren"]
count = 300

[[files]]
layout = "folders"
path = "birds/test"
"""

FAMILY = """
name = "birds-c/{corruption}/{severity}"
title = "birds under {corruption} at {severity}"
role = "test"

[family]
corruption = ["fog", "snow"]
severity = [1, 5]

[[files]]
layout = "folders"
path = "birds-c/{corruption}/{severity}"

[variant]
kind = "corruption"
name = "{corruption}"
severity = "{severity}"
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a manifest to birds.toml."""

    def to_file(text: str) -> Path:
        path = tmp_path / "birds.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return to_file


def refusal(path: Path | str) -> str:
    return refusal_of(lambda: find_manifests(str(path)))


# --- what is packaged ------------------------------------------------------------------------------------------


def test_every_packaged_file_gives_data_sets_under_names_of_their_own() -> None:
    files = sorted((Path(__file__).parents[2] / "data_manifests").glob("*.toml"))
    assert files
    loaded = [m for file in files for m in load_manifests(file)]
    assert packaged_manifests() == tuple(loaded)
    names = [m.name for m in loaded]
    assert len(set(names)) == len(names)
    for file in files:
        for manifest in load_manifests(file):
            # ImageNet-C is one family over the five archives that it is published in.
            assert file.stem.startswith(manifest.name.split("/")[0])
            assert manifest.title != manifest.name


@pytest.mark.parametrize("manifest", packaged_manifests(), ids=lambda m: m.name)
def test_every_packaged_data_set_survives_a_trip_through_json(manifest: Manifest) -> None:
    assert as_read(manifest) == manifest


def test_data_sets_that_need_fetching_say_from_where() -> None:
    for manifest in packaged_manifests():
        if all(f.layout != "digits" for f in manifest.files):
            assert manifest.source, manifest.name


def test_imagenet_classes_are_the_1000_wordnet_ids_in_sorted_order() -> None:
    for name in ("imagenet-train", "imagenet-val"):
        (manifest,) = find_manifests(name)
        assert manifest.classes is not None
        assert len(manifest.classes) == 1000
        assert list(manifest.classes) == sorted(manifest.classes)
        assert (manifest.classes[0], manifest.classes[999]) == ("n01440764", "n15075141")


@pytest.mark.parametrize("name", CLASS_LISTS)
def test_every_named_class_list_exists(name: str, write: Write) -> None:
    (manifest,) = load_manifests(
        write(f'name = "x"\nrole = "test"\nclasses = "{name}"\n[[files]]\nlayout = "digits"\n')
    )
    assert manifest.classes is not None
    assert all(wnid.startswith("n") and len(wnid) == 9 for wnid in manifest.classes)
    assert len(manifest.classes) == (1000 if name == "imagenet-1k" else 200)


def test_finding_a_data_set_takes_a_moment() -> None:
    start = time.perf_counter()
    find_manifests("imagenet-train")
    assert time.perf_counter() - start < 0.5


PLAIN = 'name = "x"\nrole = "test"\n[[files]]\nlayout = "folders"\npath = "x"\n'
HOSTILE = {
    "arrays in arrays": (f"classes = {'[' * 5000}", "TOML"),
    "a key of 50 parts": (f"{'a.' * 50}b = 1\n{PLAIN}", "deep"),
    "tables in tables": (f"title = {'{a=' * 50}1{'}' * 50}\n{PLAIN}", "deep"),
    "a number of thousands of digits": (f"count = {'9' * 5000}\n{PLAIN}", "TOML"),
    "a text of a million letters for a number": (f"count = '{'x' * 10**6}'\n{PLAIN}", "count"),
    "a family of a thousand million": (
        f"[family]\na = {[*range(1000)]}\nb = {[*range(1000)]}\nc = {[*range(1000)]}\n", "1,000,000,000",
    ),
    "a variant of itself": (f"variant_of = 'birds.toml'\n{PLAIN}", "variant_of"),
    "an absurd crop": (
        f"{PLAIN}[variant]\nkind = 'corruption'\nname = 'fog'\nseverity = 3\ncrop = {2**40}\n", "crop",
    ),
    "a crop of more than 64 bits": (
        f"{PLAIN}[variant]\nkind = 'corruption'\nname = 'fog'\nseverity = 3\ncrop = {2**70}\n", "crop",
    ),
    "no text": ("\0\0", "TOML"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "fact"), HOSTILE.values(), ids=HOSTILE)
def test_a_manifest_of_absurd_values_is_refused_in_a_short_line(text: str, fact: str, write: Write) -> None:
    path = write(text)
    message = refusal_of(lambda: load_manifests(path), f"{path}: ")
    assert fact in message
    assert len(message) < 600


def test_manifests_that_are_variants_of_each_other_are_refused(write: Write, tmp_path: Path) -> None:
    path = write(f"variant_of = 'other.toml'\n{PLAIN}")
    (tmp_path / "other.toml").write_text(f"variant_of = '{path.name}'\n{PLAIN}")
    message = refusal_of(lambda: load_manifests(path))
    assert tells(message, "other.toml", "variant_of", path.name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders here")
def test_a_manifest_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.toml")
    assert "regular file" in refusal_of(lambda: load_manifests(tmp_path / "x.toml"))


# --- what a user types -----------------------------------------------------------------------------------------


def test_a_name_finds_one_data_set_a_family_all_its_members_and_a_pattern_some() -> None:
    (one,) = find_manifests("digits-c/gaussian_noise/3")
    assert one.variant == Variant("corruption", "gaussian_noise", 3)
    assert one.rows == find_manifests("digits-test")[0].rows
    assert "gaussian_noise, severity 3" in one.title
    family = find_manifests("digits-c")
    assert len(family) == 25
    assert one in family
    hardest = find_manifests("digits-c/*/5")
    assert [m.variant.severity for m in hardest if m.variant] == [5] * 5
    assert {m.name for m in find_manifests("digits-c/contrast")} == {f"digits-c/contrast/{s}" for s in range(1, 6)}


def test_a_part_of_a_name_is_not_a_family() -> None:
    assert tells(refusal("digits-c/gauss"), "--data digits-c/gauss", "no such", "trustcache data list")
    assert tells(refusal("imagenet"), "no such", "did you mean imagenet")


def test_a_mistyped_path_is_answered_by_the_nearest_one_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("photos/test", "photos/train", "other"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "notes").touch()
    for typed in ("photos/tset", "photso/test", "photos/tset:train"):
        assert tells(refusal(typed), f"--data {typed}", "no", "did you mean photos/test?")
    assert tells(refusal("digits-tset"), "did you mean digits-test")
    assert "did you mean" not in refusal("zzz/test")
    assert "no such" not in refusal("notes")


def test_a_path_below_the_data_root_is_told_with_the_folder_that_was_looked_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path typed is relative to the working folder, one in a manifest to the data root."""
    monkeypatch.chdir(tmp_path)
    root = Path("data")
    (root / "photos" / "test").mkdir(parents=True)
    for typed in ("photos/test", "photos/test:train"):
        said = refusal_of(lambda typed=typed: find_manifests(typed, data_root=root))
        assert tells(said, str(tmp_path), "data/photos/test", "data root", "manifests")
    manifest = Manifest("b", "test", (Files("folders", {"path": "x"}),))
    assert tells(refusal_of(lambda: open_dataset(manifest, root)), "data/x", "--data-root", "now data")


def test_ten_lines_describe_a_data_set_of_ones_own(write: Write) -> None:
    path = write(BIRDS)
    (manifest,) = find_manifests(str(path))
    assert manifest == Manifest(
        name="birds-test",
        role="test",
        files=(Files("folders", {"path": "birds/test"}),),
        title="Birds of the garden",
        classes=("blackbird", "robin", "wren"),
        count=300,
    )
    assert manifest.path == str(path)


def test_a_family_of_ones_own_has_every_combination_with_its_values_filled_in(write: Write) -> None:
    members = find_manifests(str(write(FAMILY)))
    assert [m.name for m in members] == ["birds-c/fog/1", "birds-c/fog/5", "birds-c/snow/1", "birds-c/snow/5"]
    assert members[1].files == (Files("folders", {"path": "birds-c/fog/5"}),)
    assert members[1].title == "birds under fog at 5"
    assert members[1].variant == Variant("corruption", "fog", 5)


def test_braces_that_are_no_names_stay_as_they_are(write: Write) -> None:
    source = "https://example.org/{} and {not a key} and {"
    members = load_manifests(write(FAMILY.replace('role = "test"', f'role = "test"\nsource = "{source}"')))
    assert {m.source for m in members} == {source}


def test_a_folder_of_class_folders_needs_no_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my birds"
    folder.mkdir()
    (manifest,) = find_manifests(str(folder), role="train")
    assert (manifest.name, manifest.role, manifest.classes) == ("my birds", "train", None)
    assert manifest.files == (Files("folders", {"path": str(folder)}),)
    assert manifest == folder_manifest(folder, "train")
    monkeypatch.chdir(folder)
    assert find_manifests(".") == [replace(manifest, role="test")]


def test_a_folder_beside_a_manifest_is_changed_as_the_document_says(tmp_path: Path, image_folder: Folder) -> None:
    image_folder({"cat": 2, "dog": 1}, name="photos/test")
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    (text,) = [block for block in re.findall(r"```toml\n(.*?)```", page, re.S) if "photos/test" in block]
    file = tmp_path / "my-fog.toml"
    file.write_text(text, encoding="utf-8")
    (manifest,) = load_manifests(file)
    assert (manifest.name, manifest.variant_of, manifest.condition) == ("my-fog", "photos-test", "fog/3")
    assert open_dataset(manifest, Path("elsewhere")).classes == ("cat", "dog")
    file.write_text(text.replace("photos/test", "photos/tset"), encoding="utf-8")
    with pytest.raises(UsageError) as refused:
        load_manifests(file)
    assert tells(str(refused.value), "my-fog.toml", "photos/tset", "folder")


def test_a_known_name_goes_before_a_folder_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "digits-test").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_manifests("digits-test")[0].files == (Files("digits"),)
    assert find_manifests("./digits-test")[0].files == (Files("folders", {"path": str(tmp_path / "digits-test")}),)


def test_what_is_neither_is_refused_with_the_known_names(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere").startswith(f"--data {tmp_path / 'nowhere'}: ")
    assert "digits-test" in refusal("digit-test")
    assert "digits-c/" not in refusal("digit-test"), "a family is named once"


# --- mistakes --------------------------------------------------------------------------------------------------

CIFAR = '[[files]]\nlayout = "cifar-python"\npath = "x"\nmembers = ["a"]\n'
IDX = '[[files]]\nlayout = "idx"\nimages = "a"\nlabels = "b"\n'
VARIANT = '[variant]\nkind = "corruption"\nname = "fog"\nseverity = 3\n'

MISTAKES = {
    "no name": (BIRDS.replace('name = "birds-test"', ""), "'name' is missing"),
    "empty name": (BIRDS.replace("birds-test", ""), "'name' is missing"),
    "name that climbs": (BIRDS.replace("birds-test", "../birds"), "'name'|plain"),
    "name from the root": (BIRDS.replace("birds-test", "/birds"), "'name'|plain"),
    "name of a number": (BIRDS.replace('"birds-test"', "3"), "'name'|text|3"),
    "no role": (BIRDS.replace('role = "test"', ""), "'role'|train, test|missing"),
    "bad role": (BIRDS.replace('role = "test"', 'role = "val"'), "'role'|train, test|'val'"),
    "role of a wrong type": (BIRDS.replace('role = "test"', "role = true"), "'role'|text|True"),
    "unknown key": (BIRDS.replace("title =", "titel ="), "unknown key 'titel'|name, role, files"),
    "classes of numbers": (BIRDS.replace('"robin"', "7"), "'classes'|list of texts"),
    "unknown class list": (BIRDS.replace('["blackbird", "robin", "wren"]', '"birds"'), "'classes'|imagenet-1k|'birds'"),
    "duplicate class": (BIRDS.replace('"robin"', '"wren"'), "'classes'|'wren'|twice"),
    "count as text": (BIRDS.replace("300", '"300"'), "'count'|whole number|'300'"),
    "count as truth": (BIRDS.replace("300", "true"), "'count'|whole number|True"),
    "count of none": (BIRDS.replace("300", "0"), "'count'|0"),
    "rows backwards": (BIRDS.replace("count = 300", "rows = [5, 2]"), "'rows'|[5, 2]"),
    "rows below zero": (BIRDS.replace("count = 300", "rows = [-1, 2]"), "'rows'|[-1, 2]"),
    "one row": (BIRDS.replace("count = 300", "rows = [5]"), "'rows'|[5]"),
    "rows as text": (BIRDS.replace("count = 300", 'rows = "0-5"'), "'rows'|whole numbers|'0-5'"),
    "rows of fractions": (BIRDS.replace("count = 300", "rows = [0.5, 1]"), "'rows'|whole numbers"),
    "rows of truths": (BIRDS.replace("count = 300", "rows = [false, true]"), "'rows'|whole numbers"),
    "no files": (BIRDS.split("[[files]]")[0], "'files'|missing|[[files]]"),
    "files as a table": (BIRDS.replace("[[files]]", "[files]"), "'files'|[[files]] tables"),
    "no layout": (
        BIRDS.replace('layout = "folders"', ""),
        "files[0]: 'layout' is missing",
    ),
    "bad layout": (
        BIRDS.replace('"folders"', '"zip"'),
        "files[0]: |layout zip|folders, numbered-folders",
    ),
    "no path": (BIRDS.replace('path = "birds/test"', ""), "files[0]: 'path' is missing"),
    "unknown key of files": (
        BIRDS + 'folder = "x"\n',
        "files[0]: |'folder'|'folders'|layout, path",
    ),
    "second files": (BIRDS + "[[files]]\n", "files[1]: 'layout' is missing"),
    "key of another layout": (BIRDS + 'images = "x"\n', "files[0]: |unknown key 'images'|'folders'"),
    "members for folders": (BIRDS + 'members = ["x"]\n', "files[0]: |unknown key 'members'|'folders'"),
    "no members": (
        'name = "b"\nrole = "test"\n' + CIFAR.replace('members = ["a"]', ""),
        "files[0]: 'members' is missing",
    ),
    "no idx labels": ('name = "b"\nrole = "test"\n' + IDX.replace('labels = "b"', ""), "files[0]: 'labels' is missing"),
    "no idx images": ('name = "b"\nrole = "test"\n' + IDX.replace('images = "a"', ""), "files[0]: 'images' is missing"),
    "variant as text": ('variant = "fog"\n' + BIRDS, "'variant'|table|'fog'"),
    "empty variant": (
        BIRDS + "[variant]\n",
        "variant: |'kind'|corruption, fourier, ",
    ),
    "bad variant": (BIRDS + VARIANT.replace('"corruption"', '"magic"'), "variant: |'kind'|corruption, fourier|'magic'"),
    "nameless variant": (BIRDS + VARIANT.replace('name = "fog"', ""), "variant: 'name' is missing"),
    "severity above": (
        BIRDS + VARIANT.replace("3", "6"),
        "variant: |'severity'|from 1 to 5",
    ),
    "severity below": (
        BIRDS + VARIANT.replace("3", "0"),
        "variant: |'severity'|from 1 to 5",
    ),
    "no severity": (BIRDS + VARIANT.replace("severity = 3", ""), "variant: 'severity' is missing"),
    "severity as text": (BIRDS + VARIANT.replace("3", '"3"'), "variant: |'severity'|whole number|'3'"),
    "key of another kind": (BIRDS + VARIANT + 'styles = "x"\n', "variant: |unknown key 'styles'|'corruption'"),
    "negative seed": (BIRDS + VARIANT + "seed = -1\n", "variant: |'seed'|-1"),
    "unknown key of a variant": (BIRDS + VARIANT + "level = 1\n", "variant: |unknown key 'level'|kind, name"),
    "broken TOML": (BIRDS.replace('"birds-test"', '"birds-test'), "not valid TOML: "),
    "family as a list": ('family = ["fog"]\n' + BIRDS, "'family'|table of lists"),
    "family without keys": (BIRDS + "[family]\n", "'family'|table of lists"),
    "family of a text": (FAMILY.replace('["fog", "snow"]', '"fog"'), "'family'|table of lists"),
    "family of nothing": (FAMILY.replace('["fog", "snow"]', "[]"), "'family'|table of lists"),
    "unknown name in braces": (
        FAMILY.replace("under {corruption}", "under {weather}"),
        "{weather}|corruption, severity",
    ),
    "members of one name": (
        FAMILY.replace("birds-c/{corruption}/{severity}", "birds-c/{severity}"),
        "'name'|{corruption}/{severity}",
    ),
    "twice in a family": (FAMILY.replace('["fog", "snow"]', '["fog", "fog"]'), "'name'|{corruption}/{severity}"),
    "shows something else": (
        BIRDS.replace("title =", "shows ="),
        "'shows'|stylized, adversarial|'Birds of",
    ),
    "shows no severity": ('shows = "fog/heavy"\n' + BIRDS, "'shows'|CORRUPTION/SEVERITY|'fog/heavy'"),
    "plays nothing known": ('suite = "birds"\nplays = "cartoon"\n' + BIRDS, "'plays'|train, test, |'cartoon'"),
    "plays in no suite": ('plays = "test"\n' + BIRDS, "'plays'|'suite'"),
    "bad value in a family": (FAMILY.replace("[1, 5]", "[1, 7]"), "variant: |'severity'|from 1 to 5"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_refused_by_file_and_key(mistake: str, write: Write) -> None:
    text, facts = MISTAKES[mistake]
    path = write(text)
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    assert all(fact in message for fact in facts.split("|")), message
    assert "\n" not in message


def test_a_manifest_that_is_missing_or_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.toml").startswith(f"{tmp_path / 'none.toml'}: ")
    (tmp_path / "folder.toml").mkdir()
    assert refusal(tmp_path / "folder.toml").startswith(f"{tmp_path / 'folder.toml'}: cannot be read")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"name = \xff\xfe")
    assert refusal(binary).startswith(f"{binary}: not valid TOML")


# --- a trip through an index -----------------------------------------------------------------------------------

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_ äß", min_size=1).filter(str.strip)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1)
files = st.one_of(
    st.builds(Files, st.just("folders"), st.fixed_dictionaries({"path": texts})),
    st.builds(
        Files,
        st.sampled_from(["cifar-python", "cifar-binary"]),
        st.fixed_dictionaries({"path": texts, "members": st.lists(texts, min_size=1, max_size=3).map(tuple)}),
    ),
    st.builds(Files, st.just("idx"), st.fixed_dictionaries({"images": texts, "labels": texts})),
    st.just(Files("digits")),
)
manifests = st.builds(
    Manifest,
    name=st.lists(names, min_size=1, max_size=3).map("/".join),
    role=st.sampled_from(ROLES),
    files=st.lists(files, min_size=1, max_size=3).map(tuple),
    title=texts,
    classes=st.none() | st.lists(texts, min_size=1, max_size=5, unique=True).map(tuple),
    count=st.none() | st.integers(1, 10**9),
    rows=st.none() | st.tuples(st.integers(0, 100), st.integers(101, 10**7)),
    thinned_to=st.none() | st.integers(1, 10**7),
    variant=st.none()
    | st.builds(Variant, st.just("corruption"), texts, severity=st.integers(1, 5), seed=st.integers(0, 2**32)),
    source=st.just("") | texts,
    path=texts,
)


@settings(deadline=None)
@given(manifests)
def test_any_manifest_comes_back_from_its_record_through_json(manifest: Manifest) -> None:
    assert as_read(manifest) == manifest


def test_where_files_lie_is_said_as_a_path_to_look_at(tmp_path: Path) -> None:
    assert Files("folders", {"path": "a/b"}).describe(tmp_path) == f"{tmp_path}/a/b/<class>/*.jpg"
    assert Files("cifar-binary", {"path": "c", "members": ("x", "y")}).describe(tmp_path) == f"{tmp_path}/c/{{x,y}}"
    assert Files("idx", {"images": "i", "labels": "l"}).describe(tmp_path) == f"{tmp_path}/i"
    assert Files("digits").describe(tmp_path) == "inside scikit-learn"


@pytest.mark.parametrize(
    ("name", "clean", "condition"),
    [
        ("cifar10-test", "", ""),
        ("cifar10-c-made/fog/3", "cifar10-test", "fog/3"),
        ("cifar10-c/fog/3", "cifar10-test", "fog/3"),
        ("imagenet-c/defocus_blur/5", "imagenet-val", "defocus_blur/5"),
        ("imagenet-stylized", "imagenet-val", "stylized"),
        ("digits-fourier", "digits-test", "stylized"),
        ("imagenet-recolor", "imagenet-val", "adversarial"),
        ("imagenet-a", "", ""),
    ],
)
def test_a_manifest_says_of_which_data_it_is_a_variant_and_what_its_images_went_through(name, clean, condition):
    (manifest,) = [m for m in packaged_manifests() if m.name == name]
    assert (manifest.variant_of, manifest.condition) == (clean, condition)


@pytest.mark.parametrize(
    "text",
    [
        "a" + ".a" * 10**6 + " = 1",
        '"a".' * 200 + "b = 1",
        '"\\"".' + "a." * 10**5 + 'b = "x"',
        'a = {x = """\n""", ' + "b." * 10**5 + "c = 1}",
    ],
    ids=["bare", "quoted", "after a quoted quote", "after a text of several lines"],
)
def test_a_key_without_end_is_refused_at_once(text: str) -> None:
    with pytest.raises(UsageError, match=r"own: not valid: .* dots"):
        parse_table(text, "own")


def test_texts_on_one_line_may_have_any_number_of_dots() -> None:
    names = [f"dog.n.{number}" for number in range(1000)]
    assert parse_table(f"classes = {names}", "own") == {"classes": names}


def test_classes_may_stand_in_a_file_beside_the_manifest(write: Write, tmp_path: Path) -> None:
    text = BIRDS.replace('["blackbird", "robin", "wren"]', '"names.txt"')
    (tmp_path / "names.txt").write_text("wren\nrobin\nblackbird\n")
    (manifest,) = load_manifests(write(text))
    assert manifest.classes == ("wren", "robin", "blackbird")
    (tmp_path / "names.txt").write_text("wren\nwren\n")
    assert tells(refusal(write(text)), "birds.toml", "'wren' twice")
    (tmp_path / "names.txt").unlink()
    assert tells(refusal(write(text)), "birds.toml", "'classes'", "imagenet-1k", "a file", "'names.txt'")


@pytest.mark.parametrize(
    "keys", [{}, {"path": 3}, {"path": "x", "labels": "y"}], ids=["lacking", "a number", "unknown"]
)
def test_files_with_other_keys_than_their_layouts_are_refused_whatever_they_were_read_from(
    keys: dict[str, object], tmp_path: Path
) -> None:
    files = as_read(Files("folders", keys))
    for use in (files.exists, files.describe, lambda root: files.read(root, None)):
        with pytest.raises(UsageError) as refused:
            use(tmp_path)
        assert tells(str(refused.value), [*{"path", *keys}][-1])
