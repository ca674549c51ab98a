"""What DuckDB says when something fails, as Dativo's errors."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import duckdb

from dativo_plugin_sdk import (
    ConcurrencyError,
    DatabaseLockError,
    DataValidationError,
    DativoError,
    DiskFullError,
    InsufficientPermissionsError,
    InvalidConfigError,
    MemoryLimitError,
    ResourceError,
    SchemaValidationError,
)

_PID = re.compile(r"\(PID (\d+)\)")
LOCKED = "Could not set lock on file"
"""What DuckDB says where another process has the file open."""

# DuckDB gives every failure of a file as an IOException: only its text, the operating system's, tells them apart.
_IO: tuple[tuple[str, type[DativoError], str], ...] = (
    ("No space left on device", DiskFullError, "make room there, or let the target be on a larger disk"),
    ("Disk quota exceeded", DiskFullError, "make room there, or ask for a larger quota"),
    ("File too large", DiskFullError, "raise the limit on the size of files"),
    ("Permission denied", InsufficientPermissionsError, "let the user that runs the job write the file and its folder"),
    ("Read-only file system", InsufficientPermissionsError, "let the target be on a file system that can be written"),
    ("not a valid DuckDB database file", InvalidConfigError, "check target.connection.path"),
    ("Is a directory", InvalidConfigError, "target.connection.path must name a file"),
    ("Not a directory", InvalidConfigError, "check target.connection.path"),
    ("File name too long", InvalidConfigError, "check target.connection.path"),
)
_CLASSES: tuple[tuple[tuple[type[duckdb.Error], ...], type[DativoError], str | None], ...] = (
    (
        (duckdb.OutOfMemoryException,),
        MemoryLimitError,
        "raise limits.memory_mb or target.options.memory_limit_mb: DuckDB keeps up to 122,880 rows in memory",
    ),
    ((duckdb.TransactionException,), ConcurrencyError, "run again"),
    (
        (
            duckdb.ConstraintException,
            duckdb.ConversionException,
            duckdb.OutOfRangeException,
            duckdb.InvalidInputException,
        ),
        DataValidationError,
        None,
    ),
    (
        (
            duckdb.CatalogException,
            duckdb.BinderException,
            duckdb.ParserException,
            duckdb.SyntaxException,
            duckdb.NotImplementedException,
            duckdb.InvalidTypeException,
            duckdb.DependencyException,
        ),
        SchemaValidationError,
        None,
    ),
)


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn what DuckDB says in the block into a Dativo error; ``what`` begins its message."""
    try:
        yield
    except duckdb.Error as error:
        raise as_dativo_error(error, what) from error


def as_dativo_error(error: duckdb.Error, what: str) -> DativoError:
    """Choose the class for what DuckDB said."""
    text = str(error)
    message = f"{what}: {text.splitlines()[0] if text else type(error).__name__}"
    details = {"original_error": type(error).__name__, "original_message": text}
    if LOCKED in text:
        pid = _PID.search(text)
        holder = f"process {pid[1]}" if pid else "another process"
        return DatabaseLockError(
            f"{what}: {holder} has the database open",
            details={**details, "pid": int(pid[1]) if pid else None},
            hint=f"wait until {holder} is done, or end it; target.options.lock_timeout_s says how long to wait",
        )
    for words, kind, hint in _IO:
        if words in text:
            return kind(message, details=details, hint=hint)
    if "failed to pin block" in text or "could not allocate block" in text:
        _, kind, memory_hint = _CLASSES[0]
        return kind(message, details=details, hint=memory_hint)
    for classes, kind, class_hint in _CLASSES:
        if isinstance(error, classes):
            return kind(message, details=details, hint=class_hint)
    return ResourceError(message, details=details)
