"""Cuts tables into ranges of pages that can be read side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dativo_ingest.postgres.sessions import Session, ask
from dativo_ingest.sources.postgres.relations import Relation

_FIRST_VERSION = 140000  # reads a range of pages without reading the others

# Of a table, of every table that inherits from it, or of the partitions: rows have places in the one they are in.
# Large values lie elsewhere (TOAST): a row's page tells little of how much there is to read.
_SIZES = """
WITH RECURSIVE tree (oid) AS (
    SELECT $1::int8::oid UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree t ON t.oid = i.inhparent
)
SELECT c.relkind::text, coalesce(a.amname = 'heap', false), pg_catalog.pg_relation_size(c.oid)::int8,
       coalesce(pg_catalog.pg_relation_size(nullif(c.reltoastrelid, 0)), 0)::int8, current_setting('block_size')::int8
FROM tree t JOIN pg_catalog.pg_class c ON c.oid = t.oid LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam
WHERE c.relkind <> 'p'
"""


@dataclass(frozen=True)
class Pages:
    """Where a relation's rows are."""

    counts: tuple[int, ...]
    """How many pages each part has."""
    size_bytes: int
    """All of it, large values that lie elsewhere included."""
    can_be_read_apart: bool
    """Whether the server finds a range of pages without reading the others."""


def pages_of(session: Session, relation: Relation) -> Pages | None:
    """Find out how large a relation is; None for what has no rows of its own, or has them at another server.

    Args:
        session: A session in the transaction that reads.
        relation: What is read.
    """
    if relation.kind not in {"table", "partitioned table", "materialized view"}:
        return None
    parts = ask(session, _SIZES, relation.oid)
    if not parts or not all(kind in {"r", "m"} for kind, *_ in parts):
        return None
    return Pages(
        counts=tuple(size_bytes // block_bytes for *_, size_bytes, _, block_bytes in parts),
        size_bytes=sum(size_bytes + large_bytes for *_, size_bytes, large_bytes, _ in parts),
        can_be_read_apart=session.info.server_version >= _FIRST_VERSION and all(is_heap for _, is_heap, *_ in parts),
    )


def page_ranges(pages: Pages, ranges: int) -> list[str]:
    """Give conditions that split a relation's rows; one that is always true where there are too few pages."""
    starts = cuts(pages.counts, ranges)
    return conditions(starts) if starts else ["true"]


def cuts(pages: Sequence[int], ranges: int) -> list[int]:
    """Choose page numbers between which there are about as many pages each, over all the parts together.

    Args:
        pages: How many pages each part has.
        ranges: How many ranges to make, 2 or more.

    Returns:
        The page that each range but the first begins with, rising; fewer than asked for where there are few pages.
    """
    total = sum(pages)
    found: list[int] = []
    for number in range(1, ranges):
        low, high = 0, max(pages)
        while low < high:
            middle = (low + high) // 2
            if sum(min(each, middle) for each in pages) * ranges < total * number:
                low = middle + 1
            else:
                high = middle
        if low > (found[-1] if found else 0):
            found.append(low)
    return found


def conditions(starts: Sequence[int]) -> list[str]:
    """Write the ranges that begin at these pages, and the one before them; the last has no end."""
    firsts = [0, *starts]
    ends = [*starts, None]
    return [
        f"ctid >= '({first},0)'::pg_catalog.tid" + ("" if end is None else f" AND ctid < '({end},0)'::pg_catalog.tid")
        for first, end in zip(firsts, ends, strict=True)
    ]
