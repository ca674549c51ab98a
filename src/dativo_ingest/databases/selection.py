"""What is selected of a stream, as far as databases agree on it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, Self, TypeVar

import pyarrow as pa

from dativo_ingest.databases.arrow import pc
from dativo_ingest.databases.relations import DatabaseColumn, DatabaseRelation, TypeT_co
from dativo_plugin_sdk import InvalidConfigError, StreamSpec
from dativo_plugin_sdk.cursor import cursor_bound

ColumnT = TypeVar("ColumnT", bound=DatabaseColumn[Any])
RelationT = TypeVar("RelationT", bound=DatabaseRelation[Any])
_SHOWN = 50


class Wanted(Protocol):
    """What a job can ask of a stream beside its table."""

    @property
    def columns(self) -> Sequence[str]:
        """Name the columns to read; empty for all."""

    @property
    def filter(self) -> str | None:
        """Give the condition that rows must meet."""


@dataclass(frozen=True)
class DatabaseReadColumn(Generic[TypeT_co]):
    """A column that is read: its name, how it is asked for, and what is made of it."""

    name: str
    native: TypeT_co
    as_text: bool = False
    """Keep what the server writes, whatever type it has."""


@dataclass(frozen=True)
class DatabaseSelection(ABC, Generic[ColumnT, RelationT]):
    """A table, a view or a query, and what is wanted of it."""

    title: str
    source: str
    """What stands after FROM."""
    columns: tuple[ColumnT, ...]
    relation: RelationT | None = None
    conditions: tuple[str, ...] = ()

    def column(self, name: str) -> ColumnT:
        """Find a column.

        Raises:
            InvalidConfigError: There is none of this name.
        """
        for column in self.columns:
            if column.name == name:
                return column
        more = f" and {len(self.columns) - _SHOWN} more" if len(self.columns) > _SHOWN else ""
        there = ", ".join(column.name for column in self.columns[:_SHOWN]) + more
        raise InvalidConfigError(
            f"stream {self.title}: there is no column {name}; there are: {there}",
            hint="names are as the database has them, and case matters",
        )

    def followed(self, stream: StreamSpec) -> ColumnT:
        """Find the column that the stream follows.

        Raises:
            InvalidConfigError: There is none, or it is not among those that are read.
        """
        if stream.cursor is None:
            raise InvalidConfigError(
                f"stream {stream.name}: mode: incremental needs a cursor, the column by which new rows are found",
                hint="dativo discover lists cursor candidates",
            )
        return self.column(stream.cursor)

    def where(self, *conditions: str) -> Self:
        """Ask for rows that meet conditions more."""
        return replace(self, conditions=(*self.conditions, *conditions))

    def narrowed(self, wanted: Wanted) -> Self:
        """Keep the columns and the rows that a job asks for.

        Raises:
            InvalidConfigError: A column is not there.
        """
        found = self
        if wanted.columns:
            found = replace(self, columns=tuple(self.column(name) for name in wanted.columns))
        return found if wanted.filter is None else found.where(wanted.filter)

    def rest(self, *conditions: str) -> str:
        """Write the query from FROM on."""
        met = [f"({condition}\n)" for condition in (*self.conditions, *conditions)]  # one may end in a comment
        return f"FROM {self.source}" + (f" WHERE {' AND '.join(met)}" if met else "")

    @abstractmethod
    def select(self, columns: Sequence[Any], *conditions: str) -> str:
        """Write the query for columns as `read_as` gives them, of rows that meet conditions besides."""

    @abstractmethod
    def read_as(self, schema: pa.Schema | None) -> Sequence[DatabaseReadColumn[Any]]:
        """Say how each column that is `chosen` for a schema is read: as text where the schema wants text."""

    def chosen(self, schema: pa.Schema | None) -> list[tuple[ColumnT, pa.Field[Any] | None]]:
        """Choose what to read for a schema: the columns that it names, each with its field there.

        Without a schema, or where it names none of the columns, all of them are read as they are by default.
        """
        wanted = {} if schema is None else {field.name: field for field in schema}
        chosen = [column for column in self.columns if column.name in wanted] or list(self.columns)
        return [(column, wanted.get(column.name)) for column in chosen]


def range_of(stream: StreamSpec, column: DatabaseColumn[Any]) -> list[Any]:
    """Read from where and to where a run is limited, as scalars; None where it is not.

    Raises:
        InvalidConfigError: An end is no value of the column's type, or there is nothing between them.
    """
    ends = [cursor_bound(text, column.arrow, column=column.name) for text in (stream.cursor_from, stream.cursor_to)]
    first, end = ends
    if first is not None and end is not None and column.fidelity != "text" and pc.greater_equal(first, end).as_py():
        raise InvalidConfigError(f"stream {stream.name}: no {column.name} is from {first} and below {end}")
    return ends


def require_own_names(stream: str, names: Sequence[str]) -> None:
    """See that the columns of a query have names that tell them apart.

    Raises:
        InvalidConfigError: They have not.
    """
    twice = [each for each, count in Counter(names).items() if count > 1]
    if twice:
        raise InvalidConfigError(
            f"stream {stream}: the query has more than one column {', '.join(twice)}", hint="name them apart with AS"
        )


def is_wider(one: Any, other: Any) -> bool:
    """Say whether both are signed whole numbers, the first of more bits."""
    return bool(
        pa.types.is_signed_integer(one) and pa.types.is_signed_integer(other) and one.bit_width > other.bit_width
    )
