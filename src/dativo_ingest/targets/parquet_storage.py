"""Where a table of the parquet target may lie: what its writer asks of a folder, whatever holds the folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import pyarrow as pa

from dativo_plugin_sdk import Check, ConnectionTestResult

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

MANIFESTS = "_manifests"
"""The folder of a table that its manifests lie in."""
QUARANTINE = "__quarantine"
"""What follows a table's name in that of the folder of its rejected rows."""


class Sink(ABC):
    """A data file in the making."""

    stream: pa.NativeFile

    @abstractmethod
    def close(self) -> int:
        """Make the file durable; give its size in bytes."""

    @abstractmethod
    def abandon(self) -> None:
        """Let go of the file as it is; it never becomes one that a reader finds."""


class DataFolder(ABC):
    """A folder of data files; their paths are relative to it and use ``/``."""

    most_held_bytes: int
    """The most memory that an open file takes, however large it grows."""

    @abstractmethod
    def start(self, path: str) -> Sink:
        """Begin a file."""

    @abstractmethod
    def publish(self, paths: Sequence[str]) -> None:
        """Make closed files findable under their names, durably; may be called twice."""

    @abstractmethod
    def remove(self, paths: Sequence[str]) -> None:
        """Remove files, closed or not; those that are gone are fine."""

    @abstractmethod
    def arrow(self) -> tuple[FileSystem, str]:
        """Give Arrow's file system that holds the folder, and the folder's path there, for readers."""

    @abstractmethod
    def translated(self, path: str) -> AbstractContextManager[None]:
        """Turn what fails in the block, while a file is written, into a Dativo error."""


class Run(ABC):
    """A run's hold on a token, with which the names of all of its files begin."""

    token: str
    most_generation: int | None = None
    """The last generation of its stream that the run may still replace; None where any will do."""

    @abstractmethod
    def release(self, *, keep_mark: bool = False) -> None:
        """Say that the run is over; may be called twice.

        Args:
            keep_mark: Leave its files to the judgement of later runs.
        """


class TableStorage(ABC):
    """One table: its numbered manifests, its data files and, in the folder beside it, its rejected rows."""

    where: str
    """The table's folder, for people."""
    data: DataFolder
    rejects: DataFolder

    @abstractmethod
    def numbers(self) -> list[int]:
        """List the manifests' numbers, in order; a table that does not exist has none."""

    @abstractmethod
    def newest(self) -> int:
        """Give the greatest of the manifests' numbers; 0 where there is none."""

    @abstractmethod
    def read(self, number: int) -> str:
        """Read a manifest."""

    def read_many(self, numbers: Sequence[int]) -> Iterator[str]:
        """Read manifests, in the order asked for."""
        return map(self.read, numbers)

    @abstractmethod
    def create(self, number: int, text: str, token: str, is_ours: Callable[[str], bool]) -> bool:
        """Create the manifest of a number, whole and durable, if the number is free; of many at once, one does.

        Args:
            number: Its number.
            text: Its content.
            token: The run's own.
            is_ours: Tells from the content of a manifest whether it is the one that is to be created.

        Returns:
            Whether the number is this manifest's; False says that it is another's.

        Raises:
            CommitStateUnknownError: It is not known, and may become either.
            DativoError: It was not created, and never will be.
        """

    @abstractmethod
    def replace(self, number: int, text: str, token: str) -> None:
        """Write another content for a number that is taken; at no moment is the number free."""

    @abstractmethod
    def begin(self, run_id: str, state_key: str) -> Run:
        """Take a token that begins with the run's id and that nobody else's files have.

        Several streams of one run may write one table, at once or one after the other: each gets a token of its own.
        """

    @abstractmethod
    def sweep(self) -> None:
        """Remove the files of runs that can no longer commit them."""

    @abstractmethod
    def stranger(self) -> str | None:
        """Find a Parquet file in a folder that has no manifest yet, other than those of runs at work."""

    @abstractmethod
    def settle(self) -> None:
        """Make everything durable that a manifest may name; called after ``publish`` and before ``create``."""


class Lake(ABC):
    """The folder that all tables of a target go under."""

    @abstractmethod
    def table(self, names: Sequence[str]) -> TableStorage:
        """Give the storage of the table of these names; nothing is made."""

    @abstractmethod
    def checks(self) -> Sequence[Check]:
        """List the steps that show whether the folder can be had."""

    @abstractmethod
    def look(self, names: Sequence[str]) -> None:
        """See that nothing stands in the way of the table's folder."""

    @abstractmethod
    def probe(self, tables: Iterable[Sequence[str]]) -> ConnectionTestResult:
        """Write where the tables go, and leave nothing."""


def is_of(name: str, token: str) -> bool:
    """Say whether a file is a data file or a draft of the run, by its name alone."""
    plain = name.removeprefix(".").removesuffix(".part")
    if plain == f"{token}.json" and name.startswith("."):
        return True
    number = plain.removeprefix(f"{token}-").removesuffix(".parquet")
    return plain == f"{token}-{number}.parquet" and number.isdigit()
