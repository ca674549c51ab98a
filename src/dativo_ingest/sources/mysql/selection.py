"""What is selected of a stream, as SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
from pymysql.constants import FLAG

from dativo_ingest.databases.selection import DatabaseSelection, is_wider, require_own_names
from dativo_ingest.mysql.names import quoted
from dativo_ingest.mysql.sessions import Session
from dativo_ingest.sources.mysql.discovery import find
from dativo_ingest.sources.mysql.native_types import native_type
from dativo_ingest.sources.mysql.options import MysqlSourceOptions
from dativo_ingest.sources.mysql.query_columns import fields_of, type_of
from dativo_ingest.sources.mysql.relations import Column, Relation
from dativo_ingest.sources.mysql.rows import ReadColumn
from dativo_plugin_sdk import StreamSpec


@dataclass(frozen=True)
class Selection(DatabaseSelection[Column, Relation]):
    """A table, a view or a query, and what is wanted of it."""

    query: str | None = None
    """The job's own; as it is, its rows come in its order, and the server need not keep them to select from them."""

    def select(self, columns: Sequence[ReadColumn], *conditions: str, in_order: bool = False) -> str:
        """Write the query.

        Args:
            columns: What to select.
            conditions: What rows must meet besides.
            in_order: Ask for rows by the primary key, and for a range of it to be read as such.
        """
        if self.query is not None and not (self.conditions or conditions) and self._is_whole(columns):
            return self.query
        wanted = ", ".join(column.native.expression.format(quoted(column.name)) for column in columns)
        key = self.relation.primary_key if in_order and self.relation is not None else ()
        if not key:
            return f"SELECT {wanted} {self.rest(*conditions)}"
        by_key = replace(self, source=f"{self.source} FORCE INDEX (PRIMARY)")
        return f"SELECT {wanted} {by_key.rest(*conditions)} ORDER BY {', '.join(quoted(name) for name in key)}"

    def read_as(self, schema: pa.Schema | None) -> list[ReadColumn]:
        """Say how each column is read that is chosen for a schema."""
        return [_read_as(column, wanted) for column, wanted in self.chosen(schema)]

    def _is_whole(self, columns: Sequence[ReadColumn]) -> bool:
        names = [column.name for column in columns]
        return names == [column.name for column in self.columns] and all(column.native.is_plain for column in columns)


def selection_of(
    session: Session, stream: StreamSpec, options: MysqlSourceOptions, known: Relation | None = None
) -> Selection:
    """Find what a stream selects.

    Args:
        session: A session with no transaction under way.
        stream: The stream.
        options: Its options.
        known: What its name means, where that has been found already.

    Raises:
        DataNotFoundError: There is no such table.
        InvalidConfigError: The query has columns without a name of their own, or a column is not there.
    """
    if options.query is not None:
        selection = _of_query(session, stream.name, options.query)
    else:
        relation = known or find(session, stream.name)
        selection = Selection(relation.title, quoted(relation.schema, relation.name), relation.columns, relation)
    return selection.narrowed(options)


def _of_query(session: Session, name: str, query: str) -> Selection:
    query = query.strip().rstrip(";").rstrip()
    fields = fields_of(session, query)
    require_own_names(name, [str(field.name) for field in fields])
    columns = tuple(
        Column(str(field.name), type_of(field), native_type(type_of(field)), nullable=not field.flags & FLAG.NOT_NULL)
        for field in fields
    )
    return Selection(name, f"(\n{query}\n) AS {quoted('query')}", columns, query=query)


def _read_as(column: Column, wanted: pa.Field[Any] | None) -> ReadColumn:
    native = column.native
    if wanted is None or pa.types.is_binary(native.arrow):
        return ReadColumn(column.name, native)
    if is_wider(wanted.type, native.arrow):
        return ReadColumn(column.name, replace(native, arrow=wanted.type))
    as_text = pa.types.is_string(wanted.type) or pa.types.is_large_string(wanted.type)
    is_json = (wanted.metadata or {}).get(b"dativo.logical_type") == b"json"
    return ReadColumn(column.name, native, as_text=as_text and not is_json)
