"""How a table's columns come to be those that rows need: columns are added and may be null; wider types rewrite it."""

from __future__ import annotations

import time

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, TableFeatures

from dativo_ingest.targets.delta.data_files import DeltaFiles
from dativo_ingest.targets.delta.log import add_actions, as_delta


def apply_changes(table: DeltaTable, before: pa.Schema, after: pa.Schema) -> None:
    """Add the columns that are new, and let those be null that may be: commits that change no row."""
    new = [each.name for each in after if each.name not in before.names]
    if new:
        table.alter.add_columns([each for each in as_delta(after).fields if each.name in new])
    for column in before:
        if not column.nullable and after.field(column.name).nullable:
            table.alter.drop_column_not_null(column.name)


def require_features(table: DeltaTable, after: pa.Schema) -> bool:
    """Turn on the feature that timestamps without a zone need; say whether that took a commit.

    Adding columns does this by itself; an overwrite with new ones does not, and leaves a table that nobody can read.
    """
    if "timestampNtz" in (table.protocol().writer_features or []) or '"timestamp_ntz"' not in as_delta(after).to_json():
        return False
    table.alter.add_feature(TableFeatures.TimestampWithoutTimezone, allow_protocol_versions_increase=True)
    return True


def widened(before: pa.Schema, after: pa.Schema) -> list[str]:
    """Name the columns whose type differs."""
    return [each.name for each in before if after.field(each.name).type != each.type]


def widen(table: DeltaTable, after: pa.Schema, files: DeltaFiles) -> None:
    """Write the table's rows anew with wider types, in a commit that changes no value.

    Delta's readers take a column's type from the table, and not every one reads a narrower one from a file.

    Args:
        table: The table; a commit of anybody's since it was loaded makes this one fail.
        after: The columns as they are to be.
        files: Where its rows go.
    """
    for batch in pa.RecordBatchReader.from_stream(table.scan()):
        files.write(batch)
    table.create_write_transaction(
        add_actions(files.finish(), int(time.time() * 1000)),  # type: ignore[arg-type]  # a list of either kind
        "overwrite",
        as_delta(after),
        partition_by=table.metadata().partition_columns,
        commit_properties=CommitProperties(max_commit_retries=0),
    )
