"""Arrow that means harm: streams a plugin could send, each with what the receiver says of it, and damage at random.

``python -m hostile_arrow`` receives the first in a process with little memory, ``python -m hostile_arrow SEED COUNT``
so many of the second, and uses every value of what passes; both end with 0 where they live.
"""

from __future__ import annotations

import json
import random
import re
import resource
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
from arrow_forgery import (
    HEADER,
    Item,
    Plain,
    Scalar,
    Table,
    Vector,
    batch,
    column,
    key_values,
    message,
    pairs,
    schema,
    stream,
    text,
)

from dativo_plugin_sdk.errors import PluginExecutionError
from dativo_plugin_sdk.protocol.arrow_stream import ArrowReceiver, Limits

MEMORY_BYTES = 640 * 2**20
"""More than the process may take beyond what it has when everything is imported."""
_MIB = 2**20


@dataclass(frozen=True)
class Attack:
    """A stream, and what the receiver says of it."""

    name: str
    data: bytes
    why: str


def filler(data: bytes) -> Callable[[memoryview], None]:
    """Give what an `ArrowReceiver` reads ``data`` with."""
    at = 0

    def fill(view: memoryview) -> None:
        nonlocal at
        if at + len(view) > len(data):
            raise EOFError
        view[:] = data[at : at + len(view)]
        at += len(view)

    return fill


def numbers(kind: str, *values: int) -> bytes:
    """Pack numbers, padded to a multiple of 64 bytes."""
    data = struct.pack(f"<{len(values)}{kind}", *values)
    return data + bytes(-len(data) % 64)


WHOLE = column("c", 2, {0: Scalar("i", 64), 1: Scalar("B", 1)})
"""A column of 64-bit numbers."""
TEXT = column("t", 5)
LIST = column("l", 12, {}, [WHOLE])
_NONE = column("n", 1)
_PAIR = column("p", 16, {0: Scalar("i", 2)}, [WHOLE])
_REQUIRED = {1: Scalar("B", 0)}
_MAP = column("m", 17, {}, [column("entries", 13, {}, [column("k", 5, {}, (), _REQUIRED), WHOLE], _REQUIRED)])


def one(columns: Table | list[Table], header: Table, body: bytes, **more: Any) -> bytes:
    """Give a stream of one batch."""
    listed = columns if isinstance(columns, list) else [columns]
    return stream(message("schema", schema(listed)), message("batch", header, body, **more))


def of_schema(table: Table) -> bytes:
    return stream(message("schema", table))


def with_metadata(*entries: Table) -> Table:
    return schema([WHOLE], {2: Vector(list(entries))})


def nested(depth: int) -> Table:
    field = WHOLE
    for _ in range(depth):
        field = column("item", 12, {}, [field])
    return field


_LONG = text("k" * _MIB)
_MANY_FIELDS: Item = Vector([WHOLE] * 2_000)
_SMALL = numbers("q", 1, 2, 3)
_STRINGS = numbers("i", 0, 1, 2, 3) + numbers("B", *b"abc")
_GOOD_TEXT = ((0, 0), (0, 16), (64, 3))


