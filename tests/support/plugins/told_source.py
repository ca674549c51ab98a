"""A source that is told what is committed, and writes down whatever it is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from dativo_plugin_sdk import (
    DiscoveryResult,
    Message,
    NetworkError,
    Partition,
    Rows,
    State,
    StateChanged,
    StreamReader,
    StreamSpec,
)
from dativo_plugin_sdk.results import Check


class Told(StreamReader):
    """Has as many rows as ``connection.rows``.

    ``connection.at_acknowledge``, or ``AT_ACKNOWLEDGE`` in the environment, makes it die or fail when it is told.
    """

    def check(self, streams: Sequence[StreamSpec]) -> Sequence[Check]:
        """Check nothing."""
        return []

    def discover(self, pattern: str | None = None) -> DiscoveryResult:
        """Offer nothing."""
        return DiscoveryResult([])

    def schema(self, stream: StreamSpec) -> pa.Schema:
        """Give one column."""
        return pa.schema({"id": pa.int64()})

    def fingerprint(self, stream: StreamSpec) -> str | None:
        """Know the source by its name."""
        return str(self.config.connection.get("name", "told"))

    def partitions(self, stream: StreamSpec, state: State | None) -> Sequence[Partition]:
        """Give what is beyond the state."""
        at, rows = (state or {}).get("at", 0), int(self.config.connection["rows"])
        return [Partition("rest", {"at": at, "rows": rows})] if at < rows else []

    def read(self, stream: StreamSpec, partition: Partition, state: State | None) -> Iterator[Message]:
        """Yield it."""
        at, rows = partition.detail["at"], partition.detail["rows"]
        self._log(f"read {at}")
        yield Rows(pa.record_batch({"id": range(at, rows)}))
        yield StateChanged({"at": rows})

    def acknowledge(self, stream: StreamSpec, state: State) -> None:
        """Write it down."""
        match self.config.connection.get("at_acknowledge", os.environ.get("AT_ACKNOWLEDGE")):
            case "die":
                os._exit(9)
            case "fail":
                raise NetworkError("nobody listens")
        self._log(f"told {state['at']}")

    def _log(self, line: str) -> None:
        with Path(self.config.connection["log"]).open("a") as file:
            file.write(line + "\n")
