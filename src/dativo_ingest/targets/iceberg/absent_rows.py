"""Rows of an Iceberg table whose keys the source has no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.schema import Schema
from pyiceberg.types import PrimitiveType

from dativo_ingest.targets.iceberg.evolution import WidenType, plan_changes
from dativo_ingest.targets.iceberg.file_schema import FileSchema
from dativo_ingest.targets.iceberg.merge import live_files, rows_of_file
from dativo_ingest.targets.iceberg.merge_keys import KeyColumn, KeySet, key_columns
from dativo_ingest.targets.iceberg.position_deletes import numbers, read_deletes, without
from dativo_ingest.targets.iceberg.types import to_iceberg_schema
from dativo_plugin_sdk import KeyComparison

if TYPE_CHECKING:
    from pyiceberg.table import FileScanTask, Table
    from pyiceberg.table.metadata import TableMetadata

    from dativo_ingest.targets.absent_keys import AbsentKeys


class AbsentRows:
    """The rows of one table, as it is now, that the source does not have.

    Args:
        table: The table.
        name: Its name in messages.
        run_id: Begins the names of temporary files.
        memory_bytes: How many keys to hold in memory; the others wait on disk.
    """

    def __init__(self, table: Table, name: str, *, run_id: str, memory_bytes: int) -> None:
        self._table = table
        self._name = name
        self._run_id = run_id
        self._memory_bytes = memory_bytes
        self._columns: Sequence[KeyColumn] = ()
        self._found: AbsentKeys | None = None

    def find(self, incoming: pa.Schema, keys: Iterator[pa.RecordBatch], *, marked: str | None) -> KeyComparison:
        """Find them; where the table has no rows to compare, the keys are not asked for."""
        from dativo_ingest.targets.absent_keys import AbsentKeys  # noqa: PLC0415  DuckDB, which few runs need

        there = self._table.schema()
        if not set(incoming.names) <= {field.name for field in there.fields}:
            return KeyComparison()
        schema = self._key_schema(incoming, there)
        self._columns = key_columns(incoming.names, incoming, schema, self._name)
        plain = pa.schema([pa.field(column.name, column.plain_type) for column in self._columns])
        shape = FileSchema.of(incoming, schema)
        self._found = AbsentKeys(plain, run_id=self._run_id, memory_bytes=self._memory_bytes)
        source = (self._plain(shape.convert(batch), plain) for batch in keys)
        return self._found.compare(source, self._live_keys(plain, marked))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Give their keys, in plain values."""
        return self._found.batches() if self._found is not None else iter(())

    def rows(self, metadata: TableMetadata) -> Iterator[pa.RecordBatch]:
        """Give the rows themselves, in the columns that the table is to have.

        Args:
            metadata: The table with these columns.
        """
        plain = pa.schema([pa.field(str(number), each.plain_type) for number, each in enumerate(self._columns)])
        found = pa.Table.from_batches([batch.rename_columns(plain.names) for batch in self.batches()], plain)
        no: Any = pa.repeat(pa.scalar(False), found.num_rows)  # noqa: FBT003  a value
        keys = KeySet(self._columns, found, no)
        schema = Schema(*(metadata.schema().find_field(each.field_id) for each in self._columns))
        for task in live_files(self._table).values():
            possible = keys.possible(task.file, metadata.specs()[task.file.spec_id])
            if not len(possible):
                continue
            positions = keys.match(possible, rows_of_file(self._table.io, task, _optional(schema), metadata)).positions
            gone = read_deletes(self._table.io, task.delete_files, task.file)
            positions = positions.filter(pc.invert(pc.is_in(positions, value_set=gone)))
            if len(positions):
                yield from self._taken(task, positions, metadata)

    def close(self) -> None:
        """Let go of what was found; may be called twice."""
        if self._found is not None:
            self._found.close()
        self._found = None

    def _taken(self, task: FileScanTask, wanted: pa.Array[Any], metadata: TableMetadata) -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in rows_of_file(self._table.io, task, metadata.schema(), metadata):
            here: Any = pc.is_in(numbers(start, start + batch.num_rows), value_set=wanted)
            start += batch.num_rows
            taken = batch.filter(here)
            if taken.num_rows:
                yield taken

    def _key_schema(self, incoming: pa.Schema, there: Schema) -> Schema:
        """Give the columns of the key with the types that this run's rows give them.

        Raises:
            SchemaValidationError: The table cannot take them.
        """
        fields = [there.find_field(name) for name in incoming.names]
        changes = plan_changes(Schema(*fields), to_iceberg_schema(incoming, tuple(incoming.names)), self._name)
        wider: Mapping[str, PrimitiveType] = {
            each.path[0]: each.after for each in changes if isinstance(each, WidenType)
        }
        return Schema(
            *(field.model_copy(update={"field_type": wider.get(field.name, field.field_type)}) for field in fields)
        )

    def _live_keys(self, plain: pa.Schema, marked: str | None) -> Iterator[pa.RecordBatch]:
        there = self._table.schema()
        names = [column.name for column in self._columns]
        mark = marked if marked is not None and marked in {field.name for field in there.fields} else None
        read = _optional(Schema(*(there.find_field(name) for name in [*names, *([mark] if mark else [])])))
        for task in live_files(self._table).values():
            gone = read_deletes(self._table.io, task.delete_files, task.file)
            start = 0
            for batch in rows_of_file(self._table.io, task, read, self._table.metadata):
                left = without(batch, start, gone)
                start += batch.num_rows
                yield self._plain(left if mark is None else _unless(left, mark), plain)

    def _plain(self, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
        columns = [each.plain(pa.chunked_array([batch.column(each.name)])).combine_chunks() for each in self._columns]
        return pa.RecordBatch.from_arrays(columns, schema=schema)


def _unless(batch: pa.RecordBatch, mark: str) -> pa.RecordBatch:
    """Leave out the rows in which a boolean column is true."""
    marked: Any = batch.column(mark)
    alive: Any = pc.invert(pc.fill_null(marked, pa.scalar(False)))  # noqa: FBT003  a value
    return batch.filter(alive)


def _optional(schema: Schema) -> Schema:
    """Let every column be null: a file that is older than a column lacks it."""
    return Schema(*(field.model_copy(update={"required": False}) for field in schema.fields))
