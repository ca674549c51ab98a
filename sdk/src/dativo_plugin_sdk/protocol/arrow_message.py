"""What the metadata of an Arrow IPC message claims, read before Arrow acts on it.

Arrow's own reader allocates what a message says it needs, inflates compressed bodies, copies a text as often as it is
referred to, and trusts the places of buffers. A message of a foreign process may say anything; this reads the few
fields that matter by hand. Field numbers: Arrow's ``Message.fbs`` and ``Schema.fbs``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from dativo_plugin_sdk.protocol.breach import breach
from dativo_plugin_sdk.protocol.flatbuffer import Table

SCHEMA: Final = 1
DICTIONARY_BATCH: Final = 2
RECORD_BATCH: Final = 3

_VERSION, _HEADER_TYPE, _HEADER, _BODY_LENGTH, _CUSTOM_METADATA = 0, 1, 2, 3, 4  # of Message
_LENGTH, _NODES, _BUFFERS, _COMPRESSION = 0, 1, 2, 3  # of RecordBatch
_V5 = 4


@dataclass(frozen=True)
class Claims:
    """What a message says of itself."""

    kind: int
    body_bytes: int
    rows: int = 0
    is_compressed: bool = False
    nodes: tuple[tuple[int, int], ...] = ()
    """Of each array, in depth-first order, its length and how many nulls it has."""
    buffers: tuple[tuple[int, int], ...] = ()
    """Of each buffer its place in the body and its length, in bytes."""


def claims_of(metadata: bytes) -> Claims:
    """Read a message's metadata.

    Raises:
        PluginExecutionError: It is no flatbuffer of a message, or one of a release of Arrow's format other than V5, or
            has metadata of its own: that could name a compression, too, as releases before 1.0 did.
    """
    try:
        message = Table.root(metadata)
        version = message.scalar(_VERSION, "<h")
        if version != _V5:
            raise breach(f"an Arrow message of metadata version {version + 1}, where 5 is expected")
        if message.count(_CUSTOM_METADATA):
            raise breach("an Arrow message has custom metadata, which only schemas and fields may have")
        claims = Claims(message.scalar(_HEADER_TYPE, "<B"), message.scalar(_BODY_LENGTH, "<q"))
        if claims.kind != RECORD_BATCH:
            return claims
        batch = message.table(_HEADER)
        return Claims(
            claims.kind,
            claims.body_bytes,
            rows=batch.scalar(_LENGTH, "<q"),
            is_compressed=batch.has(_COMPRESSION),
            nodes=batch.pairs(_NODES),
            buffers=batch.pairs(_BUFFERS),
        )
    except (struct.error, IndexError) as error:
        raise breach("the metadata of an Arrow message is damaged") from error


def schema_of(metadata: bytes) -> Table:
    """Give the schema of a schema message, as it stands in the metadata.

    Raises:
        PluginExecutionError: It is no flatbuffer of a message.
    """
    try:
        return Table.root(metadata).table(_HEADER)
    except (struct.error, IndexError) as error:
        raise breach("the metadata of an Arrow message is damaged") from error
