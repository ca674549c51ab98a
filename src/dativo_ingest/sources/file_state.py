"""What incremental reading by file remembers, and what it says about a file seen again. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from dativo_ingest.sources.file_listing import SourceFile
from dativo_plugin_sdk import DataFormatError, State

STATE_VERSION = 1
PROBE_BYTES = 64 * 1024
"""How much of a file's head, and of its tail, goes into its fingerprint."""
Verdict: TypeAlias = Literal["new", "unchanged", "touched", "grown", "changed"]


@dataclass(frozen=True)
class FileEntry:
    """One file as it was when it was read.

    ``head`` and ``tail`` are the digests of its first and last `PROBE_BYTES`; ``lines`` how many lines it had, known
    only where its end was a clean one, so that reading may go on there.
    """

    size: int
    mtime_ns: int | None = None
    etag: str | None = None
    lines: int | None = None
    head: str | None = None
    tail: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Give the entry without what is not known."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass
class FilesState:
    """A file stream's state: what was read, and how far the cursor column has come."""

    files: dict[str, FileEntry] = field(default_factory=dict)
    cursor: Any = None
    cursor_column: str | None = None

    @classmethod
    def from_json(cls, state: State | None) -> FilesState:
        """Read what `to_json` wrote; None is the state before the first run.

        Raises:
            DataFormatError: It is of a version this release does not know.
        """
        if state is None:
            return cls()
        if state.get("version") != STATE_VERSION or not isinstance(state.get("files", {}), dict):
            raise DataFormatError(
                f"the stream's state has version {state.get('version')!r}, this release reads {STATE_VERSION}",
                hint="reset the stream's state, or use the release that wrote it",
            )
        try:
            files = {path: FileEntry(**entry) for path, entry in state.get("files", {}).items()}
        except TypeError as error:
            raise DataFormatError(f"the stream's state is not one of a file source: {error}") from error
        return cls(files, state.get("cursor"), state.get("cursor_column"))

    def to_json(self) -> State:
        """Give the state as JSON values; it shares nothing that changes later."""
        state: State = {"version": STATE_VERSION, "files": {path: e.to_json() for path, e in self.files.items()}}
        if self.cursor_column is not None:
            state |= {"cursor": self.cursor, "cursor_column": self.cursor_column}
        return state


def first_verdict(entry: FileEntry | None, file: SourceFile) -> Verdict:
    """Judge a file by its listing alone; ``touched`` and ``grown`` ask for a look at its bytes."""
    if entry is None:
        return "new"
    if entry.size == file.size_bytes:
        return "unchanged" if entry.mtime_ns == file.mtime_ns else "touched"
    return "grown" if file.size_bytes > entry.size and entry.lines is not None else "changed"


def same_bytes(entry: FileEntry, *, head: str, tail: str) -> bool:
    """Say whether the part of a file that was read before still looks the same by its two ends."""
    return entry.head == head and entry.tail == tail


def covers_whole_file(entry: FileEntry) -> bool:
    """Say whether the digests of head and tail leave no byte of the file out."""
    return entry.size <= 2 * PROBE_BYTES


def digest(part: bytes) -> str:
    """Give a short digest of some bytes."""
    return hashlib.blake2b(part, digest_size=8).hexdigest()
