"""Readers answer in their own process as they do in the engine's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from small_engine import Engine, made, reader, reading

from dativo_plugin_sdk.errors import (
    AuthenticationError,
    DataError,
    DataNotFoundError,
    DativoError,
    InvalidConfigError,
    PluginExecutionError,
    PluginLoadError,
    TimeoutError as DativoTimeoutError,
)
from dativo_plugin_sdk.protocol import messages
from dativo_plugin_sdk.protocol.messages import PluginSpec
from dativo_plugin_sdk.rejects import rejected
from dativo_plugin_sdk.results import ConnectionTestResult, DiscoveryResult
from dativo_plugin_sdk.streams import Message, Partition, Rejected, Rows, Skipped, StateChanged, StreamSpec, Warned

Converse = Callable[..., Any]
WritePlugin = Callable[[str], Path]
A = StreamSpec("a")
A_JSON = messages.stream_to_json(A)

STREAM_READER = """
    import pyarrow as pa
    from dativo_plugin_sdk import *

    class Shop(StreamReader):
        __version__ = "2.1"
        requires_sdk = ">=0.1"
        capabilities = frozenset({Capability.INCREMENTAL, Capability.PARTITIONED})
        told = []

        def check(self, streams):
            return [
                Check("reach", lambda: ConnectionTestResult(True, "reached " + self.config.connection["host"])),
                Check("sample", lambda: ConnectionTestResult(False, str(len(streams)), "X", {"at": object})),
                Check("broken", lambda: 1 / 0),
                Check("odd", lambda: True),
            ]

        def discover(self, pattern=None):
            return DiscoveryResult([{"name": "a", "type": "table", "of": (1, 2)}], {"pattern": pattern}, ["w"])

        def schema(self, stream):
            if stream.name == "b":
                raise DataNotFoundError("no b", details={"there": ["a"]}, hint="ask for a")
            return pa.schema([pa.field("x", pa.int64()), pa.field("y", pa.dictionary(pa.int8(), pa.string()))])

        def source_schema(self, stream):
            return None if stream.name == "b" else pa.schema([pa.field("x", pa.int64(), metadata={"n": "int8"})])

        def streams(self):
            return {"a": {"path": "p"}}

        def prepare(self, streams):
            self.told.append([stream.name for stream in streams])

        def partitions(self, stream, state):
            return [Partition("1", {"from": state["n"]}, 10, 2), Partition("2")] if state else ()

        def warnings(self, stream):
            return [f"told {self.told}"]

        def fingerprint(self, stream):
            return "f1"

        def acknowledge(self, stream, state):
            self.told.append(state)

        def read(self, stream, partition, state):
            yield Rows(pa.record_batch({"x": [1, 2]}), "f.csv", 7, 100)
            yield Rows(pa.record_batch({"x": [3, 4]}), "f.csv", lines=pa.array([9, 12]))
            yield StateChanged({"n": 1, "was": state, "part": partition.id})
            yield Rejected(rejected([{"rule": "type", "reason": "r", "row": "{}"}]))
            yield Skipped(3, "blank")
            yield Warned("careful")
            yield Rows(pa.record_batch({"x": pa.array(["u", "u"]).dictionary_encode()}))
            yield StateChanged({"n": 2})
