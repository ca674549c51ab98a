"""What a database has to read: relations with columns, keys and sizes, by a handful of catalog queries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import psycopg

from dativo_ingest.databases.relations import DatabaseColumn, DatabaseRelation
from dativo_ingest.postgres.sessions import Session, ask, begin, run
from dativo_ingest.sources.postgres.native_types import (
    NativeType,
    catalog_types,
    money_decimals,
    native_type,
)

Kind: TypeAlias = Literal["table", "partitioned table", "view", "materialized view", "foreign table"]

_KINDS: dict[str, Kind] = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
}
XMIN = "xmin"
"""The cursor that stands for the version of a table's row."""
_LOCK_TIMEOUT_S = 2.0

# A table without columns has nothing to read, a partition is read through the table that it is a part of, and what
# belongs to an extension is no data of the user's.
# Sizes of tables that were never analyzed are measured, which waits for whoever has them locked; hence `measure`.
_RELATIONS = """
WITH RECURSIVE roots AS MATERIALIZED (
    SELECT c.oid, n.oid AS namespace, n.nspname, c.relname, c.relkind, c.relispopulated, c.relrowsecurity
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't'
      AND n.nspname !~ '^(pg_|information_schema$)'
      AND ($2::text IS NULL OR n.nspname || '.' || c.relname = $2::text OR c.relname = $2::text)
      AND ($2::text IS NOT NULL OR EXISTS (
          SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped))
      AND (n.nspname || '.' || c.relname = $2::text OR NOT c.relispartition AND NOT EXISTS (
          SELECT FROM pg_catalog.pg_depend d
          WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0 AND d.deptype = 'e'))
), leaves (root, leaf) AS (
    SELECT oid, oid FROM roots
    UNION ALL
    SELECT l.root, i.inhrelid FROM leaves l
    JOIN pg_catalog.pg_inherits i ON i.inhparent = l.leaf
    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition
), locked AS MATERIALIZED (
    SELECT relation FROM pg_catalog.pg_locks WHERE mode = 'AccessExclusiveLock' AND relation IS NOT NULL
), sizes AS (
    SELECT l.root,
           sum(CASE WHEN c.reltuples >= 0 THEN c.reltuples::int8
                    ELSE nullif(pg_catalog.pg_stat_get_live_tuples(c.oid), 0) END) AS row_count,
           sum(CASE WHEN c.relkind NOT IN ('r', 'm') THEN NULL
                    WHEN c.reltuples >= 0
                    THEN (c.relpages::int8 + coalesce(t.relpages, 0)) * current_setting('block_size')::int8
                    WHEN $1::boolean AND c.oid NOT IN (SELECT relation FROM locked)
                    THEN pg_catalog.pg_table_size(c.oid) END) AS byte_count
    FROM leaves l
    JOIN pg_catalog.pg_class c ON c.oid = l.leaf AND c.relkind IN ('r', 'm', 'f')
    LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid
    GROUP BY l.root
)
SELECT r.oid::int8, r.nspname, r.relname, r.relkind::text, s.row_count::int8, s.byte_count::int8,
       pg_catalog.obj_description(r.oid, 'pg_class'),
       pg_catalog.has_schema_privilege(r.namespace, 'USAGE'),
       pg_catalog.has_table_privilege(r.oid, 'SELECT') OR pg_catalog.has_any_column_privilege(r.oid, 'SELECT'),
       r.relispopulated,
       r.relrowsecurity AND pg_catalog.row_security_active(r.oid),
       pg_catalog.pg_table_is_visible(r.oid)
FROM roots r LEFT JOIN sizes s ON s.root = r.oid
ORDER BY r.nspname, r.relname
"""

# Since Postgres 18 attnotnull may stand for a constraint that was never checked (NOT VALID).
_COLUMNS = """
SELECT a.attrelid::int8, a.attnum::int4, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
       a.atttypid::int8, a.atttypmod, a.attndims::int4,
       a.attnotnull AND NOT EXISTS (
           SELECT FROM pg_catalog.pg_constraint x
           WHERE x.conrelid = a.attrelid AND x.contype = 'n' AND NOT x.convalidated AND a.attnum = ANY (x.conkey)),
       a.attidentity <> '' OR EXISTS (
           SELECT FROM pg_catalog.pg_depend d
           WHERE d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
             AND d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i')),
       CASE WHEN a.atttypid = 'uuid'::regtype AND a.attrelid NOT IN (
           SELECT relation FROM pg_catalog.pg_locks WHERE mode = 'AccessExclusiveLock' AND relation IS NOT NULL)
       THEN coalesce(pg_catalog.pg_get_expr(f.adbin, f.adrelid) ~* 'v7', false) ELSE false END,
       pg_catalog.col_description(a.attrelid, a.attnum),
       pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT')
FROM pg_catalog.pg_attribute a
LEFT JOIN pg_catalog.pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
WHERE a.attrelid = ANY ($1::int8[]::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""

_KEYS = """
SELECT i.indrelid::int8, i.indisprimary, i.indisreplident, i.indimmediate, i.indnkeyatts::int4, i.indkey::int2[]
FROM pg_catalog.pg_index i
WHERE i.indrelid = ANY ($1::int8[]::oid[]) AND i.indisunique AND i.indisvalid
  AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY i.indrelid, i.indexrelid