def raw(batch_: pa.RecordBatch, **options: Any) -> bytes:
    """Write a stream as Arrow alone does, whatever is in it."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch_.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_batch(batch_)
    return HEADER + sink.getvalue().to_pybytes()


def _compressed_unseen() -> bytes:
    """A bomb as releases of Arrow before 1.0 named its compression: 16 columns of 128 MB in some 80 KB."""
    rows, columns = 2**24, 16
    packed = pa.compress(bytes(8 * rows), codec="zstd", asbytes=True)
    body = struct.pack("<q", 8 * rows) + packed
    body += bytes(-len(body) % 64)
    places = [each for n in range(columns) for each in ((0, 0), (n * len(body), 8 + len(packed)))]
    named = {4: key_values({"ARROW:experimental_compression": "zstd"})}
    header = batch(rows, [(rows, 0)] * columns, places)
    return one([WHOLE] * columns, header, body * columns, version=3, more=named)


DAMAGED = "a batch is damaged"
CLAIMS = "the arrays of a batch are longer than it can hold"
PLACES = "the buffers of a batch overlap"
OUTSIDE = "a buffer lies outside of its batch"
TYPES = "is dictionary or run-end encoded, a view or a union, which do not pass"


def attacks() -> Iterator[Attack]:
    """Give all that are known."""
    yield from _of_buffers()
    yield from _of_claims()
    yield from _of_schemas()
    yield from _of_types()
    yield from _of_messages()


def _of_buffers() -> Iterator[Attack]:
    """Offsets, text, indices: what only Arrow's own validation sees."""
    for name, offsets in {
        "beyond the data": (0, 4000, 2, 3),
        "beyond memory": (0, 400_000_000, 2, 3),
        "below 0": (0, -1, 2, 3),
        "falling": (3, 2, 1, 0),
        "at the end beyond the data": (0, 1, 2, 2**31 - 1),
    }.items():
        body = numbers("i", *offsets) + numbers("B", *b"abc")
        yield Attack(f"text offsets {name}", one(TEXT, batch(3, [(3, 0)], _GOOD_TEXT), body), DAMAGED)
        body = numbers("i", *offsets) + _SMALL
        header = batch(3, [(3, 0), (3, 0)], [(0, 0), (0, 16), (64, 0), (64, 24)])
        yield Attack(f"list offsets {name}", one(LIST, header, body), DAMAGED)
        body = numbers("i", *offsets) + _STRINGS + _SMALL
        entries = [(0, 0), (64, 0), (64, 16), (128, 3), (192, 0), (192, 24)]
        header = batch(3, [(3, 0)] * 4, [(0, 0), (0, 16), *entries])
        yield Attack(f"map offsets {name}", one(_MAP, header, body), DAMAGED)
    large = column("t", 20)
    body = numbers("q", 0, 2**62, 2, 3) + numbers("B", *b"abc")
    yield Attack(
        "offsets of large text beyond memory",
        one(large, batch(3, [(3, 0)], [(0, 0), (0, 32), (64, 3)]), body),
        DAMAGED,
    )
    body = numbers("i", 0, 1, 2, 3) + numbers("B", 0xC3, 0x28, 0xFF)
    yield Attack("text that is no UTF-8", one(TEXT, batch(3, [(3, 0)], _GOOD_TEXT), body), DAMAGED)
    yield Attack("too few offsets", one(TEXT, batch(3, [(3, 0)], [(0, 0), (0, 8), (64, 3)]), _STRINGS), DAMAGED)
    yield Attack("no offsets", one(TEXT, batch(3, [(3, 0)], [(0, 0), (0, 0), (64, 3)]), _STRINGS), DAMAGED)
    yield Attack("too few values", one(WHOLE, batch(3, [(3, 0)], [(0, 0), (0, 8)]), _SMALL), DAMAGED)
    yield Attack("no values", one(WHOLE, batch(3, [(3, 0)], [(0, 0), (0, 0)]), _SMALL), DAMAGED)
    yield Attack("too few validity bits", one(WHOLE, batch(3, [(3, 1)], [(0, 0), (0, 24)]), _SMALL), DAMAGED)
    decimal = column("d", 7, {0: Scalar("i", 5), 1: Scalar("i", 2), 2: Scalar("i", 128)})
    yield Attack(
        "a decimal of more digits than it has",
        one(decimal, batch(1, [(1, 0)], [(0, 0), (0, 16)]), numbers("q", 2**62, 2**60)),
        DAMAGED,
    )
    time = column("t", 9, {0: Scalar("h", 1), 1: Scalar("i", 32)})
    yield Attack(
        "a time beyond its day", one(time, batch(1, [(1, 0)], [(0, 0), (0, 4)]), numbers("i", 2**31 - 1)), DAMAGED
    )
    no_keys = batch(
        3,
        [(3, 0), (3, 0), (3, 2), (3, 0)],
        [(0, 0), (0, 16), (64, 0), (64, 1), (128, 16), (192, 3), (256, 0), (256, 24)],
    )
    body = numbers("i", 0, 1, 2, 3) + numbers("B", 1) + _STRINGS + _SMALL
    yield Attack("a map with null keys", one(_MAP, no_keys, body), DAMAGED)


