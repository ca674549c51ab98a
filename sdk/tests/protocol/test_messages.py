"""What crosses between processes comes back as it was, and what is none of it is a breach."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from dativo_plugin_sdk.errors import DataError, PluginExecutionError, RateLimitError
from dativo_plugin_sdk.protocol import messages
from dativo_plugin_sdk.protocol.arrow_stream import Flags, Received
from dativo_plugin_sdk.protocol.error_messages import error_from_json, error_to_json
from dativo_plugin_sdk.rejects import rejected
from dativo_plugin_sdk.results import ConnectionTestResult, DiscoveryResult
from dativo_plugin_sdk.streams import Partition, Rejected, Rows, Skipped, StateChanged, StreamSpec, Warned, Watermark
from dativo_plugin_sdk.tables import CommitRequest, CommittedState, KeyComparison, PastCommit, Receipt, TableSpec

STREAM = StreamSpec(
    name="orders",
    mode="incremental",
    cursor="at",
    primary_key=("id",),
    schema=pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("at", pa.timestamp("us", "UTC"))]),
    options={"path": "a", "pages": [1, {"of": 2.5}]},
    batch_bytes=1000,
    parallelism=3,
    cursor_from="2026-01-01",
    columns=("id",),
    watermark=Watermark(timedelta(seconds=1.5), timedelta(days=2), timedelta(hours=1)),
)
STATE = CommittedState(3, {"at": "x", "seen": [1]}, "c1", "r1", "2026-01-01T00:00:00Z", {"path": "q"}, "sf", "cf", 2)
REQUEST = CommitRequest("c2", 3, {"at": "y"}, "2026-01-02T00:00:00Z", "sf", "cf", 2, "2026-01-02T00:00:00Z")
DISCOVERED = DiscoveryResult([{"name": "a", "type": "table", "columns": [{"name": "x"}]}], {"v": 1}, ["no"])
TABLE = TableSpec("t", "n", "j", "s", "r", "merge", ("id",), {"partition": ["day"]}, 5)


@pytest.mark.parametrize(
    ("write", "read", "value"),
    [
        (messages.stream_to_json, messages.stream_from_json, STREAM),
        (messages.stream_to_json, messages.stream_from_json, StreamSpec("a", watermark=Watermark(lookback=7))),
        (messages.partition_to_json, messages.partition_from_json, Partition("p", {"from": 1}, 10, 2)),
        (messages.connection_test_to_json, messages.connection_test_from_json, ConnectionTestResult(True, "good")),
        (
            messages.connection_test_to_json,
            messages.connection_test_from_json,
            ConnectionTestResult(False, "bad", "AUTH_FAILED", {"a": 1}),
        ),
        (messages.discovery_to_json, messages.discovery_from_json, DISCOVERED),
        (messages.table_to_json, messages.table_from_json, TABLE),
        (messages.committed_state_to_json, messages.committed_state_from_json, STATE),
        (messages.committed_state_to_json, messages.committed_state_from_json, CommittedState()),
        (messages.history_to_json, messages.history_from_json, [PastCommit(2, rows=5), STATE]),
        (messages.commit_request_to_json, messages.commit_request_from_json, REQUEST),
        (messages.receipt_to_json, messages.receipt_from_json, Receipt("c", 4, "s", 1, 2, 3, 4, 5)),
        (messages.key_comparison_to_json, messages.key_comparison_from_json, KeyComparison(1, 2, 3)),
        (messages.state_to_json, messages.state_from_json, {"a": [1, None, 2.5, {"b": "ü"}]}),
        (messages.state_to_json, messages.state_from_json, None),
    ],
)
def test_what_is_written_is_read_back(write: Any, read: Any, value: Any) -> None:
    crossed = json.loads(json.dumps(write(value)))

    assert read(crossed) == value
    if isinstance(crossed, dict):
        assert read({**crossed, **({} if write is messages.state_to_json else {"a_newer_key": 1})}) == value


def test_a_schema_crosses_with_metadata_and_in_plain_types() -> None:
    schema = pa.schema(
        [
            pa.field("a", pa.decimal128(10, 2), nullable=False, metadata={"dativo.source_type": "numeric"}),
            pa.field("b", pa.dictionary(pa.int8(), pa.string())),
            pa.field("c", pa.string_view()),
        ],
        metadata={"of": "x"},
    )

    found = messages.schema_from_json(messages.schema_to_json(schema))

    assert found.equals(
        pa.schema([schema.field(0), pa.field("b", pa.string()), pa.field("c", pa.string())], metadata={"of": "x"}),
        check_metadata=True,
    )


def test_examples_and_marks_keep_their_types() -> None:
    examples = pa.record_batch({"id": pa.array([1, 2], pa.int16()), "at": pa.array([0, 1], pa.timestamp("us", "UTC"))})
    marks = {"gone": pa.scalar(True), "at": pa.scalar(0, pa.timestamp("us", "UTC")), "no": pa.scalar(None, pa.int8())}

    compared = messages.key_comparison_from_json(messages.key_comparison_to_json(KeyComparison(2, 2, 2, examples)))
    found = messages.marks_from_json(messages.marks_to_json(marks))

    assert compared.examples == examples
    assert found == marks
    assert messages.marks_from_json(messages.marks_to_json(None)) is None


BATCH = pa.record_batch({"a": [1, 2]})


@pytest.mark.parametrize(
    "message",
    [
        Rows(BATCH),
        Rows(BATCH, "f.csv", 7, 100),
        Rows(BATCH, "f.csv", None, 0, pa.array([3, 9], pa.int64())),
        Rejected(rejected([{"rule": "type", "reason": "r", "row": "{}"}])),
        Skipped(3, "blank"),
        StateChanged({"a": 1}),
        Warned("careful"),
    ],
)
def test_messages_cross_as_events_with_their_batches(message: Any) -> None:
    event, batch, flags = messages.event_of(message)

    found = messages.message_of(json.loads(json.dumps(event)), lambda: Received(0, flags, batch))

    assert found == message


@pytest.mark.parametrize(
    ("event", "batch", "flags", "why"),
    [
        ({"event": "gossip"}, BATCH, Flags.ROWS, "none of reading"),
        ({}, BATCH, Flags.ROWS, "none of reading"),
        ({"event": ["batch"]}, BATCH, Flags.ROWS, "none of reading"),
        ({"event": "batch"}, BATCH, Flags.ROWS, "rows is missing"),
        ({"event": "batch", "rows": 3}, BATCH, Flags.ROWS, "not the rows that its event announced"),
        ({"event": "batch", "rows": 2}, BATCH, Flags.REJECTED, "not of the kind"),
        ({"event": "batch", "rows": 2, "kind": "rejected"}, BATCH, Flags.ROWS, "not of the kind"),
        ({"event": "batch", "rows": 2, "kind": "rejected"}, BATCH, Flags.REJECTED, "not the columns"),
        ({"event": "batch", "rows": 2}, pa.record_batch({"a": ["x", "y"]}), Flags.LINES, "no column of lines"),
        ({"event": "batch", "rows": True}, BATCH, Flags.ROWS, "rows: a whole number"),
        ({"event": "skipped", "rows": -1, "reason": ""}, BATCH, Flags.ROWS, "rows: a number that is not negative"),
        ({"event": "state", "state": [1]}, BATCH, Flags.ROWS, "state: an object is expected"),
        ({"event": "state", "state": {"a": float("inf")}}, BATCH, Flags.ROWS, "a finite number"),
    ],
)
def test_events_that_lie_are_breaches(event: dict[str, Any], batch: pa.RecordBatch, flags: Flags, why: str) -> None:
    with pytest.raises(PluginExecutionError, match=why) as caught:
        messages.message_of(event, lambda: Received(0, flags, batch))

    assert caught.value.error_code == "PLUGIN_PROTOCOL_ERROR"


@pytest.mark.parametrize(
    ("read", "value", "why"),
    [
        (messages.stream_from_json, {"name": 1}, "a stream: name: a text"),
        (messages.stream_from_json, {"name": "x" * 70_000}, "a stream: name: a text of at most"),
        (messages.stream_from_json, {"name": "a", "mode": "fast"}, "mode: one of full_refresh"),
        (messages.stream_from_json, {"name": "a", "schema": {"arrow_schema": "!"}}, "no base64"),
        (messages.stream_from_json, {"name": "a", "schema": {"arrow_schema": "AAAAAAAAAAA="}}, "damaged"),
        (messages.schema_from_json, [], "arrow_schema is expected"),
        (messages.batch_from_json, {"arrow_batch": ""}, "it ends too early"),
        (messages.partitions_from_json, [{"id": "a"}, {}], "a partition: id is missing"),
        (messages.partitions_from_json, {}, "partitions: a list"),
        (messages.receipt_from_json, {"commit_id": "a", "generation": 2**63}, "generation: a whole number"),
        (messages.discovery_from_json, {"objects": [{"type": "t"}]}, "an object discovered: name is missing"),
        (messages.streams_from_json, {"a": 1}, "an object is expected"),
        (messages.state_from_json, {"a": json.loads("[" * 100 + "]" * 100)}, "nested at most 64 deep"),
        (error_from_json, {"message": "a"}, "an error: type is missing"),
    ],
)
def test_what_is_of_another_kind_is_a_breach(read: Any, value: Any, why: str) -> None:
    with pytest.raises(PluginExecutionError, match=why) as caught:
        read(value)

    assert caught.value.error_code == "PLUGIN_PROTOCOL_ERROR"


def test_a_state_that_is_no_json_says_where() -> None:
    with pytest.raises(PluginExecutionError, match=r"a state: timedelta at seen\.1 has no form in JSON"):
        messages.state_to_json({"seen": [1, timedelta(1)]})


class OutOfPaperError(RateLimitError):
    """A plugin's own."""


