"""Folders that a plugin may write and that are not there yet: a sandbox can show it only what is.

They are made before it starts. What the path of one leads through is followed once, before, where the operator's policy
is held to it; while it is made, nothing in it may be a link.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def made(paths: Iterable[str]) -> Iterator[None]:
    """Make the folders that are missing, with those above them, and remove again those that nothing came into.

    What cannot be made stays missing. A path with a suffix, such as ``lake.db``, is a file's, which its plugin makes in
    a folder that it may write.

    Args:
        paths: Absolute, without links.
    """
    new: list[Path] = []
    try:
        for path in map(Path, paths):
            if not path.suffix and not path.exists():
                with contextlib.suppress(OSError):  # the plugin finds what it may not write, and says so
                    _make(path, new)
        yield
    finally:
        for path in reversed(new):
            with contextlib.suppress(OSError):  # it is not empty
                path.rmdir()


def _make(path: Path, new: list[Path]) -> None:
    """Make a folder, one step after the other; take note of each that was not there."""
    at = os.open(path.anchor, _FOLDER)
    try:
        for depth, name in enumerate(path.parts[1:], start=2):
            try:
                os.mkdir(name, dir_fd=at)
                new.append(Path(*path.parts[:depth]))
            except FileExistsError:
                pass
            below = os.open(name, _FOLDER, dir_fd=at)
            os.close(at)
            at = below
    finally:
        os.close(at)
