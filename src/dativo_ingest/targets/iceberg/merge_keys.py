"""The keys of a run that merges: where each of its rows went, which row of a key is the last, which old rows match.

Only keys are kept in memory, never rows: a row goes to its data file at once, and what this module notes of it is its
key and its number in the order of writing. Files and positions follow from the order in which row groups were written.
A key that is deleted has a number in that order too, so that what came last counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.conversions import from_bytes
from pyiceberg.transforms import BucketTransform, UnknownTransform, VoidTransform
from pyiceberg.types import (
    BinaryType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IcebergType,
    PrimitiveType,
    StringType,
    UUIDType,
)

from dativo_ingest.targets.iceberg.file_schema import arrow_type
from dativo_ingest.targets.iceberg.grouping import as_stored
from dativo_ingest.targets.iceberg.position_deletes import numbers
from dativo_plugin_sdk import InvalidConfigError, SchemaValidationError

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.partitioning import PartitionField, PartitionSpec
    from pyiceberg.schema import Schema

_ORDER = "_dativo_order_of_writing"
_KEY = "_dativo_key"
_POSITION = "_dativo_position"
_UUID_BYTES = 16


@dataclass(frozen=True)
class KeyColumn:
    """One column of the primary key, as the table has it."""

    name: str
    field_id: int
    type: IcebergType

    def plain(self, column: Any) -> Any:
        """Give a chunked array in the one Arrow type that keys of this column are compared in; memory may be shared."""
        if isinstance(column.type, pa.BaseExtensionType):
            storage: Any = column.type.storage_type
            column = pa.chunked_array([chunk.storage for chunk in column.chunks], type=storage)
        return column.cast(self.plain_type)

    @property
    def plain_type(self) -> Any:
        """The type of plain values."""
        match self.type:
            case StringType():
                return pa.large_string()
            case BinaryType() | FixedType() | UUIDType():
                return pa.large_binary()
            case DecimalType():
                return pa.decimal128(self.type.precision, self.type.scale)
            case _:
                return arrow_type(self.type)

    def source(self, column: Any) -> Any:
        """Give plain values in the type that Iceberg's partition transforms take."""
        match self.type:
            case StringType():
                return column.cast(pa.string())
            case BinaryType():
                return column.cast(pa.binary())
            case FixedType():
                return column.cast(pa.binary(len(self.type)))
            case UUIDType():
                return column.cast(pa.binary(_UUID_BYTES))
            case _:
                return column

    def bound(self, value: bytes | None) -> pa.Scalar[Any] | None:
        """Read a bound of a data file; None where there is none, or none that can be compared."""
        if value is None or isinstance(self.type, UUIDType):  # writers disagree about how UUIDs compare
            return None
        assert isinstance(self.type, PrimitiveType)  # noqa: S101  key_columns() has seen to it
        bound: pa.Scalar[Any] = pa.scalar(from_bytes(self.type, value), self.plain_type)
        return bound


def key_columns(names: Sequence[str], incoming: pa.Schema, table: Schema, title: str) -> list[KeyColumn]:
    """Find the columns of a primary key.

    Raises:
        InvalidConfigError: There is no primary key.
        SchemaValidationError: The rows lack one of its columns, or its values cannot tell rows apart.
    """
    if not names:
        raise InvalidConfigError(f"{title}: write: merge needs primary_key")
    found = []
    for name in names:
        if name not in incoming.names:
            raise SchemaValidationError(
                f"{title}: the stream has no column {name}, which primary_key names",
                hint=f"its columns are: {', '.join(incoming.names[:50])}",
            )
        field = table.find_field(name)
        if not field.field_type.is_primitive or isinstance(field.field_type, FloatType | DoubleType):
            raise SchemaValidationError(
                f"{title}: primary_key {name} is of type {field.field_type}: rows cannot be told apart by it",
                hint="use columns of numbers without a fraction, decimals, texts, dates or times",
            )
        found.append(KeyColumn(name, field.field_id, field.field_type))
    return found


