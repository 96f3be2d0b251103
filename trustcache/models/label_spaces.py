"""The classes of a model's outputs by name, and the outputs that stand for a data set's classes."""

from __future__ import annotations

import json
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustcache.errors import UsageError, did_you_mean, first_line
from trustcache.models.matching_torchvision import require_torchvision
from trustcache.models.preprocessing import model_config

if TYPE_CHECKING:
    from trustcache.models.classifiers import Classifier

# timm's ImageNets by their number of classes; each holds ImageNet-1k's as a part.
_IMAGENETS = {
    1000: "imagenet-1k",
    11221: "imagenet-21k-miil",
    11821: "imagenet-12k",
    21841: "imagenet-22k",
    21842: "imagenet-22k-ms",
    21843: "imagenet-21k-goog",
}
# Share of names that tell that a model's thousand classes are ImageNet's; some words stand for two of these.
_MOST = 0.9
# Share of a data set's classes that a model may lack: the larger ImageNets do without some of the thousand.
_FEW = 0.01


@dataclass(frozen=True)
class LabelSpace:
    """The classes of a model's outputs in order: their names, and for each further names, separated by commas.

    assumed: True where only the number of outputs tells of them. given: True where the user named them.
    """

    names: tuple[str, ...]
    descriptions: tuple[str, ...] = ()
    assumed: bool = False
    given: bool = False

    def outputs_of(self, classes: Sequence[str]) -> list[int | None]:
        """Return for each class the number of the output that it names, None if none does or several do.

        A class may be named as the output is, in other letters or with `_` for spaces, or by one of its further names
        or a part of its own, between commas.
        """
        exact, whole, parts = (defaultdict[str, set[int]](set) for _ in range(3))
        for number, name in enumerate(self.names):
            further = self.descriptions[number] if self.descriptions else ""
            exact[name].add(number)
            whole[_plain(name)].add(number)
            for one in (further, *further.split(","), *name.split(",")):
                parts[_plain(one)].add(number)
        meant = [exact.get(name) or whole.get(_plain(name)) or parts.get(_plain(name)) or () for name in classes]
        found = [next(iter(numbers)) if len(numbers) == 1 else None for numbers in meant]
        return [number if found.count(number) == 1 else None for number in found]


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).casefold().replace("_", " ").replace("-", " ").split())


def are_numbers(classes: Sequence[str]) -> bool:
    """Return True for classes that are called 0, 1, … in any order: numbers are no names."""
    return set(classes) == {str(number) for number in range(len(classes))}


def space_of(classifier: Classifier) -> LabelSpace | None:
    """Return the classes of a classifier's outputs, None if they are unknown.

    Names that the user gave come first, then its own; where most are ImageNet's words, its WordNet ids are further
    ones. Without names ImageNet's are assumed by the number of outputs. Raises UsageError for another number of names.
    """
    config, outputs = model_config(classifier.model), classifier.all_outputs
    given = given_classes(classifier.spec.labels) if classifier.spec.labels else ()
    names = given or tuple(map(str, config.get("label_names") or ()))
    if given and len(given) != outputs:
        raise UsageError(f"--classes: {len(given)} names, but the model has {outputs} outputs; give one for each")
    imagenet = _imagenet(outputs)
    if len(names) != outputs:
        return imagenet
    further = config.get("label_descriptions") or {}
    if further or not imagenet:
        descriptions = tuple(str(further.get(name, "")) for name in names) if further else ()
        return LabelSpace(names, descriptions, given=bool(given))
    known = imagenet.outputs_of(names)
    if sum(place == number for place, number in enumerate(known)) < _MOST * outputs:
        return LabelSpace(names, given=bool(given))
    words = zip(imagenet.names, imagenet.descriptions, strict=True)
    return LabelSpace(names, tuple(f"{wnid},{description}" for wnid, description in words), given=bool(given))


def _imagenet(outputs: int) -> LabelSpace | None:
    """Return the classes of timm's ImageNet of a number of classes, None where there is none."""
    if outputs not in _IMAGENETS:
        return None
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo(_IMAGENETS[outputs])
    return LabelSpace(tuple(info.label_names()), tuple(info.label_descriptions()), assumed=True)


def judging(
    classifier: Classifier,
    data: str,
    classes: Callable[[], Sequence[str]],
    note: Callable[[str], None] | None = None,
) -> Classifier:
    """Return a classifier that gives logits for a data set's classes, in their order, as far as its own have names.

    data: the data set's name. classes: asked only then, as they may have to be listed. note: told what is done. Raises
    as `space_of` and `judged_outputs`.
    """
    if not (space := space_of(classifier)):
        return classifier
    kept, line = judged_outputs(space, classes(), data)
    if line and note:
        note(f"{classifier.spec.name}: {line}")
    return classifier.judging(kept)


