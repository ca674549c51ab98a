from __future__ import annotations

import builtins
from collections.abc import Iterator
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from dativo_plugin_sdk import (
    BaseReader,
    Capability,
    ConnectionError,
    ConnectionTestResult,
    DataNotFoundError,
    DiscoveryResult,
    IncrementalStateManager,
    Message,
    PluginExecutionError,
    RateLimitError,
    Rows,
    SimpleReader,
    SourceConfig,
    StateChanged,
    StreamSpec,
    TimeoutError,
)

ORDERS = StreamSpec(name="orders")


def reader_of(plugin: type[BaseReader], **config: Any) -> SimpleReader:
    return SimpleReader(plugin, SourceConfig(type="plugin", **config))


def read_all(reader: SimpleReader, stream: StreamSpec = ORDERS, state: dict[str, Any] | None = None) -> list[Message]:
    """Do what the engine does: the schema, the partitions, the rows."""
    known = StreamSpec(**{**vars(stream), "schema": reader.schema(stream)})
    return [message for part in reader.partitions(known, state) for message in reader.read(known, part, state)]


def rows_of(messages: list[Message]) -> list[dict[str, Any]]:
    return [row for message in messages if isinstance(message, Rows) for row in message.batch.to_pylist()]


class CountingReader(BaseReader):
    """Yields two pages and counts what is asked of it."""

    calls: list[str]

    def __init_subclass__(cls) -> None:
        cls.calls = []

    def __init__(self, source_config: SourceConfig) -> None:
        super().__init__(source_config)
        self.calls.append("init")

    def extract(self, state_manager: IncrementalStateManager | None = None) -> Iterator[Any]:
        self.calls.append("extract")
        assert state_manager is not None
        for page in range(state_manager.get("page", 0), 2):
            yield [{"id": page, "stream": self.source_config.objects[0]}]
            state_manager.set("page", page + 1)


def test_each_stream_is_extracted_once_by_an_instance_of_its_own() -> None:
    class Reader(CountingReader):
        pass

    reader = reader_of(Reader)

    rows = rows_of(read_all(reader)) + rows_of(read_all(reader, StreamSpec(name="customers")))

    assert rows == [
        {"id": 0, "stream": "orders"},
        {"id": 1, "stream": "orders"},
        {"id": 0, "stream": "customers"},
        {"id": 1, "stream": "customers"},
    ]
    assert Reader.calls == ["init", "extract"] * 2


def test_state_covers_the_batches_yielded_before_it_was_set() -> None:
    class Reader(CountingReader):
        pass

    messages = read_all(reader_of(Reader))

    assert [m.state["page"] if isinstance(m, StateChanged) else "rows" for m in messages] == ["rows", 1, "rows", 2]


def test_reading_goes_on_from_the_committed_state() -> None:
    class Reader(CountingReader):
        pass

    messages = read_all(reader_of(Reader), state={"page": 1})

    assert rows_of(messages) == [{"id": 1, "stream": "orders"}]


def test_a_stream_read_twice_is_extracted_anew() -> None:
    class Reader(CountingReader):
        pass

    reader = reader_of(Reader)

    first, second = rows_of(read_all(reader)), rows_of(read_all(reader))

    assert first == second
    assert len(first) == 2


def test_the_streams_options_go_before_the_sources() -> None:
    seen: list[SourceConfig] = []

    class Reader(BaseReader):
        def extract(self, state_manager: Any = None) -> Iterator[Any]:
            seen.append(self.source_config)
            yield [{"id": 1}]

    spec = StreamSpec(name="orders", mode="incremental", cursor="at", options={"page": 5})
    read_all(reader_of(Reader, options={"page": 1, "retries": 3}), spec)

    assert seen[0].objects == ["orders"]
    assert seen[0].options == {"page": 5, "retries": 3}
    assert seen[0].engine == {"options": {"page": 5, "retries": 3}}
    assert seen[0].incremental == {"cursor_field": "at"}


def test_a_reader_is_told_the_range_that_it_shall_read() -> None:
    seen: list[SourceConfig] = []

    class Reader(BaseReader):
        capabilities = frozenset({Capability.CURSOR_RANGE})

        def extract(self, state_manager: Any = None) -> Iterator[Any]:
            seen.append(self.source_config)
            yield [{"id": 1}]

    read_all(reader_of(Reader), StreamSpec(name="orders", mode="incremental", cursor="id", cursor_from="5"))

    assert seen[0].incremental == {"cursor_field": "id", "cursor_from": "5"}


