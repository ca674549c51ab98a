"""What Postgres says to one who writes, as Dativo's errors."""

from __future__ import annotations

from dativo_ingest.postgres.failures import Failures
from dativo_plugin_sdk import (
    DataValidationError,
    InsufficientPermissionsError,
    ResourceNotFoundError,
    SchemaValidationError,
)

FAILURES = Failures(
    "target",
    {
        "23502": (DataValidationError, "make the column required in the contract, so that such rows are quarantined"),
        "23505": (DataValidationError, "merge by the columns that are unique there, or let go of the index"),
        "3D000": (ResourceNotFoundError, "check target.connection.database; Dativo makes schemas, no databases"),
        "42501": (
            InsufficientPermissionsError,
            "the user needs TEMPORARY on the database, USAGE and CREATE on the schema, and to own a table that changes",
        ),
        "54": (SchemaValidationError, "leave columns out, or keep some together as one column of type json"),
    },
)

as_dativo_error = FAILURES.as_dativo_error
kind_of = FAILURES.kind_of
translated = FAILURES.translated
