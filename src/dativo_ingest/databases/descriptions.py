"""How discover describes what a database has, and how messages list names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, Protocol

from dativo_ingest.databases.cursors import FollowedColumn, cursor_candidates, proposed_cursor
from dativo_plugin_sdk import DataNotFoundError

NAMED = 5
"""How many names a message lists."""


class DescribedColumn(FollowedColumn, Protocol):
    """A column, as far as discover tells of it."""

    @property
    def source_type(self) -> str:
        """Give the type as the database writes it."""

    @property
    def fidelity(self) -> str:
        """Say how well its values come over."""


class DescribedRelation(Protocol):
    """A table or a view, as far as discover tells of it."""

    @property
    def title(self) -> str:
        """Give the stream's name."""

    @property
    def schema(self) -> str:
        """Give what it is in."""

    @property
    def kind(self) -> str:
        """Say what it is."""

    @property
    def description(self) -> str | None:
        """Give the comment that it has."""

    @property
    def rows(self) -> int | None:
        """Estimate its rows."""

    @property
    def size_bytes(self) -> int | None:
        """Estimate its size."""

    @property
    def key(self) -> Sequence[str]:
        """Name the columns that tell rows apart."""

    @property
    def columns(self) -> Sequence[DescribedColumn]:
        """Give the columns that can be read."""


def described(relation: DescribedRelation, *, versions: str | None = None) -> dict[str, Any]:
    """Give the object of a discover document that stands for a table or a view.

    Args:
        relation: The table or view.
        versions: What its rows can be followed by where no column would do; None where there is nothing.
    """
    candidates = cursor_candidates(relation) or ([versions] if versions is not None else [])
    return {
        "name": relation.title,
        "namespace": relation.schema,
        "type": relation.kind,
        "description": relation.description,
        "estimated_rows": relation.rows,
        "size_bytes": relation.size_bytes,
        "primary_key": list(relation.key),
        "cursor_candidates": candidates,
        "cursor": proposed_cursor(relation),
        "sync_modes": ["full_refresh", *(["incremental"] if candidates else [])],
        "columns": [
            {
                "name": column.name,
                "type": column.source_type,
                "arrow_type": str(column.arrow),
                "nullable": column.nullable,
                "fidelity": column.fidelity,
            }
            for column in relation.columns
        ],
    }


def listed(names: Sequence[str]) -> str:
    """List names, but not too many of them."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def not_found(
    name: str, *, database: str, user: str, there: Sequence[str], elsewhere: Sequence[str] = ()
) -> DataNotFoundError:
    """Say that a stream's name means nothing.

    Args:
        name: The stream's name.
        database: What was looked into.
        user: Who looks.
        there: The names that do mean something.
        elsewhere: Those that must be meant, if there are any; otherwise similar ones are looked for.
    """
    close = list(elsewhere) or difflib.get_close_matches(name, there, n=3)
    if close:
        hint = f"did you mean {' or '.join(close)}?"
    elif there:
        hint = "dativo discover lists what there is; names are schema.table, without quotes"
    else:
        hint = f"the user {user} sees no table at all in {database}"
    return DataNotFoundError(
        f"stream {name}: {database} has no such table or view", details={"stream": name}, hint=hint
    )
