"""What Postgres says to one who reads, as Dativo's errors."""

from __future__ import annotations

from dativo_ingest.postgres.failures import Failures
from dativo_plugin_sdk import (
    DatabaseLockError,
    DataNotFoundError,
    InsufficientPermissionsError,
    InvalidConfigError,
    TimeoutError,
)

FAILURES = Failures(
    "source",
    {
        "42501": (InsufficientPermissionsError, "grant the user USAGE on the schema and SELECT on the table"),
        "42P01": (DataNotFoundError, "dativo discover lists what there is"),
        "42": (InvalidConfigError, "correct the stream's query, filter or columns"),
        "55P03": (
            DatabaseLockError,
            "others hold the table; source.options.lock_timeout_s says how long to wait for them",
        ),
        "57014": (TimeoutError, "raise source.options.statement_timeout_s, or the user's statement_timeout"),
    },
)
