"""Decides how a selection is cut into ranges that sessions read side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dativo_ingest.postgres.sessions import Session
from dativo_ingest.sources.postgres.key_ranges import key_ranges, plan_of
from dativo_ingest.sources.postgres.options import PostgresSourceOptions
from dativo_ingest.sources.postgres.page_ranges import page_ranges, pages_of
from dativo_ingest.sources.postgres.relations import Column, Relation
from dativo_ingest.sources.postgres.selection import Selection

_PER_READER = 4
"""Ranges, so that a reader that is done early helps the others, and little is read twice after a failure."""
_LEAST_BYTES = 16 * 2**20  # of a range: less is not worth a statement


@dataclass(frozen=True)
class Ranges:
    """Conditions that split the rows: each row meets one of them."""

    conditions: Sequence[str] = ("true",)
    in_order: bool = False
    """Whether the rows of a range come in the same order whenever they are asked for in one image."""


def ranges_of(session: Session, selection: Selection, options: PostgresSourceOptions, readers: int) -> Ranges:
    """Choose ranges: of the column that the job names, else of pages, else of the key; one where it is not worth it.

    Args:
        session: A session in the transaction that reads.
        selection: What is read.
        options: The stream's options.
        readers: How many sessions are to read.

    Raises:
        InvalidConfigError: The column that the job names is not there, or has no order.
    """
    most = readers * _PER_READER
    if readers < 2:  # noqa: PLR2004  one reader reads all
        return Ranges()
    if options.partition_column is not None:
        return Ranges(key_ranges(session, selection, _column(selection, options.partition_column), most))
    pages = None if selection.relation is None else pages_of(session, selection.relation)
    if selection.relation is None or pages is None:
        return Ranges()
    worth = min(most, pages.size_bytes // _LEAST_BYTES)
    if worth < 2 or (selection.conditions and _finds_rows_by_index(session, selection)):  # noqa: PLR2004
        return Ranges()
    if pages.can_be_read_apart:
        return Ranges(page_ranges(pages, worth), in_order=True)
    key = _leading_key(selection.relation)
    return Ranges() if key is None else Ranges(key_ranges(session, selection, key, worth))


def _column(selection: Selection, name: str) -> Column:
    columns = selection.columns if selection.relation is None else selection.relation.columns
    return next((column for column in columns if column.name == name), None) or selection.column(name)


def _leading_key(relation: Relation) -> Column | None:
    return next((column for column in relation.columns if relation.key and column.name == relation.key[0]), None)


def _finds_rows_by_index(session: Session, selection: Selection) -> bool:
    """Say whether the server looks up the few rows that are wanted, which each range would do again."""
    return any(
        str(node.get("Node Type", "")).startswith(("Index", "Bitmap")) for node in _nodes(plan_of(session, selection))
    )


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)
