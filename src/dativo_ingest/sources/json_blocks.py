"""Blocks of JSON records: whole records, cut out of a byte stream and not yet parsed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from dativo_plugin_sdk.errors import DataFormatError

BLOCK_BYTES = 2 * 2**20
"""How much text is parsed at once: parsing is as fast as with larger blocks, and a bad block costs little."""

MAX_RECORD_BYTES = 128 * 2**20
"""The longest record that is taken; a longer one says that the file is of another shape."""

_UTF8_BOM = b"\xef\xbb\xbf"
_OTHER_BOMS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x00\x00\xfe\xff": "UTF-32"}
_OBJECT_START = b"{"


class Readable(Protocol):
    """Anything that gives bytes in order."""

    def read(self, size: int, /) -> bytes: ...  # noqa: D102


@dataclass(frozen=True)
class Record:
    """One record's own text, with its line in the file and, in an array, its number (both from 1)."""

    text: bytes
    line: int
    number: int | None = None


@dataclass(frozen=True)
class Records:
    """Records as a parser takes them, each ended by a newline, and the line of each."""

    text: bytes
    lines: Sequence[int]


@dataclass(frozen=True)
class Block:
    """Whole records in the order of their file.

    ``raw`` is the file's text from the first record to the end of the last; ``spans`` says where each record lies in
    it, None where each line is one. ``line`` is where it begins, ``number`` the first record's, in an array.
    """

    raw: bytes
    line: int
    spans: Sequence[tuple[int, int]] | None = None
    number: int = 1

    def records(self) -> Iterator[Record]:
        """Take the block apart; blank lines are no records."""
        if self.spans is None:
            for line, text in enumerate(self.raw.split(b"\n"), self.line):
                if text.strip():
                    yield Record(text.rstrip(b"\r"), line)
            return
        lines = self._element_lines()
        for number, (line, (start, end)) in enumerate(zip(lines, self.spans, strict=True), self.number):
            yield Record(self.raw[start:end], line, number)

    def at_a_glance(self) -> Records | None:
        """Give the records of lines without looking: some may be blank, or no objects; otherwise as `looked_at`."""
        if self.spans is not None:
            return self.looked_at()
        return Records(self.raw, range(self.line, self.line + self.count))

    def looked_at(self) -> Records | None:
        """Give the records, each of which begins as an object, or None where one does not."""
        if self.spans is not None:
            if any(self.raw[start] != _OBJECT_START[0] for start, _ in self.spans):
                return None
            texts = [self.raw[start:end] for start, end in self.spans]
            return Records(b"\n".join([*texts, b""]), self._element_lines())
        records = list(self.records())
        if any(record.text.lstrip()[:1] != _OBJECT_START for record in records):
            return None
        return Records(b"\n".join([*(record.text for record in records), b""]), [record.line for record in records])

    @cached_property
    def count(self) -> int:
        """How many records there are, blank lines counted as such."""
        if self.spans is not None:
            return len(self.spans)
        return self.raw.count(b"\n") + (not self.raw.endswith(b"\n"))

    def halves(self) -> tuple[Block, Block]:
        """Cut the block in two; one of them may be empty."""
        if self.spans is not None:
            middle = len(self.spans) // 2
            cut = self.spans[middle][0]
            back = [(start - cut, end - cut) for start, end in self.spans[middle:]]
            line = self.line + self.raw.count(b"\n", 0, cut)
            first = Block(self.raw[:cut], self.line, self.spans[:middle], self.number)
            return first, Block(self.raw[cut:], line, back, self.number + middle)
        cut = self.raw.find(b"\n", len(self.raw) // 2) + 1 or len(self.raw)
        first = Block(self.raw[:cut], self.line)
        return first, Block(self.raw[cut:], self.line + first.raw.count(b"\n"))

    def _element_lines(self) -> Sequence[int]:
        assert self.spans is not None  # noqa: S101  only asked of arrays
        if b"\n" not in self.raw:
            return [self.line] * len(self.spans)
        lines: list[int] = []
        line, at = self.line, 0
        for start, _ in self.spans:
            line += self.raw.count(b"\n", at, start)
            at = start
            lines.append(line)
        return lines


def read_full(stream: Readable, size: int) -> bytes:
    """Read ``size`` bytes, fewer only at the end; a decompressor gives what it has at hand."""
    part = stream.read(size)
    if not part or len(part) == size:
        return part
    parts = [part]
    missing = size - len(part)
    while missing and (part := stream.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def without_bom(first: bytes, source: str) -> bytes:
    """Take the byte order mark off a file's first bytes.

    Raises:
        DataFormatError: The mark is that of another encoding than UTF-8.
    """
    for mark, encoding in _OTHER_BOMS.items():
        if first.startswith(mark):
            raise DataFormatError(
                f"{source}: JSON must be UTF-8, this file is {encoding}",
                details={"file": source},
                hint=f"convert it: iconv -f {encoding} -t UTF-8",
            )
    return first.removeprefix(_UTF8_BOM)


def too_long(source: str, offset: int, limit: int, hint: str) -> DataFormatError:
    """Say that a record goes on and on."""
    return DataFormatError(
        f"{source}: the record at byte {offset} is longer than {limit // 2**20} MB",
        details={"file": source, "offset": offset},
        hint=hint,
    )
