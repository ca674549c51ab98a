"""The hash that an operator trusts before a plugin runs without a sandbox: of all the code that it could bring along.

A file's own hash says nothing of what the file imports. So this one is of every file of its folder that Python could
load (modules, also compiled ones, extension modules, what ``.pth`` files say), those of its own environment ``.venv``
among them, and of every file at all where the plugin is a program. Where the code lies elsewhere, or where others could
change it between being hashed and being run, there is no such hash.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from dativo_ingest.job.files import MANIFEST_NAME
from dativo_ingest.plugin_process.found import FoundPlugin, sha256_of_files
from dativo_ingest.sandbox.controls import unavailable
from dativo_plugin_sdk.errors import SandboxError

_LOADED = frozenset({".py", ".pyc", ".pth", ".egg-link"})
_LIBRARY = ".so"  # libarrow.so.1900 too
_NAMES = frozenset({MANIFEST_NAME, "pyvenv.cfg"})
_LEFT_OUT = frozenset({".dativo", ".git"})
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def sha256_of_code(plugin: FoundPlugin) -> str:
    """Hash all the code that a plugin brings along.

    It is the hash of a list such as ``sha256sum`` prints, of the files below the plugin's folder in the order of their
    paths; of an installed plugin, the hash of its distribution's RECORD.

    Raises:
        SandboxError: Not all of it can be hashed, or others may change it (``SANDBOX_UNAVAILABLE``).
    """
    if plugin.is_installed:
        if plugin.is_editable:
            raise _untrusted(plugin, "it is installed for editing, so that its code is not what its RECORD lists")
        return plugin.sha256
    folder = plugin.folder
    if folder is None or (plugin.entry_point is not None and not (folder / ".venv").is_dir()):
        raise _untrusted(plugin, "its code is not in its own folder")
    if plugin.file is not None and not plugin.file.resolve().is_relative_to(folder.resolve()):
        raise _untrusted(plugin, f"{plugin.file} is a link to what is outside of {folder}")
    found = hashlib.sha256()
    for path in sorted(_code_below(plugin, folder)):
        found.update(f"{sha256_of_files(path)}  {path.relative_to(folder).as_posix()}\n".encode())
    if plugin.python.is_relative_to(folder):
        interpreter = plugin.python.resolve()
        _refuse_open(plugin, interpreter)
        found.update(f"{sha256_of_files(interpreter)}  {interpreter}\n".encode())
    return found.hexdigest()


def _code_below(plugin: FoundPlugin, folder: Path) -> Iterator[Path]:
    """Give the files below a folder that could be run; links within it are followed."""
    root = folder.resolve()
    _refuse_open(plugin, root)
    for at, folders, files in os.walk(folder):
        if plugin.command is not None:
            folders[:] = [name for name in folders if name not in _LEFT_OUT]
        loaded = [name for name in files if plugin.command is not None or _is_loaded(Path(name))]
        for path in (Path(at, name) for name in (*folders, *loaded)):
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise _untrusted(plugin, f"{path} is a link to what is outside of {folder}")
            _refuse_open(plugin, path)
        for path in (Path(at, name) for name in loaded):
            if path.suffix == ".pth":
                _refuse_ways_out(plugin, path, root)
            if path.is_file():
                yield path


def _is_loaded(path: Path) -> bool:
    return path.suffix in _LOADED or path.name in _NAMES or _LIBRARY in path.suffixes


def _refuse_open(plugin: FoundPlugin, path: Path) -> None:
    """See that nobody can change a file or a folder but root and the user who runs the engine."""
    try:
        found = path.stat()
    except FileNotFoundError:  # a link to nothing loads nothing
        return
    if found.st_uid not in {0, os.geteuid()}:
        raise _untrusted(plugin, f"{path} belongs to another user, who could change it after it was hashed")
    if stat.S_IMODE(found.st_mode) & _WRITABLE_BY_OTHERS:
        raise _untrusted(plugin, f"others may write {path}, and so change it after it was hashed (chmod go-w)")


def _refuse_ways_out(plugin: FoundPlugin, path: Path, root: Path) -> None:
    """See that a ``.pth`` file names no folder of code elsewhere; lines of Python in it are hashed with it."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        text = line.strip()
        if not text or text.startswith(("#", "import ", "import\t")):
            continue
        if not (path.parent / text).resolve().is_relative_to(root):
            raise _untrusted(plugin, f"{path} has code loaded from {text}, which is outside of {root}")


def _untrusted(plugin: FoundPlugin, why: str) -> SandboxError:
    return unavailable(
        f"the plugin {plugin.title} would run without a sandbox, and cannot be trusted by its hash: {why}",
        hint="set sandbox.backend to process in the policy",
    )
