"""Where paths really lead: links are followed once, and what they lead to is held to the policy as well."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def real_path(text: str) -> str:
    """Give a path without links; what is not there stays as it is written."""
    return os.path.realpath(text)


def is_within(path: str, folders: Iterable[str] | None) -> bool:
    """Say whether a path is one of some files and folders, or below one; None is anything."""
    return folders is None or any(PurePosixPath(path).is_relative_to(folder) for folder in folders)


def look_at(path: Path) -> os.stat_result:
    """Look at what an absolute path without links names: folder by folder, so that nobody puts a link into its way.

    Raises:
        OSError: It is not there, or something of it is a link by now.
    """
    at = os.open("/", _LOOK)
    try:
        for part in path.parts[1:]:
            there = os.open(part, _LOOK, dir_fd=at)
            os.close(at)
            at = there
        found = os.fstat(at)
    finally:
        os.close(at)
    if stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return found
