"""Code outside the package: the names it goes by, its import, and the user's permission to run it.

A name may stand in a file of a stranger, so that it runs only where a `CodePermission` holds it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import pkgutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from trustcache.errors import UsageError, kind_and_line

PROGRAM_FILES = (".pt2", ".ts", ".jit", ".torchscript", ".pt", ".pth")
"""Endings of files that may be programs of torch.export or TorchScript."""


def is_import_path(name: str) -> bool:
    """Return True for a name of the form `package.module:function` or `folder/file.py:function`.

    >>> [is_import_path(name) for name in ("nets.vit:build", "nets/vit.py:build", "local-dir:nets", "resnet50")]
    [True, True, False, False]
    """
    module, colon, attribute = name.rpartition(":")
    words = module.split(".")
    return bool(colon) and attribute.isidentifier() and (_is_file(module) or all(map(str.isidentifier, words)))


def is_code_name(name: str) -> bool:
    """Return True for an import path, and for the name of a file that may be a program."""
    return is_import_path(name) or Path(name).suffix.lower() in PROGRAM_FILES


def full_name(name: str) -> str:
    """Return the name of code or of a timm folder with the whole path of its file, for use from any folder."""
    scheme, colon, path = name.partition(":")
    if scheme == "local-dir" and colon:
        return f"{scheme}:{Path(path).expanduser().resolve()}"
    file, colon, function = name.rpartition(":") if is_import_path(name) else (name, "", "")
    return f"{Path(file).expanduser().resolve()}{colon}{function}" if _is_file(file) else name


def short_name(name: str) -> str:
    """Return a name of code or of a timm folder without the folders that lead to it.

    >>> [short_name(name) for name in ("nets/vit.py:build", "local-dir:out/pets", "out/pets.pt2", "resnet50.a1_in1k")]
    ['vit.py:build', 'pets', 'pets', 'resnet50.a1_in1k']
    """
    if name.startswith("local-dir:"):
        return Path(full_name(name).partition(":")[2]).name
    if is_import_path(name):
        return name.rpartition("/")[2]
    return Path(name).stem if _is_file(name) else name


def _is_file(module: str) -> bool:
    return module.lower().endswith((".py", *PROGRAM_FILES))


_own_folders: list[str] = []


def own_folders() -> list[str]:
    """Return the folders that `import_object` has added to sys.path: the working folder, and that of a user's file."""
    return _own_folders


def import_object(name: str, option: str) -> Any:
    """Import what `package.module:function` names; after the installed packages, from the working directory too.

    Of `file.py:function` the file is run, whose neighbours it can import. Raises UsageError naming the option where
    nobody has allowed it, the module fails or lacks the function.
    """
    require_permission(name, option)
    file, _, function = name.rpartition(":")
    for folder in _own_folders:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
    _own_folders[:] = [str(Path.cwd()), *([str(Path(file).resolve().parent)] if _is_file(file) else [])]
    sys.path += _own_folders
    try:
        found = getattr(_module_of(Path(file)), function) if _is_file(file) else pkgutil.resolve_name(name)
    except Exception as error:  # a user's file may raise anything
        raise UsageError(
            f"{option} {name}: {kind_and_line(error)}; it must be package.module:function, importable from here, or "
            "file.py:function"
        ) from error
    remember_permission(name)
    return found


def _module_of(file: Path) -> Any:
    """Run a file as the module of its name, which no package of that name hides."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class CodePermission:
    """The code outside the package that may run: what the user named, in this call or before for the same workspace.

    names: `package.module:function`, or a file, as typed in this call. workspace: the folder that they are remembered
    for, in the file `kept` outside of it; None for no longer than this call. used: the names whose code has run.

    What is remembered holds for the workspace's path together with a random mark in it, so that another's workspace
    unpacked at the same path has no part in it, and for the file that the code lies in. A file that is named itself is
    remembered with its contents.
    """

    names: set[str] = field(default_factory=set)
    workspace: Path | None = None
    kept: Path | None = None
    used: set[str] = field(default_factory=set)

    def require(self, name: str, option: str) -> None:
        """Raise UsageError, naming `option`, for code that the user has not named."""
        if full_name(name) not in map(full_name, self.names) and not self._remembered(full_name(name)):
            raise UsageError(
                f"{option} {name}: is code that a file names, and runs only if you name it too; if you trust it, add "
                f"--allow-code {name}, once for a workspace"
            )

    def remember(self, *names: str) -> None:
        """Keep some names, and those before, for this workspace, once it is there and where files can be written."""
        self.used.update(map(full_name, names))
        new = [name for name in sorted(self.used) if not self._remembered(name)]
        if new and self.kept and (mark := self._mark(make=True)):
            with contextlib.suppress(OSError):
                self.kept.parent.mkdir(parents=True, exist_ok=True)
                with self.kept.open("a", encoding="utf-8") as file:
                    file.writelines(self._line(name, mark) for name in new)

    def _remembered(self, name: str) -> bool:
        mark = self._mark()
        if not mark or not self.kept or not self.kept.is_file():
            return False
        with self.kept.open(encoding="utf-8", errors="replace") as file:
            return self._line(name, mark) in file

    def _line(self, name: str, mark: str) -> str:
        folder = self.workspace.resolve() if self.workspace else ""
        return json.dumps([str(folder), mark, name, code_file(name)]) + "\n"

    def _mark(self, make: bool = False) -> str:
        """Return the workspace's mark, "" where it has none."""
        if not self.workspace:
            return ""
        path = self.workspace / MARK
        with contextlib.suppress(OSError):
            if make and self.workspace.is_dir() and not path.exists():
                path.write_text(os.urandom(16).hex(), encoding="ascii")
            if path.is_file():
                with path.open("rb") as file:
                    return file.read(64).hex()
        return ""


MARK = ".code-mark"
"""File in a workspace by which it is told from others that lay at the same path."""
_permission = CodePermission()


def require_permission(name: str, option: str) -> None:
    """Raise UsageError, naming `option`, for code that the user has not named."""
    _permission.require(name, option)


def remember_permission(name: str) -> None:
    """Keep the permission of code that has run for the workspace."""
    _permission.remember(name)


@contextlib.contextmanager
def code_permission(permission: CodePermission) -> Iterator[None]:
    """Let the code run that a permission names, and no other."""
    global _permission
    before, _permission = _permission, permission
    try:
        yield
    finally:
        _permission = before
        permission.remember()  # a new workspace is there only now


def allow_code(*names: str) -> None:
    """Let code outside the package run, `package.module:function`, as --allow-code does: for programs in Python."""
    _permission.names.update(names)


def code_file(name: str) -> str:
    """Return the file of the package or module that a name begins with, found without importing it; "" if unknown.

    A file that is named itself is returned with the SHA-256 of its bytes.
    """
    file = name.rpartition(":")[0] if is_import_path(name) else name
    if _is_file(file):
        with contextlib.suppress(OSError):
            return f"{file} {hashlib.sha256(Path(file).read_bytes()).hexdigest()}"
    package = name.partition(":")[0].partition(".")[0]
    found = PathFinder.find_spec(package, [*sys.path, str(Path.cwd())])
    places = list(found.submodule_search_locations or ()) if found else []
    return str(found.origin if found and found.origin else places[0] if places else "")
