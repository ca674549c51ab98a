"""What discover says of a server, and which relation a stream's name means."""

from __future__ import annotations

import fnmatch
import itertools
from collections.abc import Iterator, Sequence

import pymysql

from dativo_ingest.databases.descriptions import described, listed, not_found
from dativo_ingest.mysql.failures import number_of
from dativo_ingest.mysql.names import account, quoted
from dativo_ingest.mysql.sessions import Session, ask, run
from dativo_ingest.sources.mysql.relations import (
    Place,
    Relation,
    readable_places,
    relations,
    relations_of,
)
from dativo_plugin_sdk import (
    DataNotFoundError,
    DataValidationError,
    DativoError,
    DiscoveryResult,
    InsufficientPermissionsError,
)

_WHERE = "SELECT DATABASE(), CURRENT_USER(), @@lower_case_table_names"
_LOWER_CASE = 1
_DENIED = frozenset({1044, 1142})


def discover(session: Session, pattern: str | None = None) -> DiscoveryResult:
    """List what the user may read, with columns, keys, sizes and cursors; warnings say what is left out and why.

    Args:
        session: A session; where it is in a database, only that is listed.
        pattern: A glob over ``database.name``.
    """
    database, user, _ = _where(session)
    found = relations(session, database)
    picked = [each for each in found if pattern is None or fnmatch.fnmatchcase(each.title, pattern)]
    objects = [relation for relation in picked if relation.is_readable]
    warnings = [*_left_out(picked, user), *(text for relation in objects for text in doubts(relation))]
    if pattern is not None and not picked:
        warnings.append(f"nothing matches {pattern!r}: names are database.table, such as shop.orders")
    return DiscoveryResult(
        [described(relation) for relation in objects],
        metadata={
            "database": database,
            "user": user,
            "server_version": session.server.full_version,
            "schemas": sorted({relation.schema for relation in objects}),
        },
        warnings=warnings,
    )


def stream_names(session: Session) -> list[str]:
    """List what a job's globs pick from: all that the user may read."""
    database, _, _ = _where(session)
    return [f"{schema}.{name}" for schema, name in readable_places(session, database)]


def find(session: Session, name: str) -> Relation:
    """Find what a stream's name means, with columns and key: ``database.name``, or a name in the session's database.

    Names are as the server has them, without quotes; a dot may be part of one.

    Raises:
        DataNotFoundError: There is no such relation.
        DataValidationError: The name means several.
        InsufficientPermissionsError: There is, and the user may not read it.
    """
    database, user, lowers = _where(session)
    places = _places(name, database, lowers)
    found = relations_of(session, places)
    if not found:
        raise _absent(session, name, places, user)
    meant = _meant(name, found)
    if len(meant) > 1:
        titles = " and ".join(quoted(*relation.place) for relation in meant)
        raise DataValidationError(f"stream {name}: the name means {titles}", hint="read one of them by a query:")
    (relation,) = meant
    why = _refusal(relation, user)
    if why is not None:
        raise why
    return relation


def find_listed(session: Session, names: Sequence[str]) -> dict[str, Relation]:
    """Find what names mean, as `find` does, by five queries for all; a name for which that would raise is left out."""
    database, _, lowers = _where(session)
    wanted = {name: _places(name, database, lowers) for name in names}
    found = {relation.place: relation for relation in relations_of(session, itertools.chain(*wanted.values()))}
    meant = {
        name: _meant(name, [found[place] for place in places if place in found]) for name, places in wanted.items()
    }
    return {name: each[0] for name, each in meant.items() if len(each) == 1 and each[0].is_readable}


def doubts(relation: Relation) -> Iterator[str]:
    """Say what reading a relation leaves out without an error."""
    if relation.hidden_columns:
        names = listed(relation.hidden_columns)
        yield f"{relation.title}: the user may not read the columns {names}; they are left out"
    elif relation.has_granted_columns:
        names = listed([column.name for column in relation.columns])
        yield f"{relation.title}: the user may read {names}; other columns, if there are any, are left out"


def _where(session: Session) -> tuple[str | None, str, int]:
    """Give the session's database, the account, and how the server treats the case of names."""
    ((database, user, lowers),) = ask(session, _WHERE)
    return database, str(user), int(lowers)


def _places(name: str, database: str | None, lowers: int) -> list[Place]:
    """List what a name can mean, a database and a name at each dot, and last a name in the session's database."""
    if lowers == _LOWER_CASE:
        name = name.lower()
    dots = (position for position, letter in enumerate(name) if letter == ".")
    split = [(name[:dot], name[dot + 1 :]) for dot in dots if 0 < dot < len(name) - 1]
    return [*split, *([(database, name)] if database else [])]


def _meant(name: str, found: Sequence[Relation]) -> list[Relation]:
    """Choose what has the name as its title, else what has it as its name alone."""
    return [relation for relation in found if relation.title == name] or list(found)


def _refusal(relation: Relation, user: str) -> DativoError | None:
    if relation.is_readable:
        return None
    if relation.is_broken:
        return DataNotFoundError(
            f"{relation.title}: the view uses what is gone, or what the one who defined it may not read",
            hint="SHOW CREATE VIEW says what it uses, and who defined it",
        )
    return _denied(relation.place, f"{relation.title}: {user} may not read the {relation.kind}", user)


def _absent(session: Session, name: str, places: Sequence[Place], user: str) -> DativoError:
    """Say why a name means nothing: the server may say no before it looks whether there is such a table."""
    for place in places:
        try:
            run(session, f"SELECT 1 FROM {quoted(*place)} LIMIT 0")  # noqa: S608  names are quoted
        except pymysql.MySQLError as error:
            if number_of(error) in _DENIED:
                title = ".".join(place)
                return _denied(place, f"{title}: {user} may not read it, should there be such a table or view", user)
    database, _, _ = _where(session)
    where = f"database {database}" if database else session.server.name
    return not_found(name, database=where, user=user, there=stream_names(session))


def _denied(place: Place, text: str, user: str) -> InsufficientPermissionsError:
    return InsufficientPermissionsError(
        text,
        details={"stream": ".".join(place), "missing": "SELECT"},
        hint=f"GRANT SELECT ON {quoted(*place)} TO {account(user)}",
    )


def _left_out(found: Sequence[Relation], user: str) -> Iterator[str]:
    """Say what the user may not read, a line for each database and reason."""
    for schema, relations_there in itertools.groupby(found, key=lambda relation: relation.schema):
        names = [each.name for each in relations_there if not (each.is_readable or each.is_broken)]
        if names:
            them = "it" if len(names) == 1 else "them"
            yield (
                f"in {schema}, {listed(names)} left out: {user} may not read {them};"
                f" GRANT SELECT ON {_tables(schema, names)} TO {account(user)}"
            )
    for relation in found:
        if relation.is_broken:
            yield f"{relation.title} is left out: the view uses what is gone, or what its definer may not read"


def _tables(schema: str, names: Sequence[str]) -> str:
    return quoted(schema, names[0]) if len(names) == 1 else f"{quoted(schema)}.*"
