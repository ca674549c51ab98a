"""The Iceberg target: one table commit carries rows, schema changes and state, fenced by generation."""

from __future__ import annotations

from dativo_ingest.targets.iceberg.writer import IcebergWriter

__all__ = ["IcebergWriter"]
