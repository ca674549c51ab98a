"""Arrow IPC streams written by hand, so that they can say what no library would write."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

HEADER = struct.pack("<IIQ", 1, 0, 0)
"""Of a data stream, see `dativo_plugin_sdk.protocol.arrow_stream`."""
END = b"\xff\xff\xff\xff\0\0\0\0"
_V5 = 4
_KINDS = {"schema": 1, "dictionary": 2, "batch": 3}


@dataclass(frozen=True)
class Scalar:
    """A number in a table; ``kind`` is as in `struct`."""

    kind: str
    value: int


@dataclass(frozen=True, eq=False)
class Table:
    """A flatbuffer table: fields by number. The same object may stand in several places, and is written once."""

    fields: Mapping[int, Scalar | Item]


@dataclass(frozen=True, eq=False)
class Vector:
    """A flatbuffer vector of tables and texts."""

    items: Sequence[Item]


@dataclass(frozen=True, eq=False)
class Plain:
    """A flatbuffer vector of numbers, of structs of them, or a text: so many, in these bytes."""

    count: int
    data: bytes


Item: TypeAlias = Table | Vector | Plain


def text(value: str | bytes) -> Plain:
    data = value if isinstance(value, bytes) else value.encode()
    return Plain(len(data), data + b"\0")


def pairs(values: Iterable[tuple[int, int]]) -> Plain:
    """Give a vector of structs of two 64-bit numbers: nodes and buffers."""
    packed = [struct.pack("<qq", *value) for value in values]
    return Plain(len(packed), b"".join(packed))


def flatbuffer(root: Table) -> bytes:
    """Write a flatbuffer: places are in an order in which every reference points forward."""
    order = list(reversed(list(_after_children(root))))
    data = bytearray(8)
    places: dict[int, int] = {}
    waiting: list[tuple[int, Item]] = []
    for item in order:
        places[id(item)] = _write(data, item, waiting)
    struct.pack_into("<I", data, 0, places[id(root)])
    for at, item in waiting:
        struct.pack_into("<I", data, at, places[id(item)] - at)
    data.extend(bytes(-len(data) % 8))
    return bytes(data)


def _after_children(root: Item) -> Iterator[Item]:
    """Give what is referred to before what refers to it, each once."""
    seen: set[int] = set()
    waiting: list[tuple[Item, bool]] = [(root, False)]
    while waiting:
        item, is_ready = waiting.pop()
        if is_ready:
            yield item
        elif id(item) not in seen:
            seen.add(id(item))
            waiting.append((item, True))
            waiting.extend((child, False) for child in _children(item))


def _children(item: Item) -> list[Item]:
    if isinstance(item, Table):
        return [value for value in item.fields.values() if not isinstance(value, Scalar)]
    return list(item.items) if isinstance(item, Vector) else []


def _write(data: bytearray, item: Item, waiting: list[tuple[int, Item]]) -> int:
    data.extend(bytes(-len(data) % 8))
    if isinstance(item, Table):
        return _write_table(data, item, waiting)
    data.extend(bytes(4))  # so that what follows the length is aligned to 8
    at = len(data)
    if isinstance(item, Plain):
        data.extend(struct.pack("<I", item.count) + item.data)
        return at
    data.extend(struct.pack("<I", len(item.items)))
    for each in item.items:
        waiting.append((len(data), each))
        data.extend(bytes(4))
    return at


def _write_table(data: bytearray, table: Table, waiting: list[tuple[int, Item]]) -> int:
    """Write the vtable, and the table behind it with eight bytes for each field."""
    count = max(table.fields, default=-1) + 1
    vtable = len(data)
    size = 8 + 8 * count
    data.extend(struct.pack("<HH", 4 + 2 * count, size))
    for number in range(count):
        data.extend(struct.pack("<H", 8 + 8 * number if number in table.fields else 0))
    data.extend(bytes(-len(data) % 8))
    at = len(data)
    data.extend(struct.pack("<i", at - vtable) + bytes(size - 4))
    for number, value in table.fields.items():
        place = at + 8 + 8 * number
        if isinstance(value, Scalar):
            struct.pack_into(f"<{value.kind}", data, place, value.value)
        else:
            waiting.append((place, value))
    return at


def key_values(values: Mapping[str | bytes, str | bytes]) -> Vector:
    return Vector([Table({0: text(key), 1: text(value)}) for key, value in values.items()])


def column(
    name: str | bytes | Plain,
    kind: int,
    type_fields: Mapping[int, Any] | None = None,
    children: Iterable[Table] = (),
    more: Mapping[int, Any] | None = None,
) -> Table:
    """Give a field of a schema; ``kind`` is the number of its type in ``Schema.fbs``, ``more`` replaces fields."""
    fields: dict[int, Any] = {
        0: name if isinstance(name, Plain) else text(name),
        1: Scalar("B", 1),
        2: Scalar("B", kind),
        3: Table(type_fields or {}),
        5: Vector(list(children)),
    }
    return Table(fields | dict(more or {}))


def schema(columns: Iterable[Table], more: Mapping[int, Any] | None = None) -> Table:
    return Table({1: Vector(list(columns))} | dict(more or {}))


def batch(
    rows: int,
    nodes: Iterable[tuple[int, int]],
    buffers: Iterable[tuple[int, int]],
    more: Mapping[int, Any] | None = None,
) -> Table:
    return Table({0: Scalar("q", rows), 1: pairs(nodes), 2: pairs(buffers)} | dict(more or {}))


def message(
    kind: str, header: Table, body: bytes = b"", *, version: int = _V5, more: Mapping[int, Any] | None = None
) -> bytes:
    """Give a message as it stands in a stream: prefix, metadata, body. ``more`` replaces fields of ``Message``."""
    fields: dict[int, Any] = {
        0: Scalar("h", version),
        1: Scalar("B", _KINDS[kind]),
        2: header,
        3: Scalar("q", len(body)),
    }
    metadata = flatbuffer(Table(fields | dict(more or {})))
    return struct.pack("<Ii", -1 & 0xFFFFFFFF, len(metadata)) + metadata + body


def stream(*messages: bytes) -> bytes:
    """Give what a data connection carries: a header, the messages, and the end of the stream."""
    return HEADER + b"".join(messages) + END
