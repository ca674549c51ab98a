"""Where a stream that follows a column stopped, and the highest value of it that was read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as arrow_compute

from dativo_plugin_sdk import DataError, InvalidConfigError, State, StreamSpec
from dativo_plugin_sdk.cursor import cursor_from_json, cursor_to_json, higher

pc: Any = arrow_compute  # pyarrow's stubs do not know all of it
_VERSION = 1


@dataclass(frozen=True)
class Pending:
    """A value that a run could not read up to, as transactions were open that may have brought rows before it."""

    value: Any
    waits: frozenset[str]
    """Once none of these is open, the value is safe."""


@dataclass(frozen=True)
class CursorState:
    """The state of a stream that follows a column: rows beyond ``cursor`` are new."""

    column: str
    cursor: Any
    """As JSON has it: whole numbers and text as they are, all else as text that the database reads back; None before
    the first row."""
    pending: Pending | None = None

    @classmethod
    def of(cls, stream: StreamSpec, state: State | None) -> CursorState | None:
        """Read a state.

        Raises:
            DataError: A newer version of Dativo wrote it, or it is none.
            InvalidConfigError: It follows another column.
        """
        if not state:
            return None
        if state.get("version") != _VERSION or "cursor" not in state:
            raise DataError(
                f"stream {stream.name}: this version cannot read the state {state}",
                hint="update dativo-ingest, or reset the stream's state",
            )
        left = state.get("pending")
        pending = None if left is None else Pending(left["value"], frozenset(left["waits"]))
        found = cls(str(state.get("column")), state["cursor"], pending)
        if found.column != stream.cursor:
            raise InvalidConfigError(
                f"stream {stream.name}: the state follows {found.column}, the job {stream.cursor}",
                hint="reset the stream's state, run with --full-refresh, or set `cursor` back",
            )
        return found

    def to_json(self) -> State:
        """Write the state."""
        state: State = {"version": _VERSION, "column": self.column, "cursor": self.cursor}
        if self.pending is not None:
            state["pending"] = {"value": self.pending.value, "waits": sorted(self.pending.waits)}
        return state


def follows_as_arrow(kind: pa.DataType) -> bool:
    """Say whether Arrow orders values as databases do: text has collations, and floats have NaN."""
    return bool(pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_temporal(kind))


class Highest:
    """The highest value of the cursor among the rows that were read.

    Args:
        column: The cursor's name; batches may lack it.
        kind: Its type.
        at_least: A value of it as the state has it; what is lower does not count.

    Raises:
        DataError: ``at_least`` is no value of the type.
    """

    def __init__(self, column: str, kind: pa.DataType, at_least: Any = None) -> None:
        self._column = column
        self._kind = kind
        self._least = at_least
        self._before = cursor_from_json(at_least, kind, column=column)
        self._value: pa.Scalar[Any] | None = None

    def see(self, batch: pa.RecordBatch) -> None:
        """Take note of a batch."""
        at = batch.schema.get_field_index(self._column)
        values = batch.column(at) if at >= 0 else None
        if values is None or values.null_count == len(values) or not follows_as_arrow(self._kind):
            return
        if values.type == self._kind or pa.types.is_integer(values.type):
            self._value = higher(self._value, pc.max(values))

    @property
    def as_json(self) -> Any:
        """The value as the state has it; None where there was none."""
        if self._value is None or higher(self._before, self._value) is self._before:
            return self._least
        return cursor_to_json(self._value)
