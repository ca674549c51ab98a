"""What a writer promises, as tests."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar
from uuid import uuid4

import pyarrow as pa
import pytest

from dativo_plugin_sdk.asset import AssetDefinition
from dativo_plugin_sdk.capabilities import Capability
from dativo_plugin_sdk.errors import DativoError, FencedError
from dativo_plugin_sdk.rejects import rejected
from dativo_plugin_sdk.results import ConnectionTestResult
from dativo_plugin_sdk.tables import (
    CommitRequest,
    CommittedState,
    Receipt,
    StreamWriter,
    TableSpec,
    TableWriter,
    WriteMode,
)
from dativo_plugin_sdk.testing import leaks, memory, spec_rules
from dativo_plugin_sdk.testing.cases import WriterCase
from dativo_plugin_sdk.testing.ends import (
    CREDENTIALS_REFUSED,
    NOT_REACHED,
    MemoryStates,
    Plugin,
    expect_failure,
    failure,
    is_not_implemented,
    made_writer,
    walk,
    writer_here,
)
from dativo_plugin_sdk.testing.gaps import Gap, NotApplicableError, NotDeclaredError, check
from dativo_plugin_sdk.testing.reading import row_text
from dativo_plugin_sdk.testing.type_zoo import KINDS, as_written, zoo_batch
from dativo_plugin_sdk.writer import BaseWriter

TABLE = "orders"
_FIELDS: list[pa.Field[Any]] = [pa.field("id", pa.int64(), nullable=False), pa.field("text", pa.string())]
_NUMBERS = pa.schema(_FIELDS)
_LARGE_BYTES = 64 * 2**20
_ALLOWED_BYTES = 32 * 2**20
_ALLOWED_BUFFERS = 8
_COMMITTED_AT = "2026-01-01T00:00:00.000+00:00"
_REJECTED = rejected([{"column": "id", "rule": "type", "reason": "no number", "row": '{"id": "x"}'}])


class _KilledError(BaseException):
    """Ends a commit as a killed process does: nobody catches it."""


class Target:
    """The target of a suite's case, and runs that write into it; it remembers what a dead run would leave."""

    def __init__(self, plugin: Plugin, case: WriterCase, hook: Any) -> None:
        self.plugin = plugin
        self.case = case
        self.hook = hook
        self.states = MemoryStates()
        self._writers: list[StreamWriter] = []

    def writer(
        self,
        connection: Mapping[str, Any] | None = None,
        credentials: Mapping[str, Any] | None = None,
        plugin: Plugin | None = None,
    ) -> StreamWriter:
        """Make a writer, which is closed with the test."""
        config = self.case.config(connection, credentials)
        base = self.case.output_base or str(config.connection.get("path", ""))
        if plugin is not None:  # a class of the suite's own, which nobody else can find
            made = writer_here(plugin, config, self.states, base)
        else:
            made = made_writer(self.plugin, config, self.states, base, self.hook)
        self._writers.append(made)
        return made

    def spec(self, name: str = TABLE, write: WriteMode = "append") -> TableSpec:
        """Say what a run of its own writes."""
        return TableSpec(
            name=name,
            namespace=self.case.namespace,
            job="conformance",
            stream=name,
            run_id=uuid4().hex,
            write=write,
            primary_key=("id",) if write == "merge" else (),
            options=dict(self.case.table_options),
            buffer_bytes=self.case.buffer_bytes,
        )

    def committed(self, name: str = TABLE) -> CommittedState:
        """Ask a new writer what the target remembers."""
        writer = self.writer()
        try:
            return writer.table(self.spec(name)).load_state()
        finally:
            writer.close()

    def load(self, *batches: pa.RecordBatch, name: str = TABLE, write: WriteMode = "append") -> Receipt:
        """Carry batches in one run."""
        writer = self.writer()
        try:
            table = writer.table(self.spec(name, write))
            before = table.load_state()
            table.open(batches[0].schema)
            for batch in batches:
                table.write(batch)
            return table.commit(request(before.generation))
        finally:
            writer.close()

    def crash(self, writer: StreamWriter) -> None:
        """Let a writer go as a killed process does: it does not hear that its run is over."""
        if not self.hook.pytest_dativo_crash(end=writer):
            writer.close()  # what the kernel would take from the process: connections and locks

    def rows(self, name: str = TABLE, schema: pa.Schema = _NUMBERS) -> list[dict[str, Any]]:
        """Read the table with something else than the writer, as values of the types that were written."""
        found = self.case.read(name)
        return as_written(found, schema) if (found.num_rows if isinstance(found, pa.Table) else len(found)) else []

    def count(self, name: str) -> int:
        """Count a table's rows."""
        found = self.case.read(name)
        return found.num_rows if isinstance(found, pa.Table) else len(found)

    def checked(
        self, connection: Mapping[str, Any] | None = None, credentials: Mapping[str, Any] | None = None
    ) -> ConnectionTestResult:
        """Check the target, with keys of the configuration replaced."""
        try:
            writer = self.writer(connection, credentials)
            try:
                return walk(writer.check([self.spec()]))
            finally:
                writer.close()
        except DativoError as error:
            return failure(error)

    def close(self) -> None:
        """Close every writer."""
        while self._writers:
            self._writers.pop().close()


