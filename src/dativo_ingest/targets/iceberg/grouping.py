"""Which partition each row belongs to: one dictionary encoding and one sort, however many partitions there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.typedef import Record

if TYPE_CHECKING:
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.transforms import Transform
    from pyiceberg.types import IcebergType

PartitionValues: TypeAlias = tuple[Any, ...]
"""One value per partition field, as Iceberg stores it: days, months and hours are numbers, a UUID its bytes."""


@dataclass(frozen=True)
class _Source:
    """One partition field: where its column is, and what is done to it."""

    path: tuple[str, ...]
    type: IcebergType
    transform: Transform[Any, Any]

    def values(self, batch: pa.RecordBatch) -> pa.Array[Any]:
        if self.path[0] not in batch.schema.names:
            return pa.nulls(batch.num_rows, pa.int32())  # the stream lacks the column: it is null in every row
        column = batch.column(self.path[0])
        if len(self.path) > 1:
            column = pc.struct_field(column, list(self.path[1:]))
        if pa.types.is_large_string(column.type):
            column = column.cast(pa.string())
        elif pa.types.is_large_binary(column.type):
            column = column.cast(pa.binary())
        elif isinstance(column, pa.ExtensionArray):
            column = column.storage
        return as_stored(self.transform.pyarrow_transform(self.type)(column))


class Partitioner:
    """Splits batches by the partition that each row belongs to.

    Args:
        spec: The table's partitioning, of at least one field.
        schema: The table's schema.
    """

    def __init__(self, spec: PartitionSpec, schema: Schema) -> None:
        self._spec = spec
        self._schema = schema
        self._sources = [
            _Source(path_of(schema, field.source_id), schema.find_field(field.source_id).field_type, field.transform)
            for field in spec.fields
        ]

    def split(self, batch: pa.RecordBatch) -> Iterator[tuple[PartitionValues, pa.RecordBatch]]:
        """Yield each partition's rows, in the order they came in; the parts share memory, which is not the batch's."""
        encoded: list[Any] = [
            pc.dictionary_encode(source.values(batch), null_encoding="encode") for source in self._sources
        ]
        key, sizes = _combine([each.indices for each in encoded], [len(each.dictionary) for each in encoded])
        values = [each.dictionary.to_pylist() for each in encoded]
        order = pc.sort_indices(key)  # a stable sort
        runs = pc.run_end_encode(key.take(order), run_end_type=pa.int64())  # type: ignore[attr-defined]  # the stubs lack it
        # One take, whatever the number of partitions: a take of each costs three times as much with a hundred of them.
        ordered = pc.take(batch, order, boundscheck=False)
        start = 0
        for code, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
            yield _decode(code, sizes, values), ordered.slice(start, end - start)
            start = end

    def path(self, values: PartitionValues) -> str:
        """Give the folder of a partition, as Hive and Iceberg name it: ``day=2026-01-31/region=eu``."""
        return self._spec.partition_to_path(Record(*values), self._schema)


class OnePartition(Partitioner):
    """Takes it for granted that all rows belong to one partition.

    Args:
        spec: The table's partitioning, of at least one field.
        schema: The table's schema.
        values: The partition.
    """

    def __init__(self, spec: PartitionSpec, schema: Schema, values: PartitionValues) -> None:
        super().__init__(spec, schema)
        self._values = values

    def split(self, batch: pa.RecordBatch) -> Iterator[tuple[PartitionValues, pa.RecordBatch]]:
        """Yield the rows as they are."""
        yield self._values, batch


def _combine(codes: Sequence[pa.Array[Any]], sizes: list[int]) -> tuple[Any, list[int]]:
    """Make one number of several: the first field counts most."""
    key = codes[0].cast(pa.int64())
    for each, size in zip(codes[1:], sizes[1:], strict=True):
        key = pc.add(pc.multiply(key, pa.scalar(size, pa.int64())), each.cast(pa.int64()))
    return key, sizes


def _decode(code: int, sizes: Sequence[int], values: Sequence[Sequence[Any]]) -> PartitionValues:
    found = []
    for size, known in zip(reversed(sizes), reversed(values), strict=True):
        code, index = divmod(code, size)
        found.append(known[index])
    return tuple(reversed(found))


def as_stored(values: pa.Array[Any]) -> pa.Array[Any]:
    """Give values as Iceberg stores them: dates as days, times and timestamps as microseconds."""
    if pa.types.is_date32(values.type):
        return values.cast(pa.int32())
    if pa.types.is_time64(values.type) or pa.types.is_timestamp(values.type):
        return values.cast(pa.int64())
    return values


def path_of(schema: Schema, field_id: int) -> tuple[str, ...]:
    """Give the names that lead to a field, whatever dots they contain."""

    def find(fields: Sequence[Any], so_far: tuple[str, ...]) -> tuple[str, ...] | None:
        for field in fields:
            here = (*so_far, field.name)
            if field.field_id == field_id:
                return here
            if field.field_type.is_struct and (found := find(field.field_type.fields, here)):
                return found
        return None

    found = find(schema.fields, ())
    assert found is not None  # noqa: S101  Iceberg partitions by top-level columns and fields of structs only
    return found
