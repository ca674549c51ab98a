"""Cuts tables into ranges of pages that can be read side by side."""

from __future__ import annotations

from collections.abc import Sequence

from dativo_ingest.postgres.sessions import Session, ask
from dativo_ingest.sources.postgres.relations import Relation

_FIRST_VERSION = 140000  # reads a range of pages without reading the others
_LEAST_BYTES = 16 * 2**20  # of a range: less is not worth a statement
_PER_READER = (
    4  # ranges, so that a reader that is done early helps the others, and little is read twice after a failure
)

# Of a table, of every table that inherits from it, or of the partitions: rows have places in the one they are in.
_SIZES = """
WITH RECURSIVE tree (oid) AS (
    SELECT $1::int8::oid UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree t ON t.oid = i.inhparent
)
SELECT c.relkind::text, coalesce(a.amname = 'heap', false), pg_catalog.pg_relation_size(c.oid)::int8,
       current_setting('block_size')::int8
FROM tree t JOIN pg_catalog.pg_class c ON c.oid = t.oid LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam
WHERE c.relkind <> 'p'
"""


def page_ranges(session: Session, relation: Relation | None, readers: int) -> list[str]:
    """Give conditions that split a relation's rows; one that is always true where it is read as a whole.

    Args:
        session: A session in the transaction that reads.
        relation: What is read; None for a query.
        readers: How many sessions are to read.
    """
    if readers < 2 or relation is None or relation.kind not in {"table", "partitioned table", "materialized view"}:  # noqa: PLR2004
        return ["true"]
    if session.info.server_version < _FIRST_VERSION:
        return ["true"]
    parts = ask(session, _SIZES, relation.oid)
    if not parts or not all(kind in {"r", "m"} and is_heap for kind, is_heap, *_ in parts):
        return ["true"]
    block_bytes = parts[0][3]
    pages = [size_bytes // block_bytes for _, _, size_bytes, _ in parts]
    ranges = min(readers * _PER_READER, sum(pages) * block_bytes // _LEAST_BYTES)
    return conditions(cuts(pages, ranges)) if ranges > 1 else ["true"]


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
