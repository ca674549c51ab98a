"""JSON arrays as blocks of elements: cut out of the stream without parsing them, never a whole file in memory.

Quotes and brackets are found a chunk at a time with numpy. What the elements hold is judged later by the parser; here
only the array's own commas and brackets are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import NoReturn

import numpy as np

from dativo_ingest.sources.json_blocks import (
    BLOCK_BYTES,
    MAX_RECORD_BYTES,
    Block,
    Readable,
    read_full,
    too_long,
    without_bom,
)
from dativo_plugin_sdk.errors import DataFormatError

_QUOTE, _OPENING, _CLOSING = 1, 2, 3
_CODES = np.zeros(256, np.uint8)
_CODES[list(b'"')] = _QUOTE
_CODES[list(b"{[")] = _OPENING
_CODES[list(b"}]")] = _CLOSING

_SPACES = re.compile(rb"[ \t\r\n]*+")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_BARE = re.compile(rb'[^ \t\r\n,:"{}\[\]]*+')
_NESTING = re.compile(rb'["{}\[\]]')
_LONE_ELEMENT = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[^ \t\r\n,"]++', re.DOTALL)
_SHAPE_HINT = "name the place of the array with records_path; for one object per line use the connector jsonl"


def element_blocks(
    stream: Readable,
    source: str,
    records_path: Sequence[str] = (),
    *,
    block_bytes: int = BLOCK_BYTES,
    max_record_bytes: int = MAX_RECORD_BYTES,
) -> Iterator[Block]:
    """Cut an array into blocks of elements.

    Args:
        stream: The file's bytes, decompressed.
        source: The file's name, for messages.
        records_path: The keys that lead from the outermost object to the array; none where the file is the array.
        block_bytes: About how large a block is; one of a single element may be larger.
        max_record_bytes: The longest element that is taken.

    Yields:
        Blocks with a span for each element, whatever it is. An object where the array should be is the one element;
        null is none.

    Raises:
        DataFormatError: The file is not JSON around the elements, lacks what ``records_path`` says, or ends too early;
            ``details["offset"]`` is the byte.
    """
    cursor = _Cursor(stream, source, block_bytes)
    _descend(cursor, records_path)
    match cursor.peek():
        case b"[":
            cursor.take(b"[")
            yield from _Elements(cursor, max_record_bytes, is_array=True).blocks()
        case b"{":
            yield from _Elements(cursor, max_record_bytes, is_array=False).blocks()
        case b"n" if records_path:
            cursor.skip_value()
        case b"":
            if cursor.offset:
                cursor.fail("ends here, a value was expected")
            raise DataFormatError(f"{source}: the file is empty", details={"file": source, "offset": 0})
        case _:
            cursor.fail("an array of objects or an object was expected", hint=_SHAPE_HINT)
    _ascend(cursor, records_path)


def _descend(cursor: _Cursor, path: Sequence[str]) -> None:
    """Go to the value at ``path``, over everything before it."""
    for depth, wanted in enumerate(path):
        if cursor.peek() != b"{":
            place = ".".join(path[:depth]) or "the file"
            cursor.fail(f"records_path {'.'.join(path)}: {place} is no object", hint=_SHAPE_HINT)
        cursor.take(b"{")
        names: list[str] = []
        while True:
            if cursor.peek() == b"}":
                there = f"; there are {', '.join(names[:20])}" if names else ""
                cursor.fail(f"records_path {'.'.join(path)}: no key {wanted!r}{there}", hint=_SHAPE_HINT)
            names.append(cursor.key())
            if names[-1] == wanted:
                break
            cursor.skip_value()
            if cursor.peek() != b"}":
                cursor.take(b",")


def _ascend(cursor: _Cursor, path: Sequence[str]) -> None:
    """Read on to the file's end, so that a file cut short behind the array is noticed too."""
    for wanted in reversed(path):
        while cursor.peek() != b"}":
            cursor.take(b",")
            if cursor.key() == wanted:
                cursor.fail(f"the key {wanted!r} of records_path stands here a second time")
            cursor.skip_value()
        cursor.take(b"}")
    if cursor.peek():
        cursor.fail("more follows the end of the JSON value", hint=_SHAPE_HINT)


