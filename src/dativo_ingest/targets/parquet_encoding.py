"""Which columns of a Parquet file are worth a dictionary.

Parquet's writer begins every row group of every column with one, and gives it up when it outgrows its page: for columns
whose values hardly ever come twice this costs a fifth of the time of writing, and gains nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_SAMPLE_ROWS = 65_536
_MIN_SAMPLE_ROWS = 4096
_COUNTED = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_date,
    pa.types.is_time,
    pa.types.is_timestamp,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_fixed_size_binary,
)
"""Kinds of types whose distinct values pyarrow counts."""

_LISTS = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)


class Dictionaries:
    """Decides for all files of a run, as soon as there are rows enough to tell."""

    def __init__(self) -> None:
        self._decided: list[str] | None = None

    def paths(self, table: pa.Table) -> list[str]:
        """Give the paths of the columns to be written with dictionaries, as Parquet names them.

        Args:
            table: The first rows of a file, with all of its columns. Those that hardly ever have a value twice are left
                out; columns inside of others are not looked into.
        """
        if self._decided is not None:
            return self._decided
        sample = table.slice(0, _SAMPLE_ROWS)
        enough = sample.num_rows >= _MIN_SAMPLE_ROWS
        found = [
            path
            for column, field in zip(sample.columns, sample.schema, strict=True)
            if not (enough and _is_distinct(column))
            for path in _paths(field.name, field.type)
        ]
        if enough:
            self._decided = found
        return found


def _is_distinct(column: Any) -> bool:
    if isinstance(column.type, pa.BaseExtensionType):
        storage: Any = column.type.storage_type
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], type=storage)
    if not any(is_kind(column.type) for is_kind in _COUNTED):
        return False
    distinct: int = pc.count_distinct(column, mode="only_valid").as_py()
    return 2 * distinct > len(column) - int(column.null_count)


def _paths(name: str, data_type: Any) -> Iterator[str]:
    """Name the leaves of a column (Parquet's LogicalTypes, "Nested Types")."""
    if pa.types.is_struct(data_type):
        for index in range(data_type.num_fields):
            field = data_type.field(index)
            yield from _paths(f"{name}.{field.name}", field.type)
    elif pa.types.is_map(data_type):
        yield from _paths(f"{name}.key_value.key", data_type.key_type)
        yield from _paths(f"{name}.key_value.value", data_type.item_type)
    elif any(is_kind(data_type) for is_kind in _LISTS):
        yield from _paths(f"{name}.list.element", data_type.value_type)
    else:
        yield name
