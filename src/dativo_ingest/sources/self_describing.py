"""What the formats with a schema of their own share: which columns are read, and what broken bytes are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from dativo_ingest.sources.file_opening import OpenedFile
from dativo_plugin_sdk import DataFormatError
from dativo_plugin_sdk.s3_errors import is_s3_error

_FIELD_ID = b"PARQUET:field_id"


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Leave out what a file's writer noted for itself: pandas' metadata, and field numbers of another table."""
    return pa.schema([_plain_field(column) for column in schema])


def project(found: pa.Schema, wanted: pa.Schema | None, source: str) -> tuple[list[str], list[str]]:
    """Choose a file's columns: those that are wanted, in the file's order, and those beyond, which are not read.

    Raises:
        DataFormatError: The file has a wanted column twice.
    """
    names = set(found.names if wanted is None else wanted.names)
    counts = Counter(found.names)
    twice = sorted(name for name in names if counts[name] > 1)
    if twice:
        raise DataFormatError(
            f"{source}: more than one column is called {', '.join(twice)}", details={"path": source, "columns": twice}
        )
    return [name for name in found.names if name in names], [name for name in counts if name not in names]


def rows_of(size_bytes: int, row_bytes: float, most: int) -> int:
    """Give how many rows of ``row_bytes`` make about ``size_bytes``: from 1 to ``most``."""
    return max(1, min(most, int(size_bytes / max(row_bytes, 1e-9))))


def _plain_field(column: pa.Field[Any]) -> pa.Field[Any]:
    metadata = {key: value for key, value in (column.metadata or {}).items() if key != _FIELD_ID}
    return pa.field(column.name, _plain_type(column.type), nullable=column.nullable, metadata=metadata or None)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.StructType):
        return pa.struct([_plain_field(kind.field(number)) for number in range(kind.num_fields)])
    if isinstance(kind, pa.MapType):
        key, item = _plain_field(kind.key_field), _plain_field(kind.item_field)
        return pa.map_(key, item)  # type: ignore[no-any-return,call-overload]  # the stubs leave out fields
    if isinstance(kind, pa.ListType):
        return pa.list_(_plain_field(kind.value_field))
    if isinstance(kind, pa.LargeListType):
        return pa.large_list(_plain_field(kind.value_field))
    if isinstance(kind, pa.FixedSizeListType):
        return pa.list_(_plain_field(kind.value_field), kind.list_size)
    return kind


@contextmanager
def reading(file: OpenedFile, what: str) -> Iterator[None]:
    """Turn what Arrow's readers say of bytes that are not ``what`` into a `DataFormatError` that names the file.

    Raises:
        DataFormatError: The bytes of the block are broken, cut short, or something else.
    """
    with file.translated():
        try:
            yield
        except OSError as error:
            if error.errno is not None or is_s3_error(error):
                raise
            raise _broken(file, what, error) from error
        except (pa.ArrowException, UnicodeDecodeError) as error:  # the latter from names
            raise _broken(file, what, error) from error


def _broken(file: OpenedFile, what: str, error: Exception) -> DataFormatError:
    return DataFormatError(
        f"{file.name}: not {what}: {error}",
        details={"path": file.name, "original_error": type(error).__name__},
        hint="write or copy it again; if it is of another format, use that connector",
    )
