"""Tables of the parquet target in folders of this machine: hidden files, hard links, and fsync before and after.

A file in the making is hidden, ``.<token>-<n>.parquet.part``, so that no reader's glob finds it; `publish` gives it its
name. A manifest is written whole, made durable, and then linked to its number: whoever links first has the number.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from dativo_ingest.targets import parquet_manifest, parquet_runs
from dativo_ingest.targets.filesystem import (
    as_dativo_error,
    make_folder,
    nearest_folder,
    probe,
    sync,
    sync_folders,
    translated,
)
from dativo_ingest.targets.parquet_runs import RunLock
from dativo_ingest.targets.parquet_storage import MANIFESTS, QUARANTINE, DataFolder, Lake, Sink, TableStorage
from dativo_plugin_sdk import Check, CommitStateUnknownError, ConnectionTestResult

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_NAME = re.compile(r"(?P<number>\d{20})\.json")


class LocalLake(Lake):
    """A folder of this machine; it is made when missing."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def table(self, names: Sequence[str]) -> LocalTable:
        """Give the table's folder, of which nothing is made."""
        return LocalTable(self._path.joinpath(*names))

    def checks(self) -> Sequence[Check]:
        """One step: the folder, or the closest one above it."""
        return [Check("path", self._check_path)]

    def look(self, names: Sequence[str]) -> None:
        """See that no file stands where a folder is needed."""
        nearest_folder(self._path.joinpath(*names))

    def probe(self, tables: Iterable[Sequence[str]]) -> ConnectionTestResult:
        """Write a file without a name wherever a table's folder is, or is to be made."""
        folders = {nearest_folder(folder) for folder in [self._path, *(self._path.joinpath(*each) for each in tables)]}
        for folder in sorted(folders):
            probe(folder)
        return ConnectionTestResult(
            success=True, message="a file was written and is gone", details={"folders": sorted(map(str, folders))}
        )

    def _check_path(self) -> ConnectionTestResult:
        folder = nearest_folder(self._path)
        missing = "" if folder == self._path else f", to be made in {folder}"
        return ConnectionTestResult(success=True, message=f"{self._path}{missing}", details={"path": str(self._path)})


class LocalTable(TableStorage):
    """One table's folder, and its rejected rows' beside it."""

    def __init__(self, folder: Path) -> None:
        self.where = str(folder)
        self._folder = folder
        self._rejects = folder.with_name(f"{folder.name}{QUARANTINE}")
        self.data = LocalFolder(folder)
        self.rejects = LocalFolder(self._rejects)

    def numbers(self) -> list[int]:
        """List the folder of manifests."""
        folder = self._folder / MANIFESTS
        with translated(folder):
            try:
                names = [path.name for path in folder.iterdir()]
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted(int(match["number"]) for match in map(_NAME.fullmatch, names) if match)

    def newest(self) -> int:
        """List the folder of manifests and take the last."""
        return max(self.numbers(), default=0)

    def read(self, number: int) -> str:
        """Read the manifest's file."""
        path = self._path(number)
        with translated(path):
            return path.read_text(encoding="utf-8")

    def create(self, number: int, text: str, token: str, is_ours: Callable[[str], bool]) -> bool:  # noqa: ARG002  a link tells by itself whose it is
        """Write a draft and link it to the number.

        Raises:
            DiskFullError: Nothing landed.
            CommitStateUnknownError: The operating system failed in a way that leaves open whether it landed.
        """
        make_folder(self._folder / MANIFESTS)
        draft = self._draft(token)
        try:
            with translated(draft):
                draft.write_text(text, encoding="utf-8")
                sync(draft)
            return _link(draft, self._path(number))
        finally:
            with contextlib.suppress(OSError):  # left over, it is removed with the run's other files
                draft.unlink(missing_ok=True)

    def replace(self, number: int, text: str, token: str) -> None:
        """Write a draft and rename it over the number."""
        path, draft = self._path(number), self._draft(token)
        with translated(path):
            draft.write_text(text, encoding="utf-8")
            sync(draft)  # or a loss of power could leave the name with nothing in it
            draft.replace(path)

    def begin(self, run_id: str, state_key: str) -> RunLock:  # noqa: ARG002  the kernel knows which runs are alive
        """Make the folder and lock a file named by the token."""
        make_folder(self._folder, durable=True)
        return RunLock.take(self._folder, run_id, partial(parquet_manifest.latest, self))

    def sweep(self) -> None:
        """Remove what runs left whose lock can be had."""
        parquet_runs.sweep(self._folder, self._rejects, partial(parquet_manifest.latest, self))

    def stranger(self) -> str | None:
        """Walk the folder."""
        return None if self.numbers() else parquet_runs.stranger(self._folder)

    def settle(self) -> None:
        """Sync the folder of manifests, and those above it."""
        sync_folders([self._folder / MANIFESTS], self._folder)

    def _path(self, number: int) -> Path:
        return self._folder / MANIFESTS / f"{number:020d}.json"

    def _draft(self, token: str) -> Path:
        return self._folder / MANIFESTS / f".{token}.json.part"


class LocalFolder(DataFolder):
    """A folder of data files."""

    most_held_bytes = 0

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def start(self, path: str) -> Sink:
        """Begin a hidden file, in a folder made as needed."""
        make_folder((self._folder / path).parent)
        return _HiddenFile(self._folder / path)

    def publish(self, paths: Sequence[str]) -> None:
        """Link the hidden files to their names."""
        for each in paths:
            path = self._folder / each
            with translated(path), contextlib.suppress(FileNotFoundError):  # named by an earlier call
                path.hardlink_to(_hidden(path))  # unlike a rename, it never replaces what is there
                _hidden(path).unlink()
        sync_folders({(self._folder / each).parent for each in paths}, self._folder)

    def remove(self, paths: Sequence[str]) -> None:
        """Unlink the files, by either name."""
        for each in paths:
            path = self._folder / each
            with translated(path):
                path.unlink(missing_ok=True)
                _hidden(path).unlink(missing_ok=True)

    def arrow(self) -> tuple[FileSystem, str]:
        """Give the folder as it is."""
        from pyarrow import fs  # noqa: PLC0415  it loads every file system

        return fs.LocalFileSystem(), str(self._folder)

    def translated(self, path: str) -> AbstractContextManager[None]:
        """Name the file's full path."""
        return translated(self._folder / path)


class _HiddenFile(Sink):
    def __init__(self, path: Path) -> None:
        self._hidden = _hidden(path)
        self.stream = pa.OSFile(str(self._hidden), mode="wb")

    def close(self) -> int:
        self.stream.close()
        sync(self._hidden)
        return self._hidden.stat().st_size

    def abandon(self) -> None:
        with contextlib.suppress(OSError, pa.ArrowException):  # the disk may be full: what is abandoned may be cut
            self.stream.close()


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _link(draft: Path, path: Path) -> bool:
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    except OSError as error:
        with contextlib.suppress(OSError):
            return path.samefile(draft)  # a network file system may lose the answer to a link that it made
        if path.exists():
            raise CommitStateUnknownError(f"{path}: {error}") from error
        raise as_dativo_error(error, path) from error
    try:
        sync(path.parent)
    except OSError as error:
        raise CommitStateUnknownError(
            f"{path}: committed, and it is not known whether the disk keeps it: {error}",
            hint="look at the disk; the next run reads what is there",
        ) from error
    return True
