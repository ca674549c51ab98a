"""Streams read as the engine reads them, and rows made comparable."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pyarrow as pa

from dativo_plugin_sdk.streams import Message, Rejected, Rows, State, StateChanged, StreamReader, StreamSpec

_SHOWN = 3


@dataclass
class Reading:
    """What reading a stream gave, up to its end or to where it was stopped.

    Attributes:
        batches: The rows that came.
        rejected: The rows that could not be parsed, as the quarantine would have them.
        states: Each state told, with how many batches of either sort came before it.
    """

    batches: list[pa.RecordBatch] = field(default_factory=list)
    rejected: list[pa.RecordBatch] = field(default_factory=list)
    states: list[tuple[State, int, int]] = field(default_factory=list)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Give all rows in order."""
        return _rows(self.batches)

    def committed(self) -> list[dict[str, Any]]:
        """Give the rows that a commit of the last state told would carry: those before it."""
        _, good, bad = self.states[-1] if self.states else ({}, 0, 0)
        return [*_rows(self.batches[:good]), *_rows(self.rejected[:bad])]

    def everything(self) -> list[dict[str, Any]]:
        """Give all rows, rejected ones too."""
        return [*_rows(self.batches), *_rows(self.rejected)]


def messages(reader: StreamReader, spec: StreamSpec, state: State | None) -> Iterator[Message]:
    """Read all partitions, each from where the ones before it have come to."""
    for partition in reader.partitions(spec, state):
        for message in reader.read(spec, partition, state):
            yield message
            if isinstance(message, StateChanged):
                state = message.state


def read(
    reader: StreamReader, spec: StreamSpec, state: State | None = None, *, stop_at_state: int | None = None
) -> Reading:
    """Read a stream to its end, or up to the state of this number (0: up to the first batch)."""
    found = Reading()
    coming = messages(reader, spec, state)
    try:
        for message in coming:
            match message:
                case Rows():
                    found.batches.append(message.batch)
                case Rejected():
                    found.rejected.append(message.batch)
                case StateChanged():
                    found.states.append((message.state, len(found.batches), len(found.rejected)))
            if stop_at_state is not None and len(found.states) >= stop_at_state and (found.batches or found.rejected):
                break
    finally:
        coming.close()  # type: ignore[attr-defined]  # a generator
    return found


def through_json(state: State) -> State:
    """Carry a state to where targets keep it, and back."""
    carried: State = json.loads(json.dumps(state))
    return carried


def difference(
    wanted: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]], key: Sequence[str]
) -> str | None:
    """Say how rows differ, in any order; None where they do not. A row that came again is no difference."""
    expected, given = _by_key(wanted, key), _by_key(found, key)
    missing = [row for name, row in expected.items() if name not in given]
    extra = [row for name, row in given.items() if name not in expected]
    other = [
        f"{given[name]} instead of {row}" for name, row in expected.items() if name in given and given[name] != row
    ]
    parts = [
        f"{len(rows)} {what}, such as {'; '.join(map(str, rows[:_SHOWN]))}"
        for what, rows in (("missing", missing), ("too many", extra), ("changed", other))
        if rows
    ]
    return "; ".join(parts) or None


def row_text(row: Mapping[str, Any]) -> str:
    """Write a row so that equal rows give equal texts."""
    return json.dumps({name: _plain(value) for name, value in sorted(row.items())}, ensure_ascii=False)


def _by_key(rows: Sequence[Mapping[str, Any]], key: Sequence[str]) -> dict[str, str]:
    found = {}
    for row in rows:
        whole = row_text(row)
        has_key = bool(key) and all(name in row for name in key)
        found[row_text({name: row[name] for name in key}) if has_key else whole] = whole
    return found


def _rows(batches: Sequence[pa.RecordBatch]) -> list[dict[str, Any]]:
    return [row for batch in batches for row in batch.to_pylist()]


def _plain(value: Any) -> Any:  # noqa: PLR0911  one for each kind
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return str(value)
