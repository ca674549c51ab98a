"""Writer plugins for tests, as an author would write them: each in a file or in one SQLite database.

``options.faults`` of the target maps ``METHOD`` or ``after METHOD`` to what happens there, once: ``exit``, ``kill``,
``hang``, ``raise`` or ``die``. It happens where the file ``armed`` is in the folder of the target, which it removes.
``options.pause_s`` makes each of these moments last.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa

from dativo_plugin_sdk import (
    AssetDefinition,
    BaseWriter,
    Capability,
    Check,
    CommitRequest,
    CommittedState,
    ConnectionTestResult,
    FencedError,
    InvalidConfigError,
    KeyComparison,
    PastCommit,
    Receipt,
    StreamWriter,
    TableSpec,
    TableWriter,
    TargetConfig,
)


class Died(BaseException):
    """Stands for the end of the process where there is none."""


class Faults:
    """What is to go wrong."""

    def __init__(self, config: TargetConfig) -> None:
        self._armed = Path(config.connection["path"]) / "armed"
        self._faults: Mapping[str, str] = config.options.get("faults", {})
        self._pause_s = config.options.get("pause_s", 0)

    def at(self, moment: str) -> None:
        """Come to a moment."""
        time.sleep(self._pause_s)
        what = self._faults.get(moment)
        if what is None or not self._armed.exists():
            return
        self._armed.unlink()
        if what == "exit":
            os._exit(3)
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "hang":
            time.sleep(3600)
        if what == "die":
            raise Died
        raise KeyError(moment)


class DictWriter(BaseWriter):
    """Pickles what it is given into files; those that its list names count."""

    def __init__(self, asset_definition: AssetDefinition, target_config: TargetConfig, output_base: str) -> None:
        """Look at the configuration."""
        super().__init__(asset_definition, target_config, output_base)
        if target_config.options.get("refuse"):
            raise InvalidConfigError("target.options.refuse: unknown key")
        self.faults = Faults(target_config)
        self.folder = Path(output_base) / asset_definition.name

    def check_connection(self) -> ConnectionTestResult:
        """Say where it writes."""
        self.faults.at("check")
        return ConnectionTestResult(success=True, message="can be written", details={"pid": os.getpid()})

    def write_batch(self, records: Any, file_counter: int) -> list[dict[str, Any]]:
        """Write a file."""
        self.faults.at("write")
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self.asset_definition.run_id}-{file_counter:05d}.pickle"
        path.write_bytes(pickle.dumps(records))
        self.faults.at("after write")
        return [{"path": path, "size_bytes": path.stat().st_size, "written": {"by": os.getpid(), "own": {1, 2}}}]

    def commit_files(self, file_metadata: list[dict[str, Any]]) -> dict[str, Any]:
        """Add the files to the list."""
        self.faults.at("commit")
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "list").open("a") as listed:
            listed.writelines(f"{item['path']}\n" for item in file_metadata)
        (self.folder / "metadata").write_text(repr(file_metadata))
        self.faults.at("after commit")
        return {"status": "success", "snapshot_id": 7}


class AtomicWriter(DictWriter):
    """Takes Arrow, and replaces its list as a whole; a file that is on it already stays there once."""

    capabilities = frozenset({Capability.ATOMIC_COMMIT, Capability.ARROW_BATCHES})

    def write_batch(self, records: pa.RecordBatch, file_counter: int) -> list[dict[str, Any]]:
        """Write a file, and say so in JSON alone."""
        return [{"path": item["path"]} for item in super().write_batch(records, file_counter)]

    def commit_files(self, file_metadata: list[dict[str, Any]]) -> dict[str, Any]:
        """Replace the list."""
        self.faults.at("commit")
        self.folder.mkdir(parents=True, exist_ok=True)
        listed = self.folder / "list"
        names = listed.read_text().split() if listed.exists() else []
        draft = self.folder / "list.draft"
        draft.write_text("".join(f"{name}\n" for name in dict.fromkeys([*names, *(i["path"] for i in file_metadata)])))
        draft.rename(listed)
        self.faults.at("after commit")
        return {"status": "success"}


class UntellableWriter(AtomicWriter):
    """Is atomic, and says things that no other process could be told."""

    def write_batch(self, records: pa.RecordBatch, file_counter: int) -> list[dict[str, Any]]:
        """Say what JSON has no form for."""
        return [{"path": "here", "object": object()}]


def pickled(folder: Path, table: str = "events") -> list[Any]:
    """Give what the files of a list hold."""
    listed = folder / table / "list"
    return [pickle.loads(Path(name).read_bytes()) for name in listed.read_text().split()] if listed.exists() else []  # noqa: S301  of our own


class LedgerWriter(StreamWriter):
    """Keeps rows, rejected rows and state in one SQLite database, and commits them in one transaction."""

    __version__ = "3.1.0"
    write_modes = frozenset({"append", "overwrite", "merge"})
    deletes_rows = True
    compares_keys = True

    def __init__(self, config: TargetConfig) -> None:
        """Look at the configuration."""
        super().__init__(config)
        if config.options.get("refuse"):
            raise InvalidConfigError("target.options.refuse: unknown key")
        self.faults = Faults(config)
        self.path = Path(config.connection["path"]) / "ledger.db"
        self.delivery = config.options.get("delivery", "exactly_once")  # type: ignore[misc]

    def check(self, tables: Sequence[TableSpec]) -> Sequence[Check]:
        """List two steps, of which the second may fail."""

        def write() -> ConnectionTestResult:
            self.faults.at("check")
            return ConnectionTestResult(True, "can be written", None, {"tables": [table.name for table in tables]})

        return [Check("reach", lambda: ConnectionTestResult(True, "is there")), Check("write", write)]

    def table(self, spec: TableSpec) -> TableWriter:
        """Give a table."""
        return LedgerTable(self, spec)

    def close(self) -> None:
        """Leave a mark."""
        (self.path.parent / "closed").touch()


class LedgerTable(TableWriter):
    """A table: its rows as JSON, its batches staged in memory until the commit."""

    keeps_history = True

    def __init__(self, writer: LedgerWriter, spec: TableSpec) -> None:
        """Nothing is created yet."""
        self.writer = writer
        self.spec = spec
        self.staged: list[tuple[str, Any]] = []
        self.rejected: list[Any] = []
        self.absent: list[Any] = []
        self.schema: pa.Schema | None = None

    def load_state(self) -> CommittedState:
        """Read the newest commit."""
        self.writer.faults.at("load_state")
        return self._newest()

    def history(self) -> Sequence[CommittedState]:
        """Read all of them."""
        with closing(self._connected()) as connection:
            found = connection.execute(
                "SELECT text, rows FROM commits WHERE key = ? ORDER BY generation DESC", (self.spec.state_key,)
            ).fetchall()
        return [PastCommit(**{**vars(CommittedState.from_json(text)), "rows": rows}) for text, rows in found]

    def open(self, schema: pa.Schema) -> Sequence[str]:
        """Take the columns' names."""
        self.writer.faults.at("open")
        self.schema = schema
        return [f"add column {name}" for name in schema.names]

    def write(self, batch: pa.RecordBatch) -> None:
        """Stage rows."""
        self.writer.faults.at("write")
        assert batch.schema.equals(self.schema)
        self.staged.append(("write", batch))
        self.writer.faults.at("after write")

    def delete(self, keys: pa.RecordBatch) -> None:
        """Stage keys."""
        self.writer.faults.at("delete")
        self.staged.append(("delete", keys))

    def quarantine(self, batch: pa.RecordBatch) -> None:
        """Stage rejected rows."""
        self.writer.faults.at("quarantine")
        self.rejected += batch.to_pylist()

    def compare_keys(
        self, schema: pa.Schema, keys: Iterator[pa.RecordBatch], *, marked: str | None = None
    ) -> KeyComparison:
        """Compare in memory."""
        self.writer.faults.at("compare_keys")
        there = [row for row in self._rows() if not (marked and row[marked])]
        if not there:
            return KeyComparison()
        found = [tuple(row.values()) for batch in keys for row in batch.to_pylist()]
        self.absent = [row for row in there if tuple(row[name] for name in schema.names) not in set(found)]
        examples = pa.RecordBatch.from_pylist(
            [{name: row[name] for name in schema.names} for row in self.absent], schema=schema
        )
        return KeyComparison(len(found), len(there), len(self.absent), examples if self.absent else None)

    def delete_absent(self, marks: Mapping[str, pa.Scalar[Any]] | None = None) -> None:
        """Stage the rows that are absent."""
        self.staged.append(("absent", {name: mark.as_py() for name, mark in (marks or {}).items()}))

    def commit(self, request: CommitRequest) -> Receipt:
        """Land everything in one transaction."""
        self.writer.faults.at("commit")
        before = self._newest()
        if before.generation != request.expected_generation:
            raise FencedError(f"the ledger is at {before.generation}")
        after = request.next_state(self.spec.run_id)
        rows = [] if self.spec.write == "overwrite" else self._rows()
        written = 0
        for what, value in self.staged:
            written += value.num_rows if what == "write" else 0
            rows = self._with(rows, what, value)
        with closing(self._connected()) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM tables WHERE name = ?", (self.spec.name,))
            connection.execute("INSERT INTO tables VALUES (?, ?)", (self.spec.name, json.dumps(rows, default=str)))
            connection.execute(
                "INSERT INTO rejected VALUES (?, ?)", (self.spec.name, json.dumps(self.rejected, default=str))
            )
            connection.execute(
                "INSERT INTO commits VALUES (?, ?, ?, ?)",
                (self.spec.state_key, after.generation, after.to_json(), written),
            )
        self.staged = []
        self.writer.faults.at("after commit")
        return Receipt(request.commit_id, after.generation, f"snapshot {after.generation}", inserted=written)

    def abort(self) -> None:
        """Drop what is staged, and leave a mark."""
        self.staged, self.rejected = [], []
        self.writer.faults.at("abort")
        (self.writer.path.parent / "aborted").touch()

    def _with(self, rows: list[Any], what: str, value: Any) -> list[Any]:
        key = self.spec.primary_key
        if what == "absent":
            gone = [row for row in rows if row in self.absent]
            kept = [row for row in rows if row not in gone]
            return [*kept, *({**row, **value} for row in gone)] if value else kept
        new = json.loads(json.dumps(value.to_pylist(), default=str))
        if self.spec.write == "merge":
            replaced = {tuple(row[name] for name in key) for row in new}
            rows = [row for row in rows if tuple(row[name] for name in key) not in replaced]
        return rows if what == "delete" else [*rows, *new]

    def _newest(self) -> CommittedState:
        history = self.history()
        return CommittedState.from_json(_text(history[0])) if history else CommittedState()

    def _rows(self) -> list[Any]:
        return ledger(self.writer.path.parent, self.spec.name)

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.writer.path, isolation_level=None)
        connection.executescript(
            "CREATE TABLE IF NOT EXISTS tables (name TEXT PRIMARY KEY, rows TEXT);"
            "CREATE TABLE IF NOT EXISTS rejected (name TEXT, rows TEXT);"
            "CREATE TABLE IF NOT EXISTS commits (key TEXT, generation INTEGER, text TEXT, rows INTEGER,"
            " PRIMARY KEY (key, generation));"
        )
        return connection


