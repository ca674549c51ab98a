"""Runs that append, merge, delete and replace, crash, are tried again and meet each other, in any order: a dict knows.

Beside them another stream writes the same table, and another program appends, deletes, rewrites files and adds a
column. ``DATIVO_TEST_EXAMPLES`` asks for another number of such histories than 10 of each target.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest
from crash_places import JOB, PLACES, STREAM, Delta, DuckDB, Iceberg, Place
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from dativo_ingest.registry.connectors import find, make_writer
from dativo_plugin_sdk import (
    CommitRequest,
    ConcurrencyError,
    FencedError,
    StreamWriter,
    TableSpec,
    TableWriter,
    TargetConfig,
    WriteMode,
)

EXAMPLES = int(os.environ.get("DATIVO_TEST_EXAMPLES", "10"))
KEY = "id"
_AT = "2026-01-01T00:00:00.000+00:00"
Row = tuple[int, str, str, str | None]
Change = tuple[str, list[int]]
"""Rows of these ids, or ids that go; runs that do not merge take as many new rows."""
Disturbance = str | tuple[int, bool] | None
"""What others do right before a commit, or at which of the commit's calls, before or after it, the process dies."""

ids = st.lists(st.integers(0, 15), min_size=1, max_size=8)
changes = st.lists(st.tuples(st.sampled_from(["rows", "rows", "gone"]), ids), max_size=3)
doings = st.sampled_from(["append", "delete", "rewrite", "add a column", "another stream"])
disturbances = st.one_of(st.none(), doings, st.tuples(st.integers(1, 3), st.booleans()))


class CrashError(BaseException):
    """The process dies here: nothing of it runs on but what the operating system does for the dead."""


@dataclass
class Run:
    """A run on its way: what it began with, and what it has been given."""

    id: str
    writer: StreamWriter
    table: TableWriter
    write: WriteMode
    generation: int
    version: int
    """Of the table's columns when it was opened."""
    schema: pa.Schema
    changes: list[Row | int] = field(default_factory=list)
    """Rows, and ids that it deletes."""
    rejects: list[str] = field(default_factory=list)

    @property
    def wide(self) -> bool:
        return "extra" in self.schema.names


class Others(ABC):
    """Another program at the same table; the rows that it adds have ids of their own."""

    def __init__(self, place: Any) -> None:
        self.place = place

    @abstractmethod
    def append(self, rows: pa.Table) -> None: ...

    @abstractmethod
    def delete(self, number: int) -> None: ...

    @abstractmethod
    def rewrite(self) -> None: ...

    @abstractmethod
    def add_column(self) -> None: ...


class IcebergOthers(Others):
    place: Iceberg

    def _with(self, act: Callable[[Any], object]) -> None:
        with self.place.catalog() as catalog:
            act(catalog.load_table((self.place.namespace, STREAM)))

    def append(self, rows: pa.Table) -> None:
        self._with(lambda table: table.append(rows))

    def delete(self, number: int) -> None:
        self._with(lambda table: table.delete(f"{KEY} = {number}"))

    def rewrite(self) -> None:
        self._with(lambda table: table.overwrite(table.scan().to_arrow()))

    def add_column(self) -> None:
        from pyiceberg.types import StringType

        def add(table: Any) -> None:
            with table.update_schema() as update:
                update.add_column("extra", StringType())

        self._with(add)


class DeltaOthers(Others):
    place: Delta

    @property
    def _table(self) -> Any:
        from deltalake import DeltaTable

        return DeltaTable(f"{self.place.uri}/raw/{STREAM}")

    def append(self, rows: pa.Table) -> None:
        from deltalake import write_deltalake

        write_deltalake(self._table, rows, mode="append", schema_mode="merge")

    def delete(self, number: int) -> None:
        self._table.delete(f"{KEY} = {number}")

    def rewrite(self) -> None:
        self._table.optimize.compact()

    def add_column(self) -> None:
        from deltalake.schema import Field, PrimitiveType

        self._table.alter.add_columns([Field("extra", PrimitiveType("string"))])


class DuckDBOthers(Others):
    place: DuckDB

    def _do(self, statement: str, **tables: pa.Table) -> None:
        import duckdb

        with duckdb.connect(str(self.place.folder / "lake" / "lake.duckdb")) as connection:
            for name, table in tables.items():
                connection.register(name, table)
            connection.execute(statement)

    def append(self, rows: pa.Table) -> None:
        self._do(f"INSERT INTO raw.{STREAM} BY NAME FROM new", new=rows)

    def delete(self, number: int) -> None:
        self._do(f"DELETE FROM raw.{STREAM} WHERE {KEY} = {number}")

    def rewrite(self) -> None:
        self._do("CHECKPOINT")

    def add_column(self) -> None:
        self._do(f"ALTER TABLE raw.{STREAM} ADD COLUMN extra VARCHAR")


