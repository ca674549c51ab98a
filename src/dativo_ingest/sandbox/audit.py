"""The audit log: which third-party code ran for whom, with what it was granted, and what became of it. JSON lines."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dativo_ingest.secrets.redaction import redact_document
from dativo_plugin_sdk.errors import ConfigurationError, DiskFullError, InsufficientPermissionsError

FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
MODE = 0o600


def audit_file(folder: Path) -> Path:
    """Give the log's place for a job in ``folder``, where no policy says another."""
    return folder / ".dativo" / "audit.jsonl"


class AuditLog:
    """A file that lines are added to, safe against other processes that add to it; it appears with the first line.

    It is only its owner's to read. A link is not followed: the file may stand in a folder of a tenant's.

    Args:
        path: The file; its folder is created with it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, event: str, facts: Mapping[str, Any]) -> None:
        """Add a line: the time, the event and the facts, without any secret's value.

        Raises:
            DiskFullError: There is no space for it.
            InsufficientPermissionsError: The file or its folder cannot be written.
            ConfigurationError: It is no file that can be added to.
        """
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        document = redact_document({"time": at, "event": event, **facts})
        line = json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, FLAGS, MODE)
        except OSError as error:
            raise self._translated(error) from error
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise ConfigurationError(f"the audit log {self._path} is no file")
            if os.write(file, line) < len(line):
                with suppress(OSError):
                    os.write(file, b"\n")
                raise DiskFullError(f"no space is left for the audit log {self._path}")
        except OSError as error:
            raise self._translated(error) from error
        finally:
            os.close(file)

    def _translated(self, error: OSError) -> Exception:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return DiskFullError(f"no space is left for the audit log {self._path}")
        if error.errno == errno.ELOOP:
            return ConfigurationError(f"the audit log {self._path} is a link, which is not followed")
        return InsufficientPermissionsError(f"the audit log {self._path} cannot be written: {error.strerror}")