def _of_claims() -> Iterator[Attack]:
    """Lengths, counts and places that lie."""
    good = [(0, 0), (0, 24)]
    for name, header, why in [
        ("rows below 0", batch(-1, [(3, 0)], good), "a batch of -1 rows"),
        ("rows beyond counting", batch(2**63 - 1, [(3, 0)], good), "a batch of 9223372036854775807 rows"),
        ("more rows than values", batch(4, [(3, 0)], good), DAMAGED),
        ("fewer rows than values", batch(2, [(3, 0)], good), DAMAGED),
        ("an array below 0", batch(3, [(-3, 0)], good), "a length below 0"),
        ("an array beyond counting", batch(3, [(2**62, 0)], good), CLAIMS),
        ("nulls below 0", batch(3, [(3, -1)], good), "more nulls than values"),
        ("more nulls than values", batch(3, [(3, 4)], good), "more nulls than values"),
        ("no nodes", batch(3, [], good), DAMAGED),
        ("no buffers", batch(3, [(3, 0)], []), DAMAGED),
        ("a buffer below 0", batch(3, [(3, 0)], [(0, 0), (-8, 24)]), PLACES),
        ("a buffer of less than nothing", batch(3, [(3, 0)], [(0, 0), (0, -24)]), PLACES),
        ("a buffer beyond its body", batch(3, [(3, 0)], [(0, 0), (64, 24)]), OUTSIDE),
        ("a buffer beyond counting", batch(3, [(3, 0)], [(0, 0), (8, 2**63 - 8)]), OUTSIDE),
        ("a buffer that ends beyond its body", batch(3, [(3, 0)], [(0, 0), (56, 24)]), OUTSIDE),
        ("a buffer at an odd place", batch(3, [(3, 0)], [(0, 0), (1, 24)]), DAMAGED),
        ("an empty buffer below 0", batch(0, [(0, 0)], [(-(2**62), 0), (-(2**63), 0)]), PLACES),
    ]:
        yield Attack(name, one(WHOLE, header, _SMALL), why)
    yield Attack(
        "buffers that overlap",
        one([WHOLE, WHOLE], batch(3, [(3, 0)] * 2, [(0, 0), (0, 24), (0, 0), (16, 24)]), _SMALL),
        PLACES,
    )
    yield Attack(
        "20,000 columns on one buffer",
        one([WHOLE] * 20_000, batch(3, [(3, 0)] * 20_000, [(0, 0), (0, 24)] * 20_000), _SMALL),
        PLACES,
    )
    valid = numbers("B", 0b101) + _SMALL
    header = batch(3, [(3, 2)], [(0, 1), (64, 24)])
    yield Attack("a null count that lies", one(WHOLE, header, valid), DAMAGED)
    rows = 2**31
    yield Attack("2^31 rows of nothing", one(_NONE, batch(rows, [(rows, rows)], []), b""), "a batch of 2147483648 rows")
    wide = batch(2**24, [(2**24, 2**24)] * 1000, [])
    yield Attack("1,000 columns of 2^24 nothings", one([_NONE] * 1000, wide, b""), CLAIMS)
    fixed = column("f", 16, {0: Scalar("i", 2**20)}, [_NONE])
    header = batch(1000, [(1000, 0), (1000 * 2**20, 0)], [(0, 0)])
    yield Attack("lists of 2^20 nothings", one(fixed, header, b""), CLAIMS)
    empty = column("e", 15, {0: Scalar("i", 0)})
    yield Attack("2^40 values without a byte", one(empty, batch(2**24, [(2**40, 0)], [(0, 0)] * 2), b""), CLAIMS)
    bare = column("s", 13)
    yield Attack("2^40 structs of nothing", one(bare, batch(2**24, [(2**40, 0)], [(0, 0)]), b""), CLAIMS)


