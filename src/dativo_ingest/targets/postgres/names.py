"""Names of schemas, tables and columns as Postgres takes them."""

from __future__ import annotations

from collections.abc import Sequence

from dativo_ingest.postgres.names import MAX_NAME_BYTES
from dativo_plugin_sdk import InvalidConfigError, SchemaValidationError, TableSpec

DEFAULT_NAMESPACE = "public"
STATE_TABLE = "_dativo_state"
HISTORY_TABLE = "_dativo_commits"

_MAX_COLUMNS = 1600


def namespace_of(spec: TableSpec) -> str:
    """Give the schema that a table is in."""
    return spec.namespace or DEFAULT_NAMESPACE


def title(spec: TableSpec) -> str:
    """Give a table's name for people."""
    return f"{namespace_of(spec)}.{spec.name}"


def require_names(spec: TableSpec) -> None:
    """See that Postgres can have the table and the one beside it by their names.

    Raises:
        InvalidConfigError: A name is too long, or taken by Dativo or Postgres.
    """
    namespace = namespace_of(spec)
    for what, name in (("namespace", namespace), ("table", spec.name), ("table", spec.quarantine_name)):
        if not name or "\0" in name:
            raise InvalidConfigError(f"streams.{spec.stream}: {name!r} cannot be the name of a {what} in Postgres")
        if len(name.encode()) > MAX_NAME_BYTES:
            raise InvalidConfigError(
                f"streams.{spec.stream}: {what} {name} has {len(name.encode())} bytes,"
                f" a name in Postgres at most {MAX_NAME_BYTES}",
                hint="give the stream a shorter name with table:" if what == "table" else "shorten target.namespace",
            )
    if spec.name in {STATE_TABLE, HISTORY_TABLE}:
        raise InvalidConfigError(f"streams.{spec.stream}: {spec.name} is where Dativo keeps its state; choose another")
    if namespace.startswith("pg_") or namespace == "information_schema":
        raise InvalidConfigError(f"target.namespace {namespace}: Postgres keeps this schema for itself")


def require_columns(columns: Sequence[str], *, name: str, most: int = _MAX_COLUMNS) -> None:
    """See that Postgres can have the columns.

    Args:
        columns: Their names.
        name: The table, for messages.
        most: How many columns are left for them.

    Raises:
        SchemaValidationError: A name is too long or there twice, or there are too many.
    """
    if len(columns) > most:
        raise SchemaValidationError(
            f"table {name}: the stream has {len(columns)} columns, a table in Postgres at most {most}",
            hint="leave columns out in the contract, or keep some together as one column of type json",
        )
    seen: set[str] = set()
    for column in columns:
        if len(column.encode(errors="surrogatepass")) > MAX_NAME_BYTES:
            raise SchemaValidationError(
                f"table {name}: column {column} has {len(column.encode(errors='surrogatepass'))} bytes,"
                f" a name in Postgres at most {MAX_NAME_BYTES}",
                details={"column": column},
                hint="rename it in the contract",
            )
        if not column or "\0" in column:
            raise SchemaValidationError(
                f"table {name}: {column!r} cannot be the name of a column in Postgres", hint="rename it in the contract"
            )
        if column in seen:
            raise SchemaValidationError(f"table {name}: column {column} is there twice", hint="rename one of them")
        seen.add(column)
