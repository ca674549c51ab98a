"""What a reader or writer may be able to do beyond the five methods, declared and never guessed."""

from __future__ import annotations

from enum import StrEnum


class Capability(StrEnum):
    """One declared power; a class lists its own in ``capabilities``."""

    ARROW_BATCHES = "arrow_batches"
    """A writer that takes ``pyarrow.RecordBatch`` in ``write_batch`` instead of lists of dicts."""
    ATOMIC_COMMIT = "atomic_commit"
    """A writer whose ``commit_files`` shows all files at once or none, and may be called again with the same ones."""
    CDC = "cdc"
    """A reader that reads a log of changes."""
    CURSOR_RANGE = "cursor_range"
    """A reader that reads from ``StreamSpec.cursor_from`` up to ``StreamSpec.cursor_to``."""
    INCREMENTAL = "incremental"
    """A reader that resumes from state."""
    KEYS = "keys"
    """A reader that reads ``StreamSpec.columns`` alone: of all rows that the stream has at one moment."""
    PARTITIONED = "partitioned"
    """A reader that splits a stream into parts that can be read independently."""
    WATERMARK = "watermark"
    """A reader that reads no further than ``StreamSpec.watermark`` allows, and again what it asks for."""
