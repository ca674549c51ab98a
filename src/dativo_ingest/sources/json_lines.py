"""JSON lines as blocks: cut at newlines, which never stand inside a JSON value written on one line."""

from __future__ import annotations

from collections.abc import Iterator

from dativo_ingest.sources.json_blocks import (
    BLOCK_BYTES,
    MAX_RECORD_BYTES,
    Block,
    Readable,
    read_full,
    too_long,
    without_bom,
)


def line_blocks(
    stream: Readable,
    source: str,
    *,
    first_line: int = 1,
    block_bytes: int = BLOCK_BYTES,
    max_record_bytes: int = MAX_RECORD_BYTES,
) -> Iterator[Block]:
    """Cut a stream into blocks of whole lines.

    Args:
        stream: The file's bytes, decompressed.
        source: The file's name, for messages.
        first_line: The number of the stream's first line; beyond 1 it goes on within a file.
        block_bytes: About how large a block is; one of a single line may be larger.
        max_record_bytes: The longest line that is taken.

    Yields:
        Blocks that, joined, are the file without its byte order mark.

    Raises:
        DataFormatError: A line is too long, or the file is UTF-16.
    """
    line, offset = first_line, 0
    parts: list[bytes] = []  # a line whose end has not been read
    chunk = read_full(stream, block_bytes)
    if first_line == 1:
        chunk = without_bom(chunk, source)
    while chunk:
        end = chunk.rfind(b"\n") + 1
        if end:
            block = Block(b"".join((*parts, memoryview(chunk)[:end])), line)
            parts.clear()
            yield block
            line += block.count
            offset += len(block.raw)
        if end < len(chunk):
            parts.append(chunk[end:])
        if sum(map(len, parts)) > max_record_bytes:
            raise too_long(source, offset, max_record_bytes, "is it one object per line? an array is connector json")
        chunk = read_full(stream, block_bytes)
    if parts:
        yield Block(b"".join(parts), line)
