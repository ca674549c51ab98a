"""The sequences that fill a column, and what about them makes numbers commit out of order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dativo_ingest.postgres.sessions import Session, ask

# Those that belong to the column, and those that its default mentions; of every part of the table.
_SEQUENCES = """
SELECT s.oid::int8, s.oid::regclass::text, q.seqincrement, q.seqcache, q.seqcycle
FROM pg_catalog.pg_attribute a
JOIN LATERAL (
    SELECT d.objid FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
      AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum AND d.deptype IN ('a', 'i')
    UNION
    SELECT d.refobjid FROM pg_catalog.pg_attrdef f JOIN pg_catalog.pg_depend d
      ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.objid = f.oid
      AND d.refclassid = 'pg_catalog.pg_class'::regclass
    WHERE f.adrelid = a.attrelid AND f.adnum = a.attnum
) AS found (oid) ON true
JOIN pg_catalog.pg_class s ON s.oid = found.oid AND s.relkind = 'S'
JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid
WHERE a.attrelid = ANY ($1::int8[]::oid[]) AND a.attname = $2
GROUP BY 1, 2, 3, 4, 5 ORDER BY 2
"""


@dataclass(frozen=True)
class NumberSequence:
    """One, with what it was made with."""

    oid: int
    name: str
    increment: int
    cache: int
    cycles: bool

    def doubts(self, column: str) -> Iterator[str]:
        """Say why its numbers may commit out of order, although a transaction that draws one is waited for."""
        if self.cache > 1:
            yield (
                f"{self.name} has CACHE {self.cache}: sessions keep numbers for later transactions, whose rows may be"
                f" missed by cursor {column}; ALTER SEQUENCE {self.name} CACHE 1, or follow xmin"
            )
        elif self.increment > 1:
            yield (
                f"{self.name} has INCREMENT {self.increment}: where an application hands out the numbers between, rows"
                f" may be missed by cursor {column}; follow xmin"
            )
        elif self.increment < 0 or self.cycles:
            yield f"{self.name} does not only go up: rows may be missed by cursor {column}; follow xmin"


def sequences_of(session: Session, parts: Sequence[int], column: str) -> list[NumberSequence]:
    """Find the sequences that fill a column of a table and its parts."""
    return [NumberSequence(*row) for row in ask(session, _SEQUENCES, list(parts), column)]