class KeyLog:
    """Notes the keys of rows as they go into data files.

    Args:
        columns: The columns of the key.
    """

    def __init__(self, columns: Sequence[KeyColumn]) -> None:
        self.columns = columns
        self._names = [str(index) for index in range(len(columns))]
        self._noted: list[tuple[str, pa.Table]] = []
        self._deleted: list[pa.Table] = []
        self._rows = 0

    def number(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Add a column that tells the order of writing, whatever sorting and partitioning do to the rows."""
        start, self._rows = self._rows, self._rows + batch.num_rows
        return batch.append_column(_ORDER, numbers(start, self._rows))

    def note(self, path: str, table: pa.Table) -> pa.Table:
        """Note rows that are written to a file next, and give them without what `number` added.

        Several threads may do so, each for files of its own.
        """
        # Taken, because a column may be a part of a larger buffer that would be kept alive with all of its rows.
        every = numbers(0, table.num_rows)
        columns = [each.plain(table.column(each.name)).take(every) for each in self.columns]
        self._noted.append((path, pa.table([*columns, table.column(_ORDER)], names=[*self._names, _ORDER])))
        return table.drop_columns([_ORDER])

    def delete(self, keys: pa.RecordBatch) -> None:
        """Note keys whose rows go, those that were written before and those of the table."""
        start, self._rows = self._rows, self._rows + keys.num_rows
        columns = [each.plain(pa.chunked_array([keys.column(each.name)])) for each in self.columns]
        self._deleted.append(pa.table([*columns, numbers(start, self._rows)], names=[*self._names, _ORDER]))

    def settle(self) -> tuple[KeySet, Mapping[str, pa.Array[Any]]]:
        """Give the distinct keys, and by file the positions of rows that are replaced or deleted after them."""
        columns = zip(self._names, self.columns, strict=True)
        none = pa.schema([*((name, each.plain_type) for name, each in columns), (_ORDER, pa.int64())]).empty_table()
        noted = pa.concat_tables([none, *(rows for _, rows in self._noted)])
        deleted = pa.concat_tables([none, *self._deleted])
        groups = [(path, rows.num_rows) for path, rows in self._noted]
        self._noted, self._deleted = [], []
        last = pa.concat_tables([noted, deleted]).group_by(self._names).aggregate([(_ORDER, "max")])
        orders = last.column(f"{_ORDER}_max").combine_chunks()
        gone: Any = pc.is_in(orders, value_set=deleted.column(_ORDER).combine_chunks())
        keys = KeySet(self.columns, last.select(self._names), gone)
        if last.num_rows == noted.num_rows + deleted.num_rows:
            return keys, {}
        dead = pc.invert(pc.is_in(noted.column(_ORDER), value_set=orders))
        found: dict[str, list[pa.Array[Any]]] = {}
        lengths: dict[str, int] = {}
        start = 0
        for path, rows in groups:
            positions = _positions(dead.slice(start, rows), lengths.get(path, 0))
            if len(positions):
                found.setdefault(path, []).append(positions)
            lengths[path] = lengths.get(path, 0) + rows
            start += rows
        return keys, {path: pa.concat_arrays(parts) for path, parts in found.items()}


@dataclass(frozen=True)
class Matches:
    """Rows of one data file whose keys the run has written or deleted: where they are, and the keys' numbers."""

    positions: pa.Array[Any]
    keys: pa.Array[Any]


class KeySet:
    """The distinct keys of a run.

    Args:
        columns: The columns of the key.
        keys: Their plain values, a row a key, in columns called by their numbers.
        gone: Which of them the run deleted in the end.
    """

    def __init__(self, columns: Sequence[KeyColumn], keys: pa.Table, gone: pa.BooleanArray) -> None:
        self._columns = columns
        self._keys = [column.combine_chunks() for column in keys.columns]
        self._transformed: dict[tuple[int, int], Any] = {}
        self._gone = gone
        self.size = keys.num_rows
        self.written = self.size - gone.true_count

    def count(self, numbers_of_keys: pa.ChunkedArray[Any]) -> tuple[int, int]:
        """Say how many keys rows are replaced of, and how many rows are deleted, where a row of each number goes."""
        gone: Any = self._gone.take(numbers_of_keys.combine_chunks())
        kept: Any = numbers_of_keys.filter(pc.invert(gone))
        return int(pc.count_distinct(kept).as_py()), gone.true_count

    def possible(self, file: DataFile, spec: PartitionSpec) -> Any:
        """Give the numbers of the keys that a file may hold, by its partition and its bounds."""
        mask: Any = pa.repeat(pa.scalar(True), self.size)  # noqa: FBT003  the value itself
        for column, keys in zip(self._columns, self._keys, strict=True):
            lower = column.bound((file.lower_bounds or {}).get(column.field_id))
            upper = column.bound((file.upper_bounds or {}).get(column.field_id))
            if lower is not None:
                mask = pc.and_(mask, pc.greater_equal(keys, lower))
            if upper is not None:
                mask = pc.and_(mask, pc.less_equal(keys, upper))
        for number in range(len(spec.fields)):
            values = self._partition_values(spec, number)
            if values is None:
                continue
            value = file.partition[number]
            if value is None:
                return pa.array([], pa.int64())  # a row with a key is in no partition of nulls
            mask = pc.and_(mask, pc.equal(values, pa.scalar(value, values.type)))
        return _positions(mask)

    def _partition_values(self, spec: PartitionSpec, number: int) -> Any:
        """Transform the keys as a partition field does, once; None where the field is not of a column of the key."""
        place = (spec.spec_id, number)
        if place not in self._transformed:  # several threads may find out the same
            self._transformed[place] = self._transform(spec.fields[number])
        return self._transformed[place]

    def _transform(self, part: PartitionField) -> Any:
        if isinstance(part.transform, VoidTransform | UnknownTransform):
            return None
        for column, keys in zip(self._columns, self._keys, strict=True):
            if column.field_id != part.source_id:
                continue
            of_bytes = isinstance(column.type, UUIDType | FixedType | BinaryType)
            if of_bytes and not isinstance(part.transform, BucketTransform):
                return None  # how such values come out of a manifest differs from writer to writer
            return as_stored(part.transform.pyarrow_transform(column.type)(column.source(keys)))
        return None

    def match(self, possible: pa.Array[Any], batches: Iterator[pa.RecordBatch]) -> Matches:
        """Find the rows of a file whose key is among the ``possible`` ones.

        Args:
            possible: Numbers of keys.
            batches: All rows of the file in their order, with the columns of the key by name.
        """
        keys = [column.take(possible) for column in self._keys]
        positions: list[Any] = []
        found: list[Any] = []
        for start, table in _pieces(batches):
            columns = [each.plain(table.column(each.name)) for each in self._columns]
            at, which = _match_one(keys[0], columns[0]) if len(keys) == 1 else _match_several(keys, columns)
            positions.append(pc.add(at, pa.scalar(start, pa.int64())))
            found.append(possible.take(which))
        if not positions:
            return Matches(pa.array([], pa.int64()), pa.array([], pa.int64()))
        return Matches(pa.concat_arrays(positions), pa.concat_arrays(found))


_PIECE_ROWS = 2**20


def _pieces(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[int, pa.Table]]:
    """Put batches together, so that the table of keys is built once for many of them."""
    start, waiting, rows = 0, list[pa.RecordBatch](), 0
    for batch in batches:
        waiting.append(batch)
        rows += batch.num_rows
        if rows >= _PIECE_ROWS:
            yield start, pa.Table.from_batches(waiting)
            start, waiting, rows = start + rows, [], 0
    if rows:
        yield start, pa.Table.from_batches(waiting)


def _match_one(keys: Any, column: Any) -> tuple[pa.Array[Any], pa.Array[Any]]:
    found = pc.index_in(column, value_set=keys)
    positions = _positions(pc.is_valid(found))
    return positions, _one(found.take(positions)).cast(pa.int64())


def _match_several(keys: Sequence[Any], columns: Sequence[Any]) -> tuple[pa.Array[Any], pa.Array[Any]]:
    """Narrow the rows down column by column, then join what is left."""
    mask: Any = None
    for key, column in zip(keys, columns, strict=True):
        here = pc.is_in(column, value_set=pc.unique(key))
        mask = here if mask is None else pc.and_(mask, here)
    positions = _positions(mask)
    names = [str(index) for index in range(len(keys))]
    left = pa.table([*(column.take(positions) for column in columns), positions], names=[*names, _POSITION])
    right = pa.table([*keys, numbers(0, len(keys[0]))], names=[*names, _KEY])
    joined = left.join(right, keys=names, join_type="inner").sort_by(_POSITION)
    return _one(joined.column(_POSITION)), _one(joined.column(_KEY))


def _positions(mask: Any, start: int = 0) -> Any:
    return pc.add(pc.indices_nonzero(mask).cast(pa.int64()), pa.scalar(start, pa.int64()))


def _one(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
