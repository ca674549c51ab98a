"""The Delta target: one log version carries rows and state, fenced by the stream's application transaction."""

from __future__ import annotations

from dativo_ingest.targets.delta.writer import DeltaWriter

__all__ = ["DeltaWriter"]
