"""Folders of the local file system as targets use them: typed errors, a probe that leaves nothing, durable names."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dativo_plugin_sdk import (
    DativoError,
    DiskFullError,
    InsufficientPermissionsError,
    InvalidConfigError,
    ResourceError,
    ResourceNotFoundError,
)

_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_BAD_NAME = frozenset({errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ELOOP})
_MISSING = frozenset({errno.ENOENT, errno.ESTALE})
_PROBE_BYTES = 4096


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` of the block into a Dativo error that names ``path``."""
    try:
        yield
    except DativoError:  # ours may be OSErrors too: ConnectionError and TimeoutError are builtin ones
        raise
    except OSError as error:
        raise as_dativo_error(error, path) from error


def as_dativo_error(error: OSError, path: Path) -> DativoError:
    """Choose the class for what the operating system said about ``path``."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    details = {"path": str(path), "original_error": type(error).__name__, "original_message": str(error)}
    message = f"{path}: {reason}"
    if error.errno in _DISK_FULL:
        return DiskFullError(message, details=details, hint="make room there, or let the target be on a larger disk")
    if error.errno in _FORBIDDEN:
        return InsufficientPermissionsError(message, details=details, hint="let the user that runs the job write there")
    if error.errno in _BAD_NAME:
        return InvalidConfigError(message, details=details, hint="check target.connection.path and the table's name")
    if error.errno in _MISSING:
        return ResourceNotFoundError(message, details=details, hint="somebody else removed it while the run used it")
    return ResourceError(message, details=details)


def nearest_folder(path: Path) -> Path:
    """Give ``path``, or the closest folder above it that exists.

    Raises:
        InvalidConfigError: Something on the way is a file.
        InsufficientPermissionsError: A folder on the way may not be entered.
    """
    with translated(path):
        for folder in (path, *path.parents):
            if folder.is_dir():
                return folder
            if folder.exists():
                raise InvalidConfigError(f"{folder} is a file, a folder is needed", details={"path": str(folder)})
    raise ResourceNotFoundError(f"{path}: no folder above it exists")


def exists(path: Path) -> bool:
    """Say whether there is such a file or folder; one that may not be looked at is an error, not an answer."""
    with translated(path):
        return path.exists()


def probe(folder: Path) -> None:
    """Write a file without a name and forget it: nothing is ever listed in ``folder``.

    Raises:
        DiskFullError: Not even a page fits.
        InsufficientPermissionsError: The folder may not be written.
    """
    # The file has no name (O_TMPFILE); on file systems without such files it has one until it is open.
    with translated(folder), tempfile.TemporaryFile(dir=folder, prefix=".dativo-probe-", buffering=0) as file:
        file.write(bytes(_PROBE_BYTES))
        os.fsync(file.fileno())


def make_folder(folder: Path, *, durable: bool = False) -> None:
    """Make a folder and those above it; one that exists is fine. A ``durable`` one outlives a loss of power."""
    with translated(folder):
        missing = [each for each in (folder, *folder.parents) if not each.exists()] if durable else []
        folder.mkdir(parents=True, exist_ok=True)
        for each in missing:
            sync(each.parent)


def sync(path: Path) -> None:
    """Make a file's bytes, or a folder's names, outlive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folders(folders: Iterable[Path], top: Path) -> None:
    """Sync each folder and every folder above it, up to and including ``top``'s parent."""
    above = {parent for folder in folders for parent in (folder, *folder.parents) if parent.is_relative_to(top)}
    for folder in sorted(above | {top.parent}, key=lambda each: len(each.parts), reverse=True):
        with translated(folder):
            sync(folder)