class _Cursor:
    """A place in a stream of JSON, for the text around the array."""

    def __init__(self, stream: Readable, source: str, chunk_bytes: int) -> None:
        self.stream = stream
        self.source = source
        self.chunk_bytes = chunk_bytes
        first = read_full(stream, chunk_bytes)
        self._buffer = without_bom(first, source)
        self._base = len(first) - len(self._buffer)  # the buffer's place in the file
        self._at = 0
        self.line = 1
        """The line of the current place, true after `peek`."""

    @property
    def offset(self) -> int:
        """The byte of the file at which the cursor stands, from 0."""
        return self._base + self._at

    def fail(self, message: str, *, hint: str | None = None) -> NoReturn:
        """Refuse the file at the current place."""
        offset = self.offset
        raise DataFormatError(
            f"{self.source}: byte {offset}, line {self.line}: {message}",
            details={"file": self.source, "offset": offset, "line": self.line},
            hint=hint,
        )

    def rest(self) -> bytes:
        """Hand over what is read and not used; give it back with `resume`."""
        rest, self._base = self._buffer[self._at :], self.offset
        self._buffer, self._at = b"", 0
        return rest

    def resume(self, rest: bytes, offset: int, line: int) -> None:
        """Go on where another reader of the stream has stopped."""
        self._buffer, self._at, self._base, self.line = rest, 0, offset, line

    def peek(self) -> bytes:
        """Pass over white space and give the next byte, ``b""`` at the end."""
        while True:
            end = self._end_of(_SPACES)
            self._pass_to(end)
            if self._at < len(self._buffer):
                return self._buffer[self._at : self._at + 1]
            if not self._more():
                return b""

    def take(self, byte: bytes) -> None:
        """Pass over one byte that must be there."""
        found = self.peek()
        if found != byte:
            what = f"{found.decode('utf-8', 'backslashreplace')!r} stands" if found else "the file ends"
            self.fail(f"{what} where {byte.decode()!r} was expected; the file is cut short or no JSON")
        self._at += 1

    def key(self) -> str:
        """Pass over a key and its colon."""
        if self.peek() != b'"':
            self.take(b'"')
        start = self._at
        while (match := _STRING.match(self._buffer, start)) is None:
            if not self._more(keep_from=start):
                self.fail("the file ends inside a key")
            start = self._at
        self._at = match.end()
        try:
            name = str(json.loads(match[0]))
        except ValueError as error:
            raise DataFormatError(
                f"{self.source}: byte {self.offset}: a key that is no JSON string: {error}",
                details={"file": self.source, "offset": self.offset},
            ) from error
        self.take(b":")
        return name

    def skip_value(self) -> None:
        """Pass over one value of any size."""
        depth = 0
        first = self.peek()
        if first not in (b'"', b"{", b"["):
            self._skip_bare()
            return
        while True:
            match = _NESTING.search(self._buffer, self._at)
            if match is None:
                self._pass_to(len(self._buffer))
                if not self._more():
                    self.fail("the file ends inside a value")
                continue
            self._pass_to(match.start())
            byte = match[0]
            if byte == b'"':
                self._skip_string()
            else:
                self._at += 1
                depth += 1 if byte in b"{[" else -1
            if depth == 0:
                return

    def _skip_bare(self) -> None:
        passed = 0
        while True:
            end = self._end_of(_BARE)
            passed += end - self._at
            self._at = end
            if end < len(self._buffer) or not self._more():
                break
        if not passed:
            self.fail("a value was expected; the file is cut short or no JSON")

    def _skip_string(self) -> None:
        self._at += 1
        while True:
            end = self._buffer.find(b'"', self._at)
            escape = self._buffer.find(b"\\", self._at, end if end >= 0 else len(self._buffer))
            if escape >= 0 and escape + 1 < len(self._buffer):
                self._at = escape + 2
            elif escape >= 0:
                self._at = escape
                if not self._more(keep_from=escape):
                    self.fail("the file ends inside a string")
            elif end >= 0:
                self._at = end + 1
                return
            else:
                self._pass_to(len(self._buffer))
                if not self._more():
                    self.fail("the file ends inside a string")

    def _end_of(self, pattern: re.Pattern[bytes]) -> int:
        match = pattern.match(self._buffer, self._at)
        assert match is not None  # noqa: S101  both patterns match nothing, too
        return match.end()

    def _pass_to(self, end: int) -> None:
        self.line += self._buffer.count(b"\n", self._at, end)
        self._at = end

    def _more(self, keep_from: int | None = None) -> bool:
        """Read on; the bytes from ``keep_from`` (by default: from here) stay, and the cursor stands at their start."""
        start = self._at if keep_from is None else keep_from
        kept, self._base = self._buffer[start:], self._base + start
        if len(kept) > MAX_RECORD_BYTES:
            raise too_long(self.source, self._base, MAX_RECORD_BYTES, _SHAPE_HINT)
        chunk = read_full(self.stream, self.chunk_bytes)
        self._buffer, self._at = kept + chunk, 0
        return bool(chunk)


