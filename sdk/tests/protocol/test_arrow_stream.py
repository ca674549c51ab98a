"""Arrow between processes: what is sent arrives, and what is hostile is refused before Arrow acts on it."""

from __future__ import annotations

import io
import struct
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hostile_arrow import filler

from dativo_plugin_sdk.errors import DataFormatError, PluginExecutionError
from dativo_plugin_sdk.protocol.arrow_stream import ArrowReceiver, ArrowSender, Flags, Limits

BATCH = pa.record_batch(
    {
        "whole": pa.array([1, None, 3], pa.int64()),
        "text": ["", None, "日本"],
        "list": [[1, None], [], None],
        "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int8())),
        "struct": [{"x": 1, "y": None}, None, {"x": 2, "y": "b"}],
        "decimal": [Decimal("1.10"), None, Decimal("-9.99")],
        "pair": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int32(), 2)),
        "flag": [True, None, False],
        "bytes": pa.array([b"", None, b"\xff"], pa.large_binary()),
        "nothing": pa.nulls(3),
        "moment": pa.array([0, None, 2**60], pa.timestamp("us", "UTC")),
    }
)


def sent(*batches: pa.RecordBatch, flags: Flags = Flags.ROWS) -> bytes:
    sink = io.BytesIO()
    sender = ArrowSender(sink)
    for batch in batches:
        sender.send(batch, flags)
    sender.end()
    return sink.getvalue()


def received(data: bytes, count: int = 1, **limits: int) -> list[pa.RecordBatch]:
    receiver = ArrowReceiver(filler(data), Limits(**limits))
    return [receiver.batch().batch for _ in range(count)]


def test_batches_arrive_as_they_were_with_their_numbers() -> None:
    data = sent(BATCH, BATCH.slice(1, 1), BATCH.slice(0, 0))
    receiver = ArrowReceiver(filler(data))

    found = [receiver.batch() for _ in range(3)]

    assert [each.number for each in found] == [0, 1, 2]
    assert [each.batch for each in found] == [BATCH, BATCH.slice(1, 1), BATCH.slice(0, 0)]


def test_other_columns_and_other_flags_begin_another_stream() -> None:
    sink = io.BytesIO()
    sender = ArrowSender(sink)
    other = pa.record_batch({"z": [1.5]})
    sender.send(BATCH)
    sender.send(other)
    sender.send(other, Flags.REJECTED)
    sender.send(BATCH)
    receiver = ArrowReceiver(filler(sink.getvalue()))

    found = [receiver.batch() for _ in range(4)]

    assert [each.batch for each in found] == [BATCH, other, other, BATCH]
    assert [each.flags for each in found] == [Flags.ROWS, Flags.ROWS, Flags.REJECTED, Flags.ROWS]


def test_metadata_of_fields_arrives() -> None:
    schema = pa.schema([pa.field("a", pa.int8(), metadata={"dativo.source_type": "tinyint"})])

    (found,) = received(sent(pa.record_batch([[1]], schema=schema)))

    assert found.schema.equals(schema, check_metadata=True)


def test_metadata_that_is_no_text_or_extends_a_type_stays_behind() -> None:
    item = pa.field("item", pa.int8(), metadata={"ARROW:extension:name": "shop.money", "doc": "cents"})
    field = pa.field("a", pa.list_(item), metadata={"pickled": b"\xff", "doc": "é"})

    (found,) = received(sent(pa.record_batch([[[1]]], schema=pa.schema([field], metadata={b"\xff": "x"}))))

    assert not found.schema.metadata
    assert found.schema.field("a").metadata == {b"doc": "é".encode()}
    assert found.schema.field("a").type.value_field.metadata == {b"doc": b"cents"}


@pytest.mark.parametrize(
    ("column", "plain"),
    [
        (pa.array(["a", "b", "a"]).dictionary_encode(), pa.array(["a", "b", "a"])),
        (pa.array(["a", None], pa.string_view()), pa.array(["a", None])),
        (pa.array([b"a"], pa.binary_view()), pa.array([b"a"])),
        (pa.RunEndEncodedArray.from_arrays([2, 3], ["x", None]), pa.array(["x", "x", None])),
        (pa.array([["a", "a"], None], pa.list_(pa.dictionary(pa.int8(), pa.string()))), pa.array([["a", "a"], None])),
        (pa.ExtensionArray.from_storage(pa.json_(pa.string()), pa.array(['{"a": 1}'])), pa.array(['{"a": 1}'])),
        (pa.array([b"0" * 16], pa.uuid()), pa.array([b"0" * 16], pa.binary(16))),
    ],
)
def test_what_does_not_pass_between_processes_is_made_plain(column: Any, plain: Any) -> None:
    (found,) = received(sent(pa.record_batch([column], names=["c"])))

    assert found.column(0).equals(plain)