class WriterSuite:
    """Subclass it as ``class TestMine(WriterSuite)``, and say which plugin, in which case.

    The case is a fixture, since each check needs an empty target: override ``writer_case``.
    """

    kind: ClassVar[str] = "writer"
    plugin: ClassVar[Plugin]
    gaps: ClassVar[Sequence[Gap]] = ()
    connector: ClassVar[str | None] = None
    """The name in tables; by default the plugin's."""
    version: ClassVar[str | None] = None
    """The version, where the class does not say it itself."""

    @pytest.fixture
    def writer_case(self) -> WriterCase:
        """Give the case, with an empty target."""
        raise TypeError("override the fixture writer_case: it gives a WriterCase with an empty target")

    @pytest.fixture
    def target(self, writer_case: WriterCase, request: pytest.FixtureRequest) -> Iterator[Target]:
        """Give the target to the tests."""
        made = Target(self.plugin, writer_case, request.config.hook)
        yield made
        made.close()

    @check("spec")
    def test_the_plugin_says_what_it_is(self, target: Target) -> None:
        """The plugin has a version, the SDK releases it needs, known capabilities, and a docstring."""
        spec_rules.inspect_plugin(self.plugin, self.version)
        assert target.writer().write_modes, "no write mode is declared: a job could ask for none"

    @check("check")
    def test_check_succeeds_and_leaves_nothing(self, target: Target) -> None:
        """Check succeeds where everything is right, and leaves nothing behind."""
        result = target.checked()

        assert result.success, f"check failed with {result.error_code}: {result.message}"
        for step, found in (result.details or {}).items():
            assert not is_not_implemented(found.get("details")), f"{step}: nobody wrote check_connection"
        assert target.count(TABLE) == 0, "check wrote rows"
        assert target.committed() == CommittedState(), "check moved the state"

    @check("bad_credentials")
    def test_check_refuses_bad_credentials(self, target: Target) -> None:
        """Check names bad credentials as that."""
        if target.case.bad_credentials is None:
            raise NotApplicableError("give the case bad_credentials that the target refuses")

        result = target.checked(credentials=target.case.bad_credentials)

        expect_failure(result, CREDENTIALS_REFUSED, "bad credentials", "InvalidCredentialsError")

    @check("bad_host")
    def test_check_refuses_a_bad_host(self, target: Target) -> None:
        """Check says that nobody is there where nobody is."""
        if target.case.bad_host is None:
            raise NotApplicableError("give the case a bad_host: the keys of a connection to where nothing is")

        result = target.checked(connection=target.case.bad_host)

        expect_failure(result, NOT_REACHED, "a bad host", "NetworkError")

    @check("types")
    @pytest.mark.parametrize("kind", KINDS)
    def test_values_come_back(self, target: Target, kind: str) -> None:
        """Extremes and nulls of each type are read back as they were written."""
        batch = zoo_batch(kind)

        target.load(batch)

        found = target.rows(schema=batch.schema)
        for wanted, given in zip(batch.to_pylist(), found, strict=True):
            assert row_text(given) == row_text(wanted), f"{given} was read back, {wanted} was written"

    @check("names")
    def test_columns_may_have_any_name(self, target: Target) -> None:
        """Columns keep names with spaces, quotes, and letters of other scripts."""
        names = ["id", "two words", "Ünïcode 表", 'quo"te', "it's", "a.b", "select", "UPPER", "1st", "_x", "a/b"]
        batch = pa.record_batch({name: pa.array([number], pa.int64()) for number, name in enumerate(names)})

        target.load(batch)

        assert target.rows(schema=batch.schema) == batch.to_pylist()

    @check("empty_batches")
    def test_empty_batches_are_batches(self, target: Target) -> None:
        """Batches without rows change nothing, and a run of nothing else commits its state."""
        target.load(numbers())
        assert target.count(TABLE) == 0
        assert target.committed().generation == 1, "a run without rows did not commit its state"

        target.load(numbers(), numbers(1, 2), numbers())

        assert ids(target) == [1, 2]

    @check("wide")
    def test_a_table_may_have_a_thousand_columns(self, target: Target) -> None:
        """A thousand columns are written and read back."""
        columns = {"id": pa.array([0, 1, 2])} | {
            f"column_{number:03}": pa.array([number, None, -number], pa.int64()) for number in range(999)
        }
        batch = pa.record_batch(columns)

        target.load(batch)

        assert target.rows(schema=batch.schema) == batch.to_pylist()

    @check("append")
    def test_runs_append(self, target: Target) -> None:
        """A run adds its rows to those that are there, and its state is what is remembered."""
        first = target.load(numbers(1, 2), numbers(3))
        second = target.load(numbers(4))

        assert ids(target) == [1, 2, 3, 4]
        assert (first.generation, second.generation) == (1, 2)
        remembered = target.committed()
        assert (remembered.generation, remembered.state) == (2, {"version": 1, "at": 2})
        assert remembered.commit_id == second.commit_id

    @check("overwrite")
    def test_a_run_overwrites(self, target: Target) -> None:
        """A run that overwrites leaves its own rows alone."""
        _needs(target, "overwrite")
        target.load(numbers(1, 2), write="overwrite")

        target.load(numbers(3), write="overwrite")

        assert ids(target) == [3]

    @check("merge")
    def test_a_run_merges(self, target: Target) -> None:
        """A run that merges replaces rows of the same key, and adds the others."""
        _needs(target, "merge")
        target.load(numbers(1, 2, text="old"), write="merge")

        target.load(numbers(2, 3, text="new"), write="merge")

        assert [(row["id"], row["text"]) for row in target.rows()] == [(1, "old"), (2, "new"), (3, "new")]

    @check("delete")
    def test_a_run_deletes(self, target: Target) -> None:
        """A run that merges removes the rows of deleted keys."""
        _needs(target, "merge")
        writer = target.writer()
        if not writer.deletes_rows:
            raise NotDeclaredError("deletes_rows is not declared")
        target.load(numbers(1, 2, 3), write="merge")
        table = writer.table(target.spec(write="merge"))
        generation = table.load_state().generation
        table.open(_NUMBERS)
        table.delete(numbers(2).select(["id"]))
        table.commit(request(generation))
        writer.close()

        assert ids(target) == [1, 3]

    @check("quarantine")
    def test_rejected_rows_have_a_table(self, target: Target) -> None:
        """Rejected rows are in the quarantine table with the commit, and not before."""
        writer = target.writer()
        spec = target.spec()
        table = writer.table(spec)
        generation = table.load_state().generation
        table.open(_NUMBERS)
        table.write(numbers(1))
        table.quarantine(_REJECTED)
        early = target.count(spec.quarantine_name)
        table.commit(request(generation))
        writer.close()

        assert early == 0, "rejected rows showed before the commit"
        assert target.count(spec.quarantine_name) == 1
        assert ids(target) == [1]

    @check("invisible")
    def test_nothing_shows_before_the_commit(self, target: Target) -> None:
        """Rows show with the commit, and not before."""
        target.load(numbers(1))
        writer = target.writer()
        table = writer.table(target.spec())
        generation = table.load_state().generation
        table.open(_NUMBERS)
        table.write(_many(20_000))
        early = target.count(TABLE)
        table.commit(request(generation))
        writer.close()

        assert early == 1, f"{early - 1} rows showed before the commit"
        assert target.count(TABLE) == 20_001

    @check("abort")
    def test_an_abort_leaves_nothing(self, target: Target) -> None:
        """A run that is given up leaves rows and state as they were, and may be given up twice."""
        target.load(numbers(1))
        before = target.committed()
        writer = target.writer()
        spec = target.spec()
        table = writer.table(spec)
        table.load_state()
        table.open(_NUMBERS)
        table.write(_many(20_000))
        table.quarantine(_REJECTED)
        table.abort()
        table.abort()
        writer.close()

        assert ids(target) == [1], "rows of an aborted run show"
        assert target.count(spec.quarantine_name) == 0
        assert target.committed() == before

    @check("crash")
    @pytest.mark.parametrize("after", ["open", "write", "quarantine", "commit"])
    def test_a_crash_loses_nothing(self, target: Target, after: str) -> None:
        """Killed after any call, a run that is run again leaves the rows as the writer's delivery promises."""
        target.load(numbers(1))
        writer = target.writer()
        table = writer.table(target.spec())
        generation = table.load_state().generation
        for name, call in _calls(table, generation):
            call()
            if name == after:
                break
        target.crash(writer)

        remembered = target.committed().generation
        assert remembered == generation + (after == "commit"), f"generation {remembered} after a crash after {after}"
        assert ids(target) == ([1] if remembered == generation else [1, 2, 3]), f"rows after a crash after {after}"
        if remembered == generation:
            target.load(numbers(2), numbers(3))
        self._promised(target, [1, 2, 3])

    @check("crash_in_commit")
    @pytest.mark.parametrize("moment", ["before", "after"])
    def test_a_crash_within_a_commit_loses_nothing(self, target: Target, moment: str) -> None:
        """Killed right before or after commit_files, likewise."""
        plugin = self.plugin
        if not (isinstance(plugin, type) and issubclass(plugin, BaseWriter)):
            raise NotDeclaredError("it is no BaseWriter: its commit is one call", "not_applicable")

        class Dying(plugin):  # type: ignore[valid-type,misc]  # the class that is checked
            def commit_files(self, file_metadata: list[dict[str, Any]]) -> dict[str, Any]:
                if moment == "after":
                    super().commit_files(file_metadata)
                raise _KilledError

        target.load(numbers(1))
        writer = target.writer(plugin=Dying)
        table = writer.table(target.spec())
        generation = table.load_state().generation
        table.open(_NUMBERS)
        table.write(numbers(2, 3))
        with pytest.raises(_KilledError):
            table.commit(request(generation))
        target.crash(writer)

        if target.committed().generation == generation:
            target.load(numbers(2, 3))
        self._promised(target, [1, 2, 3])

    @check("idempotent_commit")
    def test_a_commit_may_be_repeated(self, target: Target) -> None:
        """With ATOMIC_COMMIT a second commit_files of the same files changes nothing."""
        plugin = self.plugin
        if not (isinstance(plugin, type) and issubclass(plugin, BaseWriter)):
            raise NotDeclaredError("it is no BaseWriter: its commit is one call", "not_applicable")
        if Capability.ATOMIC_COMMIT not in plugin.capabilities:
            raise NotDeclaredError("ATOMIC_COMMIT is not declared: rows arrive at least once")
        config = target.case.config()
        base = target.case.output_base or str(config.connection.get("path", ""))
        asset = AssetDefinition.of(target.spec(), _NUMBERS)
        writer = plugin(asset, config, base)
        takes_arrow = Capability.ARROW_BATCHES in plugin.capabilities
        files = writer.write_batch(numbers(1, 2) if takes_arrow else numbers(1, 2).to_pylist(), 0)
        files = json.loads(json.dumps(files, default=str))  # as a state store keeps them
        writer.commit_files(files)
        plugin(asset, config, base).commit_files(files)

        assert ids(target) == [1, 2]

    @check("fence")
    def test_an_old_run_is_fenced(self, target: Target) -> None:
        """Of two runs that began at the same time the second to commit is refused, and lands nothing."""
        slow = target.writer()
        table = slow.table(target.spec())
        generation = table.load_state().generation
        target.load(numbers(1))
        with pytest.raises(FencedError):  # noqa: PT012  whichever call finds out first
            table.open(_NUMBERS)
            table.write(numbers(2))
            table.commit(request(generation))
        table.abort()
        slow.close()

        assert ids(target) == [1]

    @check("secrets")
    def test_a_secret_never_leaves(
        self, target: Target, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Credentials show neither in output, logs and errors, nor in rows and states."""
        case = target.case
        secrets = leaks.secret_values(case.credentials)
        if not secrets:
            raise NotApplicableError("give the case credentials of four letters or more")
        said: dict[str, Callable[[], object]] = {
            "a good check": target.checked,
            "a check with bad credentials": lambda: target.checked(credentials=case.bad_credentials),
            "a check with a bad host": lambda: target.checked(connection=case.bad_host),
            "a receipt": lambda: target.load(numbers(1)),
            "a state": target.committed,
            "a row": target.rows,
            "a writer": lambda: vars(target.writer()),
        }
        with caplog.at_level(logging.DEBUG):
            for what, ask in said.items():
                assert not leaks.found_in(repr(ask()), secrets), f"{what} tells the credentials"
        assert not leaks.found_in("".join(capfd.readouterr()), secrets), "the credentials were printed"
        assert not leaks.found_in(caplog.text, secrets), "the credentials were logged"

    @check("memory")
    def test_memory_is_bounded(self, target: Target) -> None:
        """Writing much takes little more memory than writing a little."""
        case = target.case
        allowed = case.memory_bytes or _ALLOWED_BYTES + _ALLOWED_BUFFERS * case.buffer_bytes
        small = self._peak(target, "small", 2 * case.buffer_bytes)
        large = self._peak(target, "large", _LARGE_BYTES)

        assert large - small <= allowed, (
            f"writing {_LARGE_BYTES // 2**20} MiB took {(large - small) // 2**20} MiB more than writing a little: "
            f"at most {allowed // 2**20} MiB; write what you are given, and keep none"
        )

    def _peak(self, target: Target, name: str, size: int) -> int:
        batch = pa.record_batch({"id": pa.array(range(256)), "text": pa.array(["x" * 4096] * 256)})
        writer = target.writer()
        table = writer.table(target.spec(name))
        generation = table.load_state().generation
        table.open(batch.schema)
        memory.begin_peak()
        for _ in range(max(1, size // batch.nbytes)):
            table.write(batch)
        table.commit(request(generation))
        here = memory.peak_bytes()
        writer.close()
        elsewhere = target.hook.pytest_dativo_peak_bytes(end=writer)
        return here if elsewhere is None else elsewhere

    def _promised(self, target: Target, wanted: list[int]) -> None:
        """See that rows are there as often as the writer's delivery says."""
        found = ids(target)
        if target.writer().delivery == "exactly_once":
            assert found == wanted, f"delivery is exactly_once, and the rows are {found} instead of {wanted}"
        assert sorted(set(found)) == wanted, f"rows were lost: {found} instead of {wanted}"


def request(generation: int) -> CommitRequest:
    """Ask for the commit after a generation."""
    return CommitRequest(
        commit_id=uuid4().hex,
        expected_generation=generation,
        state={"version": 1, "at": generation + 1},
        committed_at=_COMMITTED_AT,
    )


def numbers(*ids: int, text: str = "row") -> pa.RecordBatch:
    """Give rows of a number and a text."""
    return pa.record_batch([pa.array(ids, pa.int64()), pa.array([text] * len(ids), pa.string())], schema=_NUMBERS)


def ids(target: Target) -> list[int]:
    """Read the numbers of all rows, in order."""
    return [row["id"] for row in target.rows()]


def _many(rows: int) -> pa.RecordBatch:
    return numbers(*range(10, 10 + rows), text="x" * 200)


def _calls(table: TableWriter, generation: int) -> list[tuple[str, Callable[[], object]]]:
    """List what a run does, in order; a crash after ``write`` is one between two batches."""
    return [
        ("open", lambda: table.open(_NUMBERS)),
        ("write", lambda: table.write(numbers(2))),
        ("write again", lambda: table.write(numbers(3))),
        ("quarantine", lambda: table.quarantine(_REJECTED)),
        ("commit", lambda: table.commit(request(generation))),
    ]


def _needs(target: Target, write: WriteMode) -> None:
    modes = target.writer().write_modes
    if write not in modes:
        raise NotDeclaredError(f"its write modes are {', '.join(sorted(modes))}")