def _of_schemas() -> Iterator[Attack]:
    """Schemas that grow, or go deep."""
    shared = Table({0: _LONG, 1: _LONG})
    grows = "a schema that takes more than 33554432 bytes"
    yield Attack("metadata that is there 2,000 times", of_schema(with_metadata(*[shared] * 2000)), grows)
    yield Attack("a name that is there 2,000 times", of_schema(schema([column(_LONG, 1)] * 2000)), grows)
    shared = Table({0: Scalar("h", 0), 1: _LONG})
    zones = [Table({0: text("z"), 2: Scalar("B", 10), 3: shared})] * 2000
    yield Attack("a time zone that is there 2,000 times", of_schema(schema(zones)), grows)
    laughs = Table({0: text("p"), 2: Scalar("B", 13), 3: Table({}), 5: _MANY_FIELDS})
    yield Attack("2,000 fields 2,000 times", of_schema(schema([laughs] * 2000)), grows)
    for _ in range(20):
        laughs = Table({0: text("p"), 2: Scalar("B", 13), 3: Table({}), 5: Vector([laughs, laughs])})
    yield Attack("a field that holds two, twenty times over", of_schema(schema([laughs])), "a schema that takes more")
    entries = Vector([Table({0: text("k"), 1: text("v")})] * 10_000)
    tagged = Table({0: text("a"), 2: Scalar("B", 1), 3: Table({}), 6: entries})
    yield Attack("10,000 entries of metadata at 1,000 fields", of_schema(schema([tagged] * 1000)), grows)
    columns = [WHOLE] * 20_001
    yield Attack("20,001 columns", of_schema(schema(columns)), "a schema of 20001 columns")
    for depth in (33, 1000, 10_000):
        yield Attack(f"nested {depth} deep", of_schema(schema([nested(depth)])), "nested more than 32 deep")
    yield Attack("a big-endian machine", of_schema(schema([WHOLE], {0: Scalar("h", 1)})), "big-endian")
    utf8 = "is not UTF-8"
    yield Attack("a name that is no text", of_schema(schema([column(b"\xff", 1)])), f"a name that {utf8}")
    zone = column("z", 10, {0: Scalar("h", 0), 1: text(b"\xff\xfe")})
    yield Attack("a time zone that is no text", of_schema(schema([zone])), f"a time zone that {utf8}")
    entry = Table({0: text("doc"), 1: text(b"\xff")})
    yield Attack("metadata that is no text", of_schema(with_metadata(entry)), f"metadata that {utf8}")