"""


def test_a_reader_says_what_it_is(converse: Converse, plugin: WritePlugin) -> None:
    path = plugin(STREAM_READER)

    spec = converse(lambda engine: messages.spec_from_json(engine.ask("spec", **reader(path, "Shop"))))

    assert spec == PluginSpec(
        "reader",
        "stream",
        "Shop",
        "2.1",
        ">=0.1",
        frozenset({"incremental", "partitioned"}),
        frozenset({"streams", "prepare", "source_schema", "partitions", "warnings", "fingerprint", "acknowledge"}),
    )


def test_every_question_is_answered(converse: Converse, plugin: WritePlugin) -> None:
    path = plugin(STREAM_READER)

    def talk(engine: Engine) -> list[Any]:
        made(engine, path, "Shop")
        return [
            messages.discovery_from_json(engine.ask("discover", pattern="a*")),
            messages.streams_from_json(engine.ask("streams")),
            engine.ask("prepare", streams=[A_JSON]),
            messages.schema_from_json(engine.ask("schema", stream=A_JSON)),
            messages.schema_from_json(engine.ask("source_schema", stream=A_JSON)),
            engine.ask("source_schema", stream={"name": "b"}),
            messages.partitions_from_json(engine.ask("partitions", stream=A_JSON, state={"n": 5})),
            messages.partitions_from_json(engine.ask("partitions", stream=A_JSON, state=None)),
            engine.ask("fingerprint", stream=A_JSON),
            engine.ask("acknowledge", stream=A_JSON, state={"n": 7}),
            messages.texts_from_json(engine.ask("warnings", stream=A_JSON), "warnings"),
        ]

    found = converse(talk)

    assert found == [
        DiscoveryResult([{"name": "a", "type": "table", "of": [1, 2]}], {"pattern": "a*"}, ["w"]),
        {"a": {"path": "p"}},
        None,
        pa.schema([("x", pa.int64()), ("y", pa.string())]),
        pa.schema([("x", pa.int64())]),
        None,
        [Partition("1", {"from": 5}, 10, 2), Partition("2")],
        [],
        "f1",
        None,
        ("told [['a'], {'n': 7}]",),
    ]


def test_a_check_runs_step_by_step(converse: Converse, plugin: WritePlugin) -> None:
    path = plugin(STREAM_READER)

    def talk(engine: Engine) -> list[Any]:
        made(engine, path, "Shop")
        found: list[Any] = [engine.ask("check", streams=[A_JSON])["steps"]]
        for number in range(5):
            try:
                found.append(messages.connection_test_from_json(engine.ask("check_step", step=number)))
            except DativoError as error:
                found.append(error.message)
        return found

    found = converse(talk)

    assert found == [
        ["reach", "sample", "broken", "odd"],
        ConnectionTestResult(True, "reached h"),
        ConnectionTestResult(False, "1", "X", {"at": "<class 'object'>"}),
        "Shop.check failed: ZeroDivisionError: division by zero",
        "Shop.check, step odd returned bool, expected a ConnectionTestResult",
        "Shop has 4 steps of a check, none is number 4",
    ]


def test_rows_and_states_come_in_the_order_of_the_reader(converse: Converse, plugin: WritePlugin) -> None:
    path = plugin(STREAM_READER)

    def talk(engine: Engine) -> list[Message]:
        made(engine, path, "Shop")
        return engine.read(A, {"n": 0})

    found = converse(talk)

    assert found == [
        Rows(pa.record_batch({"x": [1, 2]}), "f.csv", 7, 100),
        Rows(pa.record_batch({"x": [3, 4]}), "f.csv", lines=pa.array([9, 12])),
        StateChanged({"n": 1, "was": {"n": 0}, "part": "a"}),
        Rejected(rejected([{"rule": "type", "reason": "r", "row": "{}"}])),
        Skipped(3, "blank"),
        Warned("careful"),
        Rows(pa.record_batch({"x": ["u", "u"]})),
        StateChanged({"n": 2}),
    ]


def test_a_batch_that_is_too_large_comes_in_parts_with_their_lines(converse: Converse, plugin: WritePlugin) -> None:
    path = plugin("""
        import pyarrow as pa
        from dativo_plugin_sdk import *

        class Large(StreamReader):
            check = discover = schema = None
            def read(self, stream, partition, state):
                yield Rows(pa.record_batch({"x": ["y" * 100] * 1000}), "f", 5, 77)
                yield Rows(pa.record_batch({"x": list(range(1000))}), "f", lines=pa.array(range(1, 2001, 2)))
                yield Rejected(rejected([{"rule": "type", "reason": "r", "row": "{}"}] * 500))
                yield Rows(pa.record_batch({"x": ["y" * 50_000]}))
    """)

    def talk(engine: Engine) -> list[Message]:
        made(engine, path, "Large")
        found: list[Message] = []
        engine.on_event = lambda event: found.append(messages.message_of(event, engine.data.batch))
        with pytest.raises(DataError, match=r"a row of 5[0-9]{4} bytes is larger than a plugin may give, 20000"):
            engine.ask("read", **reading(A))
        return found

    found = converse(talk, body_bytes=20_000, rows=300)

    rows = [each for each in found if isinstance(each, Rows)]
    text = [each for each in rows if each.lines is None]
    numbers = [each for each in rows if each.lines is not None]
    assert max(each.batch.num_rows for each in rows) <= 300
    assert sum(each.batch.num_rows for each in text) == 1000
    assert [each.first_line for each in text] == [5 + sum(b.batch.num_rows for b in text[:n]) for n in range(len(text))]
    assert [each.source_bytes for each in text] == [77] + [0] * (len(text) - 1)
    assert [x for each in numbers for x in each.batch.column(0).to_pylist()] == list(range(1000))
    assert [x for each in numbers for x in each.lines.to_pylist()] == list(range(1, 2001, 2))
    assert sum(each.batch.num_rows for each in found if isinstance(each, Rejected)) == 500


def test_a_batch_comes_in_parts_of_about_what_the_stream_asks_for(converse: Converse, plugin: WritePlugin) -> None:
    path = plugin("""
        import pyarrow as pa
        from dativo_plugin_sdk import BaseReader

        class Large(BaseReader):
            def extract(self, state_manager=None):
                yield pa.table({"x": list(range(1_000_000))})
                yield pa.table({"x": ["y" * 1_000_000, "z" * 1_000_000]})
    """)

    def talk(engine: Engine) -> list[Message]:
        made(engine, path, "Large")
        return engine.read(StreamSpec("a", batch_bytes=500_000))

    found = converse(talk)

    batches = [message.batch for message in found if isinstance(message, Rows)]
    assert pa.Table.from_batches(batches[:-2])["x"].to_pylist() == list(range(1_000_000))
    assert all(250_000 <= batch.nbytes <= 500_000 or batch.num_rows == 1 for batch in batches)
    assert [batch.num_rows for batch in batches[-2:]] == [1, 1]


def test_a_simple_reader_is_read_as_streams(converse: Converse, plugin: WritePlugin) -> None:
    path = plugin("""
        from dativo_ingest.plugins import BaseReader, ConnectionTestResult
        from dativo_ingest.validator import IncrementalStateManager

        class Old(BaseReader):
            def check_connection(self):
                return ConnectionTestResult(True, self.source_config.credentials["key"])
            def extract(self, state_manager=None):
                start = state_manager.get("page", 0)
                for page in range(start, start + 2):
                    yield [{"id": page * 10 + row, "of": self.source_config.objects[0]} for row in range(2)]
                    state_manager.set("page", page + 1)
    """)

    def talk(engine: Engine) -> list[Any]:
        spec = messages.spec_from_json(made(engine, path, "Old"))
        check = engine.ask("check", streams=[A_JSON])["steps"]
        said = messages.connection_test_from_json(engine.ask("check_step", step=0)).message
        schema = messages.schema_from_json(engine.ask("schema", stream=A_JSON))
        partitions = messages.partitions_from_json(engine.ask("partitions", stream=A_JSON, state={"page": 3}))
        return [spec.level, sorted(spec.methods), check, said, schema, partitions, engine.read(A, {"page": 3})]

    level, methods, check, said, schema, partitions, found = converse(talk)

    assert (level, methods) == ("simple", ["fingerprint", "partitions"])
    assert (check, said) == (["connection"], "k")
    assert schema == pa.schema([("id", pa.int64()), ("of", pa.string())])
    assert partitions == [Partition("a")]
    assert found == [
        Rows(pa.record_batch({"id": [30, 31], "of": ["a", "a"]})),
        StateChanged({"page": 4}),
        Rows(pa.record_batch({"id": [40, 41], "of": ["a", "a"]})),
        StateChanged({"page": 5}),
    ]


def test_a_plugin_may_import_its_neighbours_late(converse: Converse, plugin: Callable[..., Path]) -> None:
    plugin("VALUE = 7", "a_late_neighbour.py")
    path = plugin("""
        from dativo_plugin_sdk import BaseReader

        class Late(BaseReader):
            def extract(self, state_manager=None):
                from a_late_neighbour import VALUE
                yield [{"value": VALUE}]
    """)

    def talk(engine: Engine) -> list[Message]:
        made(engine, path, "Late")
        return engine.read(A)

    found = converse(talk)

    assert found == [Rows(pa.record_batch({"value": [7]}))]


FAILING = """
    import builtins
    import sys
    from dativo_plugin_sdk import *

    class Own(BaseException):
        pass

    class Denied(AuthenticationError):
        pass

    class Mute(Exception):
        def __str__(self):
            raise ValueError("no text")

    def fails(name):
        if name == "exit":
            sys.exit(3)
        raise {
            "bug": KeyError("x"),
            "interrupt": KeyboardInterrupt(),
            "own": Own("o"),
            "denied": Denied("no", error_code="D1"),
            "late": builtins.TimeoutError("slow"),
            "stop": StopIteration(),
            "closed": GeneratorExit(),
            "eof": EOFError("short"),
            "mute": Mute(),
            "careless": DataError(Mute(), details={"a": Mute(), "b": {1: {2}}}, retry_after_s="soon"),
            "pipe": BrokenPipeError("theirs"),
        }[name]

    class Failing(StreamReader):
        check = discover = None
        def schema(self, stream):
            fails(stream.name)
        def read(self, stream, partition, state):
            if stream.name == "not iterable":
                return 5
            if stream.name == "odd":
                return iter([5])
            if stream.name == "state":
                return iter([StateChanged({"at": object()})])
            if stream.name == "large state":
                return iter([StateChanged({"at": "x" * 2**20})])
            if stream.name == "union":
                import pyarrow as pa
                union = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])
                return iter([Rows(pa.record_batch([union], names=["u"]))])
            if stream.name == "table":
                import pyarrow as pa
                return iter([Rows(pa.table({"a": [1]}))])
            return self.failing(stream.name)
        def failing(self, name):
            yield Warned("soon")
            fails(name)
