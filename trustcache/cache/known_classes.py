"""The classes of a data set, against those of the classifier and of its other caches."""

from __future__ import annotations

from collections.abc import Sequence

from trustcache.cache.content import class_differences
from trustcache.cache.records import as_read
from trustcache.cache.workspace import Workspace
from trustcache.data.manifest import Manifest
from trustcache.errors import UsageError
from trustcache.models.identity import Identity
from trustcache.models.label_spaces import are_numbers


def require_classes(number: int, label: str, data: str, classes: Sequence[str]) -> None:
    """Raise UsageError where a classifier `label` of `number` outputs is not one of a data set's classes.

    >>> require_classes(2, "net", "birds", ["owl", "wren"])
    """
    if number < 2:
        raise UsageError(f"{label}: tells no classes apart, as it has one output; give it an output for each class")
    if len(classes) != number:
        raise UsageError(
            f"{data}: {len(classes)} classes, but {label} tells {number} apart; name the classifier's classes in its "
            "own order as 'classes' in a manifest, or use another classifier"
        )


def require_known_classes(
    identity: Identity, label: str, manifest: Manifest, classes: Sequence[str], workspace: Workspace
) -> None:
    """Raise UsageError where classes that no manifest names are not those of the classifier's other caches.

    label: the classifier's name in the workspace. Numbers are no names: images that are labelled by them need none.

    >>> index = demo_workspace.find_cache("test")
    >>> require_known_classes(index.identity, "net", index.manifest, index.made_from.classes, demo_workspace)
    """
    if manifest.classes or are_numbers(classes):
        return
    own, folder = as_read(identity), workspace.cache_folder(label, manifest.name)
    for index in workspace.caches():
        others = index.made_from.classes
        if index.folder == folder or (index.classifier != label and index.identity != own) or are_numbers(others):
            continue
        if difference := class_differences(classes, others):
            raise UsageError(
                f"{manifest.name}: its classes are not those of {index.name}: {difference}; rename "
                "its folders, or name the classifier's classes in its own order as 'classes' in a manifest"
            )
