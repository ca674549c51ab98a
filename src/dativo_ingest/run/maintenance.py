"""The care that a run gives to the table it has committed to, where its job asks for that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from dativo_ingest.job.model import Maintenance
from dativo_ingest.run.table_care import as_json
from dativo_plugin_sdk.errors import ResourceNotFoundError
from dativo_plugin_sdk.table_care import Compacted, Compaction, Expiry
from dativo_plugin_sdk.tables import StreamWriter, TableSpec

Note: TypeAlias = Callable[[str, str, dict[str, Any]], None]

_EXPIRE_AT_ONCE = 10
"""Fewer snapshots are not worth a commit and a look at all that are kept."""


def maintain(writer: StreamWriter, spec: TableSpec, asked: Maintenance, note: Note) -> None:
    """Compact a table and forget its old versions, where the job's thresholds are reached.

    Args:
        writer: The target.
        spec: The table.
        asked: The thresholds.
        note: Told of the table, the action and the result, where something was done.

    Raises:
        ResourceNotFoundError: The target has no care for tables.
    """
    cares = writer.care(spec)
    if cares is None:
        raise ResourceNotFoundError("this target has no care for tables to give; leave maintenance out of the job")
    for care in cares:
        if asked.compact == "auto":
            compacted = care.compact(_compaction(asked), dry_run=False)
            if compacted != Compacted():
                note(care.name, "compact", as_json(compacted))
        if asked.expire_older_than is not None:
            expiry = Expiry(asked.expire_older_than, asked.retain_last, _EXPIRE_AT_ONCE)
            expired = care.expire(expiry, dry_run=False)
            if expired.snapshots_removed or expired.files_removed:
                note(care.name, "expire", as_json(expired))


def _compaction(asked: Maintenance) -> Compaction:
    return Compaction(
        min_input_files=asked.small_files,
        min_delete_files=asked.delete_files,
        min_deleted_ratio=asked.deleted_ratio,
    )
