"""Cuts what has no pages of its own, such as a view or a query, into ranges of a column's values.

The server chooses the values, and the server compares: whatever order the type and its collation have, each row that is
not null is in one range, and the rows whose value is null are a range of their own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import psycopg

from dativo_ingest.postgres.names import quoted
from dativo_ingest.postgres.sessions import Session, ask, value
from dativo_ingest.sources.postgres.relations import Column, Relation
from dativo_ingest.sources.postgres.selection import Selection, literal
from dativo_plugin_sdk import InvalidConfigError

_LEAST_ROWS = 1000  # of a range: less is not worth a statement
_SAMPLE_ROWS = 200_000
_ROUNDING = 1e-9
_POINTS = 1000  # what a sample is told by

_STATISTICS = """
SELECT s.null_frac::float8, s.histogram_bounds::text, s.most_common_vals::text, s.most_common_freqs::float8[],
       greatest(c.reltuples, 0)::int8,
       CASE WHEN o.oid IS NOT NULL THEN format('COLLATE %I.%I', m.nspname, o.collname) END
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = $2
JOIN pg_catalog.pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname
LEFT JOIN pg_catalog.pg_collation o ON o.oid = a.attcollation
LEFT JOIN pg_catalog.pg_namespace m ON m.oid = o.collnamespace
WHERE c.oid = $1::int8::oid ORDER BY s.inherited DESC LIMIT 1
"""

# Between two bounds of a histogram lie as many rows everywhere; the most common values are not among them.
_FROM_STATISTICS = """
SELECT point::text, sum(share) OVER (ORDER BY points.point {collation} ROWS UNBOUNDED PRECEDING)
FROM (SELECT bound AS point, $3::float8 AS share
      FROM unnest($1::text::{type}[]) WITH ORDINALITY AS histogram(bound, number) WHERE number > 1
      UNION ALL
      SELECT common, share FROM unnest($2::text::{type}[], $4::float8[]) AS commons(common, share)) AS points
ORDER BY points.point {collation}
"""


def key_ranges(session: Session, selection: Selection, column: Column, most: int) -> list[str]:
    """Give conditions that split a selection's rows; one that is always true where they are too few.

    Args:
        session: A session in the transaction that reads.
        selection: What is read.
        column: The column, which need not be one that is read.
        most: How many ranges of values to make at most.

    Raises:
        InvalidConfigError: The column's values have no order.
    """
    unfit = InvalidConfigError(
        f"{selection.title}: {column.name} ({column.source_type}) has no order to make ranges by",
        hint="name another partition_column, such as a number or a time",
    )
    if column.source_type.endswith("]"):
        raise unfit  # the server gives no arrays of arrays
    try:
        points, rows = _known(session, selection.relation, column) or _asked(session, selection, column)
    except (psycopg.errors.UndefinedFunction, psycopg.errors.IndeterminateCollation) as error:
        raise unfit from error
    starts = cuts(points, min(most, rows // _LEAST_ROWS))
    return conditions(column, starts) if starts else ["true"]


def cuts(points: Sequence[tuple[str, float]], ranges: int) -> list[str]:
    """Choose values to begin ranges with, so that they have about as many rows each.

    Args:
        points: Values in their order, and the share of the rows up to each, itself included.
        ranges: How many ranges to make.

    Returns:
        The value that each range but the first begins with: fewer than asked for where one value has many rows.
    """
    shares = dict(points)  # the last one of a value that is there more than once
    total = points[-1][1] if points else 0.0
    found: list[str] = []
    if total <= 0:
        return found
    number, is_apart = 1, False
    for point, share in shares.items():
        filled = min(ranges, int(share * ranges / total + _ROUNDING) + 1)
        if filled > number or is_apart:
            found.append(point)
        is_apart = filled > number + 1  # a value that fills a range by itself has it for itself
        number = max(number, filled)
    return found


def conditions(column: Column, starts: Sequence[str]) -> list[str]:
    """Write the ranges that begin at these values, the one before them, and the one of nulls."""
    name = quoted(column.name)
    values = [literal(each, column.source_type) for each in starts]
    between = [f"{name} >= {first} AND {name} < {end}" for first, end in pairwise(values)]
    nulls = [f"{name} IS NULL"] if column.nullable else []
    return [f"{name} < {values[0]}", *between, f"{name} >= {values[-1]}", *nulls]


def _known(session: Session, relation: Relation | None, column: Column) -> tuple[list[tuple[str, float]], int] | None:
    """Take what the last ANALYZE found: old statistics make uneven ranges, and no wrong ones."""
    found = [] if relation is None else ask(session, _STATISTICS, relation.oid, column.name)
    if not found:
        return None
    ((null_share, bounds, commons, shares, rows, collation),) = found
    if bounds is None and commons is None:
        return None
    type_name = column.source_type
    query = _FROM_STATISTICS.format(type=type_name, collation=collation or "")
    share = max(0.0, 1 - null_share - sum(shares or ()))
    points = ask(session, query, bounds or "{}", commons or "{}", share, shares or [])
    return [(str(point), float(upto)) for point, upto in points], int(rows)


def _asked(session: Session, selection: Selection, column: Column) -> tuple[list[tuple[str, float]], int]:
    """Count the rows, and take samples on the way."""
    name = quoted(column.name)
    estimate = max(1.0, estimated_rows(session, selection))
    steps = [number / _POINTS for number in range(1, _POINTS + 1)]
    rest = selection.rest()
    query = (
        f"SELECT count({name})::int8, (percentile_disc($1::float8[]) WITHIN GROUP (ORDER BY {name})"
        f" FILTER (WHERE random() < $2))::text[] {rest}"
    )
    ((rows, values),) = ask(session, query, steps, min(1.0, _SAMPLE_ROWS / estimate))
    return list(zip([str(each) for each in values or ()], steps, strict=False)), int(rows)


def estimated_rows(session: Session, selection: Selection) -> float:
    """Ask the planner how many rows a selection has."""
    return float(plan_of(session, selection)["Plan Rows"])


def plan_of(session: Session, selection: Selection) -> dict[str, Any]:
    """Ask the planner how it would read a selection."""
    found = value(session, f"EXPLAIN (FORMAT JSON) SELECT {selection.rest()}")
    (plan,) = json.loads(found) if isinstance(found, str) else found
    chosen: dict[str, Any] = plan["Plan"]
    return chosen
