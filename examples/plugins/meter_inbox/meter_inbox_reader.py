"""A reader of the engine's own interface, `StreamReader`: an inbox that meters drop files of readings into.

``python meter_inbox_reader.py`` reads ``../../data/meters`` twice, the second time from an old release's state.
``../../jobs/meters_to_duckdb.yaml`` is a job that uses it. Copy it where `BaseReader` is not enough. It shows

* **partitions**: each file is one, and the engine shows how far the run is;
* **state between batches**: a run that is stopped goes on within a file;
* **rejected rows**: a line that is no reading goes to quarantine, with its file and line, and the others are read;
* **acknowledge**: once the rows are committed, the meters are told what they may forget;
* **a state that grew up**: release 1 kept the last file alone, and `migrate_state` takes it over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from dativo_plugin_sdk import (
    Capability,
    Check,
    ConnectionTestResult,
    DataNotFoundError,
    DiscoveryResult,
    Message,
    Partition,
    PluginConfig,
    Rejected,
    Rows,
    SourceConfig,
    State,
    StateChanged,
    StreamReader,
    StreamSpec,
    parse,
)
from dativo_plugin_sdk.rejects import rejected

STREAM = "readings"
SCHEMA = pa.schema(
    [
        pa.field("meter", pa.string(), nullable=False),
        pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("kwh", pa.float64(), nullable=False),
    ]
)
_LINES = 10_000


class Connection(PluginConfig):
    """What stands under ``source.connection``."""

    path: Path
    """The inbox: files ``*.jsonl``, whole when they appear, named so that they sort by time."""


class MeterInboxReader(StreamReader):
    """Reads each reading once."""

    __version__ = "2.0.0"
    requires_sdk = ">=0.1,<1"
    capabilities = frozenset({Capability.INCREMENTAL, Capability.PARTITIONED})
    state_version = 2  # {"file": the one read last, "line": how many of its lines, null for all}

    def __init__(self, config: SourceConfig) -> None:
        super().__init__(config)
        self._inbox = parse(Connection, config.connection, where="source.connection").path

    @classmethod
    def migrate_state(cls, state: dict[str, Any], from_version: int) -> dict[str, Any]:  # noqa: ARG003  there is only 1
        """Take over what release 1 kept: ``{"last_file": name}``, a file that was read as a whole."""
        return {"file": state["last_file"], "line": None}

    def check(self, streams: Sequence[StreamSpec]) -> Sequence[Check]:  # noqa: ARG002  there is one stream
        """Look into the inbox."""
        return [Check("inbox", self._look)]

    def discover(self, pattern: str | None = None) -> DiscoveryResult:  # noqa: ARG002  there is one stream
        """Tell of the readings."""
        columns = [{"name": each.name, "arrow_type": str(each.type), "nullable": each.nullable} for each in SCHEMA]
        return DiscoveryResult([{"name": STREAM, "type": "file", "columns": columns}])

    def schema(self, stream: StreamSpec) -> pa.Schema:
        """Give the readings' columns."""
        if stream.name != STREAM:
            raise DataNotFoundError(f"there is no stream {stream.name}; there is: {STREAM}")
        return SCHEMA

    def partitions(self, stream: StreamSpec, state: State | None) -> Sequence[Partition]:  # noqa: ARG002
        """Give each file that is not read to its end."""
        since = state or {"file": "", "line": None}
        return [
            Partition(id=path.name, size_bytes=path.stat().st_size)
            for path in self._files()
            if path.name > since["file"] or (path.name == since["file"] and since["line"] is not None)
        ]

    def read(self, stream: StreamSpec, partition: Partition, state: State | None) -> Iterator[Message]:
        """Read a file, from the line that the state says where it is this one."""
        known = state["line"] if state is not None and state["file"] == partition.id else 0
        with (self._inbox / partition.id).open("rb") as lines:
            for _ in range(known):
                next(lines)
            batch = _Batch(partition.id, first_line=known + 1)
            for line in lines:
                batch.add(line)
                if batch.size_bytes >= stream.batch_bytes or batch.count == _LINES:
                    yield from batch.messages()
                    batch = _Batch(partition.id, first_line=batch.next_line)
                    yield StateChanged({"file": partition.id, "line": batch.next_line - 1})
            yield from batch.messages()
        yield StateChanged({"file": partition.id, "line": None})

    def acknowledge(self, stream: StreamSpec, state: State) -> None:  # noqa: ARG002  there is one stream
        """Tell the meters up to where their readings are safe; to be told an older state is harmless."""
        told = self._inbox / ".taken.json.new"
        told.write_text(json.dumps(state), encoding="utf-8")
        os.replace(told, self._inbox / "taken.json")  # noqa: PTH105  whole or not at all

    def _look(self) -> ConnectionTestResult:
        return ConnectionTestResult(success=True, message=f"{len(self._files())} files are there")

    def _files(self) -> list[Path]:
        if not self._inbox.is_dir():
            raise DataNotFoundError(f"there is no inbox {self._inbox}", hint="check source.connection.path")
        return sorted(self._inbox.glob("*.jsonl"))


class _Batch:
    """Lines of one file, as they become rows and rejected rows."""

    def __init__(self, file: str, first_line: int) -> None:
        self._file = file
        self._first_line = first_line
        self._rows: list[dict[str, Any]] = []
        self._rejects: list[dict[str, Any]] = []
        self.count = 0
        self.size_bytes = 0

    @property
    def next_line(self) -> int:
        """The line behind the last one."""
        return self._first_line + self.count

    def add(self, line: bytes) -> None:
        """Take a line."""
        try:
            reading = json.loads(line)
            at = datetime.fromisoformat(reading["at"])
            self._rows.append({"meter": str(reading["meter"]), "at": at, "kwh": float(reading["kwh"])})
        except (ValueError, TypeError, KeyError) as error:
            self._rejects.append(
                {
                    "rule": "malformed",
                    "reason": f"no reading: {type(error).__name__}: {error}",
                    "row": json.dumps(line.decode(errors="replace").rstrip("\n")),
                    "source": self._file,
                    "line": self.next_line,
                }
            )
        self.count += 1
        self.size_bytes += len(line)

    def messages(self) -> Iterator[Message]:
        """Give what there is."""
        if self._rows:
            rows = pa.RecordBatch.from_pylist(self._rows, schema=SCHEMA)
            yield Rows(rows, source=self._file, source_bytes=self.size_bytes)
        if self._rejects:
            yield Rejected(rejected(self._rejects))


def main() -> None:
    """Read the sample inbox, and go on from a state of release 1."""
    inbox = Path(__file__).parents[2] / "data" / "meters"
    reader = MeterInboxReader(SourceConfig(type="meter_inbox", connection={"path": str(inbox)}))
    stream = StreamSpec(STREAM, mode="incremental")
    old = MeterInboxReader.migrate_state({"last_file": "2026-03-01.jsonl"}, 1)
    for title, state in (("from the beginning", None), ("from a state of release 1", old)):
        print(title)
        for partition in reader.partitions(stream, state):
            for message in reader.read(stream, partition, state):
                match message:
                    case Rows(batch):
                        print(f"  {partition.id}: {batch.num_rows} readings")
                    case Rejected(batch):
                        print(f"  {partition.id}: line {batch['line'][0]} rejected, {batch['reason'][0]}")
                    case StateChanged(state):
                        print(f"  state: {state}")


if __name__ == "__main__":
    main()
