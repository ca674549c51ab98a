"""Reading streams of files step by step, as the engine does it, with every message at hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from dativo_plugin_sdk import (
    Message,
    Rejected,
    Rows,
    Skipped,
    SourceConfig,
    State,
    StateChanged,
    StreamReader,
    StreamSpec,
    Warned,
)


@dataclass
class Reading:
    """What one run of one stream yielded."""

    messages: list[Message] = field(default_factory=list)
    state: State | None = None
    schema: pa.Schema | None = None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Give all rows in order."""
        return [row for message in self.of(Rows) for row in message.batch.to_pylist()]

    @property
    def rejected(self) -> list[dict[str, Any]]:
        """Give all rejected rows in order."""
        return [row for message in self.of(Rejected) for row in message.batch.to_pylist()]

    @property
    def skipped(self) -> int:
        """Count the rows left out."""
        return sum(message.rows for message in self.of(Skipped))

    @property
    def lines(self) -> list[int | None]:
        """Give each row's line."""
        return [line for message in self.of(Rows) for line in lines_of(message)]

    @property
    def batches(self) -> list[pa.RecordBatch]:
        """Give the batches of rows as they came."""
        return [message.batch for message in self.of(Rows)]

    @property
    def source_bytes(self) -> int:
        """Count the bytes of the source that the rows used up."""
        return sum(message.source_bytes for message in self.of(Rows))

    @property
    def warnings(self) -> list[str]:
        """Give what the report must say."""
        return [message.message for message in self.of(Warned)]

    def of(self, kind: type[Any]) -> list[Any]:
        """Give the messages of one kind."""
        return [message for message in self.messages if isinstance(message, kind)]


def lines_of(rows: Rows) -> Sequence[int | None]:
    """Give each row's line, None where it is not known."""
    if rows.lines is not None:
        return rows.lines.to_pylist()
    if rows.first_line is not None:
        return range(rows.first_line, rows.first_line + rows.batch.num_rows)
    return [None] * rows.batch.num_rows


def read_stream(
    reader: StreamReader, state: State | None = None, schema: pa.Schema | None = None, **spec: Any
) -> Reading:
    """Read a stream through all its partitions; ``spec`` is of `StreamSpec`."""
    asked = StreamSpec(**{"name": "stream", **spec})
    reading = Reading(state=state)
    reading.schema = reader.schema(asked) if schema is None else schema
    asked = StreamSpec(**{"name": "stream", **spec, "schema": reading.schema})
    for message in _messages(reader, asked, state):
        reading.messages.append(message)
        if isinstance(message, StateChanged):
            reading.state = message.state
    return reading


def _messages(reader: StreamReader, spec: StreamSpec, state: State | None) -> Iterator[Message]:
    partitions = reader.partitions(spec, state)
    yield from map(Warned, reader.warnings(spec))
    for partition in partitions:
        for message in reader.read(spec, partition, state):
            yield message
            if isinstance(message, StateChanged):
                state = message.state


def config(path: object, **options: Any) -> SourceConfig:
    """Give the configuration of a file source."""
    return SourceConfig(type="files", connection={"path": str(path)}, options=options)
