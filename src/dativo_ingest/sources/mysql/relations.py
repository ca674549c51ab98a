"""What a server has to read: relations with columns, keys and sizes, by a handful of catalog queries.

What ``information_schema`` gives away for little and what makes the server open every table differs; of MariaDB 10.11
with 3,000 tables: names, columns and keys take 0.1 to 0.7 s each; estimates of rows and sizes take 3 s, and checks, by
which MariaDB knows JSON, as long.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from dativo_ingest.databases.native_types import DatabaseType
from dativo_ingest.databases.relations import DatabaseColumn, DatabaseRelation
from dativo_ingest.mysql.names import literal
from dativo_ingest.mysql.sessions import Session, ask
from dativo_ingest.sources.mysql.native_types import native_type

Kind: TypeAlias = Literal["table", "partitioned table", "view"]
Place: TypeAlias = tuple[str, str]
"""A database and a name in it."""

SYSTEM = ("information_schema", "mysql", "ndbinfo", "performance_schema", "sys")
"""Databases that hold nothing of the user's."""

# A sequence of MariaDB is a table of one row, which nobody means; temporary tables are a session's own.
_KINDS: dict[str, Kind] = {"BASE TABLE": "table", "SYSTEM VERSIONED": "table", "VIEW": "view"}
# Engines that give a transaction one image of their tables.
_TRANSACTIONAL = frozenset({"INNODB", "ROCKSDB", "TOKUDB", "NDBCLUSTER", "NDB"})
_JSON_COLLATION = "utf8mb4_bin"
_INVALID = "references invalid table(s)"

_RELATIONS = """
SELECT table_schema, table_name, table_type, engine, table_rows, data_length, create_options, table_comment
FROM information_schema.tables WHERE {where}
"""
_READABLE = """
SELECT DISTINCT table_schema, table_name FROM information_schema.columns
WHERE FIND_IN_SET('select', privileges) AND {where}
"""
_COLUMNS = """
SELECT table_schema, table_name, ordinal_position, column_name, column_type, data_type, is_nullable, extra,
       collation_name, column_comment, FIND_IN_SET('select', privileges) > 0
FROM information_schema.columns WHERE {where}
"""
_KEYS = """
SELECT table_schema, table_name, index_name, seq_in_index, column_name, sub_part
FROM information_schema.statistics WHERE non_unique = 0 AND {where}
"""
_GRANTED_COLUMNS = """
SELECT DISTINCT table_schema, table_name FROM information_schema.column_privileges
WHERE privilege_type = 'SELECT' AND {where}
"""
_CHECKS = """
SELECT constraint_schema, table_name, check_clause FROM information_schema.check_constraints
WHERE check_clause LIKE 'json_valid(%' AND {where}
"""
_IS_JSON = re.compile(r"^json_valid\(`((?:[^`]|``)+)`\)$")
# A table that is named is looked up by itself, which is fast for a few: no other table is opened.
_FEW = 20
_PRIMARY = "PRIMARY"


Column: TypeAlias = DatabaseColumn[DatabaseType]


@dataclass(frozen=True, kw_only=True)
class Relation(DatabaseRelation[DatabaseType]):
    """Something with rows; its schema is the database that it is in."""

    kind: Kind
    engine: str | None = None
    """What keeps the rows; None for a view."""
    is_broken: bool = False
    """Whether it is a view of what is gone."""
    has_granted_columns: bool = False
    """Whether the user may read columns by their names; there may be others, which the server does not show."""
    primary_key: tuple[str, ...] = ()
    """The primary key alone, by which the engine keeps the rows."""

    @property
    def place(self) -> Place:
        """Give the database and the name."""
        return self.schema, self.name

    @property
    def is_readable(self) -> bool:
        """Say whether the user may read any of its columns."""
        return bool(self.columns)

    @property
    def has_images(self) -> bool:
        """Say whether a transaction sees one image of it, whatever others write."""
        return self.engine is None or self.engine.upper() in _TRANSACTIONAL


@dataclass
class _Parts:
    """What belongs to one relation, while it is collected."""

    columns: dict[str, Column] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)
    keys: dict[str, list[str | None]] = field(default_factory=dict)


def readable_places(session: Session, database: str | None) -> list[Place]:
    """List what the user may read by database and name, in order; one query, which opens no table.

    Args:
        session: A session.
        database: Only what is in this one; by default in all that hold something of the user's.
    """
    return sorted({(str(schema), str(name)) for schema, name in _ask(session, _READABLE, _Within(database))})


def relations(session: Session, database: str | None = None) -> list[Relation]:
    """List what has rows, readable or not, with columns and keys; in order of their names, by five queries at most.

    Args:
        session: A session.
        database: Only what is in this one; by default in all that hold something of the user's.
    """
    return _relations(session, _Within(database))


def relations_of(session: Session, places: Iterable[Place]) -> list[Relation]:
    """Give what the places name, as `relations` does; those that name nothing are left out."""
    wanted = frozenset(places)
    return _relations(session, _Among(wanted)) if wanted else []