class _Elements:
    """The elements of the array in which a cursor stands, or the one object before which it stands."""

    def __init__(self, cursor: _Cursor, max_record_bytes: int, *, is_array: bool) -> None:
        self._cursor = cursor
        self._max_record_bytes = max_record_bytes
        self._is_array = is_array
        self._offset = cursor.offset  # of `_parts`, or of the next chunk
        self._line = cursor.line
        self._number = 1
        self._parts: list[bytes] = []  # from the end of the last whole element on
        self._kept_bytes = 0  # of `_parts`
        self._started_at: int | None = None  # where in `_parts` the open element begins
        self._is_in_string = False
        self._depth = 0
        self._held = b""  # backslashes at a chunk's end: what they escape is not known yet

    def blocks(self) -> Iterator[Block]:
        """Yield blocks up to the array's end, and leave the cursor behind it."""
        for chunk in self._chunks():
            starts, ends, closed = self._find(chunk)
            shift = self._kept_bytes
            self._parts.append(chunk)
            self._kept_bytes += len(chunk)
            if self._started_at is not None:
                starts.insert(0, self._started_at - shift)
            self._started_at = starts.pop() + shift if len(starts) > len(ends) else None
            if not ends and closed is None:
                if self._kept_bytes > self._max_record_bytes:
                    raise too_long(self._cursor.source, self._offset, self._max_record_bytes, _SHAPE_HINT)
                continue
            raw = b"".join(self._parts)
            spans = [(start + shift, end + shift) for start, end in zip(starts, ends, strict=True)]
            if not self._is_array:
                yield from self._block(raw, spans[:1])
                self._hand_back(raw, spans[0][1])
                return
            close = None if closed is None else closed + shift
            spans = self._with_lone_elements(raw, spans, close)
            yield from self._block(raw, spans)
            if close is not None:
                self._hand_back(raw, close + 1)
                return
            self._keep(raw, spans[-1][1])

    def _chunks(self) -> Iterator[bytes]:
        """Read on; no chunk ends in backslashes, for what they escape would not be known."""
        chunk = self._cursor.rest()
        while True:
            self._held += chunk
            if whole := self._held.rstrip(b"\\"):
                self._held = self._held[len(whole) :]
                yield whole
            elif len(self._held) > self._max_record_bytes:
                raise too_long(self._cursor.source, self._offset, self._max_record_bytes, _SHAPE_HINT)
            if not (chunk := read_full(self._cursor.stream, self._cursor.chunk_bytes)):
                self._fail_at_end()

    def _find(self, chunk: bytes) -> tuple[list[int], list[int], int | None]:
        """Find where elements begin and end in a chunk, and the bracket that closes the array."""
        masked = chunk
        if b"\\" in chunk:  # leave no escaped quote; the length stays
            masked = chunk.replace(b"\\\\", b"__").replace(b'\\"', b"__")
        codes = _CODES[np.frombuffer(masked, np.uint8)]
        at = np.flatnonzero(codes)
        kinds = codes[at]
        quotes = kinds == _QUOTE
        inside = (np.cumsum(quotes) + self._is_in_string) & 1
        self._is_in_string = bool((int(quotes.sum()) + self._is_in_string) & 1)
        outside = ~quotes & (inside == 0)
        at, kinds = at[outside], kinds[outside]
        opening = kinds == _OPENING
        depths = np.cumsum(np.where(opening, 1, -1)) + self._depth
        closed: int | None = None
        below = np.flatnonzero(depths < 0)
        if len(below):
            closed = int(at[below[0]])
            opening, depths, at = opening[: below[0]], depths[: below[0]], at[: below[0]]
        if len(depths):
            self._depth = int(depths[-1])
        starts: list[int] = at[opening & (depths == 1)].tolist()
        ends: list[int] = (at[~opening & (depths == 0)] + 1).tolist()
        return starts, ends, closed

    def _block(self, raw: bytes, spans: list[tuple[int, int]]) -> Iterator[Block]:
        if spans:
            first, last = spans[0][0], spans[-1][1]
            line = self._line + raw.count(b"\n", 0, first)
            if first:
                spans = [(start - first, end - first) for start, end in spans]
            yield Block(raw[first:last], line, spans, self._number)
            self._number += len(spans)

    def _with_lone_elements(
        self, raw: bytes, spans: list[tuple[int, int]], closed: int | None
    ) -> list[tuple[int, int]]:
        """Check what stands between the elements, and add the elements there that have no brackets."""
        found: list[tuple[int, int]] = []
        before = 0
        is_first = self._number == 1
        for span in spans:
            gap = raw[before : span[0]]
            if is_first or gap not in (b",", b", ", b",\n"):
                found += self._gap(raw, before, span[0], is_first=is_first and not found, is_last=False)
            found.append(span)
            before, is_first = span[1], False
        if closed is not None:
            if raw[closed : closed + 1] != b"]":
                self._fail(raw, closed, "'}' stands where ']' was expected")
            found += self._gap(raw, before, closed, is_first=self._number == 1 and not found, is_last=True)
        return found

    def _gap(self, raw: bytes, start: int, end: int, *, is_first: bool, is_last: bool) -> list[tuple[int, int]]:
        """Read what stands between two bracketed elements: one comma, or more with plain values between them."""
        found: list[tuple[int, int]] = []
        needs_comma = not is_first
        at = start
        while (at := _skip_spaces(raw, at)) < end:
            if raw[at : at + 1] == b",":
                if not needs_comma:
                    self._fail(raw, at, "',' stands where an element was expected")
                needs_comma = False
                at += 1
                continue
            if needs_comma:
                self._fail(raw, at, "',' was expected between two elements")
            match = _LONE_ELEMENT.match(raw, at, end)
            if match is None:
                self._fail(raw, at, "an element was expected")
            found.append(match.span())
            needs_comma = True
            at = match.end()
        is_empty = is_first and not found and needs_comma is False
        if is_last and not needs_comma and not is_empty:
            self._fail(raw, end, "an element was expected behind ','")
        if not is_last and needs_comma:
            self._fail(raw, end, "',' was expected between two elements")
        return found

    def _keep(self, raw: bytes, used: int) -> None:
        """Keep what belongs to elements that are not whole yet."""
        self._line += raw.count(b"\n", 0, used)
        self._offset += used
        if self._started_at is not None:
            self._started_at -= used
        self._parts, self._kept_bytes = [raw[used:]], len(raw) - used

    def _hand_back(self, raw: bytes, end: int) -> None:
        line = self._line + raw.count(b"\n", 0, end)
        self._cursor.resume(raw[end:] + self._held, self._offset + end, line)

    def _fail(self, raw: bytes, at: int, message: str) -> NoReturn:
        self._cursor.resume(b"", self._offset + at, self._line + raw.count(b"\n", 0, at))
        self._cursor.fail(message)

    def _fail_at_end(self) -> NoReturn:
        raw = b"".join(self._parts) + self._held
        where = "inside a string" if self._is_in_string else "inside an element" if self._depth else "inside the array"
        self._fail(raw, len(raw), f"the file ends {where}, after {self._number - 1} whole element(s): it is cut short")


def _skip_spaces(raw: bytes, at: int) -> int:
    match = _SPACES.match(raw, at)
    assert match is not None  # noqa: S101  it matches nothing, too
    return match.end()
