"""Batches in types that pass between processes: dictionaries, run ends, views and extensions are undone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from dativo_plugin_sdk.errors import DataFormatError
from dativo_plugin_sdk.protocol.arrow_schema import what_cannot_pass
from dativo_plugin_sdk.protocol.arrow_schema_claims import EXTENSION_KEYS


def plain_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Give a batch of the same values in plain types, itself where it has no others.

    Raises:
        DataFormatError: A column is of a type that has no plain form, such as a union.
    """
    fields = [_plain_field(field) for field in batch.schema]
    schema = pa.schema(fields, metadata=_plain_metadata(batch.schema.metadata))
    why = what_cannot_pass(schema)
    if why:
        raise DataFormatError(f"a batch cannot leave the plugin's process: {why}")
    if schema.equals(batch.schema, check_metadata=True):
        return batch
    try:
        columns = [_plain(column, field.type) for column, field in zip(batch.columns, fields, strict=True)]
    except pa.ArrowException as error:
        raise DataFormatError(f"a batch cannot leave the plugin's process: {error}") from error
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def plain_type(kind: Any) -> Any:  # noqa: PLR0911  one for each way of saying the same
    """Give the plain type of the same values."""
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_struct(kind):
        return pa.struct([_plain_field(kind.field(number)) for number in range(kind.num_fields)])
    if pa.types.is_map(kind):
        return pa.map_(_plain_field(kind.key_field), _plain_field(kind.item_field), keys_sorted=kind.keys_sorted)  # type: ignore[call-overload]  # the stubs know another name
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_plain_field(kind.value_field), kind.list_size)
    if pa.types.is_large_list(kind) or pa.types.is_large_list_view(kind):
        return pa.large_list(_plain_field(kind.value_field))
    if pa.types.is_list(kind) or pa.types.is_list_view(kind):
        return pa.list_(_plain_field(kind.value_field))
    return kind


def _plain_field(field: pa.Field[Any]) -> pa.Field[Any]:
    return field.with_type(plain_type(field.type)).with_metadata(_plain_metadata(field.metadata))


def _plain_metadata(metadata: Mapping[bytes, bytes] | None) -> Any:
    """Leave out what is no text, and what would make a field one of an extension type."""
    return {key: value for key, value in (metadata or {}).items() if _is_plain(key) and _is_plain(value)} or None


def _is_plain(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return not text.startswith(EXTENSION_KEYS)


def _plain(column: pa.Array[Any], kind: Any) -> pa.Array[Any]:
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_run_end_encoded(column.type):
        import pyarrow.compute as pc  # noqa: PLC0415  a plugin's process would wait for it and hardly ever use it

        column = pc.run_end_decode(column)  # type: ignore[attr-defined]  # the stubs lack it
    return column if column.type.equals(kind) else column.cast(kind)
