"""Postgres tables as `evolve` sees them: what there is, what it must become, and the statements that lead there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import pyarrow as pa

from dativo_ingest.postgres.names import quoted
from dativo_ingest.postgres.sessions import Session, ask, run, value
from dativo_ingest.targets.evolution import Change, Column, evolve
from dativo_ingest.targets.postgres.names import require_columns
from dativo_ingest.targets.postgres.types import sql_type, wider
from dativo_plugin_sdk import SchemaValidationError

_KINDS = {"r": "table", "p": "partitioned table"}
_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
       a.atthasdef OR a.attidentity <> '', a.attnum = ANY (coalesce(k.conkey, '{}'))
FROM pg_catalog.pg_attribute a
LEFT JOIN pg_catalog.pg_constraint k ON k.conrelid = a.attrelid AND k.contype = 'p'
WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
_MAKING = int.from_bytes(b"dativo", "big")  # the number of an advisory lock


class TableColumn(NamedTuple):
    """A column that a table has."""

    column: Column[str]
    has_default: bool
    in_key: bool


class Shape(NamedTuple):
    """How a table is to be; ``exists`` says whether it has to be made."""

    exists: bool
    columns: Sequence[Column[str]]
    changes: Sequence[Change[str]]

    @property
    def types(self) -> dict[str, str]:
        """The type of each column."""
        return {column.name: column.type for column in self.columns}


class Table:
    """A table by its name: ``sql`` is it in a statement, ``title`` in a message."""

    def __init__(self, schema: str, name: str) -> None:
        self.schema = schema
        self.name = name
        self.sql = quoted(schema, name)
        self.title = f"{schema}.{name}"

    def exists(self, session: Session) -> bool:
        """Say whether there is anything by this name."""
        return self._found(session) is not None

    def columns(self, session: Session) -> list[TableColumn]:
        """List the table's columns in order; none where there is no such table.

        Raises:
            SchemaValidationError: It is a view, or another thing that is no table.
        """
        found = self._found(session)
        if found is None:
            return []
        oid, kind = found
        if kind not in _KINDS:
            raise SchemaValidationError(f"{self.title} is no table", hint="choose another table name")
        return [
            TableColumn(Column(name, data_type, nullable), has_default, in_key)
            for name, data_type, nullable, has_default, in_key in ask(session, _COLUMNS, oid)
        ]

    def shape(
        self,
        session: Session,
        incoming: Sequence[Column[str]],
        wider: Callable[[str, str], str | None] = wider,
        *,
        only_these: bool = False,
    ) -> Shape:
        """Find out what the table must become to take these columns; with ``only_these``, the others do not matter.

        Raises:
            SchemaValidationError: Something would be lost.
        """
        exists = self.exists(session)
        there = self.columns(session) if exists else []
        if not exists:
            return Shape(exists=False, columns=incoming, changes=())
        if not incoming:
            return Shape(exists=True, columns=[each.column for each in there], changes=())
        named = {column.name for column in incoming}
        if only_these:
            there = [each for each in there if each.column.name in named]
        required = {each.column.name for each in there if each.in_key}
        # A column of the primary key stays required, whatever the stream says; a null there is refused with its row.
        wanted = [replace(column, nullable=column.nullable and column.name not in required) for column in incoming]
        have = [
            replace(each.column, nullable=True) if each.has_default and each.column.name not in named else each.column
            for each in there
        ]
        columns, changes = evolve(have, wanted, wider, name=self.title)
        require_columns([column.name for column in columns], name=self.title)
        return Shape(exists=True, columns=columns, changes=changes)

    def apply(self, session: Session, shape: Shape, *, primary_key: Sequence[str] = ()) -> None:
        """Make the table, with a primary key if there is to be one, or change it."""
        if shape.exists:
            if shape.changes:
                run(session, f"ALTER TABLE {self.sql} {', '.join(map(_change, shape.changes))}")
            return
        parts = [_definition(column) for column in shape.columns]
        if primary_key:
            parts.append(f"PRIMARY KEY ({', '.join(map(quoted, primary_key))})")
        run(session, f"CREATE TABLE {self.sql} ({', '.join(parts)})")

    def _found(self, session: Session) -> tuple[int, str] | None:
        rows = ask(
            session,
            "SELECT c.oid, c.relkind::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
            " ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2",
            self.schema,
            self.name,
        )
        return (rows[0][0], rows[0][1]) if rows else None


def make_schema(session: Session, schema: str) -> None:
    """Make a schema where it is missing, within the transaction."""
    if not has_schema(session, schema):
        wait_to_make(session)
        if not has_schema(session, schema):
            run(session, f"CREATE SCHEMA {quoted(schema)}")


def has_schema(session: Session, schema: str) -> bool:
    """Say whether there is a schema of this name."""
    return bool(value(session, "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)", schema))


def wait_to_make(session: Session) -> None:
    """Let one transaction at a time make schemas and tables: IF NOT EXISTS does not keep two from colliding."""
    run(session, "SELECT pg_catalog.pg_advisory_xact_lock($1::bigint)", _MAKING)


def stream_columns(schema: pa.Schema, *, name: str) -> list[Column[str]]:
    """Give a stream's columns with the types that keep their values.

    Raises:
        SchemaValidationError: A type or a name that Postgres does not have.
    """
    require_columns(schema.names, name=name)
    return [Column(field.name, sql_type(field), field.nullable) for field in schema]


def _definition(column: Column[str]) -> str:
    return f"{quoted(column.name)} {column.type}{'' if column.nullable else ' NOT NULL'}"


def _change(change: Change[str]) -> str:
    column = change.column
    name = quoted(column.name)
    match change.kind:
        case "add":
            return f"ADD COLUMN {name} {column.type}"
        case "widen":
            return f"ALTER COLUMN {name} TYPE {column.type} USING {name}::{column.type}"
        case "relax":
            return f"ALTER COLUMN {name} DROP NOT NULL"
