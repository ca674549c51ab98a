"""A CSV file's bytes as UTF-8, cut into blocks that begin and end where records do."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from dativo_ingest.sources.csv_options import CsvOptions
from dativo_ingest.sources.csv_records import Dialect, cut, first_record_end, line_count
from dativo_ingest.sources.file_opening import ByteStream, OpenedFile
from dativo_plugin_sdk import DataFormatError

_BOM = codecs.BOM_UTF8


@dataclass(frozen=True)
class Block:
    """Whole records as UTF-8; ``is_open`` marks a last record whose quote is never closed."""

    data: bytes
    is_open: bool = False


class Start(NamedTuple):
    """A place in a file: a byte from 0, and its line from 1."""

    byte: int
    line: int


START = Start(byte=0, line=1)


class Utf8Stream:
    """A stream's text as UTF-8, without a byte order mark; UTF-8 itself is passed on unseen."""

    def __init__(self, stream: ByteStream, encoding: str, *, name: str, at_start: bool = True) -> None:
        self._stream = stream
        self._name = name
        self._encoding = encoding
        is_utf8 = encoding in ("utf-8", "utf-8-sig", "ascii")
        self._decoder = None if is_utf8 else codecs.getincrementaldecoder(encoding)()
        self._at_start = at_start
        self._taken_bytes = 0

    def read(self, size_bytes: int) -> bytes:
        """Read about ``size_bytes``; nothing more is ``b""``.

        Raises:
            DataFormatError: The bytes are not of the encoding.
        """
        while True:
            raw = self._stream.read(size_bytes)
            data = raw if self._decoder is None else self._decode(raw)
            self._taken_bytes += len(raw)
            if self._at_start and data:
                data, self._at_start = data.removeprefix(_BOM), False
            if data or not raw:
                return data

    def _decode(self, raw: bytes) -> bytes:
        assert self._decoder is not None  # noqa: S101  read has looked
        try:
            return self._decoder.decode(raw, final=not raw).encode()
        except UnicodeError as error:  # a surrogate may also fail to be encoded
            at = self._taken_bytes + getattr(error, "start", 0)
            raise DataFormatError(
                f"{self._name}: not {self._encoding}, near byte {at}: {getattr(error, 'reason', error)}",
                details={"path": self._name, "byte": at, "encoding": self._encoding},
                hint="set `encoding` to the one the file is written in",
            ) from error


class RecordBlocks:
    """Cuts a file into blocks of whole records; a record larger than a block makes its block grow.

    Args:
        file: The file.
        options: How it is written.
        dialect: Its signs.
        block_bytes: About how large a block should be.
        start: Where in the file to begin: at its start, or just after a line's end outside quotes.
    """

    def __init__(
        self,
        file: OpenedFile,
        options: CsvOptions,
        dialect: Dialect,
        *,
        block_bytes: int,
        start: Start = START,
    ) -> None:
        stream = file.stream(start.byte)
        self._stream = Utf8Stream(stream, options.encoding, name=file.name, at_start=start.byte == 0)
        self._name = file.name
        self._dialect = dialect
        self._block_bytes = block_bytes
        self._max_bytes = max(block_bytes, options.max_record_mb * 2**20)
        self._rest = b""
        self._ended = False
        self.line = start.line

    def peek(self, size_bytes: int) -> bytes:
        """Give the next bytes, about ``size_bytes`` of them, without taking them."""
        while len(self._rest) < size_bytes and self._fill(size_bytes - len(self._rest)):
            pass
        return self._rest

    def skip_lines(self, count: int) -> None:
        """Leave out lines, whatever is in them."""
        for _ in range(count):
            while (at := self._rest.find(b"\n")) < 0 and self._fill(self._block_bytes):
                self._refuse_if_endless()
            self._take(at + 1 if at >= 0 else len(self._rest))

    def next_record(self) -> bytes | None:
        """Take one record that is not blank, line end included; None at the file's end."""
        while True:
            while (end := first_record_end(self._rest, self._dialect)) == 0 and self._fill(self._block_bytes):
                self._refuse_if_endless()
            record = self._take(end or len(self._rest))
            if not record:
                return None
            if record.strip(b"\r\n"):
                return record

    def __iter__(self) -> Iterator[Block]:
        """Yield what is left; ``line`` is for the caller to move on."""
        ask = self._block_bytes
        while True:
            missing = self._block_bytes - len(self._rest)
            self._fill(missing if missing > 0 else ask)
            found = cut(self._rest, self._dialect) if self._rest else None
            if found is None:
                return
            end = len(self._rest) if self._ended and not found.in_quotes else found.end
            if end:
                data, self._rest, ask = self._rest[:end], self._rest[end:], self._block_bytes
                yield Block(data)
            elif not self._ended:
                self._refuse_if_endless()
                ask = len(self._rest)  # grow by doubling: each byte is looked at a few times only
                continue
            if self._ended and self._rest:
                data, self._rest = self._rest, b""
                yield Block(data, is_open=True)

    def _take(self, end: int) -> bytes:
        taken, self._rest = self._rest[:end], self._rest[end:]
        self.line += line_count(taken)
        return taken

    def _fill(self, size_bytes: int) -> bool:
        """Read more; say whether there was any."""
        if self._ended:
            return False
        more = self._stream.read(size_bytes)
        self._ended = not more
        self._rest = self._rest + more if self._rest else more
        return not self._ended

    def _refuse_if_endless(self) -> None:
        if len(self._rest) > self._max_bytes:
            raise DataFormatError(
                f"{self._name}:{self.line}: a record is longer than {self._max_bytes >> 20} MB",
                details={"path": self._name, "line": self.line},
                hint="is a quote not closed? If such records are meant, raise `max_record_mb`; "
                "`quote_char: null` takes quotes as ordinary characters",
            )
