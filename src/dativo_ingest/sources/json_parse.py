"""Blocks of JSON records to Arrow: at full speed while all is well, record by record where something is not.

A block goes through pyarrow's JSON parser with the stream's schema. That parser is more lenient than JSON (it takes
NaN, bytes that are no UTF-8, ``null`` for an object, two objects on a line), so a few cheap looks at the block make up
for it. Where it fails, or a look finds something, the block is halved until few records are left, and those are read
one by one with `json_values`: malformed ones are set aside, the rest is parsed again at full speed, and only if that
fails too, value by value. Which way a record goes changes its price, never its outcome.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as arrow_json

from dativo_ingest.sources.json_blocks import Block, Record, Records
from dativo_ingest.sources.json_text_columns import TextColumns
from dativo_ingest.sources.json_types import has_map, has_nested_json_text, is_json_text, wire_schema
from dativo_ingest.sources.json_values import MalformedError, MisfitError, fit, parse_object
from dativo_plugin_sdk import row_json

_Unexpected: TypeAlias = Literal["error", "infer", "ignore"]
_ROOM_BYTES = 1024
_OBJECT_FIRST = re.compile(rb"[ \t\r\n]*+\{")
_FEW_RECORDS = 64  # a block with something amiss is halved down to this


@dataclass(frozen=True)
class ParsedBlock:
    """What became of a block's records: rows with the line of each, rejected ones, and columns nobody asked for.

    ``rejected`` holds rows as `dativo_plugin_sdk.rejected` takes them; names of ``extra`` within objects are dotted.
    """

    batch: pa.RecordBatch
    lines: Sequence[int]
    rejected: list[dict[str, Any]] = field(default_factory=list)
    extra: tuple[str, ...] = ()


class RecordParser:
    """Parses the blocks of one file; ``parse`` may be called from several threads.

    Args:
        schema: The stream's schema; rows come back with its columns, typed by `json_types.wire_schema`.
        source: The file's name, for rejected records.
    """

    def __init__(self, schema: pa.Schema, source: str) -> None:
        self._schema = wire_schema(schema)
        self._source = source
        self._json_columns = frozenset(column.name for column in self._schema if is_json_text(column))
        plain = {name for name, kind in zip(self._schema.names, self._schema.types, strict=True) if _is_text(kind)}
        self._plain_columns = frozenset(plain - self._json_columns)
        self._is_beyond_arrow = any(has_map(kind) or has_nested_json_text(kind) for kind in self._schema.types)
        # What has been met so far. A thread that reads these late only takes the longer way.
        self._unexpected: _Unexpected = "error"
        self._nested: frozenset[str] = frozenset()
        self._texts = TextColumns(self._json_columns) if self._json_columns else None

    def parse(self, block: Block) -> ParsedBlock:
        """Parse a block; every record of it is in the result, as a row or as rejected."""
        if self._is_beyond_arrow:
            return self._record_by_record(block)
        parsed = self._at_once(block)
        if parsed is not None:
            return parsed
        if block.count <= _FEW_RECORDS:
            return self._record_by_record(block)
        first, second = block.halves()
        if not first.raw or not second.raw:
            return self._record_by_record(block)
        return _joined(self.parse(first), self.parse(second))

    def _at_once(self, block: Block) -> ParsedBlock | None:
        """Parse a block in which all is well; None where it must be looked at more closely."""
        unexpected = self._unexpected
        if unexpected == "ignore" and (b"NaN" in block.raw or b"Inf" in block.raw):
            return None
        records = block.at_a_glance()
        table = None if records is None else self._at_full_speed(records, block.records(), unexpected)
        if (
            records is not None
            and table is not None
            and (table.num_rows != len(records.lines) or _may_have_empty_rows(table))
        ):
            # Blank lines, or null where an object should be.
            records = block.looked_at()
            table = None if records is None else self._at_full_speed(records, block.records(), unexpected)
        if table is None or records is None or table.num_rows != len(records.lines):
            return None
        return ParsedBlock(self._batch(table), records.lines, extra=self._extra_of(table, block, unexpected))

    def _at_full_speed(
        self, records: Records, one_by_one: Iterable[Record], unexpected: _Unexpected
    ) -> pa.Table | None:
        """Parse objects with pyarrow; None where one of them must be looked at."""
        text = records.text
        if not records.lines:
            return self._schema.empty_table()
        if _OBJECT_FIRST.match(text) is None:  # pyarrow 26 crashes where null is the first record
            return None
        try:
            if not text.isascii():
                text.decode()
            if self._texts is not None:
                text = b"".join([self._texts.rewrite(record.text.decode()).encode() + b"\n" for record in one_by_one])
        except (ValueError, RecursionError):  # no UTF-8, or no JSON
            return None
        try:
            table = arrow_json.read_json(
                pa.BufferReader(text),  # type: ignore[arg-type]  # the stubs leave out Arrow's own files
                read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(text) + _ROOM_BYTES),
                parse_options=arrow_json.ParseOptions(
                    explicit_schema=self._schema,
                    newlines_in_values=False,  # so it does not look for the ends of objects: there is one chunk
                    unexpected_field_behavior=unexpected,
                ),
            )
        except pa.ArrowInvalid:
            return None
        return None if any(map(_was_taken_too_easily, table.columns)) else table

    def _record_by_record(self, block: Block) -> ParsedBlock:
        good: list[tuple[int, Record]] = []
        objects: list[dict[str, Any]] = []
        rejected: list[tuple[int, dict[str, Any]]] = []
        extra: dict[str, None] = {}
        nested: set[str] = set()
        for place, record in enumerate(block.records()):
            try:
                value = parse_object(record.text)
            except MalformedError as error:
                rejected.append((place, self._rejected(record, None, str(error))))
                continue
            good.append((place, record))
            objects.append(value)
            extra |= dict.fromkeys(_unknown_keys(value, self._schema))
            nested |= {name for name in self._plain_columns if isinstance(value.get(name), dict | list)}
        self._learn(nested, has_extra=bool(extra), is_well_formed=not rejected)
        if not self._is_beyond_arrow:
            text = b"\n".join([record.text for _, record in good] + [b""])
            records = Records(text, [record.line for _, record in good])
            table = self._at_full_speed(records, (record for _, record in good), "ignore")
            if table is not None:
                return ParsedBlock(self._batch(table), records.lines, [row for _, row in rejected], tuple(extra))
        batch, lines = self._value_by_value(good, objects, rejected)
        rejected.sort(key=itemgetter(0))
        return ParsedBlock(batch, lines, [row for _, row in rejected], tuple(extra))

    def _value_by_value(
        self,
        records: Sequence[tuple[int, Record]],
        objects: Sequence[Mapping[str, Any]],
        rejected: list[tuple[int, dict[str, Any]]],
    ) -> tuple[pa.RecordBatch, list[int]]:
        rows: list[list[Any]] = []
        lines: list[int] = []
        columns = [column.remove_metadata() if is_json_text(column) else column for column in self._schema]
        for (place, record), parsed in zip(records, objects, strict=True):
            value = parsed
            if self._texts is not None:  # JSON texts are to be the source's own on this way, too
                value = parse_object(self._texts.rewrite(record.text.decode()).encode())
            row: list[Any] = []
            for column in columns:
                try:
                    row.append(fit(value.get(column.name), column))
                except MisfitError as error:
                    rejected.append((place, self._rejected(record, column.name, str(error))))
                    break
            else:
                rows.append(row)
                lines.append(record.line)
        arrays = [pa.array([row[number] for row in rows], column.type) for number, column in enumerate(columns)]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema), lines

    def _learn(self, nested: set[str], *, has_extra: bool, is_well_formed: bool) -> None:
        if nested - self._nested:
            self._nested |= nested
            self._texts = TextColumns(self._json_columns, self._nested)
        if has_extra and self._unexpected == "error":
            self._unexpected = "infer"
        elif has_extra and self._unexpected == "infer" and is_well_formed:
            self._unexpected = "ignore"  # what is beyond the schema has no one type

    def _extra_of(self, table: pa.Table, block: Block, unexpected: _Unexpected) -> tuple[str, ...]:
        match unexpected:
            case "error":
                return ()
            case "infer":
                return tuple(_unknown_fields(table.schema, self._schema))
            case "ignore":  # a sample: the columns were known to be there when the parser was told to pass over them
                first = next(block.records(), None)
                return () if first is None else tuple(_unknown_keys(json.loads(first.text), self._schema))

    def _batch(self, table: pa.Table) -> pa.RecordBatch:
        columns = [_one_chunk(table.column(name)) for name in self._schema.names]
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)

    def _rejected(self, record: Record, column: str | None, reason: str) -> dict[str, Any]:
        text = record.text.decode("utf-8", "backslashreplace")
        return {
            "column": column,
            "rule": "malformed" if column is None else "type",
            "reason": reason if record.number is None else f"element {record.number}: {reason}",
            "row": row_json(text) if column is None else text,
            "source": self._source,
            "line": record.line,
        }


def _joined(first: ParsedBlock, second: ParsedBlock) -> ParsedBlock:
    return ParsedBlock(
        pa.concat_batches([first.batch, second.batch]),  # type: ignore[attr-defined]  # the stubs lag behind
        [*first.lines, *second.lines],
        first.rejected + second.rejected,
        tuple(dict.fromkeys(first.extra + second.extra)),
    )


def _may_have_empty_rows(table: pa.Table) -> bool:
    """Say whether a row may be null in every column, as the parser makes one of ``null``."""
    return all(column.null_count for column in table.columns)


def _one_chunk(column: pa.ChunkedArray[Any]) -> pa.Array[Any]:
    if column.num_chunks == 1:
        return column.chunk(0)  # type: ignore[return-value]  # the stubs err: a chunk is an array
    return pa.concat_arrays([pa.array([], column.type), *column.chunks])


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _was_taken_too_easily(column: pa.ChunkedArray[Any]) -> bool:
    """Look for NaN, infinity and decimals of too many digits, which pyarrow's parser takes."""
    kind = column.type
    if pa.types.is_floating(kind):
        return pc.all(pc.is_finite(column)).as_py() is False
    if pa.types.is_decimal(kind):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            return True
        return False
    if not _holds_numbers(kind):
        return False
    if pa.types.is_list(kind):
        return _was_taken_too_easily(pa.chunked_array([pc.list_flatten(column)]))
    return any(map(_was_taken_too_easily, column.flatten()))


