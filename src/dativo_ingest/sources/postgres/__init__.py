"""The Postgres source: the server's COPY stream, straight into Arrow."""

from __future__ import annotations

from dativo_ingest.sources.postgres.reader import PostgresReader

__all__ = ["PostgresReader"]
