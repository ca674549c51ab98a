"""What is selected of a stream, as SQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
from pymysql.constants import FLAG

from dativo_ingest.mysql.names import quoted
from dativo_ingest.mysql.sessions import Session
from dativo_ingest.sources.mysql.discovery import find
from dativo_ingest.sources.mysql.native_types import native_type
from dativo_ingest.sources.mysql.options import MysqlSourceOptions
from dativo_ingest.sources.mysql.query_columns import fields_of, type_of
from dativo_ingest.sources.mysql.relations import Column, Relation
from dativo_ingest.sources.mysql.rows import ReadColumn
from dativo_plugin_sdk import InvalidConfigError, StreamSpec


@dataclass(frozen=True)
class Selection:
    """A table, a view or a query, and what is wanted of it."""

    title: str
    source: str
    """What stands after FROM."""
    columns: tuple[Column, ...]
    relation: Relation | None = None
    conditions: tuple[str, ...] = ()
    query: str | None = None
    """The job's own; as it is, its rows come in its order, and the server need not keep them to select from them."""

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
        order = f" ORDER BY {', '.join(quoted(name) for name in key)}" if key else ""
        index = " FORCE INDEX (PRIMARY)" if key else ""
        return f"SELECT {wanted} {self.rest(*conditions, index=index)}{order}"

    def rest(self, *conditions: str, index: str = "") -> str:
        """Write the query from FROM on."""
        met = [f"({condition}\n)" for condition in (*self.conditions, *conditions)]  # one may end in a comment
        return f"FROM {self.source}{index}" + (f" WHERE {' AND '.join(met)}" if met else "")

    def _is_whole(self, columns: Sequence[ReadColumn]) -> bool:
        names = [column.name for column in columns]
        return names == [column.name for column in self.columns] and all(column.native.is_plain for column in columns)

    def read_as(self, schema: pa.Schema | None) -> list[ReadColumn]:
        """Choose what to read for a schema: the columns it names, as text where it wants text.

        Without a schema, or where it names none of the columns, all of them are read as they are by default.
        """
        wanted = {} if schema is None else {field.name: field for field in schema}
        chosen = [column for column in self.columns if column.name in wanted] or list(self.columns)
        return [_read_as(column, wanted.get(column.name)) for column in chosen]


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
    if options.columns:
        selection = replace(selection, columns=tuple(selection.column(name) for name in options.columns))
    return selection if options.filter is None else selection.where(options.filter)


def _of_query(session: Session, name: str, query: str) -> Selection:
    query = query.strip().rstrip(";").rstrip()
    fields = fields_of(session, query)
    names = [str(field.name) for field in fields]
    twice = [each for each, count in Counter(names).items() if count > 1]
    if twice:
        raise InvalidConfigError(
            f"stream {name}: the query has more than one column {', '.join(twice)}", hint="name them apart with AS"
        )
    columns = tuple(
        Column(str(field.name), type_of(field), native_type(type_of(field)), nullable=not field.flags & FLAG.NOT_NULL)
        for field in fields
    )
    return Selection(name, f"(\n{query}\n) AS {quoted('query')}", columns, query=query)


def _read_as(column: Column, wanted: pa.Field[Any] | None) -> ReadColumn:
    native = column.native
    if wanted is None or pa.types.is_binary(native.arrow):
        return ReadColumn(column.name, native)
    if _is_wider(wanted.type, native.arrow):
        return ReadColumn(column.name, replace(native, arrow=wanted.type))
    as_text = pa.types.is_string(wanted.type) or pa.types.is_large_string(wanted.type)
    is_json = (wanted.metadata or {}).get(b"dativo.logical_type") == b"json"
    return ReadColumn(column.name, native, as_text=as_text and not is_json)


def _is_wider(one: Any, other: Any) -> bool:
    return bool(
        pa.types.is_signed_integer(one) and pa.types.is_signed_integer(other) and one.bit_width > other.bit_width
    )


def _listed(columns: Sequence[Column]) -> str:
    shown = 50
    more = f" and {len(columns) - shown} more" if len(columns) > shown else ""
    return ", ".join(column.name for column in columns[:shown]) + more
