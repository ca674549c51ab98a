"""Arrow values as JSON: rows for the quarantine table, and columns that are declared to hold JSON."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from dativo_ingest.steps.arrow import Array, DataType, pc

_ROWS_AT_ONCE = 1024


def json_texts(array: Array) -> pa.StringArray:
    """Write each value as JSON; null stays null. Costs Python objects, `_ROWS_AT_ONCE` of them at a time."""
    parts = [
        pa.array([None if value is None else _dumps(value) for value in plain(part)], pa.string())
        for part in _parts(array)
    ]
    return pa.concat_arrays(parts) if parts else pa.array([], pa.string())


def rows_json(batch: pa.RecordBatch) -> Iterator[str]:
    """Write each row as a JSON object; a name that comes twice keeps its last value."""
    for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
        part = batch.slice(start, _ROWS_AT_ONCE)
        names = part.schema.names
        for row in zip(*map(plain, part.columns), strict=True):
            yield _dumps(dict(zip(names, row, strict=True)))


def plain(array: Array) -> list[Any]:  # noqa: C901, PLR0911  one line for each kind of type
    """Give Python values that JSON has a form for, whatever the value.

    Never through Python's dates, which know no year 0 and no nanoseconds: dates, times and decimals become text, bytes
    base64, a float that is no number its name, a map an object where its keys are text.
    """
    kind: DataType = array.type
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return plain(pc.cast(array, kind.storage_type))
    if types.is_dictionary(kind):
        return plain(pc.cast(array, kind.value_type))
    if types.is_run_end_encoded(kind):
        return plain(pc.run_end_decode(array))
    if types.is_struct(kind):
        return _plain_structs(array)
    if types.is_map(kind):
        pairs = plain(
            pc.cast(array, pa.list_(pa.struct([kind.key_field.with_name("key"), kind.item_field.with_name("value")])))
        )
        return [None if each is None else _object(each) for each in pairs]
    if types.is_nested(kind) and not types.is_union(kind):
        return _plain_lists(array)
    if types.is_floating(kind):
        return [value if value is None or math.isfinite(value) else _not_finite(value) for value in array.to_pylist()]
    if types.is_integer(kind) or types.is_boolean(kind) or types.is_null(kind):
        return array.to_pylist()
    if (
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    ):
        return [None if value is None else base64.b64encode(value).decode() for value in array.to_pylist()]
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return _texts(array)
    try:
        texts: list[Any] = pc.cast(array, pa.string()).to_pylist()
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return [None if value is None else str(value) for value in array.to_pylist()]
    return texts


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _parts(array: Array) -> Iterator[Array]:
    for start in range(0, len(array), _ROWS_AT_ONCE):
        yield array.slice(start, _ROWS_AT_ONCE)


def _not_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _texts(array: Array) -> list[Any]:
    try:
        return array.to_pylist()
    except UnicodeDecodeError:  # bytes that a plugin called text
        data = pc.cast(array, pa.binary(), safe=False).to_pylist()
        return [None if value is None else value.decode(errors="backslashreplace") for value in data]


def _plain_structs(array: Array) -> list[Any]:
    names = [array.type.field(index).name for index in range(array.type.num_fields)]
    columns = [plain(pc.struct_field(array, [index])) for index in range(len(names))]
    valid = pc.is_valid(array).to_pylist()
    if not names:
        return [{} if there else None for there in valid]
    rows = zip(*columns, strict=True)
    return [dict(zip(names, row, strict=True)) if there else None for there, row in zip(valid, rows, strict=True)]


def _plain_lists(array: Array) -> list[Any]:
    elements = iter(plain(pc.list_flatten(array)))
    lengths = pc.list_value_length(array).to_pylist()
    return [None if length is None else [next(elements) for _ in range(length)] for length in lengths]


def _object(pairs: list[dict[str, Any]]) -> Any:
    if all(isinstance(pair["key"], str) for pair in pairs):
        return {pair["key"]: pair["value"] for pair in pairs}
    return [[pair["key"], pair["value"]] for pair in pairs]