def _of_types() -> Iterator[Attack]:
    """Types that do not pass, and parameters that make no sense."""
    extension = {6: key_values({"ARROW:extension:name": "arrow.uuid"})}
    yield Attack("an extension type", of_schema(schema([column("u", 15, {0: Scalar("i", 16)}, (), extension)])), "ext")
    extension = {6: key_values({"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": "c"})}
    yield Attack("an extension type of pickles", of_schema(schema([column("u", 5, {}, (), extension)])), "an extension")
    item = column("item", 5, {}, (), extension)
    yield Attack("an extension type within a list", of_schema(schema([column("u", 12, {}, [item])])), "an extension")
    encoded = {4: Table({0: Scalar("q", 2**62), 1: Table({0: Scalar("i", 8)})})}
    yield Attack("a dictionary", of_schema(schema([column("d", 5, {}, (), encoded)])), TYPES)
    union = {0: Scalar("h", 1), 1: Plain(1, struct.pack("<i", 0))}
    for name, kind, fields in [
        ("no type", 0, {}),
        ("a union", 14, union),
        ("run ends", 22, {}),
        ("a view of bytes", 23, {}),
        ("a view of text", 24, {}),
        ("a view of lists", 25, {}),
        ("a view of large lists", 26, {}),
        ("a type of the future", 200, {}),
    ]:
        children = [column("run_ends", 2, {0: Scalar("i", 32), 1: Scalar("B", 1)}), WHOLE] if kind == 22 else [WHOLE]
        yield Attack(name, of_schema(schema([column("c", kind, fields, children)])), TYPES)
    indices = pa.DictionaryArray.from_arrays(pa.array([0, 99], pa.int8()), pa.array(["a"]), safe=False)
    yield Attack("indices beyond their dictionary", raw(pa.record_batch([indices], names=["d"])), TYPES)
    for name, field in {
        "whole numbers of 24 bits": column("c", 2, {0: Scalar("i", 24), 1: Scalar("B", 1)}),
        "whole numbers of -64 bits": column("c", 2, {0: Scalar("i", -64), 1: Scalar("B", 1)}),
        "decimals of 0 digits": column("c", 7, {0: Scalar("i", 0), 1: Scalar("i", 0), 2: Scalar("i", 128)}),
        "decimals of 99 digits": column("c", 7, {0: Scalar("i", 99), 1: Scalar("i", 0), 2: Scalar("i", 128)}),
        "decimals of 7 bits": column("c", 7, {0: Scalar("i", 5), 1: Scalar("i", 0), 2: Scalar("i", 7)}),
        "times of 64 bits in seconds": column("c", 9, {0: Scalar("h", 0), 1: Scalar("i", 64)}),
        "intervals of a unit of 77": column("c", 11, {0: Scalar("h", 77)}),
        "bytes of a width below 0": column("c", 15, {0: Scalar("i", -1)}),
        "lists of a size below 0": column("c", 16, {0: Scalar("i", -1)}, [WHOLE]),
        "bytes of a width of 2^30": column("c", 15, {0: Scalar("i", 2**30)}),
        "lists of 2^20 lists of 2": column("c", 16, {0: Scalar("i", 2**20)}, [_PAIR]),
        "a list without an item": column("c", 12),
        "a list of two items": column("c", 12, {}, [WHOLE, WHOLE]),
        "a map of numbers": column("c", 17, {}, [WHOLE]),
        "a map of three": column("c", 17, {}, [column("e", 13, {}, [WHOLE, WHOLE, WHOLE])]),
        "a decimal of scale 2^31-1": column(
            "c", 7, {0: Scalar("i", 5), 1: Scalar("i", 2**31 - 1), 2: Scalar("i", 128)}
        ),
    }.items():
        yield Attack(
            name, of_schema(schema([field])), "the schema of a stream is damaged|of scale|values of a fixed size"
        )


