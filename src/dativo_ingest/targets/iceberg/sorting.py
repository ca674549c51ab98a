"""Sorting a row group as Iceberg's sort orders say: nulls where each key wants them, NaN above all numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.table.sorting import NullOrder, SortDirection

from dativo_ingest.targets.iceberg.grouping import path_of

if TYPE_CHECKING:
    from pyiceberg.schema import Schema
    from pyiceberg.table.sorting import SortOrder


Direction: TypeAlias = Literal["ascending", "descending"]


class Sorter:
    """Sorts tables by an order of identity transforms; other transforms are left to readers.

    Args:
        order: A sort order of at least one field.
        schema: The table's schema.
    """

    def __init__(self, order: SortOrder, schema: Schema) -> None:
        self._keys = [(path_of(schema, field.source_id), field) for field in order.fields]

    @staticmethod
    def can_sort(order: SortOrder) -> bool:
        """Say whether the order asks for something, and only for what can be done here."""
        return bool(order.fields) and all(str(field.transform) == "identity" for field in order.fields)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Give the rows in order; rows that are equal stay as they came."""
        columns: dict[str, Any] = {}
        directions: list[tuple[str, Direction]] = []

        def by(column: Any, direction: Direction) -> None:
            name = f"{len(columns)}"
            columns[name] = column
            directions.append((name, direction))

        for path, field in self._keys:
            if path[0] not in table.schema.names:
                continue  # null in every row
            column = table.column(path[0])
            if len(path) > 1:
                column = pc.struct_field(column, list(path[1:]))
            descending = field.direction == SortDirection.DESC
            if column.null_count:
                # False sorts before true: "is null" ascending puts nulls last.
                by(pc.is_null(column), "ascending" if field.null_order == NullOrder.NULLS_LAST else "descending")
            if pa.types.is_floating(column.type):
                by(pc.is_nan(column), "descending" if descending else "ascending")
            by(_comparable(column), "descending" if descending else "ascending")
        if not directions:
            return table
        return table.take(pc.sort_indices(pa.table(columns), sort_keys=directions))


def _comparable(column: Any) -> Any:
    if isinstance(column.type, pa.BaseExtensionType):
        storage: Any = column.type.storage_type
        return pa.chunked_array([chunk.storage for chunk in column.chunks], type=storage)
    return column
