"""The border for simple readers: whatever a plugin yields becomes Arrow here, once.

Lists of dicts become columns of the types their values have. The engine then conforms those to the stream's schema by
one set of rules for all sources, so nothing is cast here: ``"12.50"`` stays text and ``1.0`` a float until then. What
no column can hold beside the others is rejected, row by row.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from dativo_plugin_sdk.errors import PluginExecutionError
from dativo_plugin_sdk.python_values import Column, as_inferred, as_wanted
from dativo_plugin_sdk.rejects import rejected, row_json
from dativo_plugin_sdk.streams import Rejected, Rows

TAKEN = "a list of dicts, a RecordBatch, a Table, a RecordBatchReader, or an object with the Arrow PyCapsule interface"


def to_batches(value: object, schema: pa.Schema | None) -> Iterator[Rows | Rejected]:
    """Turn what a plugin yielded into messages, rows in order.

    Args:
        value: A list of dicts (keys are columns, a missing one is null), a RecordBatch, a Table, a RecordBatchReader,
            or any object with ``__arrow_c_stream__`` or ``__arrow_c_array__``: a polars or pandas frame, a DuckDB
            relation.
        schema: What the rows will have to become, where it is known. It decides how dicts are read that leave a choice:
            a dict as a struct, a map or JSON, a mix of ints and texts as the column's type. Columns beyond it are kept,
            so that the engine can report them.

    Yields:
        Rows, and then the rows that fit no column with rule ``type``; nothing for an empty list. Dicts without a key,
        where no schema says what they lack, are rejected with rule ``malformed``: no batch can hold them.

    Raises:
        PluginExecutionError: The value is nothing of that.
    """
    if isinstance(value, list):
        yield from _from_dicts(value, schema)
        return
    for batch in _from_arrow(value):
        if batch.num_rows:
            yield Rows(batch)


def infer_schema(value: object) -> pa.Schema:
    """Give the schema of what a plugin yielded.

    A list of dicts has these columns: ints are int64, or decimal(38, 0) beyond it; ints and floats together are float64
    where that is exact; decimals have 38 digits; datetimes are microseconds, with their offset as instants in UTC;
    dicts are structs and lists lists where their elements agree; a column of nulls only is text. What does not agree
    (ints and texts, a list of both, an empty dict) is JSON text: a string column whose metadata says so.

    Raises:
        PluginExecutionError: As `to_batches`.
    """
    if isinstance(value, list):
        return pa.schema([as_inferred(name, _values(value, name)).settled() for name in _checked_names(value)])
    return _arrow_schema(value)


def _from_dicts(value: list[Any], schema: pa.Schema | None) -> Iterator[Rows | Rejected]:
    names = _checked_names(value)
    rows: list[dict[str, Any]] = value
    if not rows:
        return
    wanted = {} if schema is None else {field.name: field for field in schema}
    columns = [as_wanted(field, _values(rows, name)) for name, field in wanted.items()]
    columns += [as_inferred(name, _values(rows, name)) for name in names if name not in wanted]
    if not columns:
        empty = {"rule": "malformed", "reason": "the row has no columns", "row": "{}"}
        yield Rejected(rejected([empty] * len(rows)))
        return
    batch = pa.RecordBatch.from_arrays(
        [column.array for column in columns], schema=pa.schema([column.field for column in columns])
    )
    bad = _bad_rows(columns)
    if not bad:
        yield Rows(batch)
        return
    keep = pa.array([index not in bad for index in range(len(rows))])
    if len(bad) < len(rows):
        yield Rows(batch.filter(keep))
    yield Rejected(
        rejected(
            [
                {"column": name, "rule": "type", "reason": reason, "row": row_json(rows[index])}
                for index, (name, reason) in sorted(bad.items())
            ]
        )
    )


def _bad_rows(columns: Sequence[Column]) -> dict[int, tuple[str, str]]:
    """Give the first column at fault and the reason for each bad row."""
    bad: dict[int, tuple[str, str]] = {}
    for column in columns:
        for index, reason in column.bad.items():
            bad.setdefault(index, (column.field.name, reason))
    return bad


def _checked_names(value: list[Any]) -> list[str]:
    """Give the columns of a list of dicts, once it is seen to be one."""
    for index, row in enumerate(value):
        if not isinstance(row, dict):
            raise PluginExecutionError(
                f"item {index} of a batch is {type(row).__name__}, expected a dict",
                hint=f"a reader yields {TAKEN}",
            )
    names = list(dict.fromkeys(itertools.chain.from_iterable(value)))
    odd = next((name for name in names if not isinstance(name, str)), None)
    if odd is not None:
        index = next(index for index, row in enumerate(value) if odd in row)
        raise PluginExecutionError(f"item {index} of a batch has the key {odd!r}; keys are column names, as text")
    return names


def _values(rows: Sequence[dict[str, Any]], name: str) -> list[Any]:
    try:
        return list(map(operator.itemgetter(name), rows))
    except KeyError:
        return [row.get(name) for row in rows]


def _from_arrow(value: object) -> Iterator[pa.RecordBatch]:
    try:
        if isinstance(value, pa.RecordBatch):
            yield _plain(value)
        elif isinstance(value, pa.Table | pa.RecordBatchReader):
            batches = value.to_batches() if isinstance(value, pa.Table) else value
            yield from map(_plain, batches)
        elif hasattr(value, "__arrow_c_stream__"):  # the PyCapsule protocol is known by its methods
            yield from map(_plain, pa.RecordBatchReader.from_stream(value))
        elif hasattr(value, "__arrow_c_array__"):
            yield _plain(pa.record_batch(value))
        else:
            raise _not_taken(value)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise _no_table(value, error) from error


def _arrow_schema(value: object) -> pa.Schema:
    """Give the schema without using up a reader's batches, where that can be had."""
    if isinstance(value, pa.RecordBatch | pa.Table | pa.RecordBatchReader):
        schema = value.schema
    elif hasattr(value, "__arrow_c_stream__"):
        try:
            schema = pa.RecordBatchReader.from_stream(value).schema
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise _no_table(value, error) from error
    else:
        schema = next(_from_arrow(value)).schema
    return pa.schema([field.with_type(_plain_type(field.type)) for field in schema])


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Give text and bytes in the layout that every target knows; polars has views of its own."""
    fields = [field.with_type(_plain_type(field.type)) for field in batch.schema]
    if all(field.type == column.type for field, column in zip(fields, batch.columns, strict=True)):
        return batch
    columns = [column.cast(field.type) for field, column in zip(fields, batch.columns, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def _plain_type(data_type: pa.DataType) -> pa.DataType:
    if pa.types.is_string_view(data_type):
        return pa.string()
    if pa.types.is_binary_view(data_type):
        return pa.binary()
    return data_type


def _no_table(value: object, error: Exception) -> PluginExecutionError:
    return PluginExecutionError(f"a batch of type {_type_name(value)} is no Arrow table: {error}")


def _not_taken(value: object) -> PluginExecutionError:
    hint = "yield the rows of one page or file together, as a list: yield rows" if isinstance(value, dict) else None
    return PluginExecutionError(f"a batch is {_type_name(value)}, expected {TAKEN}", hint=hint)


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
