"""The environment that a plugin's process gets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from dativo_ingest.sandbox.grant import Grant

FOLDER_VARIABLE: Final = "DATIVO_PLUGIN_IO"
TOKEN_VARIABLE: Final = "DATIVO_PLUGIN_TOKEN"  # noqa: S105  its name

_PASSED_ON = frozenset({"LANG", "LANGUAGE", "PATH", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"})
_PASSED_ON_PREFIX = "LC_"


def environment_of(grant: Grant, *, home: Path, temporary: Path, folder: Path, token: str) -> dict[str, str]:
    """Give the variables of a process, paths as it sees them: of the engine's own, those that a grant names."""
    names = {*_PASSED_ON, *grant.environment}
    passed_on = {
        name: value for name, value in os.environ.items() if name in names or name.startswith(_PASSED_ON_PREFIX)
    }
    return {
        **passed_on,
        "HOME": str(home),
        "TMPDIR": str(temporary),
        FOLDER_VARIABLE: str(folder),
        TOKEN_VARIABLE: token,
    }
