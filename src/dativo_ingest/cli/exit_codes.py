"""Exit codes as the command line knows them; they live in `dativo_ingest.run`, whose reports carry them."""

from __future__ import annotations

from dativo_ingest.run.exit_codes import (
    CONFIG,
    DATA,
    FENCED,
    INTERNAL,
    INTERRUPTED,
    MEANINGS,
    NOT_FOUND,
    OK,
    PARTIAL,
    PERMISSION,
    PLUGIN,
    REFUSED,
    RETRYABLE,
    TEMPORARY,
    TERMINATED,
    UNAVAILABLE,
    USAGE,
    of,
    worst,
)

__all__ = [
    "CONFIG",
    "DATA",
    "FENCED",
    "INTERNAL",
    "INTERRUPTED",
    "MEANINGS",
    "NOT_FOUND",
    "OK",
    "PARTIAL",
    "PERMISSION",
    "PLUGIN",
    "REFUSED",
    "RETRYABLE",
    "TEMPORARY",
    "TERMINATED",
    "UNAVAILABLE",
    "USAGE",
    "of",
    "worst",
]
