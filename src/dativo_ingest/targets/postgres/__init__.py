"""The Postgres target: rows wait in a temporary table, and one transaction lands them together with the state."""

from __future__ import annotations

from dativo_ingest.targets.postgres.writer import PostgresWriter

__all__ = ["PostgresWriter"]
