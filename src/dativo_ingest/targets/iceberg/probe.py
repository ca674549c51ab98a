"""Writing something and taking it back, so that nothing tells of it: no file, and no folder that was not there."""

from __future__ import annotations

import contextlib
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dativo_ingest.targets.iceberg.failures import translated
from dativo_ingest.targets.iceberg.file_systems import file_system

if TYPE_CHECKING:
    from pyiceberg.io import FileIO

_CONTENT = b"dativo writes here to see whether it may"


def write_and_delete_in_folder(folder: Path) -> None:
    """Try a local folder; what is missing of it is made and removed again."""
    made: list[Path] = []
    with translated(f"writing under {folder}"):
        try:
            for part in [*reversed(folder.parents), folder]:
                if not part.exists():
                    part.mkdir()
                    made.append(part)
            path = folder / f".dativo-probe-{uuid.uuid4()}"
            try:
                path.write_bytes(_CONTENT)
            finally:
                path.unlink(missing_ok=True)
        finally:
            for part in reversed(made):
                with contextlib.suppress(OSError):  # somebody else put something there: it is theirs now
                    part.rmdir()


def write_and_delete(io: FileIO, location: str) -> None:
    """Try an object store with one object of the given location."""
    with translated(f"writing {location}"):
        missing = _missing_parents(io, location)
        with io.new_output(location).create(overwrite=True) as stream:
            stream.write(_CONTENT)
        io.delete(location)
        _remove(missing)


def _missing_parents(io: FileIO, location: str) -> list[tuple[Any, str]]:
    """List the folders above a location that do not exist, the deepest first.

    pyarrow keeps a folder alive when its last file goes, on S3 by an empty object.
    """
    found = file_system(io, location)
    if found is None:
        return []
    from pyarrow.fs import FileType  # noqa: PLC0415  loads every file system

    system, path = found
    parts = path.split("/")
    parents = ["/".join(parts[:count]) for count in range(len(parts) - 1, 1, -1)]
    missing = []
    for parent in parents:
        # Who may write need not be allowed to list: a folder that cannot be looked at is left alone.
        with contextlib.suppress(OSError):
            if system.get_file_info(parent).type == FileType.NotFound:
                missing.append((system, parent))
    return missing


def _remove(folders: list[tuple[Any, str]]) -> None:
    for system, path in folders:
        with contextlib.suppress(OSError):  # it never came about, or somebody else put something there
            if not _has_files(system, path):
                system.delete_dir(path)


def _has_files(system: Any, path: str) -> bool:
    from pyarrow.fs import FileSelector, FileType  # noqa: PLC0415

    return any(
        info.type == FileType.File and not info.path.endswith("/")
        for info in system.get_file_info(FileSelector(path, recursive=True, allow_not_found=True))
    )
