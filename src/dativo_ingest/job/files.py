"""Small files read whole: jobs, contracts and what ``${file:…}`` refers to."""

from __future__ import annotations

from pathlib import Path

from dativo_plugin_sdk.errors import InsufficientPermissionsError, InvalidConfigError, MissingConfigError

MANIFEST_NAME = "dativo-plugin.yaml"
"""The name of every plugin's manifest."""
MAX_BYTES = 4 * 2**20
"""The largest file that is read."""


def read_file(path: Path, *, what: str, hint_if_missing: str) -> bytes:
    """Read a file, at most one byte more than `MAX_BYTES`: the caller tells from it that the file is too large.

    Args:
        path: The file.
        what: What it is, for messages: ``job file``.
        hint_if_missing: What to do where there is none.

    Raises:
        MissingConfigError: There is no such file.
        InsufficientPermissionsError: It may not be read.
        InvalidConfigError: It is a folder, or something else is wrong with it.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise MissingConfigError(f"{path}: there is no such {what}", hint=hint_if_missing) from error
    except PermissionError as error:
        raise InsufficientPermissionsError(f"{path}: this {what} may not be read") from error
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise InvalidConfigError(f"{path}: this {what} cannot be read: {reason}") from error
