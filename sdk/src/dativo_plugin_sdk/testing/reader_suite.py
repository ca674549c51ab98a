"""What a reader promises, as tests."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from dativo_plugin_sdk.column_types import arrow_type
from dativo_plugin_sdk.errors import DativoError, RateLimitError
from dativo_plugin_sdk.migrations import STATE_VERSION
from dativo_plugin_sdk.results import ConnectionTestResult, DiscoveryResult
from dativo_plugin_sdk.streams import Rows, State, StreamReader, StreamSpec
from dativo_plugin_sdk.tables import MAX_STATE_BYTES
from dativo_plugin_sdk.testing import leaks, memory, reading, spec_rules
from dativo_plugin_sdk.testing.cases import ReaderCase, StreamCase
from dativo_plugin_sdk.testing.ends import (
    CREDENTIALS_REFUSED,
    NOT_REACHED,
    Plugin,
    expect_failure,
    failure,
    is_not_implemented,
    opened_reader,
    walk,
)
from dativo_plugin_sdk.testing.gaps import Gap, NotApplicableError, NotDeclaredError, check
from dativo_plugin_sdk.testing.http_server import retry_after_front

_RETRY_AFTER_S = 1.0
_THREADS_S = 1.0  # for threads that were told to end
_ALLOWED_BYTES = 24 * 2**20
_ALLOWED_BATCHES = 4


class Source:
    """The source of a suite's case, and readers of it."""

    def __init__(self, plugin: Plugin, case: ReaderCase, hook: Any) -> None:
        self.plugin = plugin
        self.case = case
        self.hook = hook

    def opened(
        self, connection: Mapping[str, Any] | None = None, credentials: Mapping[str, Any] | None = None
    ) -> AbstractContextManager[StreamReader]:
        """Make a reader for a while."""
        return opened_reader(self.plugin, self.case.config(connection, credentials), self.hook)

    def checked(
        self, connection: Mapping[str, Any] | None = None, credentials: Mapping[str, Any] | None = None
    ) -> ConnectionTestResult:
        """Check the streams, with keys of the configuration replaced."""
        specs = [stream.spec(schema=stream.schema) for stream in self.case.streams]
        try:
            with self.opened(connection, credentials) as reader:
                return walk(reader.check(specs))
        except DativoError as error:
            return failure(error)

    def spec_of(self, reader: StreamReader, stream: StreamCase) -> StreamSpec:
        """Say what to read, with the schema that a run would have."""
        asked = stream.spec(batch_bytes=self.case.batch_bytes)
        reader.prepare([asked])
        return stream.spec(schema=stream.schema or reader.schema(asked), batch_bytes=self.case.batch_bytes)

    def read(
        self, stream: StreamCase, state: State | None = None, *, stop_at_state: int | None = None
    ) -> reading.Reading:
        """Read a stream with a reader of its own."""
        with self.opened() as reader:
            return reading.read(reader, self.spec_of(reader, stream), state, stop_at_state=stop_at_state)


