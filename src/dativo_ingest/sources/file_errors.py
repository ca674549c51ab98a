"""What the operating system and S3 say when a file cannot be had, as Dativo's errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dativo_plugin_sdk import DataError, DataNotFoundError, DativoError, InsufficientPermissionsError
from dativo_plugin_sdk.s3_errors import s3_failure


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn an ``OSError`` of the block into a Dativo error that names the file.

    Args:
        name: The file, folder or pattern that is asked for.
    """
    try:
        yield
    except DativoError:  # ours may be OSErrors too: ConnectionError and TimeoutError are builtin ones
        raise
    except OSError as error:
        raise as_dativo_error(error, name) from error


def as_dativo_error(error: OSError, name: str) -> DativoError:
    """Choose the class for what the operating system or S3 said about ``name``."""
    text = str(error)
    details = {"path": name, "original_error": type(error).__name__, "original_message": text}
    if isinstance(error, PermissionError):
        return InsufficientPermissionsError(
            f"{name}: permission denied", details=details, hint="let the user that runs the job read it"
        )
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return DataNotFoundError(f"{name}: no such file or folder", details=details)
    failure = s3_failure(error, "source")
    if failure is not None:
        reason = text.partition(" operation: ")[2].partition(" (Request ID")[0] or text
        error_class = failure.error_class or DataError
        details["aws_error"] = failure.code
        return error_class(f"{name}: S3 said {failure.code}: {reason}", details=details, hint=failure.hint)
    return DataError(f"{name}: cannot be read: {text}", details=details)
