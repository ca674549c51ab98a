"""A CSV file's bytes as UTF-8, cut into blocks that begin and end where records do."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from dativo_ingest.sources.csv_options import CsvOptions
from dativo_ingest.sources.csv_records import Dialect, cut, first_record_end, line_count
from dativo_ingest.sources.file_opening import ByteStream, OpenedFile
from dativo_plugin_sdk import DataFormatError


@dataclass(frozen=True)
class Block:
    """Whole records as UTF-8; ``is_open`` marks a last record whose quote is never closed."""

    data: pa.Buffer
    is_open: bool = False


class Start(NamedTuple):
    """A place in a file: a byte from 0, and its line from 1."""

    byte: int
    line: int


START = Start(byte=0, line=1)


class Utf8Stream:
    """A stream's text as UTF-8; UTF-8 itself is passed on unseen."""

    def __init__(self, stream: ByteStream, encoding: str, name: str) -> None:
        self._stream = stream
        self._name = name
        self._encoding = encoding
        is_utf8 = encoding in ("utf-8", "utf-8-sig", "ascii")
        self._decoder = None if is_utf8 else codecs.getincrementaldecoder(encoding)()
        self._taken_bytes = 0
        self._decoded = b""

    def readinto(self, view: memoryview) -> int:
        """Fill ``view`` from its beginning, as far as is convenient; nothing at all only at the end.

        Raises:
            DataFormatError: The bytes are not of the encoding.
        """
        if self._decoder is None:
            return self._stream.readinto(view)
        while not self._decoded:
            raw = self._stream.read(len(view))
            self._decoded = self._decode(raw, self._decoder)
            self._taken_bytes += len(raw)
            if not raw:
                break
        taken, self._decoded = self._decoded[: len(view)], self._decoded[len(view) :]
        view[: len(taken)] = taken
        return len(taken)

    def _decode(self, raw: bytes, decoder: codecs.IncrementalDecoder) -> bytes:
        try:
            return decoder.decode(raw, final=not raw).encode()
        except UnicodeError as error:  # a surrogate may also fail to be encoded
            at = self._taken_bytes + getattr(error, "start", 0)
            raise DataFormatError(
                f"{self._name}: not {self._encoding}, near byte {at}: {getattr(error, 'reason', error)}",
                details={"path": self._name, "byte": at, "encoding": self._encoding},
                hint="set `encoding` to the one the file is written in",
            ) from error


class RecordBlocks:
    """Cuts a file into blocks of whole records; a record larger than a block makes its block grow.

    Blocks lie in Arrow's memory and are handed on without a copy: fresh memory for every block costs a tenth of the
    parser's time in page faults.

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
        self._stream = Utf8Stream(file.stream(start.byte), options.encoding, file.name)
        self._name = file.name
        self._dialect = dialect
        self._block_bytes = block_bytes
        self._max_bytes = max(block_bytes, options.max_record_mb * 2**20)
        self._rest = pa.py_buffer(b"")
        self._may_have_bom = start.byte == 0
        self._ended = False
        self.line = start.line

    def peek(self, size_bytes: int) -> pa.Buffer:
        """Give the next bytes, ``size_bytes`` of them or all there are, without taking them."""
        while self._rest.size < size_bytes and self._fill(size_bytes - self._rest.size):
            pass
        return self._rest

    def skip_lines(self, count: int) -> None:
        """Leave out lines, whatever is in them."""
        for _ in range(count):
            while (at := self._rest.to_pybytes().find(b"\n")) < 0 and self._fill(self._block_bytes):
                self._refuse_if_endless()
            self._take(at + 1 if at >= 0 else self._rest.size)

    def next_record(self) -> bytes | None:
        """Take one record that is not blank, line end included; None at the file's end."""
        while True:
            while (end := first_record_end(self._rest, self._dialect)) == 0 and self._fill(self._block_bytes):
                self._refuse_if_endless()
            record = self._take(end or self._rest.size)
            if not record:
                return None
            if record.strip(b"\r\n"):
                return record

    def __iter__(self) -> Iterator[Block]:
        """Yield what is left; ``line`` is for the caller to move on."""
        ask = self._block_bytes
        while True:
            missing = self._block_bytes - self._rest.size
            self._fill(missing if missing > 0 else ask)
            if not self._rest.size:
                if self._ended:
                    return
                continue
            found = cut(self._rest, self._dialect)
            end = self._rest.size if self._ended and not found.in_quotes else found.end
            if end:
                block, self._rest = self._rest.slice(0, end), self._rest.slice(end)
                ask = self._block_bytes
                yield Block(block)
            elif not self._ended:
                self._refuse_if_endless()
                ask = self._rest.size  # grow by doubling: each byte is looked at a few times only
                continue
            if self._ended and self._rest.size:
                block, self._rest = self._rest, self._rest.slice(0, 0)
                yield Block(block, is_open=True)

    def _take(self, end: int) -> bytes:
        taken, self._rest = self._rest.slice(0, end).to_pybytes(), self._rest.slice(end)
        self.line += line_count(taken)
        return taken

    def _fill(self, size_bytes: int) -> bool:
        """Read more; say whether there was any."""
        if self._ended:
            return False
        have = self._rest.size
        whole = pa.allocate_buffer(have + max(size_bytes, len(codecs.BOM_UTF8)))
        view = memoryview(whole).cast("B")
        view[:have] = memoryview(self._rest).cast("B")
        more = self._stream.readinto(view[have:])
        self._rest = whole.slice(0, have + more)
        if self._may_have_bom and more:
            self._may_have_bom = False
            if bytes(self._rest[: len(codecs.BOM_UTF8)]) == codecs.BOM_UTF8:
                self._rest = self._rest.slice(len(codecs.BOM_UTF8))
        self._ended = more == 0
        return not self._ended

    def _refuse_if_endless(self) -> None:
        if self._rest.size > self._max_bytes:
            raise DataFormatError(
                f"{self._name}:{self.line}: a record is longer than {self._max_bytes >> 20} MB",
                details={"path": self._name, "line": self.line},
                hint="is a quote not closed? If such records are meant, raise `max_record_mb`; "
                "`quote_char: null` takes quotes as ordinary characters",
            )