@dataclass(frozen=True)
class _Within:
    """All of a database, or of all databases of the user's."""

    database: str | None

    def conditions(self, schema: str) -> list[str]:
        if self.database is not None:
            return [f"{schema} = {literal(self.database)}"]
        return [f"{schema} NOT IN ({', '.join(map(literal, SYSTEM))})"]

    def __contains__(self, place: Place) -> bool:
        return True


@dataclass(frozen=True)
class _Among:
    """What is named."""

    places: frozenset[Place]

    def conditions(self, schema: str) -> list[str]:
        if len(self.places) <= _FEW:
            return [f"{schema} = {literal(where)} AND table_name = {literal(name)}" for where, name in self.places]
        return [f"{schema} IN ({', '.join(sorted({literal(where) for where, _ in self.places}))})"]

    def __contains__(self, place: Place) -> bool:
        return place in self.places


_Scope: TypeAlias = _Within | _Among


def _ask(session: Session, query: str, scope: _Scope, schema: str = "table_schema") -> list[tuple[Any, ...]]:
    """Ask one of the queries above, in one statement however many conditions there are."""
    parts = (query.format(where=condition) for condition in scope.conditions(schema))
    return ask(session, " UNION ALL ".join(f"({part})" for part in parts))


def _relations(session: Session, scope: _Scope) -> list[Relation]:
    rows = [row for row in _ask(session, _RELATIONS, scope) if row[2] in _KINDS and (row[0], row[1]) in scope]
    parts = {(row[0], row[1]): _Parts() for row in rows}
    columns = [row for row in _ask(session, _COLUMNS, scope) if (row[0], row[1]) in parts]
    json = _json_columns(session, columns)
    for schema, name, _, *facts in sorted(columns, key=lambda row: row[2]):
        collected, column = parts[schema, name], facts[0]
        if facts[-1]:
            collected.columns[column] = _column(facts, is_json=column in json.get((schema, name), ()))
        else:
            collected.hidden.append(column)
    for schema, name, index, _, column, part in sorted(_ask(session, _KEYS, scope), key=lambda row: row[3]):
        if (schema, name) in parts:
            # Neither a part of a column's text nor an expression tells rows apart by the column.
            parts[schema, name].keys.setdefault(index, []).append(None if part is not None else column)
    granted = {(schema, name) for schema, name in _ask(session, _GRANTED_COLUMNS, scope)}
    found = (_relation(row, parts[row[0], row[1]], has_granted_columns=(row[0], row[1]) in granted) for row in rows)
    return sorted(found, key=lambda relation: relation.place)


def _relation(row: Sequence[Any], parts: _Parts, *, has_granted_columns: bool) -> Relation:
    schema, name, table_type, engine, count, size, options, comment = row
    kind, keys = _KINDS[table_type], _keys(parts)
    if kind == "table" and "partitioned" in (options or ""):
        kind = "partitioned table"
    return Relation(
        schema=schema,
        name=name,
        kind=kind,
        engine=engine,
        rows=None if count is None else int(count),
        size_bytes=None if size is None else int(size),
        description=None if kind == "view" else comment or None,
        is_broken=kind == "view" and _INVALID in (comment or ""),
        columns=tuple(parts.columns.values()),
        hidden_columns=tuple(parts.hidden),
        has_granted_columns=has_granted_columns,
        key=next(iter(keys.values()), ()),
        primary_key=keys.get(_PRIMARY, ()),
    )


def _column(facts: Sequence[Any], *, is_json: bool) -> Column:
    name, column_type, _, nullable, extra, _, comment, _ = facts
    how = (extra or "").lower()
    return Column(
        name,
        "json" if is_json else column_type,
        native_type(column_type, is_json=is_json),
        nullable == "YES",
        counts_up="auto_increment" in how,
        tells_changes="on update current_timestamp" in how,
        description=comment or None,
    )


def _json_columns(session: Session, columns: Sequence[Sequence[Any]]) -> dict[Place, set[str]]:
    """Find MariaDB's columns of JSON: it makes them text that a check holds to be JSON."""
    if not session.server.is_mariadb:
        return {}
    places = {(row[0], row[1]) for row in columns if row[5].lower() == "longtext" and row[8] == _JSON_COLLATION}
    found: dict[Place, set[str]] = {}
    for schema, name, clause in (
        _ask(session, _CHECKS, _Among(frozenset(places)), "constraint_schema") if places else ()
    ):
        column = _IS_JSON.match(clause)
        if column is not None:
            found.setdefault((schema, name), set()).add(column[1].replace("``", "`"))
    return found


def _keys(parts: _Parts) -> dict[str, tuple[str, ...]]:
    """Give what tells rows apart by the index that sees to it: the primary key first, then the smallest one."""
    order = sorted(parts.keys, key=lambda index: (index != _PRIMARY, len(parts.keys[index]), index))
    return {
        index: tuple(name for name in parts.keys[index] if name is not None)
        for index in order
        if all(name in parts.columns and not parts.columns[name].nullable for name in parts.keys[index])
    }
