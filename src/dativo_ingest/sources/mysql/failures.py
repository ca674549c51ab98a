"""What MySQL and MariaDB say to one who reads, as Dativo's errors."""

from __future__ import annotations

from dativo_ingest.databases.failures import Kind
from dativo_ingest.mysql.failures import Failures
from dativo_plugin_sdk import DatabaseLockError, TimeoutError

_SLOW: Kind = (TimeoutError, "raise source.options.statement_timeout_s, or the user's max_statement_time")

FAILURES = Failures(
    "source",
    {
        1205: (
            DatabaseLockError,
            "others hold the table; source.options.lock_timeout_s says how long to wait for them",
        ),
        1969: _SLOW,
        3024: _SLOW,
    },
)