def test_an_error_crosses_with_the_nearest_known_class_and_its_traceback() -> None:
    error = OutOfPaperError("wait", details={"printer": 3, "odd": object}, retry_after_s=2, hint="buy some")

    found, traceback = error_from_json(json.loads(json.dumps(error_to_json(error))))

    assert type(found) is RateLimitError
    assert (found.message, found.error_code, found.retry_after_s, found.hint) == (
        "wait",
        "RATE_LIMIT_ERROR",
        2,
        "buy some",
    )
    assert found.details["printer"] == 3
    assert found.retryable
    assert traceback is not None
    assert "OutOfPaperError" in traceback


def test_an_error_of_another_library_names_it() -> None:
    found, _ = error_from_json(error_to_json(ZeroDivisionError("division by zero")))

    assert type(found) is PluginExecutionError
    assert found.message == "ZeroDivisionError: division by zero"
    assert found.details["original_error"] == "ZeroDivisionError"


def test_an_error_is_cut_to_a_size_and_cleaned() -> None:
    error = DataError("\x1b[31m" + "x" * 100_000, details={"a": "y" * 100_000, "b": ["z"] * 100_000, "c": 1})

    found, _ = error_from_json(error_to_json(error))

    assert len(found.message) == 8192
    assert "\x1b" not in found.message
    assert len(json.dumps(found.details)) < 17_000
    assert found.details["truncated"] is True
