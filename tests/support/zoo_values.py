"""Values as a database writes them and as a target holds them, in one form that can be compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def spelt(array: pa.Array[Any] | pa.ChunkedArray[Any]) -> list[Any]:  # noqa: PLR0911  one line for each kind
    """Bring values into the form: numbers as numbers, moments as numbers of their unit, bytes as hexadecimal digits."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    kind: Any = array.type
    types = pa.types
    if types.is_list(kind) or types.is_large_list(kind):
        elements = iter(spelt(pc.list_flatten(array)))
        lengths = pc.list_value_length(array).to_pylist()
        return [None if length is None else [next(elements) for _ in range(length)] for length in lengths]
    if types.is_date(kind):
        return array.cast(pa.int32()).to_pylist()
    if types.is_timestamp(kind) or types.is_time(kind):
        assert kind.unit == "us", kind
        return array.cast(pa.int64()).to_pylist()
    if types.is_binary(kind) or types.is_large_binary(kind):
        return [None if value is None else value.hex() for value in array.to_pylist()]
    if types.is_floating(kind):
        return [None if value is None else repr(value) for value in array.to_pylist()]
    if types.is_decimal(kind) or types.is_integer(kind) or types.is_boolean(kind):
        return [None if value is None else Decimal(value) for value in array.to_pylist()]
    return array.to_pylist()


def said(texts: Sequence[str | None], data_type: Any) -> list[Any]:
    """Bring what a database answered, as text, into the form of `spelt`."""
    return [None if text is None else _said(text, data_type) for text in texts]


def _said(text: str, data_type: Any) -> Any:
    types = pa.types
    if types.is_list(data_type):
        return said(json.loads(text), data_type.value_type)
    if types.is_float32(data_type):
        return repr(pa.scalar(text).cast(pa.float32()).as_py())
    if types.is_floating(data_type):
        return repr(float(text))
    if types.is_string(data_type) or types.is_binary(data_type):
        return text
    return Decimal(text)