def _of_messages() -> Iterator[Attack]:
    """Messages out of order, of other kinds, and lengths that lie before anything is read."""
    good = message("schema", schema([WHOLE]))
    rows = message("batch", batch(3, [(3, 0)], [(0, 0), (0, 24)]), _SMALL)
    other = message("schema", schema([TEXT]))
    yield Attack("another schema in the middle", stream(good, rows, other, rows), "kind 1 where a record batch")
    yield Attack("a batch before its schema", stream(rows), "begins without a schema")
    words = message("dictionary", Table({0: Scalar("q", 0), 1: batch(3, [(3, 0)], [(0, 0), (0, 24)])}), _SMALL)
    yield Attack("a dictionary's batch", stream(good, words), "kind 2 where a record batch is expected")
    yield Attack("a schema with a body", stream(message("schema", schema([WHOLE]), _SMALL)), "without a schema")
    tensor = message("batch", Table({}), _SMALL, more={1: Scalar("B", 4)})
    yield Attack("a tensor", stream(good, tensor), "kind 4 where a record batch is expected")
    yield Attack("no header", stream(good, message("batch", Table({}), more={1: Scalar("B", 3)})), DAMAGED)
    for version in (0, 1, 2, 3, 5, 77):
        old = message("schema", schema([WHOLE]), version=version)
        yield Attack(f"metadata of version {version + 1}", stream(old), f"metadata version {version + 1},")
    yield Attack("a bomb of zstd", raw(pa.record_batch({"a": ["x" * 10_000] * 1000}), compression="zstd"), "compressed")
    yield Attack("a bomb of lz4", raw(pa.record_batch({"a": ["x" * 10_000] * 1000}), compression="lz4"), "compressed")
    yield Attack("a bomb that names its codec as of old", _compressed_unseen(), "metadata version 4, where 5 is")
    tagged = message("batch", batch(3, [(3, 0)], [(0, 0), (0, 24)]), _SMALL, more={4: key_values({"a": "b"})})
    yield Attack("metadata of a batch", stream(good, tagged), "has custom metadata")
    shared = Vector([Table({0: _LONG, 1: _LONG})] * 1000)
    bomb = message("batch", batch(3, [(3, 0)], [(0, 0), (0, 24)]), _SMALL, more={4: shared})
    yield Attack("metadata of a batch that is there 1,000 times", stream(good, bomb), "has custom metadata")
    for claim in (-1, -(2**63), 2**63 - 1, 2**40, 256 * _MIB + 1):
        lying = message("batch", batch(3, [(3, 0)], [(0, 0), (0, 24)]), _SMALL, more={3: Scalar("q", claim)})
        yield Attack(f"a body of {claim} bytes", stream(good, lying), f"a batch of {claim} bytes, where")
    for claim in (-1, -(2**31), 2**31 - 1, 16 * _MIB + 8, 12):
        data = HEADER + struct.pack("<Ii", 0xFFFFFFFF, claim)
        yield Attack(f"metadata of {claim} bytes", data + bytes(16), f"metadata of {claim} bytes, where")
    yield Attack("a message of before 0.15", HEADER + good[4:], "does not begin as one")
    yield Attack(
        "an empty flatbuffer", HEADER + struct.pack("<Ii", 0xFFFFFFFF, 8) + bytes(8), "metadata version|damaged"
    )
    far = struct.pack("<Ii", 0xFFFFFFFF, 8) + b"\xff\xff\xff\x7f\0\0\0\0"
    yield Attack("a flatbuffer whose root is elsewhere", HEADER + far, "damaged")
    many = message("batch", Table({0: Scalar("q", 3), 1: Plain(2**32 - 1, b""), 2: pairs([])}), _SMALL)
    yield Attack("2^32-1 arrays", stream(good, many), "damaged")
    yield Attack("a header of another version", struct.pack("<IIQ", 2, 0, 0) + good, "version 2")
    yield Attack("flags nobody knows", struct.pack("<IIQ", 1, 2**31, 0) + good, "flags 2147483648")
    yield Attack("a first batch of 2^64-1", struct.pack("<IIQ", 1, 0, 2**64 - 1) + good, "0 is next")


def seeds() -> list[pa.RecordBatch]:
    """Give good batches of every type that passes, as `damaged` changes them."""
    flat = {
        "whole": pa.array([1, None, 3], pa.int64()),
        "text": ["", None, "日本"],
        "flag": [True, None, False],
        "bytes": pa.array([b"", None, b"\xff"], pa.large_binary()),
        "nothing": pa.nulls(3),
        "moment": pa.array([0, None, 2**60], pa.timestamp("us", "Europe/Berlin")),
        "day": pa.array([0, None, 19_000], pa.date32()),
        "half": pa.array([1.5, None, 3.0], pa.float16()),
        "decimal": [Decimal("1.10"), None, Decimal("-9.99")],
        "wide": pa.array([Decimal(1), None, Decimal(-1)], pa.decimal256(60, 2)),
        "fixed": pa.array([b"abc", None, b"def"], pa.binary(3)),
        "hour": pa.array([1, None, 3], pa.time64("ns")),
    }
    nested_ = {
        "list": [[1, None], [], None],
        "lists": pa.array([[["a"], None], [[]], None], pa.large_list(pa.list_(pa.string()))),
        "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int8())),
        "struct": [{"x": 1, "y": None}, None, {"x": 2, "y": "b"}],
        "pair": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int32(), 2)),
        "nothings": pa.array([[None, None], [], None], pa.list_(pa.null())),
    }
    tagged = pa.schema([pa.field("a", pa.int8(), metadata={"doc": "é"})], metadata={"k": "v"})
    return [pa.record_batch(flat), pa.record_batch(nested_), pa.record_batch([pa.array([1], pa.int8())], schema=tagged)]