def _text(commit: CommittedState) -> str:
    return json.dumps({key: value for key, value in vars(commit).items() if key != "rows"})


def ledger(folder: Path, table: str = "events", *, rejected: bool = False) -> list[Any]:
    """Give the rows of a table of the ledger, or those rejected."""
    path = folder / "ledger.db"
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as connection:
        source = "rejected" if rejected else "tables"
        found = connection.execute(f"SELECT rows FROM {source} WHERE name = ?", (table,)).fetchall()
    return [row for (text,) in found for row in json.loads(text)]


class KeepingWriter(StreamWriter):
    """Keeps the batches of its table as Arrow in a file, each under the name of what was asked."""

    def check(self, tables: Sequence[TableSpec]) -> Sequence[Check]:
        """Check nothing."""
        return []

    def table(self, spec: TableSpec) -> TableWriter:
        """Give the table."""
        return _KeepingTable(self.config, spec)


class _KeepingTable(TableWriter):
    def __init__(self, config: TargetConfig, spec: TableSpec) -> None:
        self.faults = Faults(config)
        self.folder = Path(config.connection["path"])
        self.spec = spec
        self.kept: list[tuple[str, Any]] = [("options", dict(spec.options))]

    def load_state(self) -> CommittedState:
        """Read what the file says."""
        path = self.folder / "state"
        return CommittedState.from_json(path.read_text() if path.exists() else None)

    def open(self, schema: pa.Schema) -> Sequence[str]:
        """Keep the schema."""
        self.kept.append(("open", schema))
        return ()

    def write(self, batch: pa.RecordBatch) -> None:
        """Keep rows."""
        self.faults.at("write")
        self.kept.append(("write", batch))

    def quarantine(self, batch: pa.RecordBatch) -> None:
        """Keep rejected rows."""
        self.kept.append(("quarantine", batch))

    def commit(self, request: CommitRequest) -> Receipt:
        """Write all of it."""
        self.faults.at("commit")
        (self.folder / "kept").write_bytes(pickle.dumps(self.kept))
        (self.folder / "state").write_text(request.next_state(self.spec.run_id).to_json())
        self.faults.at("after commit")
        return Receipt(request.commit_id, request.expected_generation + 1)

    def abort(self) -> None:
        """Leave a mark."""
        (self.folder / "aborted").touch()
