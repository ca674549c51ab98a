"""The file system behind a table's FileIO: where a location lies in it, and what lies there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dativo_ingest.targets.iceberg.failures import translated
from dativo_plugin_sdk import ResourceNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from pyiceberg.io import FileIO

_FILES_AT_ONCE = 8


def file_system(io: FileIO, location: str) -> tuple[Any, str] | None:
    """Give pyarrow's file system behind a FileIO, with the location's path in it; None for another library's."""
    from pyiceberg.io.pyarrow import PyArrowFileIO  # noqa: PLC0415  loads every file system

    if not isinstance(io, PyArrowFileIO):
        return None
    scheme, netloc, path = io.parse_location(location, io.properties)
    return io.fs_by_scheme(scheme, netloc), path


@dataclass(frozen=True)
class Found:
    """A file: its path in its file system, its size, and when it was written last."""

    path: str
    size_bytes: int
    written_at: datetime


class Folder:
    """A folder of a table.

    Args:
        io: The table's.
        location: The folder's full location.

    Raises:
        ResourceNotFoundError: The files are reached by a library that is not pyarrow.
    """

    def __init__(self, io: FileIO, location: str) -> None:
        found = file_system(io, location)
        if found is None:
            raise ResourceNotFoundError(
                f"{location} cannot be listed through {type(io).__name__}",
                hint="leave py-io-impl out of target.connection.properties",
            )
        self._io = io
        self._location = location.rstrip("/")
        self._system, path = found
        self.path = path.rstrip("/")

    def files(self) -> Iterator[Found]:
        """List the files of the folder and of those below it; a folder that does not exist has none."""
        from pyarrow.fs import FileSelector, FileType  # noqa: PLC0415  loads every file system

        with translated(f"listing {self._location}"):
            selector = FileSelector(self.path, recursive=True, allow_not_found=True)
            infos = self._system.get_file_info(selector)
        for info in infos:
            # An object store has empty objects that stand for folders.
            if info.type == FileType.File and not info.path.endswith("/"):
                yield Found(info.path, info.size, info.mtime)

    def path_of(self, location: str) -> str:
        """Give the path that a location of the same file system has in it."""
        found = file_system(self._io, location)
        assert found is not None  # noqa: S101  the folder itself was found
        return found[1]

    def location_of(self, path: str) -> str:
        """Give the full location of a file of the folder."""
        return self._location + path.removeprefix(self.path)


def delete_files(io: FileIO, locations: Iterable[str]) -> int:
    """Delete files, several at once; a file that is gone already counts as deleted.

    Returns:
        How many are still there because the store refused.
    """

    def delete(location: str) -> bool:
        try:
            io.delete(location)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        return sum(not done for done in pool.map(delete, locations))