class OldReader(BaseReader):
    """As written before there was a version, a check, a discovery or state."""

    def __init__(self, source_config: SourceConfig) -> None:
        self.config = source_config

    def extract(self) -> Iterator[list[dict[str, Any]]]:  # type: ignore[override]  # as it was
        yield [{"id": 1}, {"id": 2}]


def test_a_class_of_earlier_releases_still_reads() -> None:
    reader = reader_of(OldReader)

    assert rows_of(read_all(reader)) == [{"id": 1}, {"id": 2}]
    assert reader.capabilities == frozenset()
    assert reader.discover().objects == []


def test_a_parameter_of_another_name_gets_the_state_too() -> None:
    class Reader(BaseReader):
        def extract(self, manager: Any) -> Iterator[Any]:  # type: ignore[override]  # as some wrote it
            manager.set("seen", True)
            yield [{"id": 1}]

    messages = read_all(reader_of(Reader))

    assert StateChanged({"seen": True}) in messages


def test_a_check_that_nobody_wrote_says_so() -> None:
    (check,) = reader_of(OldReader).check([ORDERS])

    assert check.run() == ConnectionTestResult(True, "Connection test not implemented", None, {"implemented": False})


class ShopReader(BaseReader):
    capabilities = frozenset({Capability.INCREMENTAL})
    columns: ClassVar[list[dict[str, Any]] | None] = None

    def check_connection(self) -> ConnectionTestResult:
        return ConnectionTestResult(True, "API accessible", details={"api_version": "v1"})

    def discover(self) -> DiscoveryResult:
        return DiscoveryResult(
            [{"name": "orders", "type": "endpoint", "columns": self.columns}, {"name": "users", "type": "endpoint"}],
            {"base": "shop"},
        )

    def extract(self, state_manager: Any = None) -> Iterator[Any]:
        yield []
        yield [{"id": 1, "price": 2.5}]

    def get_total_records_estimate(self) -> int:
        return 1


def test_the_plugins_own_check_and_its_streams_are_the_steps() -> None:
    checks = reader_of(ShopReader).check([ORDERS])

    assert [(check.step, check.run().success) for check in checks] == [("connection", True), ("streams", True)]


def test_a_stream_that_discovery_does_not_list_fails_the_check() -> None:
    check = reader_of(ShopReader).check([StreamSpec(name="order")])[1]

    with pytest.raises(DataNotFoundError, match="the source has no order; there is: orders, users"):
        check.run()


def test_discovery_passes_on_what_the_plugin_gives_and_picks_by_pattern() -> None:
    reader = reader_of(ShopReader)

    everything, picked = reader.discover(), reader.discover("u*")

    assert everything.metadata == {"base": "shop"}
    assert [item["name"] for item in picked.objects] == ["users"]
    assert list(reader.streams()) == ["orders", "users"]


def test_capabilities_and_row_estimates_are_the_plugins() -> None:
    reader = reader_of(ShopReader)

    (partition,) = reader.partitions(ORDERS, None)

    assert (partition.id, partition.rows) == ("orders", 1)
    assert reader.capabilities == {Capability.INCREMENTAL}


def test_the_schema_comes_from_discovered_columns_with_usable_types() -> None:
    class Typed(ShopReader):
        columns: ClassVar[list[dict[str, Any]] | None] = [
            {"name": "id", "type": "integer", "nullable": False},
            {"name": "price", "type": "number", "arrow_type": "decimal128(10, 2)"},
        ]

    schema = reader_of(Typed).schema(ORDERS)

    assert schema == pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("price", pa.decimal128(10, 2))])


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param(None, id="no columns"),
        pytest.param([{"name": "id", "type": "integer"}, {"name": "price", "type": "money"}], id="unknown type"),
    ],
)
def test_the_schema_is_inferred_from_the_first_batch_with_rows_otherwise(columns: list[dict[str, Any]] | None) -> None:
    class Untyped(ShopReader):
        pass

    Untyped.columns = columns
    reader = reader_of(Untyped)

    schema = reader.schema(ORDERS)

    assert schema == pa.schema({"id": pa.int64(), "price": pa.float64()})
    assert rows_of(read_all(reader)) == [{"id": 1, "price": 2.5}]


def test_rows_without_columns_say_nothing_about_the_schema() -> None:
    class Sparse(BaseReader):
        def extract(self, state_manager: Any = None) -> Iterator[Any]:
            yield [{}]
            yield [{"id": 1}]

    reader = reader_of(Sparse)

    assert reader.schema(ORDERS) == pa.schema({"id": pa.int64()})
    assert rows_of(read_all(reader)) == [{"id": None}, {"id": 1}]


