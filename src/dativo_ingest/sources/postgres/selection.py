"""What is selected of a stream, as SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from dativo_ingest.databases.selection import DatabaseSelection, is_wider, require_own_names
from dativo_ingest.postgres.names import quoted
from dativo_ingest.postgres.sessions import Session, ask
from dativo_ingest.sources.postgres.copy_rows import ReadColumn
from dativo_ingest.sources.postgres.discovery import find
from dativo_ingest.sources.postgres.native_types import as_bytes, as_json, catalog_types, money_decimals, native_type
from dativo_ingest.sources.postgres.options import PostgresSourceOptions
from dativo_ingest.sources.postgres.relations import Column, Relation
from dativo_plugin_sdk import DataValidationError, StreamSpec

_LOSSY = b"dativo.lossy"
_FORMATS = (
    "SELECT pg_catalog.format_type(each.type::oid, each.modifier)"
    " FROM unnest($1::int8[], $2::int4[]) WITH ORDINALITY AS each(type, modifier, number) ORDER BY each.number"
)


class Selection(DatabaseSelection[Column, Relation]):
    """A table, a view or a query, and what is wanted of it."""

    def select(self, columns: Sequence[ReadColumn], *conditions: str) -> str:
        """Write the query."""
        wanted = ", ".join(column.native.expression.format(quoted(column.name)) for column in columns)
        return f"SELECT {wanted} {self.rest(*conditions)}"

    def read_as(self, schema: pa.Schema | None) -> list[ReadColumn]:
        """Say how each column is read that is chosen for a schema."""
        return [_read_as(column, wanted) for column, wanted in self.chosen(schema)]


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
    return selection.narrowed(options)


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
    require_own_names(name, names)
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
    if is_wider(wanted.type, native.arrow):
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