def _holds_numbers(kind: pa.DataType) -> bool:
    """Say whether floats or decimals are inside an object or a list."""
    children = [kind.field(number).type for number in range(kind.num_fields)]
    return any(pa.types.is_floating(child) or pa.types.is_decimal(child) or _holds_numbers(child) for child in children)


def _unknown_keys(value: Mapping[str, Any], schema: pa.Schema) -> Iterator[str]:
    yield from _unknown_members(value, {column.name: column.type for column in schema}, "")


def _unknown_members(value: Mapping[str, Any], known: Mapping[str, pa.DataType], above: str) -> Iterator[str]:
    for name, member in value.items():
        kind = known.get(name)
        if kind is None:
            yield f"{above}{name}"
        elif isinstance(member, dict | list):
            yield from _unknown_inside(member, kind, f"{above}{name}.")


def _unknown_inside(value: Any, kind: pa.DataType, above: str) -> Iterator[str]:
    if isinstance(value, list) and pa.types.is_list(kind):
        for item in value:
            yield from _unknown_inside(item, kind.value_type, above)
    elif isinstance(value, dict) and pa.types.is_struct(kind):
        inside = {kind.field(number).name: kind.field(number).type for number in range(kind.num_fields)}
        yield from _unknown_members(value, inside, above)


def _unknown_fields(found: pa.Schema | pa.DataType, known: pa.Schema | pa.DataType, above: str = "") -> Iterator[str]:
    """Name the columns that the parser found beyond those it was told."""
    if isinstance(found, pa.ListType) and isinstance(known, pa.ListType):
        yield from _unknown_fields(found.value_type, known.value_type, above)
        return
    inside = _fields(known)
    for name, kind in _fields(found).items():
        if name not in inside:
            yield f"{above}{name}"
        else:
            yield from _unknown_fields(kind, inside[name], f"{above}{name}.")


def _fields(of: pa.Schema | pa.DataType) -> dict[str, pa.DataType]:
    if isinstance(of, pa.Schema):
        return {column.name: column.type for column in of}
    if pa.types.is_struct(of):
        return {of.field(number).name: of.field(number).type for number in range(of.num_fields)}
    return {}