"""


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("bug", PluginExecutionError, r"Failing\.{} failed: KeyError: 'x'"),
        ("exit", PluginExecutionError, r"Failing\.{} failed: SystemExit: 3"),
        ("interrupt", PluginExecutionError, r"Failing\.{} failed: KeyboardInterrupt"),
        ("own", PluginExecutionError, r"Failing\.{} failed: Own: o"),
        ("closed", PluginExecutionError, r"Failing\.{} failed: GeneratorExit"),
        ("eof", PluginExecutionError, r"Failing\.{} failed: EOFError: short"),
        ("mute", PluginExecutionError, "ValueError: no text"),
        ("careless", DataError, r"\(Mute, whose text cannot be had: ValueError\)"),
        ("denied", AuthenticationError, "no"),
        ("late", DativoTimeoutError, r"Failing\.{} failed: TimeoutError: slow"),
        ("pipe", DativoError, r"Failing\.{} failed: BrokenPipeError: theirs"),
    ],
)
def test_whatever_a_plugin_raises_is_an_error_with_its_traceback(
    converse: Converse, plugin: WritePlugin, name: str, kind: type[DativoError], message: str
) -> None:
    path = plugin(FAILING)

    def talk(engine: Engine) -> list[str | None]:
        made(engine, path, "Failing")
        tracebacks = []
        with pytest.raises(kind, match=message.format("schema")):
            engine.ask("schema", stream={"name": name})
        tracebacks.append(engine.traceback)
        with pytest.raises(kind, match=message.format("read")):
            engine.ask("read", **reading(StreamSpec(name)))
        tracebacks.append(engine.traceback)
        return tracebacks

    tracebacks = converse(talk)

    assert all("a_plugin.py" in str(traceback) for traceback in tracebacks)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stop", "Failing.schema failed: StopIteration"),
        ("not iterable", "Failing.read failed: TypeError: 'int' object is not iterable"),
        ("odd", "a reader yielded int, expected Rows or another message"),
        ("state", "a state: object at at has no form in JSON"),
        ("large state", "a state of Failing is too large"),
        ("union", "a batch cannot leave the plugin's process: column 0 of the schema"),
        ("table", "Failing.read returned pyarrow.lib.Table, expected messages with a pyarrow.RecordBatch"),
    ],
)
def test_what_no_reader_may_give_is_an_error(converse: Converse, plugin: WritePlugin, name: str, message: str) -> None:
    path = plugin(FAILING)

    def talk(engine: Engine) -> None:
        made(engine, path, "Failing")
        if name == "stop":
            engine.ask("schema", stream={"name": name})
        engine.ask("read", **reading(StreamSpec(name)))

    with pytest.raises(DativoError) as caught:
        converse(talk)

    assert caught.value.message.startswith(message)


def test_after_an_error_the_next_request_is_answered(converse: Converse, plugin: WritePlugin) -> None:
    path = plugin(STREAM_READER)

    def talk(engine: Engine) -> Any:
        made(engine, path, "Shop")
        with pytest.raises(DataNotFoundError) as caught:
            engine.ask("schema", stream={"name": "b"})
        return caught.value, len(engine.read(A))

    error, count = converse(talk)

    assert (error.details, error.hint, count) == ({"there": ["a"]}, "ask for a", 8)


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        ("import no_such_module_anywhere", "A", "importing .*a_plugin.py failed: ModuleNotFoundError"),
        ("raise SystemExit(3)", "A", "importing .*a_plugin.py failed: SystemExit: 3"),
        ("raise KeyboardInterrupt", "A", "import failed: KeyboardInterrupt"),
        ("class A: pass", "A", "A in .*a_plugin.py is no BaseReader or StreamReader"),
        ("class A: pass", "B", "a_plugin.py has no class B"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_says_why(
    converse: Converse, plugin: WritePlugin, source: str, name: str, message: str
) -> None:
    path = plugin(source)

    with pytest.raises((PluginLoadError, PluginExecutionError), match=message):
        converse(lambda engine: engine.ask("spec", **reader(path, name)))


def test_a_plugin_of_an_installed_package_is_found_by_its_entry_point(converse: Converse) -> None:
    spec = converse(
        lambda engine: engine.ask("spec", kind="reader", plugin={"entry_point": "dativo_ingest.sources.csv:CsvReader"})
    )

    assert (spec["class"], spec["level"]) == ("CsvReader", "stream")


@pytest.mark.parametrize(
    ("entry_point", "message"),
    [
        ("no_such_module_anywhere:A", "importing no_such_module_anywhere:A failed: ModuleNotFoundError"),
        ("json:JSONDecoder", "JSONDecoder in json is no BaseReader or StreamReader"),
        ("json:decoder.Nothing", "json has no class Nothing"),
        ("json:nothing.At", "importing json:nothing.At failed: AttributeError"),
    ],
)
def test_an_entry_point_that_leads_nowhere_says_why(converse: Converse, entry_point: str, message: str) -> None:
    with pytest.raises(PluginLoadError, match=message):
        converse(lambda engine: engine.ask("spec", kind="reader", plugin={"entry_point": entry_point}))


def test_a_configuration_that_the_plugin_refuses_comes_back_as_that(converse: Converse, plugin: WritePlugin) -> None:
    path = plugin("""
        from dativo_plugin_sdk import *

        class Options(PluginConfig):
            pages: int

        class Picky(StreamReader):
            check = discover = schema = read = None
            def __init__(self, config):
                super().__init__(config)
                self.options = parse(Options, config.connection, where="source.connection")
    """)

    with pytest.raises(InvalidConfigError, match=r"source.connection.pages: required key is missing") as caught:
        converse(lambda engine: made(engine, path, "Picky"))

    assert caught.value.details["problems"][0]["loc"] == ["pages"]


def test_a_discovery_larger_than_a_frame_comes_whole(converse: Converse, plugin: WritePlugin) -> None:
    path = plugin("""
        from dativo_plugin_sdk import *

        class Wide(StreamReader):
            check = schema = read = None
            def discover(self, pattern=None):
                return DiscoveryResult([{"name": f"t{n}", "type": "table", "note": "ü" * 50} for n in range(20_000)])
    """)

    def talk(engine: Engine) -> DiscoveryResult:
        made(engine, path, "Wide")
        return messages.discovery_from_json(engine.ask("discover"))

    found = converse(talk)

    assert [item["name"] for item in found.objects] == [f"t{n}" for n in range(20_000)]
    assert found.objects[-1]["note"] == "ü" * 50


def test_questions_that_nobody_knows_or_that_come_too_early_are_refused(
    converse: Converse, plugin: WritePlugin
) -> None:
    path = plugin(STREAM_READER)

    def talk(engine: Engine) -> list[str]:
        said = []
        for method, params in [
            ("discover", {}),
            ("spec", {"kind": "reader", "plugin": None}),
            ("spec", reader(path, "Shop")),
            ("schema", {"stream": A_JSON}),
            ("sing", {}),
        ]:
            try:
                engine.ask(method, **params)
            except DativoError as error:
                said.append(error.message)
        return said

    said = converse(talk)

    assert [each.split(": ")[-1] for each in said] == [
        "discover is asked before spec",
        "spec needs a kind, reader or writer, and a plugin",
        "Shop is asked before it is configured",
        "there is no method sing",
    ]


def test_shutdown_closes_the_plugin(converse: Converse, plugin: WritePlugin, tmp_path: Path) -> None:
    path = plugin(f"""
        from pathlib import Path
        from dativo_plugin_sdk import *

        class Closed(StreamReader):
            check = discover = schema = read = None
            def close(self):
                Path({str(tmp_path / "closed")!r}).touch()
    """)

    def talk(engine: Engine) -> Any:
        made(engine, path, "Closed")
        return engine.ask("shutdown")

    value = converse(talk)

    assert value == {}
    assert (tmp_path / "closed").exists()