def _schema(*, wide: bool) -> pa.Schema:
    fields = [pa.field(KEY, pa.int64(), nullable=False), pa.field("part", pa.string()), pa.field("label", pa.string())]
    return pa.schema([*fields, *([pa.field("extra", pa.string())] if wide else [])])


class AnyOrder(RuleBasedStateMachine):
    """The rules; a subclass says which target they are for."""

    target: ClassVar[str]
    others_of: ClassVar[type[Others] | None] = None
    at_once: ClassVar[int] = 2
    merges: ClassVar[bool] = True
    layouts: ClassVar[list[list[str]]] = [[]]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="dativo-any-order-"))
        self.place: Place = PLACES[self.target](self.folder)
        self.others = self.others_of(self.place) if self.others_of is not None else None
        self.runs: list[Run] = []
        self.rows: dict[int, Row] = {}
        self.rejected: Counter[str] = Counter()
        self.last_rejects: list[str] = []
        self.commits: list[str] = []
        self.beside = 0
        self.exists = False
        self.wide = False
        self.version = 0
        self.numbers = count(100)
        self.names = count(1)
        self.layout: list[str] = []

    @initialize(data=st.data())
    def lay_out(self, data: st.DataObject) -> None:
        self.layout = data.draw(st.sampled_from(self.layouts), "layout")

    def teardown(self) -> None:
        for run in self.runs:
            run.table.abort()
            run.writer.close()
        shutil.rmtree(self.folder)

    # Runs

    @rule(data=st.data(), given=changes, rejects=st.integers(0, 1), wide=st.booleans(), what=disturbances)
    @precondition(lambda self: len(self.runs) < self.at_once)
    def load(self, data: st.DataObject, given: list[Change], rejects: int, wide: bool, what: Disturbance) -> None:
        """Carry a whole run, perhaps disturbed in its commit."""
        self._begin(self._mode(data), wide=wide)
        run = self.runs[-1]
        self._give(run, given, rejects)
        self._commit(self.runs.pop(), what)

    @rule(data=st.data(), given=changes, rejects=st.integers(0, 1), wide=st.booleans())
    @precondition(lambda self: len(self.runs) < self.at_once)
    def begin(self, data: st.DataObject, given: list[Change], rejects: int, wide: bool) -> None:
        """Let a run begin, beside others."""
        self._begin(self._mode(data), wide=wide)
        self._give(self.runs[-1], given, rejects)

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), given=changes, rejects=st.integers(0, 1))
    def go_on(self, data: st.DataObject, given: list[Change], rejects: int) -> None:
        self._give(data.draw(st.sampled_from(self.runs), "run"), given, rejects)

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), how=st.sampled_from(["commit", "commit", "commit", "crash", "give up"]), what=disturbances)
    def end(self, data: st.DataObject, how: str, what: Disturbance) -> None:
        run = self.runs.pop(self.runs.index(data.draw(st.sampled_from(self.runs), "run")))
        if how == "commit":
            self._commit(run, what)
            return
        if how == "crash":
            self._die(run)
        else:
            self._give_up(run)
        self._look()

    def _mode(self, data: st.DataObject) -> WriteMode:
        modes: list[WriteMode] = ["append", "append", "overwrite", *["merge" for _ in range(3 if self.merges else 0)]]
        return data.draw(st.sampled_from(modes), "write")

    def _begin(self, write: WriteMode, *, wide: bool, stream: str = STREAM) -> Run:
        wide = wide or (self.wide and write != "append")
        number = next(self.names)
        writer = self._writer()
        spec = TableSpec(
            name=STREAM,
            namespace="raw",
            job=JOB,
            stream=stream,
            run_id=f"run-{number}",
            write=write,
            primary_key=(KEY,) if write == "merge" else (),
            options={"partition_by": self.layout} if self.layout else {},
            buffer_bytes=500,
        )
        table = writer.table(spec)
        before = table.load_state()
        schema = _schema(wide=wide)
        if stream == STREAM:
            assert (before.generation, before.state) == (len(self.commits), self._state)
            self._look(whole=True)  # what a crash left to be published is there by now
        table.open(schema)
        run = Run(spec.run_id, writer, table, write, before.generation, self.version, schema)
        if stream == STREAM:
            self.runs.append(run)
        return run

    @property
    def _state(self) -> dict[str, Any] | None:
        return {"at": len(self.commits)} if self.commits else None

    def _give(self, run: Run, given: list[Change], rejects: int) -> None:
        """Write rows, delete keys where the run merges, and reject rows."""
        for kind, keys in given:
            if run.write != "merge":
                self._write(run, [next(self.numbers) for _ in keys])
            elif kind == "rows":
                self._write(run, keys)
            else:
                self._delete(run, sorted(set(keys)))
        for _ in range(rejects):
            reason = f"{run.id} {len(run.rejects)}"
            run.rejects.append(reason)
            run.table.quarantine(pa.record_batch({"reason": [reason], "source": ["s"], "line": [len(run.rejects)]}))

    def _write(self, run: Run, keys: list[int]) -> None:
        rows = [self._row(each, f"{run.id} {len(run.changes) + at}", wide=run.wide) for at, each in enumerate(keys)]
        run.changes += rows
        run.table.write(_batch(rows, run.schema))

    def _delete(self, run: Run, keys: list[int]) -> None:
        assert run.writer.deletes_rows
        run.changes += keys
        schema = pa.schema([run.schema.field(KEY)])
        run.table.delete(pa.record_batch({KEY: pa.array(keys, pa.int64())}, schema=schema))

    def _commit(self, run: Run, what: Disturbance) -> None:
        stale = run.generation != len(self.commits)
        request = CommitRequest(f"{run.id} commit", run.generation, {"at": run.generation + 1}, _AT)
        try:
            with pytest.MonkeyPatch.context() as patch:
                self._disturb(patch, what)
                receipt = run.table.commit(request)
        except CrashError:
            self._die(run)
            state = self.place.state()
            assert state.commit_id in (request.commit_id, self.commits[-1] if self.commits else None)
            if state.commit_id == request.commit_id:
                assert not stale
                self._landed(run, request)
            self._look()
            return
        except FencedError:
            self._give_up(run)
            self._look()
            assert stale
            return
        except ConcurrencyError:
            self._give_up(run)
            self._look()
            # Columns that changed while the run wrote, or a table that somebody created, are a reason to begin anew.
            assert run.version != self.version
            return
        assert not stale
        assert (receipt.commit_id, receipt.generation) == (request.commit_id, run.generation + 1)
        self._landed(run, request)
        run.writer.close()
        self._look(whole=True)

    def _disturb(self, patch: pytest.MonkeyPatch, what: Disturbance) -> None:
        if isinstance(what, tuple):
            self._crash_in(patch, what[0], after=what[1])
        elif what is not None and self.exists and self.at_once > 1:
            self._meanwhile(patch, lambda: self._others_do(what))

    def _crash_in(self, patch: pytest.MonkeyPatch, call: int, *, after: bool) -> None:
        """Let the process die before or after one of the calls that are commits: the table's, or its quarantine's."""
        passed = count(1)

        def dying(original: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
            number = next(passed)
            if number == call and not after:
                raise CrashError
            answer = original(*arguments, **named)
            if number == call:
                raise CrashError
            return answer

        self._instead_of_commits(patch, dying)

    def _meanwhile(self, patch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
        """Let something happen right before the first call that is a commit."""
        waiting = [act]

        def late(original: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
            if waiting:
                waiting.pop()()
            return original(*arguments, **named)

        self._instead_of_commits(patch, late)

    def _instead_of_commits(self, patch: pytest.MonkeyPatch, act: Callable[..., Any]) -> None:
        for seam in self.place.atomic:
            module, _, path = seam.partition(":")
            *owners, name = path.split(".")
            owner: Any = reduce(getattr, owners, import_module(module))
            patch.setattr(owner, name, _through(getattr(owner, name), act))

    def _landed(self, run: Run, request: CommitRequest) -> None:
        self.commits.append(request.commit_id)
        self._exists(wide=run.wide)
        if run.write == "overwrite":
            self.rows.clear()
        for change in run.changes:
            if isinstance(change, int):
                self.rows.pop(change, None)
            else:
                self.rows[change[0]] = change
        self.rejected.update(run.rejects)
        self.last_rejects = run.rejects

    def _exists(self, *, wide: bool) -> None:
        if not self.exists or (wide and not self.wide):
            self.version += 1
        self.exists = True
        self.wide |= wide

    def _give_up(self, run: Run) -> None:
        run.table.abort()
        run.writer.close()

    def _die(self, run: Run) -> None:
        """Let go of what the operating system takes from a dead process, and of nothing else."""
        table: Any = run.table
        if self.target == "parquet":
            if table._run is not None:
                table._run.release(keep_mark=True)
            return
        if self.target == "delta":
            if table._staging is not None:
                table._staging.close()
            return
        run.writer.close()

    # Others

    @precondition(lambda self: self.at_once > 1 or not self.runs)
    @rule(what=doings)
    def others_do_something(self, what: str) -> None:
        if self.exists or what == "another stream":
            self._others_do(what)
            self._look()

    def _others_do(self, what: str) -> None:
        match what:
            case "another stream":
                self._another_stream_appends(2)
            case "append" if self.others is not None:
                self._others_append(self.others, 2)
            case "delete" if self.others is not None and self.rows:
                self.others.delete(gone := sorted(self.rows)[len(self.rows) // 2])
                del self.rows[gone]
            case "rewrite" if self.others is not None and self.rows:
                self.others.rewrite()
            case "add a column" if self.others is not None and not self.wide:
                self.others.add_column()
                self._exists(wide=True)

    def _another_stream_appends(self, number: int) -> None:
        run = self._begin("append", wide=False, stream="beside")
        self._write(run, [next(self.numbers) for _ in range(number)])
        run.table.commit(CommitRequest(f"beside {run.id}", self.beside, {"at": 0}, _AT))
        run.writer.close()
        self.beside += 1
        self._exists(wide=False)
        self.rows |= {row[0]: row for row in run.changes if not isinstance(row, int)}

    def _others_append(self, others: Others, number: int) -> None:
        rows = [self._row(next(self.numbers), "theirs", wide=self.wide) for _ in range(number)]
        others.append(pa.Table.from_batches([_batch(rows, _schema(wide=self.wide))]))
        self.rows |= {row[0]: row for row in rows}

    # What must hold

    def _look(self, *, whole: bool = False) -> None:
        if self.at_once == 1 and self.runs:
            return  # the file is somebody's
        names = [KEY, "part", "label", *(["extra"] if self.wide else [])]
        found = self.place.rows()
        rows = [tuple(map(row.get, names)) for row in found.to_pylist()]
        assert Counter(rows) == Counter(row[: len(names)] for row in self.rows.values())
        state = self.place.state()
        assert (state.generation, state.state) == (len(self.commits), self._state)
        assert state.commit_id == (self.commits[-1] if self.commits else None)
        rejected = self.place.rows(f"{STREAM}__quarantine")
        reasons = Counter(rejected["reason"].to_pylist() if rejected.num_rows else ())
        pending = Counter(self.last_rejects)
        assert reasons == self.rejected or (not whole and reasons == self.rejected - pending)

    def _row(self, number: int, label: str, *, wide: bool) -> Row:
        return number, f"p{number % 2}", label, f"more {label}" if wide else None

    def _writer(self) -> StreamWriter:
        target = self.place.target()
        for key in ("warehouse", "path"):
            if key in target["connection"]:
                target["connection"][key] = str(self.folder / target["connection"][key])
        config = TargetConfig(type=self.target, connection=target["connection"])
        return make_writer(find("writer", self.target), config, states=None, output_base=str(self.folder))  # type: ignore[arg-type]  # built-in targets keep no state beside the table


def _through(original: Callable[..., Any], act: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments, **named: act(original, *arguments, **named)


def _batch(rows: list[Row], schema: pa.Schema) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True)) or [[]] * 4
    return pa.record_batch(
        [pa.array(list(column), each.type) for column, each in zip(columns, schema, strict=False)], schema=schema
    )


class IcebergInAnyOrder(AnyOrder):
    target = "iceberg"
    others_of = IcebergOthers
    layouts: ClassVar[list[list[str]]] = [[], ["part"], [f"bucket(2, {KEY})"]]


class DeltaInAnyOrder(AnyOrder):
    target = "delta"
    others_of = DeltaOthers
    layouts: ClassVar[list[list[str]]] = [[], ["part"]]


class ParquetInAnyOrder(AnyOrder):
    target = "parquet"
    merges = False
    layouts: ClassVar[list[list[str]]] = [[], ["part"]]


class DuckDBInAnyOrder(AnyOrder):
    target = "duckdb"
    others_of = DuckDBOthers
    at_once = 1


@pytest.mark.parametrize("machine", [IcebergInAnyOrder, DeltaInAnyOrder, ParquetInAnyOrder, DuckDBInAnyOrder])
def test_a_table_holds_what_a_dict_would_whatever_happens_in_whatever_order(machine: type[AnyOrder]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=EXAMPLES, stateful_step_count=25, suppress_health_check=list(HealthCheck)),
    )
