"""Cuts a table into ranges of its primary key that can be read side by side.

InnoDB keeps a table in the order of its primary key, so that a range of it is read without the rest. How many rows are
between two keys the server estimates by a look into the index (EXPLAIN), which costs next to nothing; so a key whose
values lie unevenly is cut into ranges of about as many rows, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import pyarrow as pa

from dativo_ingest.mysql.names import literal, quoted
from dativo_ingest.mysql.sessions import Session, ask
from dativo_ingest.sources.mysql.relations import Column, Relation

WHOLE = "TRUE"
_LEAST_BYTES = 16 * 2**20  # of a range: less is not worth a statement
_PER_READER = 4  # so that a reader that is done early helps the others, and little is read twice after a failure
_PIECES_PER_RANGE = 3
_MOST_LOOKS = 600
_PARTS = 32
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Axis(Protocol):
    """The values that a key may have, in order, as far as cutting goes."""

    def between(self, low: str, high: str | None) -> list[str]:
        """Give values of which each is beyond ``low`` and below ``high``, rising; none where there are none."""

    def sql(self, value: str) -> str:
        """Write a value."""


class IntegerAxis:
    """Whole numbers, up to a highest one."""

    def __init__(self, highest: int) -> None:
        self._highest = highest

    def between(self, low: str, high: str | None) -> list[str]:
        """Cut into parts of one width."""
        first, end = int(low), self._highest + 1 if high is None else int(high)
        cuts = {first + (end - first) * part // _PARTS for part in range(1, _PARTS)}
        return [str(cut) for cut in sorted(cuts) if first < cut < end]

    def sql(self, value: str) -> str:
        """Write a number."""
        return value


class TextAxis:
    """Text, cut where one more character follows what is the same so far.

    Args:
        is_binary: Whether capitals come before small letters, rather than with them.
    """

    def __init__(self, *, is_binary: bool) -> None:
        self._letters = f"{_ALPHABET[:10]}{_CAPITALS}{_ALPHABET[10:]}" if is_binary else _ALPHABET

    def between(self, low: str, high: str | None) -> list[str]:
        """Put each letter after ``low``."""
        return [low + letter for letter in self._letters if high is None or low + letter < high]

    def sql(self, value: str) -> str:
        """Write a text."""
        return literal(value)


class BytesAxis:
    """Bytes as hexadecimal digits, cut where one more byte follows what is the same so far."""

    def between(self, low: str, high: str | None) -> list[str]:
        """Put bytes after ``low``."""
        return [cut for cut in (low + f"{byte:02x}" for byte in range(8, 256, 8)) if high is None or cut < high]

    def sql(self, value: str) -> str:
        """Write bytes."""
        return f"X'{value}'"


@dataclass(frozen=True)
class _Piece:
    low: str
    high: str | None
    rows: int


def key_ranges(session: Session, relation: Relation | None, readers: int) -> list[str]:
    """Give conditions that split a relation's rows; one that is always true where it is read as a whole.

    Args:
        session: A session in the transaction that reads.
        relation: What is read; None for a query.
        readers: How many sessions are to read.
    """
    if readers < 2 or relation is None or relation.kind == "view" or not relation.primary_key:  # noqa: PLR2004
        return [WHOLE]
    wanted = min(readers * _PER_READER, (relation.size_bytes or 0) // _LEAST_BYTES)
    key = next(column for column in relation.columns if column.name == relation.primary_key[0])
    if wanted < 2:  # noqa: PLR2004  nothing to split
        return [WHOLE]
    table = quoted(relation.schema, relation.name)
    name = quoted(key.name)
    ((low, high, collation),) = ask(session, f"SELECT MIN({name}), MAX({name}), COLLATION(MIN({name})) FROM {table}")  # noqa: S608
    if low is None:
        return [WHOLE]
    found = _axis(key, low, high, is_binary=str(collation).endswith("_bin"))
    if found is None:
        return [WHOLE]
    axis, start = found
    looks = _Looks(session, table, key.name, axis)
    return conditions(key.name, [axis.sql(cut) for cut in looks.in_order(_cuts(looks, axis, start, wanted))])


def reads_all(session: Session, rest: str) -> bool:
    """Say whether the server looks at every row for a query, rather than find some by an index.

    Args:
        session: A session.
        rest: The query from FROM on.
    """
    return str(_explained(session, f"SELECT 1 {rest}", "type")).lower() in {"all", "index"}


def conditions(key: str, cuts: Sequence[str]) -> list[str]:
    """Write the ranges that begin at these values, and the one before them; the last has no end."""
    if not cuts:
        return [WHOLE]
    name = quoted(key)
    inner = [f"{name} >= {low} AND {name} < {high}" for low, high in pairwise(cuts)]
    return [f"{name} < {cuts[0]}", *inner, f"{name} >= {cuts[-1]}"]


class _Looks:
    """Asks the server how many rows there are between keys."""

    def __init__(self, session: Session, table: str, key: str, axis: Axis) -> None:
        self._session = session
        self._table = table
        self._key = quoted(key)
        self._axis = axis
        self.left = _MOST_LOOKS

    def piece(self, low: str, high: str | None) -> _Piece:
        self.left -= 1
        below = "" if high is None else f" AND {self._key} < {self._axis.sql(high)}"
        statement = (
            f"SELECT {self._key} FROM {self._table} FORCE INDEX (PRIMARY)"  # noqa: S608
            f" WHERE {self._key} >= {self._axis.sql(low)}{below}"
        )
        return _Piece(low, high, int(_explained(self._session, statement, "rows") or 0))

    def in_order(self, cuts: Sequence[str]) -> Sequence[str]:
        """Give the cuts where the server has them in this order, too; else none: collations may be of any kind."""
        if isinstance(self._axis, IntegerAxis | BytesAxis) or len(cuts) < 2:  # noqa: PLR2004
            return cuts
        keys = " UNION ALL ".join(
            f"SELECT {number} AS number, {self._axis.sql(cut)} AS cut" for number, cut in enumerate(cuts)
        )
        # Compared as the column compares: a value of it stands on one side.
        sample = f"SELECT NULLIF({self._key}, {self._key}) AS sample FROM {self._table} LIMIT 1"  # noqa: S608
        pairs = ask(
            self._session,
            f"SELECT COUNT(*) FROM ({sample}) AS one"  # noqa: S608
            f" JOIN ({keys}) AS a JOIN ({keys}) AS b ON b.number = a.number + 1"
            " WHERE COALESCE(one.sample, a.cut) >= COALESCE(one.sample, b.cut)",
        )
        return [] if pairs[0][0] else cuts


def _explained(session: Session, query: str, fact: str) -> Any:
    """Ask how the server would go about a query, and give a fact of its first step."""
    with session.cursor() as cursor:
        cursor.execute(f"EXPLAIN FORMAT=TRADITIONAL {query}")
        at = [str(each[0]).lower() for each in cursor.description].index(fact)
        first = cursor.fetchone()
        return None if first is None else first[at]


def _cuts(looks: _Looks, axis: Axis, start: str, ranges: int) -> list[str]:
    """Choose values between which there are about as many rows each; fewer than asked for where that cannot be."""
    pieces = [looks.piece(start, None)]
    while True:
        most = max(1, sum(piece.rows for piece in pieces) // (ranges * _PIECES_PER_RANGE))
        split = False
        finer: list[_Piece] = []
        for piece in pieces:
            inner = axis.between(piece.low, piece.high) if len(pieces) == 1 or piece.rows > most else []
            if not inner or len(inner) >= looks.left:
                finer.append(piece)
                continue
            lows = [piece.low, *inner]
            parts = [looks.piece(low, high) for low, high in zip(lows, [*inner, piece.high], strict=True)]
            # The estimate of a large piece has a ceiling, so that what its parts have together is nearer to the truth.
            split = True
            finer += [part for part in parts if part.rows] or [piece]
        pieces = finer
        if not split or looks.left < _PARTS:
            return _even(pieces, ranges)


def _even(pieces: Sequence[_Piece], ranges: int) -> list[str]:
    total = sum(piece.rows for piece in pieces)
    cuts: list[str] = []
    seen = 0
    for piece in pieces:
        if cuts or seen:
            due = total * (len(cuts) + 1) / ranges
            if seen + piece.rows / 2 >= due and len(cuts) < ranges - 1:
                cuts.append(piece.low)
        seen += piece.rows
    return cuts


def _axis(key: Column, low: object, high: object, *, is_binary: bool) -> tuple[Axis, str] | None:
    """Find how a key's values can be cut, and the one to begin with; None where nobody knows."""
    kind = key.native.arrow
    if pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale == 0):
        return IntegerAxis(int(str(high))), str(int(str(low)))
    if isinstance(low, str) and isinstance(high, str) and key.source_type.startswith(("char", "varchar")):
        return TextAxis(is_binary=is_binary), _common(low, high)
    if isinstance(low, bytes) and isinstance(high, bytes):
        same = _common(low.hex(), high.hex())
        return BytesAxis(), same[: len(same) // 2 * 2]
    return None


def _common(low: str, high: str) -> str:
    """Give what two texts begin with."""
    count = next((number for number, pair in enumerate(zip(low, high, strict=False)) if pair[0] != pair[1]), len(low))
    return low[:count]
