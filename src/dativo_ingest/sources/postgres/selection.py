"""What is selected of a stream, as SQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from dativo_ingest.postgres.names import quoted
from dativo_ingest.postgres.sessions import Session, ask
from dativo_ingest.sources.postgres.copy_rows import ReadColumn
from dativo_ingest.sources.postgres.discovery import find
from dativo_ingest.sources.postgres.native_types import as_bytes, as_json, catalog_types, money_decimals, native_type
from dativo_ingest.sources.postgres.options import PostgresSourceOptions
from dativo_ingest.sources.postgres.relations import Column, Relation
from dativo_plugin_sdk import DataValidationError, InvalidConfigError, StreamSpec

_LOSSY = b"dativo.lossy"
_FORMATS = (
    "SELECT pg_catalog.format_type(each.type::oid, each.modifier)"
    " FROM unnest($1::int8[], $2::int4[]) WITH ORDINALITY AS each(type, modifier, number) ORDER BY each.number"
)


@dataclass(frozen=True)
class Selection:
    """A table, a view or a query, and what is wanted of it."""

    title: str
    source: str
    """What stands after FROM."""
    columns: tuple[Column, ...]
    relation: Relation | None = None
    conditions: tuple[str, ...] = ()

    def column(self, name: str) -> Column:
        """Find a column.

        Raises:
            InvalidConfigError: There is none of this name.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise InvalidConfigError(
            f"stream {self.title}: there is no column {name}; there are: {_listed(self.columns)}",
            hint="names are as the database has them, and case matters",
        )

    def where(self, *conditions: str) -> Selection:
        """Ask for rows that meet conditions more."""
        return replace(self, conditions=(*self.conditions, *conditions))

    def select(self, columns: Sequence[ReadColumn], *conditions: str) -> str:
        """Write the query."""
        wanted = ", ".join(column.native.expression.format(quoted(column.name)) for column in columns)
        return f"SELECT {wanted} {self.rest(*conditions)}"

    def rest(self, *conditions: str) -> str:
        """Write the query from FROM on."""
        met = [f"({condition}\n)" for condition in (*self.conditions, *conditions)]  # one may end in a comment
        return f"FROM {self.source}" + (f" WHERE {' AND '.join(met)}" if met else "")

    def read_as(self, schema: pa.Schema | None) -> list[ReadColumn]:
        """Choose what to read for a schema: the columns it names, as text where it wants text.

        Without a schema, or where it names none of the columns, all of them are read as they are by default.
        """
        wanted = {} if schema is None else {field.name: field for field in schema}
        chosen = [column for column in self.columns if column.name in wanted] or list(self.columns)
        return [_read_as(column, wanted.get(column.name)) for column in chosen]


def selection_of(
    session: Session, stream: StreamSpec, options: PostgresSourceOptions, known: Relation | None = None
) -> Selection:
    """Find what a stream selects.

    Args:
        session: A session with no transaction under way.
        stream: The stream.
        options: Its options.
        known: What its name means, where that has been found already.

    Raises:
        DataNotFoundError: There is no such table.
        DataValidationError: It has no columns.
        InvalidConfigError: The query has columns without a name of their own, or a column is not there.
    """
    if options.query is not None:
        selection = _of_query(session, stream.name, options.query)
    else:
        relation = known or find(session, stream.name)
        selection = Selection(relation.title, quoted(relation.schema, relation.name), relation.columns, relation)
    if not selection.columns:
        raise DataValidationError(
            f"stream {selection.title}: it has no columns, so there is nothing to read", hint="leave the stream out"
        )
    if options.columns:
        selection = replace(selection, columns=tuple(selection.column(name) for name in options.columns))
    return selection if options.filter is None else selection.where(options.filter)


def literal(value: object, type_name: str) -> str:
    """Write a value of a type."""
    text = str(value).replace("'", "''")
    return f"'{text}'::{type_name}"


def _of_query(session: Session, name: str, query: str) -> Selection:
    source = f"(\n{query.strip().rstrip(';').rstrip()}\n) AS {quoted('query')}"
    cursor = session.execute(f"SELECT * FROM {source} LIMIT 0".encode())  # noqa: S608  it is the job's own
    result = cursor.pgresult
    assert result is not None  # noqa: S101  a SELECT has one
    numbers = range(result.nfields)
    names = [(result.fname(number) or b"").decode() for number in numbers]
    twice = [each for each, count in Counter(names).items() if count > 1]
    if twice:
        raise InvalidConfigError(
            f"stream {name}: the query has more than one column {', '.join(twice)}", hint="name them apart with AS"
        )
    oids = [result.ftype(number) for number in numbers]
    modifiers = [result.fmod(number) for number in numbers]
    types = catalog_types(session, oids)
    cents = money_decimals(session, types)
    formats = [row[0] for row in ask(session, _FORMATS, oids, modifiers)]
    columns = tuple(
        Column(each, source_type, native_type(oid, modifier, types, cents=cents), nullable=True)
        for each, source_type, oid, modifier in zip(names, formats, oids, modifiers, strict=True)
    )
    return Selection(name, source, columns)


def _read_as(column: Column, wanted: pa.Field[Any] | None) -> ReadColumn:
    native = column.native
    if wanted is None or pa.types.is_binary(native.arrow):
        return ReadColumn(column.name, native)
    if _is_wider(wanted.type, native.arrow):
        return ReadColumn(column.name, replace(native, arrow=wanted.type))
    if pa.types.is_binary(wanted.type):
        return ReadColumn(column.name, as_bytes(native))
    metadata = wanted.metadata or {}
    if not (pa.types.is_string(wanted.type) or pa.types.is_large_string(wanted.type)):
        return ReadColumn(column.name, native, drop_bounds=b"bounds" in metadata.get(_LOSSY, b"").split(b","))
    is_json = metadata.get(b"dativo.logical_type") == b"json"
    if is_json and (native.fidelity == "text" or not pa.types.is_string(native.arrow)):
        native = as_json(native)
    return ReadColumn(column.name, native, as_text=not native.is_json)


def _is_wider(one: Any, other: Any) -> bool:
    return bool(
        pa.types.is_signed_integer(one) and pa.types.is_signed_integer(other) and one.bit_width > other.bit_width
    )


def _listed(columns: Sequence[Column]) -> str:
    shown = 50
    more = f" and {len(columns) - shown} more" if len(columns) > shown else ""
    return ", ".join(column.name for column in columns[:shown]) + more