def test_a_stream_without_rows_has_a_schema_without_fields() -> None:
    class Empty(BaseReader):
        def extract(self, state_manager: Any = None) -> Iterator[Any]:
            yield from ()

    assert reader_of(Empty).schema(ORDERS) == pa.schema([])


@pytest.mark.parametrize(
    "batch",
    [
        pytest.param(pa.record_batch({"id": [1, 2]}), id="record batch"),
        pytest.param(pa.table({"id": [1, 2]}), id="table"),
        pytest.param([{"id": 1}, {"id": 2}], id="dicts"),
    ],
)
def test_a_batch_may_be_arrow_or_dicts(batch: Any) -> None:
    class Reader(BaseReader):
        def extract(self, state_manager: Any = None) -> Iterator[Any]:
            yield batch

    assert rows_of(read_all(reader_of(Reader))) == [{"id": 1}, {"id": 2}]


def raising(error: BaseException) -> type[BaseReader]:
    class Failing(BaseReader):
        def extract(self, state_manager: Any = None) -> Iterator[Any]:
            yield [{"id": 1}]
            raise error

    return Failing


def test_an_exception_of_the_plugin_names_class_and_method() -> None:
    with pytest.raises(PluginExecutionError, match=r"^Failing\.extract failed: KeyError: 'id'$") as caught:
        read_all(reader_of(raising(KeyError("id"))))

    assert caught.value.details["original_error"] == "KeyError"
    assert caught.value.details["original_message"] == "'id'"
    assert caught.value.details["at"][0].endswith(" in extract")
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_plugin_that_leaves_the_interpreter_is_the_plugins_error() -> None:
    with pytest.raises(PluginExecutionError, match="SystemExit"):
        read_all(reader_of(raising(SystemExit(1))))


def test_a_dativo_error_of_the_plugin_comes_through_as_it_is() -> None:
    error = RateLimitError("slow down", retry_after_s=3.0)

    with pytest.raises(RateLimitError) as caught:
        read_all(reader_of(raising(error)))

    assert caught.value is error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(ConnectionResetError("reset"), ConnectionError, id="connection"),
        pytest.param(builtins.TimeoutError("slow"), TimeoutError, id="timeout"),
    ],
)
def test_builtin_errors_of_the_network_stay_worth_another_try(error: Exception, expected: type[Exception]) -> None:
    with pytest.raises(expected) as caught:
        read_all(reader_of(raising(error)))

    assert caught.value.retryable


def test_a_constructor_that_raises_is_the_plugins_error() -> None:
    class Unmakeable(OldReader):
        def __init__(self, source_config: SourceConfig) -> None:
            raise TypeError("no url")

    (check,) = reader_of(Unmakeable).check([ORDERS])

    with pytest.raises(PluginExecutionError, match=r"Unmakeable.__init__ failed: TypeError: no url"):
        check.run()


@pytest.mark.parametrize(
    "objects",
    [
        pytest.param("orders", id="text"),
        pytest.param([{"type": "table"}], id="no name"),
        pytest.param([{"name": "orders"}], id="no type"),
        pytest.param([{"name": "orders", "type": "table", "columns": ["id"]}], id="columns without names"),
    ],
)
def test_objects_that_are_not_as_the_interface_says_are_the_plugins_error(objects: Any) -> None:
    class Sloppy(OldReader):
        def discover(self) -> DiscoveryResult:
            return DiscoveryResult(objects)

    with pytest.raises(PluginExecutionError, match=r"^Sloppy\.discover"):
        reader_of(Sloppy).discover()


@pytest.mark.parametrize("returned", [pytest.param(None, id="nothing"), pytest.param("rows", id="text")])
def test_an_extract_that_yields_no_batches_is_the_plugins_error(returned: Any) -> None:
    class Wrong(BaseReader):
        def extract(self, state_manager: Any = None) -> Iterator[Any]:
            return returned

    with pytest.raises(PluginExecutionError, match=r"Wrong\.extract returned .*, expected an iterator of batches"):
        read_all(reader_of(Wrong))


def test_closing_ends_extractions_that_were_begun_and_never_read() -> None:
    ended: list[bool] = []

    class Reader(BaseReader):
        def extract(self, state_manager: Any = None) -> Iterator[Any]:
            try:
                yield [{"id": 1}]
            finally:
                ended.append(True)

    reader = reader_of(Reader)
    reader.schema(ORDERS)

    reader.close()
    reader.close()

    assert ended == [True]
