"""Reading of a database's streams through a reader, as the engine does it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pyarrow as pa

from dativo_ingest.databases.reader import DatabaseReader
from dativo_plugin_sdk import Message, Rejected, Rows, SourceConfig, State, StateChanged, StreamSpec, Warned


@dataclass
class Found:
    """What reading a stream gave."""

    messages: list[Message]
    schema: pa.Schema
    state: State | None = None
    batches: list[pa.RecordBatch] = field(default_factory=list)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for batch in self.batches for row in batch.to_pylist()]

    @property
    def warnings(self) -> list[str]:
        return [each.message for each in self.messages if isinstance(each, Warned)]


def read_with(
    reader: DatabaseReader, stream: StreamSpec, *, state: State | None = None, schema: pa.Schema | None = None
) -> Found:
    """Read a stream."""
    partitions = reader.partitions(stream, state)
    found = Found([], schema or reader.schema(stream), state)
    for partition in partitions:
        for message in reader.read(replace(stream, schema=found.schema), partition, state):
            found.messages.append(message)
            if isinstance(message, Rows):
                found.batches.append(message.batch)
            if isinstance(message, StateChanged):
                found.state = message.state
            assert not isinstance(message, Rejected)
    return found


def closed_while_asking(reader: DatabaseReader, stream: StreamSpec, is_asked: Callable[[], bool]) -> BaseException:
    """Close a reader in the midst of a query that goes on for long, and give what its reading ends with."""
    ended: list[BaseException] = []

    def read() -> None:
        try:
            list(reader.read(stream, reader.partitions(stream, None)[0], None))
        except BaseException as error:  # noqa: BLE001  it is what the test looks at
            ended.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    until_s = time.monotonic() + 60
    while not is_asked():
        assert thread.is_alive()
        assert time.monotonic() < until_s
        time.sleep(0.05)
    reader.close()
    thread.join(10)
    assert not thread.is_alive()
    return ended[0]


@dataclass
class Database:
    """A database of a server, or a schema of one, of the test's own; and readers of it, which end with the test."""

    server: Any
    name: str
    readers: list[DatabaseReader] = field(default_factory=list)

    connector: ClassVar[str]
    kind: ClassVar[type[DatabaseReader]]

    @property
    def connection(self) -> dict[str, Any]:
        """Give what leads to it, as a job writes it."""
        return dict(self.server.connection)

    def reader(self, connection: dict[str, Any] | None = None, **options: Any) -> Any:
        """Give a reader; ``connection`` changes what leads to it, and may have ``credentials``."""
        given = {"credentials": dict(self.server.credentials), **self.connection, **(connection or {})}
        credentials = given.pop("credentials")
        config = SourceConfig(type=self.connector, connection=given, credentials=credentials, options=options)
        self.readers.append(self.kind(config))
        return self.readers[-1]

    def read(self, table: str, *, state: State | None = None, schema: pa.Schema | None = None, **spec: Any) -> Found:
        """Read a stream as the engine does."""
        options = spec.pop("options", {})
        connection = spec.pop("connection", None)
        name = table if options.get("query") else f"{self.name}.{table}"
        stream = StreamSpec(name, options=options, **spec)
        return read_with(self.reader(connection), stream, state=state, schema=schema)

    def close(self) -> None:
        for reader in self.readers:
            reader.close()
