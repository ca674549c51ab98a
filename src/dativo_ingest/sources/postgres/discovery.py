"""What discover says of a database, and which relation a stream's name means."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from dativo_ingest.databases.descriptions import NAMED, described, listed, not_found
from dativo_ingest.postgres.names import quoted
from dativo_ingest.postgres.sessions import Session
from dativo_ingest.sources.postgres.relations import XMIN, Relation, readable, relations, with_columns
from dativo_plugin_sdk import DataNotFoundError, DataValidationError, DiscoveryResult, InsufficientPermissionsError


def discover(session: Session, pattern: str | None = None) -> DiscoveryResult:
    """List what the user may read, with columns, keys, sizes and cursors; warnings say what is left out and why.

    Args:
        session: A session with no transaction under way.
        pattern: A glob over ``schema.name``.
    """
    found = relations(session)
    picked = [each for each in found if pattern is None or fnmatch.fnmatchcase(each.title, pattern)]
    objects = list(with_columns(session, readable(picked)))
    user, database = session.info.user, session.info.dbname
    warnings = [*_left_out(picked, user), *_doubts(objects, user)]
    if pattern is not None and not picked:
        warnings.append(f"nothing matches {pattern!r}: names are schema.table, such as public.orders")
    return DiscoveryResult(
        [described(each, versions=XMIN if each.has_versions else None) for each in objects],
        metadata={
            "database": database,
            "user": user,
            "server_version": session.info.parameter_status("server_version"),
            "schemas": sorted({relation.schema for relation in objects}),
        },
        warnings=warnings,
    )


def stream_names(session: Session) -> list[str]:
    """List what a job's globs pick from: all that the user may read."""
    return [relation.title for relation in readable(relations(session))]


def find(session: Session, name: str) -> Relation:
    """Find what a stream's name means, with columns and key: ``schema.name``, or a name that ``search_path`` finds.

    Names are as the database has them, without quotes; a dot may be part of one.

    Raises:
        DataNotFoundError: There is no such relation, or it is a materialized view without data.
        DataValidationError: The name means several.
        InsufficientPermissionsError: There is, and the user may not read it.
    """
    found = relations(session, name)
    named = [each for each in found if each.title == name] or [each for each in found if each.is_visible]
    if not named:
        raise _not_found(session, name, found)
    if len(named) > 1:
        places = " and ".join(quoted(each.schema, each.name) for each in named)
        raise DataValidationError(f"stream {name}: the name means {places}", hint="read one of them by a query:")
    (relation,) = named
    why = refusal(relation, session.info.user)
    if why is not None:
        raise why
    return next(with_columns(session, [relation]))


def find_listed(session: Session, names: Sequence[str]) -> dict[str, Relation]:
    """Find what names mean that discover lists, with columns and key; four queries, however many they are."""
    wanted = frozenset(names)
    named = [each for each in readable(relations(session)) if each.title in wanted]
    meanings = Counter(relation.title for relation in named)  # schema a.b has a table c, and schema a a table b.c
    clear = [relation for relation in named if meanings[relation.title] == 1]
    return {relation.title: relation for relation in with_columns(session, clear)}


def refusal(relation: Relation, user: str) -> InsufficientPermissionsError | DataNotFoundError | None:
    """Say why the user cannot read a relation; None where nothing is in the way."""
    if not relation.may_use_schema:
        return InsufficientPermissionsError(
            f"{relation.title}: {user} may not use the schema {relation.schema}",
            details={"stream": relation.title, "missing": "USAGE"},
            hint=_grant_usage(relation.schema, user),
        )
    if not relation.may_select:
        return InsufficientPermissionsError(
            f"{relation.title}: {user} may not read the {relation.kind}",
            details={"stream": relation.title, "missing": "SELECT"},
            hint=f"GRANT SELECT ON {quoted(relation.schema, relation.name)} TO {quoted(user)}",
        )
    if not relation.is_populated:
        return DataNotFoundError(
            f"{relation.title}: the materialized view has no data yet",
            hint=f"REFRESH MATERIALIZED VIEW {quoted(relation.schema, relation.name)}",
        )
    return None


def doubts(relation: Relation, user: str) -> Iterator[str]:
    """Say what reading a relation leaves out without an error."""
    if relation.is_filtered:
        yield (
            f"{relation.title}: row-level security shows {user} some rows only, and reading says nothing of the others;"
            f" a role with BYPASSRLS sees all"
        )
    if relation.hidden_columns:
        yield (
            f"{relation.title}: {user} may not read the columns {listed(relation.hidden_columns)}; they are left out"
        )


def _doubts(found: Iterable[Relation], user: str) -> list[str]:
    return [text for relation in found for text in doubts(relation, user)]


def _left_out(found: Sequence[Relation], user: str) -> list[str]:
    """Say what the user may not read, a line for each schema and reason."""
    without_usage: dict[str, list[str]] = {}
    without_select: dict[str, list[str]] = {}
    empty: list[str] = []
    for relation in found:
        if not relation.may_use_schema:
            without_usage.setdefault(relation.schema, []).append(relation.name)
        elif not relation.may_select:
            without_select.setdefault(relation.schema, []).append(relation.name)
        elif not relation.is_populated:
            empty.append(relation.title)
    return [
        *(
            f"schema {schema} is left out, with {listed(names)}: {user} may not use it; {_grant_usage(schema, user)}"
            for schema, names in without_usage.items()
        ),
        *(
            f"in schema {schema}, {listed(names)} left out: {user} may not read"
            f" {'it' if len(names) == 1 else 'them'}; GRANT SELECT ON {_tables(schema, names)} TO {quoted(user)}"
            for schema, names in without_select.items()
        ),
        *(f"{title} is left out: the materialized view has no data yet; REFRESH MATERIALIZED VIEW" for title in empty),
    ]


def _grant_usage(schema: str, user: str) -> str:
    return f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {quoted(user)}"


def _tables(schema: str, names: Sequence[str]) -> str:
    if len(names) > NAMED:
        return f"ALL TABLES IN SCHEMA {quoted(schema)}"
    return ", ".join(quoted(schema, name) for name in names)


def _not_found(session: Session, name: str, elsewhere: Sequence[Relation]) -> DataNotFoundError:
    return not_found(
        name,
        database=f"database {session.info.dbname}",
        user=session.info.user,
        there=stream_names(session),
        elsewhere=[each.title for each in elsewhere],
    )
