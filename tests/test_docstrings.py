"""Public functions of the folders that work on arrays and caches show an example; the suite runs them as doctests."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest

FOLDERS = ("trustcache.metrics", "trustcache.scores", "trustcache.cache", "trustcache.deploy")
TAKES_A_CACHE = {
    *("fitting_data", "recipe_fingerprint", "require_same_images", "compare_images", "unchanged"),
    *("create_or_continue", "original_dataset", "original_model", "compare_data", "export", "load_pair", "pair_of"),
}
"""An example would first have to extract one, by a classifier with weights."""
MODULES = [
    f"{folder}.{module.name}"
    for folder in FOLDERS
    for module in pkgutil.iter_modules(importlib.import_module(folder).__path__)
]


@pytest.mark.parametrize("name", MODULES)
def test_a_public_function_has_an_example(name: str) -> None:
    module = importlib.import_module(name)
    functions = {
        key: inspect.getdoc(function) or ""
        for key, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == name and not key.startswith("_") and key not in TAKES_A_CACHE
    }
    assert not [key for key, text in functions.items() if ">>>" not in text]


@pytest.mark.parametrize("name", MODULES)
def test_a_docstring_begins_with_a_verb_or_a_noun(name: str) -> None:
    module = importlib.import_module(name)
    for key, thing in vars(module).items():
        if getattr(thing, "__module__", "") == name and inspect.getdoc(thing):
            first = (inspect.getdoc(thing) or "").split()[0]
            assert first not in {"What", "Which", "Whether", "Where", "How", "Who", "Whose"}, key