def test_a_union_has_no_plain_form() -> None:
    union = pa.UnionArray.from_sparse(pa.array([0, 0], pa.int8()), [pa.array([1, 2])])

    with pytest.raises(DataFormatError, match="cannot leave the plugin's process: column 0 of the schema"):
        sent(pa.record_batch([union], names=["u"]))


def raw_stream(batch: pa.RecordBatch, **options: Any) -> bytes:
    """Write a stream as Arrow alone does, whatever is in it."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(**options)) as stream:
        stream.write_batch(batch)
    return struct.pack("<IIQ", 1, 0, 0) + sink.getvalue().to_pybytes()


def nested(depth: int) -> pa.DataType:
    kind: Any = pa.int8()
    for _ in range(depth):
        kind = pa.list_(kind)
    return kind


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (raw_stream(pa.record_batch({"a": ["x" * 10_000] * 100}), compression="zstd"), "is compressed"),
        (raw_stream(pa.record_batch({"a": pa.array(["a"]).dictionary_encode()})), "dictionary"),
        (raw_stream(pa.record_batch({"a": pa.array(["a"], pa.string_view())})), "a view"),
        (raw_stream(pa.record_batch([pa.array([b"0" * 16], pa.uuid())], names=["a"])), "an extension type"),
        (raw_stream(pa.record_batch([pa.array([None], nested(40))], names=["a"])), "nested more than 32 deep"),
        (struct.pack("<IIQ", 2, 0, 0), "version 2"),
        (struct.pack("<IIQ", 1, 8, 0), "flags 8,"),
        (struct.pack("<IIQ", 1, 0, 7), "begins with batch 7, 0 is next"),
        (struct.pack("<IIQ", 1, 0, 0) + b"\xff\xff\xff\xff\0\0\0\0", "without a schema"),
        (struct.pack("<IIQ", 1, 0, 0) + b"\xff\xff\xff\xff\xff\xff\xff\x7f", "metadata of 2147483647 bytes"),
        (struct.pack("<IIQ", 1, 0, 0) + b"\xff\xff\xff\xff\0\0\0\x80", "metadata of -2147483648 bytes"),
        (struct.pack("<IIQ", 1, 0, 0) + b"\xff\xff\xff\xff\x40\0\0\0" + b"\xff" * 64, "damaged"),
        (struct.pack("<IIQ", 1, 0, 0) + b"GET / HTTP/1.1\r\n", "does not begin as one"),
    ],
)
def test_what_is_not_allowed_is_a_breach(data: bytes, why: str) -> None:
    with pytest.raises(PluginExecutionError, match=why) as caught:
        received(data)

    assert caught.value.error_code == "PLUGIN_PROTOCOL_ERROR"


@pytest.mark.parametrize(
    ("batch", "limits", "why"),
    [
        (pa.record_batch({"a": ["x" * 100_000]}), {"body_bytes": 50_000}, "where 50000 are allowed"),
        (pa.record_batch({"a": [1] * 1000}), {"rows": 999}, "a batch of 1000 rows"),
        (pa.record_batch([pa.nulls(2**31 - 1)], names=["a"]), {}, "a batch of 2147483647 rows"),
        (pa.record_batch({f"column {n}": [1] for n in range(200)}), {"metadata_bytes": 4096}, "metadata of"),
    ],
)
def test_what_is_too_much_is_refused_before_it_is_allocated(
    batch: pa.RecordBatch, limits: dict[str, int], why: str
) -> None:
    with pytest.raises(PluginExecutionError, match=why):
        received(sent(batch), **limits)


@pytest.mark.parametrize("offsets", [(0, 400_000_000, 3, 5), (0, 4000, 3, 5), (0, -1, 3, 5), (5, 3, 2, 0)])
def test_offsets_out_of_place_never_reach_other_memory(offsets: tuple[int, ...]) -> None:
    good = sent(pa.record_batch({"a": ["ab", "c", "de"]}))
    bad = good.replace(struct.pack("<4i", 0, 2, 3, 5), struct.pack("<4i", *offsets))

    assert bad != good
    with pytest.raises(PluginExecutionError, match="a batch is damaged"):
        received(bad)


def test_text_that_is_no_utf8_is_refused() -> None:
    good = sent(pa.record_batch({"a": ["abcdefgh"]}))

    with pytest.raises(PluginExecutionError, match="a batch is damaged"):
        received(good.replace(b"abcdefgh", b"\xffbcdefgh"))


def test_another_schema_in_the_middle_of_a_stream_is_refused() -> None:
    first, second = sent(pa.record_batch({"a": [1]})), sent(pa.record_batch({"b": ["x"]}))
    end = b"\xff\xff\xff\xff\0\0\0\0"

    with pytest.raises(PluginExecutionError, match="kind 1 where a record batch is expected"):
        received(first.removesuffix(end) + second[16:], count=2)