"""


Column: TypeAlias = DatabaseColumn[NativeType]


@dataclass(frozen=True, kw_only=True)
class Relation(DatabaseRelation[NativeType]):
    """Something with rows; its rows are as the last ANALYZE saw them, or the statistics count them."""

    oid: int
    kind: Kind
    may_use_schema: bool
    may_select: bool
    is_populated: bool
    is_filtered: bool
    """Whether row-level security hides rows from the user."""
    is_visible: bool
    """Whether the name alone finds it, by ``search_path``."""

    @property
    def is_readable(self) -> bool:
        """Say whether the user may read it, and there is something in it."""
        return self.may_use_schema and self.may_select and self.is_populated

    @property
    def has_versions(self) -> bool:
        """Say whether its rows can be followed by `XMIN`."""
        return self.kind in {"table", "partitioned table"}


@dataclass
class _Parts:
    """What belongs to one relation, while it is collected."""

    columns: dict[int, Column] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)
    keys: list[tuple[bool, bool, bool, list[int]]] = field(default_factory=list)


def relations(session: Session, name: str | None = None) -> list[Relation]:
    """List what has rows, readable or not, without columns and without the system's own; in order of their names.

    Args:
        session: A session with no transaction under way.
        name: Only what has this name, with its schema or without; also a partition, which is not listed otherwise.
    """
    try:
        with _reading(session):
            rows = ask(session, _RELATIONS, True, name)  # noqa: FBT003  a parameter of the statement
    except psycopg.errors.LockNotAvailable:
        with _reading(session):
            rows = ask(session, _RELATIONS, False, name)  # noqa: FBT003  the same
    return [_relation(row) for row in rows]


def with_columns(session: Session, found: Sequence[Relation]) -> Iterator[Relation]:
    """Give relations with their columns and keys, in the same order; three queries, however many they are."""
    collected = {relation.oid: _Parts() for relation in found}
    with _reading(session):
        _collect_columns(session, collected)
        for oid, *facts, key_columns, numbers in ask(session, _KEYS, list(collected)):
            collected[oid].keys.append((*facts, list(numbers[:key_columns])))
    for relation in found:
        parts = collected[relation.oid]
        columns, hidden = tuple(parts.columns.values()), tuple(parts.hidden)
        yield replace(relation, columns=columns, hidden_columns=hidden, key=_key(parts))


def _relation(row: Sequence[Any]) -> Relation:
    oid, schema, name, kind, *known, may_use, may_select, is_populated, is_filtered, is_visible = row
    rows, size_bytes, description = known
    return Relation(
        oid=oid,
        schema=schema,
        name=name,
        kind=_KINDS[kind],
        rows=rows,
        size_bytes=size_bytes,
        description=description,
        may_use_schema=may_use,
        may_select=may_select,
        is_populated=is_populated,
        is_filtered=is_filtered,
        is_visible=is_visible,
    )


@contextmanager
def _reading(session: Session) -> Iterator[None]:
    begin(session, lock_timeout_s=_LOCK_TIMEOUT_S, mode="READ ONLY")
    try:
        yield
    finally:
        run(session, "ROLLBACK")


def _collect_columns(session: Session, collected: dict[int, _Parts]) -> None:
    rows = ask(session, _COLUMNS, list(collected))
    types = catalog_types(session, {row[4] for row in rows})
    cents = money_decimals(session, types)
    for oid, number, name, source_type, type_oid, modifier, dimensions, *rest in rows:
        is_required, counts_up, is_uuid7, description, may_select = rest
        parts = collected[oid]
        if not may_select:
            parts.hidden.append(name)
            continue
        native = native_type(type_oid, modifier, types, dimensions=dimensions, cents=cents)
        parts.columns[number] = Column(
            name,
            source_type,
            native,
            not is_required,
            counts_up=counts_up,
            is_uuid7=is_uuid7,
            description=description,
        )


def _key(parts: _Parts) -> tuple[str, ...]:
    """Choose the primary key, else the unique one that replication uses, else the smallest that is never null."""
    fit = [
        (not is_primary, not is_replica, not is_immediate, len(numbers), numbers)
        for is_primary, is_replica, is_immediate, numbers in parts.keys
        if all(number in parts.columns and not parts.columns[number].nullable for number in numbers)
    ]
    return tuple(parts.columns[number].name for number in min(fit)[-1]) if fit else ()


def readable(found: Iterable[Relation]) -> list[Relation]:
    """Pick what the user may read."""
    return [relation for relation in found if relation.is_readable]