def judged_outputs(space: LabelSpace, classes: Sequence[str], data: str) -> tuple[tuple[int, ...], str]:
    """Return the numbers of the outputs for a data set's classes, and a line for the user ("" for none).

    The numbers are as `Reading.kept` holds them. Raises UsageError where more than a few of the classes are not among
    the model's, and their number or order differs, or where the user named as many but not the data's.
    """
    outputs, found = len(space.names), space.outputs_of(classes)
    unknown = [name for name, number in zip(classes, found, strict=True) if number is None]
    kept = tuple(-1 if number is None else number for number in found)
    part = f"judged on {len(classes) - len(unknown):,} of its {outputs:,} classes, those of {data}"
    if len(unknown) == len(classes) == outputs and are_numbers(classes):
        kept, unknown = tuple(map(int, classes)), []  # numbers are no names
    if not unknown:
        if kept == tuple(range(outputs)):
            return (), ""
        return kept, part if len(kept) < outputs else f"its outputs are put in the order of the classes of {data}"
    if space.given and len(classes) == outputs:
        stray = next(name for number, name in enumerate(space.names) if number not in found)
        near = did_you_mean(stray, unknown)
        raise UsageError(f"--classes: '{stray}' is none of the classes of {data}; name each as its folder is{near}")
    others = space.assumed and len(unknown) > len(classes) / 2  # a few of its words do not make data ImageNet's
    if len(classes) == outputs and (others or all(number in (-1, place) for place, number in enumerate(kept))):
        return (), (
            f"{len(unknown)} of the {outputs} classes of {data} are not among the model's by name (first "
            f"'{unknown[0]}'), so its outputs are taken in the order of the data's classes"
        )
    if len(unknown) <= _FEW * len(classes):
        return kept, f"{part}; images of the other {len(unknown)} count as wrong (first '{unknown[0]}')"
    raise UsageError(
        f"{data}: {len(unknown)} of its {len(classes)} classes are none, or several, of the model's {outputs} by name "
        f"(first '{unknown[0]}', where the model's first is '{space.names[0]}'); rename those folders, or name the "
        "classes in the model's order as --classes FILE"
    )


def given_classes(text: str) -> tuple[str, ...]:
    """Return the names that `--classes` gives: a list with commas, an ImageNet of timm's, or a file.

    A file holds a name a line, or as JSON a list, names by number or numbers by name (torchvision's `class_to_idx`).
    Raises UsageError.
    """
    if text in _IMAGENETS.values():
        require_torchvision()
        from timm.data.imagenet_info import ImageNetInfo

        return tuple(ImageNetInfo(text).label_names())
    if not Path(text).is_file():
        if "," in text:
            return tuple(name.strip() for name in text.split(","))
        known = ", ".join(_IMAGENETS.values())
        raise UsageError(f"--classes {text}: there is no such file; give one, a list a,b,c or one of {known}")
    return names_in(Path(text), f"--classes {text}")


def names_in(path: Path, where: str) -> tuple[str, ...]:
    """Return the names of classes in a file, in Unicode's composed form. Raises UsageError that begins with `where`."""
    try:
        lines = unicodedata.normalize("NFC", path.read_text(encoding="utf-8-sig"))
        if path.suffix.lower() != ".json":
            return tuple(line.strip() for line in lines.splitlines() if line.strip())
        found = json.loads(lines)
        names = _in_order(found) if isinstance(found, dict) else list(found)
        if not all(isinstance(name, str | int) for name in names):
            raise ValueError("some are neither text nor a number")
        return tuple(map(str, names))
    except (ValueError, TypeError, OSError) as error:
        raise UsageError(f"{where}: holds no names of classes ({first_line(error)}); write one a line") from None


def _in_order(table: dict[str, Any]) -> list[Any]:
    """Return the names of classes in order, of a table of names by number or of numbers by name.

    Raises ValueError where neither side counts from 0, or both do and differ, unless the values are sorted as
    torchvision sorts names that are numbers.
    """
    numbers = range(len(table))
    by_key = {int(key): value for key, value in table.items() if key.isdecimal()}
    by_value = {int(value): key for key, value in table.items() if str(value).isdecimal()}
    read = [[found[n] for n in numbers] for found in (by_key, by_value) if table and found.keys() == set(numbers)]
    if len(read) == 2 and [*map(str, read[0])] != [*map(str, read[1])]:
        if read[1] != sorted(table):
            raise ValueError("its names and its numbers both count from 0, so that either may be meant")
        return read[1]
    if not read:
        raise ValueError("no side of it counts from 0")
    return read[0]