class ReaderSuite:
    """Subclass it as ``class TestMine(ReaderSuite)``, and say which plugin, in which case.

    A case that needs a server is a fixture: override ``reader_case``.
    """

    kind: ClassVar[str] = "reader"
    plugin: ClassVar[Plugin]
    case: ClassVar[ReaderCase]
    gaps: ClassVar[Sequence[Gap]] = ()
    connector: ClassVar[str | None] = None
    """The name in tables; by default the plugin's."""
    version: ClassVar[str | None] = None
    """The version, where the class does not say it itself."""

    @pytest.fixture
    def reader_case(self) -> ReaderCase:
        """Give the case."""
        return self.case

    @pytest.fixture
    def source(self, reader_case: ReaderCase, request: pytest.FixtureRequest) -> Source:
        """Give the source to the tests."""
        if not reader_case.streams:
            raise TypeError("the case has no streams: ReaderCase(streams=[StreamCase(name), ...])")
        return Source(self.plugin, reader_case, request.config.hook)

    @check("spec")
    def test_the_plugin_says_what_it_is(self, source: Source) -> None:
        """The plugin has a version, the SDK releases it needs, known capabilities, and a docstring."""
        spec_rules.inspect_plugin(self.plugin, self.version)
        with source.opened() as reader:
            spec_rules.inspect_capabilities(reader.capabilities)

    @check("check")
    def test_check_succeeds(self, source: Source) -> None:
        """Check succeeds where everything is right."""
        result = source.checked()

        assert result.success, f"check failed with {result.error_code}: {result.message}"
        for step, found in (result.details or {}).items():
            assert not is_not_implemented(found.get("details")), f"{step}: nobody wrote check_connection"

    @check("bad_credentials")
    def test_check_refuses_bad_credentials(self, source: Source) -> None:
        """Check names bad credentials as that."""
        if source.case.bad_credentials is None:
            raise NotApplicableError("give the case bad_credentials that the source refuses")

        result = source.checked(credentials=source.case.bad_credentials)

        expect_failure(result, CREDENTIALS_REFUSED, "bad credentials", "InvalidCredentialsError")

    @check("bad_host")
    def test_check_refuses_a_bad_host(self, source: Source) -> None:
        """Check says that nobody is there where nobody is."""
        if source.case.bad_host is None:
            raise NotApplicableError("give the case a bad_host: the keys of a connection to where nothing is")

        result = source.checked(connection=source.case.bad_host)

        expect_failure(result, NOT_REACHED, "a bad host", "NetworkError")

    @check("discover")
    def test_discover_is_deterministic(self, source: Source) -> None:
        """Discover gives the same twice, with the streams and their columns' types."""
        with source.opened() as first, source.opened() as second:
            found, again = first.discover(), second.discover()

        assert not is_not_implemented(found.metadata), "nobody wrote discover"
        assert _document(found) == _document(again), "two readers discovered different things"
        names = [f"{item.get('namespace') or ''}.{item['name']}".strip(".") for item in found.objects]
        assert len(set(names)) == len(names), f"discover gives a name twice: {sorted(names)}"
        for item in found.objects:
            for column in item.get("columns") or ():
                assert arrow_type(column) is not None, f"{item['name']}.{column['name']}: no such type: {column}"

    @check("schema")
    def test_the_schema_is_that_of_the_rows(self, source: Source) -> None:
        """Each column of the rows is in the schema, and its values fit the type."""
        for stream in source.case.streams:
            with source.opened() as reader:
                spec = source.spec_of(reader, stream)
                found = reading.read(reader, spec)
            with source.opened() as reader:
                again = source.spec_of(reader, stream)
            assert spec.schema == again.schema, f"{stream.name}: two readers found different schemas"
            for batch in found.batches:
                _fits(stream.name, batch, spec.schema or batch.schema)

    @check("rows")
    def test_the_rows_are_those_of_the_source(self, source: Source) -> None:
        """All rows come, each once, with values that Arrow finds to be sound."""
        for stream in source.case.streams:
            found = source.read(stream)
            for batch in found.batches:
                batch.validate(full=True)
            rows = found.rows
            if stream.rows is None:
                assert rows, f"{stream.name}: no row came; tell the suite what must come: StreamCase(rows=...)"
            elif isinstance(stream.rows, int):
                assert len(rows) == stream.rows, f"{stream.name}: {len(rows)} rows came, expected {stream.rows}"
            else:
                assert not (differ := reading.difference(stream.rows, rows, stream.primary_key)), (
                    f"{stream.name}: {differ}"
                )
                assert len(rows) == len(stream.rows), f"{stream.name}: rows came more than once"

    @check("resume")
    def test_reading_goes_on_after_a_crash(self, source: Source) -> None:
        """Stopped after any state, reading goes on from there, and all rows come."""
        for stream in source.case.streams:
            whole = source.read(stream)
            for number in _places(len(whole.states), source.case.most_crashes):
                stopped = source.read(stream, stop_at_state=number)
                state = reading.through_json(stopped.states[-1][0]) if stopped.states else None
                rest = source.read(stream, state)
                got = [*stopped.committed(), *rest.everything()]
                assert not (differ := reading.difference(whole.everything(), got, stream.primary_key)), (
                    f"{stream.name}: stopped after state {number} of {len(whole.states)} and read on from {state}: "
                    f"{differ}. A state speaks of the batches before it: yield rows first, then set it"
                )

    @check("nothing_new")
    def test_nothing_new_comes_after_the_last_state(self, source: Source) -> None:
        """Read again from the last state, an unchanged source gives no row that was not there."""
        resumable = False
        for stream in source.case.streams:
            whole = source.read(stream)
            if stream.mode != "incremental" or not whole.states:
                continue
            resumable = True
            again = source.read(stream, reading.through_json(whole.states[-1][0]))
            known = set(map(reading.row_text, whole.everything()))
            new = [row for row in again.everything() if reading.row_text(row) not in known]
            assert not new, f"{stream.name}: {len(new)} rows came that the source does not have, such as {new[0]}"
            assert len(again.everything()) < len(known) or len(known) == 1, (
                f"{stream.name}: all {len(known)} rows came again from the last state"
            )
        if not resumable:
            raise NotDeclaredError("it tells no state: each run reads everything")

    @check("state")
    def test_state_is_small_json(self, source: Source) -> None:
        """What is told as state comes back from JSON as it was, and is small."""
        for stream in source.case.streams:
            for state, *_ in source.read(stream).states:
                text = _as_json(stream.name, state)
                assert json.loads(text) == state, f"{stream.name}: JSON changes the state {state}: use texts as keys"
                assert len(text.encode()) <= MAX_STATE_BYTES, f"{stream.name}: a state takes {len(text)} bytes as JSON"

    @check("old_states")
    def test_states_of_older_releases_are_migrated(self, source: Source) -> None:
        """A state that an older release left is read on from."""
        version = int(getattr(self.plugin, "state_version", 1))
        if version == 1 and not source.case.old_states:
            raise NotDeclaredError("its state has had one version only", "not_applicable")
        given = {old.version for old in source.case.old_states}
        missing = sorted(set(range(1, version)) - given)
        if missing:
            raise NotApplicableError(f"give the case old_states of the versions {missing}")
        stream = source.case.streams[0]
        known = set(map(reading.row_text, source.read(stream).everything()))
        for old in source.case.old_states:
            state = {**old.state, **({STATE_VERSION: old.version} if old.version > 1 else {})}
            rest = source.read(stream, reading.through_json(state)).everything()
            unknown = [row for row in rest if reading.row_text(row) not in known]
            assert not unknown, f"read on from the state of version {old.version}, {unknown[0]} came"
            assert len(rest) < len(known), f"the state of version {old.version} was not understood: all rows came again"

    @check("retry_after")
    def test_retry_after_is_honoured(self, source: Source) -> None:
        """Told to come again later (429, Retry-After), the reader waits, or says so and until when."""
        if source.case.http is None:
            raise NotApplicableError("give the case http: the key of the connection that holds the API's address")
        stream = source.case.streams[0]
        wanted = source.read(stream)
        address = str(source.case.connection[source.case.http])
        with retry_after_front(address) as (front, url), source.opened(connection={source.case.http: url}) as reader:
            spec = source.spec_of(reader, stream)
            front.arm(_RETRY_AFTER_S)
            told: RateLimitError | None = None
            try:
                found = reading.read(reader, spec)
            except RateLimitError as error:
                told = error
        if told is not None:
            assert told.retry_after_s, "RateLimitError does not say retry_after_s"
            assert told.retry_after_s <= _RETRY_AFTER_S, f"RateLimitError says to wait {told.retry_after_s} s"
            found = wanted
        assert front.refused, "no request was made while the stream was read: let it have more than one page"
        assert not front.early, f"{front.early} requests came before the time that Retry-After said"
        assert not (differ := reading.difference(wanted.rows, found.rows, stream.primary_key)), differ

    @check("cancel")
    def test_reading_can_be_stopped(self, source: Source) -> None:
        """Stopped in the middle, a reader lets go in time, and no thread of it stays."""
        before = set(threading.enumerate())
        stream = source.case.large or source.case.streams[0]
        with ExitStack() as stack:
            reader = stack.enter_context(source.opened())
            coming = reading.messages(reader, source.spec_of(reader, stream), None)
            first = next((message for message in coming if isinstance(message, Rows)), None)
            assert first is not None, f"{stream.name}: no row came, so that there is nothing to stop"
            started_s = time.monotonic()
            coming.close()  # type: ignore[attr-defined]  # a generator
            reader.close()
            stack.close()
            took_s = time.monotonic() - started_s
        assert took_s <= source.case.cancel_s, f"it took {took_s:.1f} s, at most {source.case.cancel_s:g}"
        for thread in set(threading.enumerate()) - before:
            thread.join(_THREADS_S)
            assert not thread.is_alive() or thread.daemon, f"the thread {thread.name} goes on"

    @check("secrets")
    def test_a_secret_never_leaves(
        self, source: Source, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Credentials show neither in output, logs and errors, nor in states, discoveries and rows."""
        case = source.case
        secrets = leaks.secret_values(case.credentials)
        if not secrets:
            raise NotApplicableError("give the case credentials of four letters or more")
        said: dict[str, Callable[[], object]] = {
            "a good check": source.checked,
            "a check with bad credentials": lambda: source.checked(credentials=case.bad_credentials),
            "a check with a bad host": lambda: source.checked(connection=case.bad_host),
        }
        with caplog.at_level(logging.DEBUG):
            for what, ask in said.items():
                assert not leaks.found_in(str(ask()), secrets), f"{what} tells the credentials"
            with source.opened() as reader:
                assert not leaks.found_in(repr(vars(reader)), secrets), "the reader's attributes show the credentials"
                assert not leaks.found_in(json.dumps(_document(reader.discover())), secrets), "discover tells them"
            for stream in case.streams:
                found = source.read(stream)
                assert not leaks.found_in(str(found.states), secrets), f"{stream.name}: a state has the credentials"
                rows = "" if case.secrets_in_rows else str(found.everything())
                assert not leaks.found_in(rows, secrets), f"{stream.name}: a row has the credentials"
        output = "".join(capfd.readouterr())
        assert not leaks.found_in(output, secrets), "the credentials were printed"
        assert not leaks.found_in(caplog.text, secrets), "the credentials were logged"

    @check("memory")
    def test_memory_is_bounded(self, source: Source) -> None:
        """Reading a large stream takes little more memory than reading a small one."""
        case = source.case
        if case.large is None:
            raise NotApplicableError("give the case a large stream, of 64 MiB or more")
        allowed = case.memory_bytes or _ALLOWED_BYTES + _ALLOWED_BATCHES * case.batch_bytes
        small, _ = self._peak(source, case.streams[0])
        large, size = self._peak(source, case.large)
        needed = allowed + allowed // 4
        if size < needed:
            raise NotApplicableError(f"the large stream has {size} bytes as Arrow data, it takes {needed} to tell")
        assert large - small <= allowed, (
            f"reading {size // 2**20} MiB took {(large - small) // 2**20} MiB more than reading a little: "
            f"at most {allowed // 2**20} MiB; yield batches as they come, and keep none"
        )

    def _peak(self, source: Source, stream: StreamCase) -> tuple[int, int]:
        size = 0
        with source.opened() as reader:
            spec = source.spec_of(reader, stream)
            memory.begin_peak()
            for message in reading.messages(reader, spec, None):
                if isinstance(message, Rows):
                    size += message.batch.nbytes
            here = memory.peak_bytes()
        elsewhere = source.hook.pytest_dativo_peak_bytes(end=reader)
        return here if elsewhere is None else elsewhere, size


def _document(found: DiscoveryResult) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(found.to_dict(), default=str))
    return document


def _places(states: int, most: int) -> Iterator[int]:
    """Choose states to stop at, from none to the last one, evenly where there are many."""
    if states < most:
        yield from range(states + 1)
        return
    yield from sorted({round(index * states / (most - 1)) for index in range(most)})


def _as_json(stream: str, state: State) -> str:
    try:
        return json.dumps(state)
    except TypeError as error:
        raise AssertionError(f"{stream}: the state {state} is no JSON: {error}") from error


def _fits(stream: str, batch: pa.RecordBatch, schema: pa.Schema) -> None:
    beyond = sorted(set(batch.schema.names) - set(schema.names))
    assert not beyond, f"{stream}: the rows have columns that the schema lacks: {', '.join(beyond)}"
    for field in schema:
        if field.name not in batch.schema.names:
            assert field.nullable, f"{stream}: {field.name} may not be null, and is not among the rows' columns"
            continue
        column = batch.column(field.name)
        assert field.nullable or not column.null_count, f"{stream}: {field.name} may not be null, and is"
        if column.type != field.type:
            try:
                column.cast(field.type)
            except pa.ArrowException as error:
                raise AssertionError(
                    f"{stream}: {field.name} is {column.type} in the rows and {field.type} in the schema: {error}"
                ) from error