_ODD = [
    *(struct.pack("<i", each) for each in (0, 1, -1, 4, 8, 2**31 - 1, -(2**31), 400_000_000, 2**24, 2**20)),
    *(struct.pack("<q", each) for each in (0, 1, -1, 64, 2**63 - 1, -(2**63), 2**32, 2**31, 2**62, 2**24)),
    *(bytes([each]) for each in (0, 1, 2, 4, 7, 14, 17, 22, 0x7F, 0x80, 0xFF)),
]


def damaged(good: bytes, random_: random.Random) -> bytes:
    """Change a stream in one to eight places, mostly where its metadata is."""
    data = bytearray(good)
    for _ in range(random_.choice([1, 1, 1, 2, 4, 8])):
        at = random_.randrange(len(HEADER), len(data))
        how = random_.random()
        if how < 0.25:
            data[at] = random_.randrange(256)
        elif how < 0.45:
            data[at] ^= 1 << random_.randrange(8)
        elif how < 0.85:
            odd = random_.choice(_ODD)
            at -= at % min(len(odd), 4)
            data[at : at + len(odd)] = odd
        elif how < 0.92:
            source = random_.randrange(len(data) - 8) & ~7
            at &= ~7
            data[at : at + 8] = data[source : source + 8]
        elif how < 0.96:
            del data[at : at + random_.choice([1, 4, 8, 64])]
        else:
            data[at:at] = bytes(random_.choice([1, 4, 8, 64]))
    return bytes(data)


def received(data: bytes, most: int = 3) -> list[pa.RecordBatch]:
    """Receive what there is, ``most`` batches at most.

    Raises:
        PluginExecutionError: As `ArrowReceiver.batch` does.
    """
    receiver = ArrowReceiver(filler(data), Limits())
    found = []
    try:
        while len(found) < most:
            found.append(receiver.batch().batch)
    except EOFError:
        pass
    return found


def use(batch_: pa.RecordBatch) -> None:
    """Touch every value, as steps and targets may."""
    if batch_.num_rows < 10_000:
        for column in batch_.columns:
            column.to_pylist()
    pa.concat_batches([batch_, batch_.slice(1)])
    batch_.take(pa.array(range(0, batch_.num_rows, 2)))
    str(batch_.schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch_.schema) as writer:
        writer.write_batch(batch_)


def attack_at_random(seed: int, count: int) -> int:
    """Receive ``count`` damaged streams and use what passes; say how many passed."""
    random_ = random.Random(seed)
    goods = [raw(each) for each in seeds()]
    passed = 0
    for _ in range(count):
        try:
            for batch_ in received(damaged(random_.choice(goods), random_)):
                passed += 1
                use(batch_)
        except PluginExecutionError as error:
            if error.error_code != "PLUGIN_PROTOCOL_ERROR":
                raise
        except (OverflowError, ValueError, pa.ArrowException):
            pass  # a moment beyond what Python's datetime holds
    return passed


def receive_all() -> Iterator[dict[str, Any]]:
    """Receive every attack, and say how each went."""
    for attack in attacks():
        try:
            passed = len(received(attack.data))
            yield {"name": attack.name, "said": f"{passed} batches passed"}
        except PluginExecutionError as error:
            is_told = error.error_code == "PLUGIN_PROTOCOL_ERROR" and re.search(attack.why, str(error))
            yield {"name": attack.name, "said": None if is_told else f"{error.error_code}: {error}"}


def main() -> None:
    """Live through it in little memory: all known attacks, or so many streams damaged at random from a seed."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    if len(sys.argv) == 1:
        found: Any = list(receive_all())
    else:
        found = attack_at_random(int(sys.argv[1]), int(sys.argv[2]))
    # Not ru_maxrss: that begins with what the process had which started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak_bytes = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    sys.stdout.write(json.dumps({"found": found, "peak_bytes": peak_bytes}))


if __name__ == "__main__":
    main()
