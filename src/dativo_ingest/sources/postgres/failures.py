"""What Postgres says to one who reads, as Dativo's errors."""

from __future__ import annotations

from dativo_ingest.postgres.failures import Failures
from dativo_plugin_sdk import (
    ConcurrencyError,
    DataNotFoundError,
    InsufficientPermissionsError,
    InvalidConfigError,
    TimeoutError,
)

FAILURES = Failures(
    "source",
    {
        "40001": (
            ConcurrencyError,
            "run again; on a replica hot_standby_feedback or max_standby_streaming_delay lets reading go on",
        ),
        "42501": (
            InsufficientPermissionsError,
            "the user needs CONNECT on the database, USAGE on the schema and SELECT on the table",
        ),
        "3F000": (DataNotFoundError, "dativo discover lists what there is"),
        "42P01": (DataNotFoundError, "dativo discover lists what there is"),
        "42": (InvalidConfigError, "correct the stream's query, filter or columns"),
        "42601": (InvalidConfigError, "try the query in psql"),
        "42703": (InvalidConfigError, "dativo discover --verbose lists the columns"),
        "57014": (
            TimeoutError,
            "raise source.options.statement_timeout_s or the user's statement_timeout, unless somebody cancelled it",
        ),
    },
)
