"""One file, opened: its bytes unpacked as a stream, or at random; every failure names the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Self, TypeAlias

import pyarrow as pa

from dativo_ingest.sources.file_config import Compression
from dativo_ingest.sources.file_errors import translated
from dativo_ingest.sources.file_listing import PACKED_SUFFIXES, FileStore, SourceFile
from dativo_plugin_sdk import DataFormatError
from dativo_plugin_sdk.s3_errors import is_s3_error

Packing: TypeAlias = Literal["none", "gzip", "zstd"]
_READ_AHEAD_BYTES = 4 * 2**20  # one request to S3 brings this much; local files do not mind


class OpenedFile:
    """One file to read, as often as wanted; used from one thread at a time, closed by ``with`` or ``close``.

    Attributes:
        name: The path or address, for messages, `Rows.source` and `dativo_plugin_sdk.rejected`.
        size_bytes: The file's size as it lies there, packed or not.
        packing: How its bytes are packed.
        start_byte: Where reading begins: beyond 0 only for a file that grew, of a format that can be tailed.
        start_line: The number of the line at ``start_byte``, from 1.
        lines: To be set by a format that can be tailed, once the file has been read to its end and the end is a
            clean one (after a line's end, outside quotes): how many lines the whole file has. None forbids tailing.
    """

    def __init__(
        self,
        store: FileStore,
        file: SourceFile,
        compression: Compression,
        *,
        start_byte: int = 0,
        start_line: int = 1,
    ) -> None:
        self._store = store
        self.name = file.path
        self.size_bytes = file.size_bytes
        self.packing: Packing = _packing(file.path, compression)
        self.start_byte = start_byte
        self.start_line = start_line
        self.lines: int | None = None
        self._open: list[pa.NativeFile] = []
        self._counted = start_byte
        self._raw: pa.NativeFile | None = None

    def stream(self, start_byte: int = 0) -> ByteStream:
        """Open the file's unpacked bytes, from ``start_byte`` of the file on (0 where it is packed)."""
        filesystem, inner = self._store.filesystem(self.name)
        with self.translated():
            raw = filesystem.open_input_file(inner)
            self._open.append(raw)
            raw.seek(start_byte)
            self._raw = raw
            if self.packing == "none":
                return ByteStream(self, raw, raw)
            if self.size_bytes == 0:
                raise DataFormatError(f"{self.name}: truncated {self.packing}: the file has no bytes at all")
            ahead = pa.BufferedInputStream(raw, _READ_AHEAD_BYTES)
            unpacked = pa.CompressedInputStream(ahead, self.packing)
            self._open.append(unpacked)
            return ByteStream(self, unpacked, raw)

    def seekable(self) -> pa.NativeFile:
        """Open the file for reading at any place, for formats with a footer; wrap what you do with it in `translated`.

        Raises:
            DataFormatError: The file is packed, so that it can only be read from the front.
        """
        if self.packing != "none":
            raise DataFormatError(
                f"{self.name}: is packed with {self.packing}, and this format is read from its end",
                hint="unpack the file, or write it with compression inside",
            )
        return self.raw()

    def raw(self) -> pa.NativeFile:
        """Open the file's bytes as they lie there, packed or not, for reading at any place."""
        filesystem, inner = self._store.filesystem(self.name)
        with self.translated():
            raw = filesystem.open_input_file(inner)
            self._open.append(raw)
            return raw

    def newly_read_bytes(self) -> int:
        """Give how many of the file's bytes the last `stream` took since the last call, for `Rows.source_bytes`."""
        if self._raw is None or self._raw.closed:
            return 0
        at = self._raw.tell()
        taken, self._counted = max(0, at - self._counted), max(at, self._counted)
        return taken

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn ``OSError`` and ``ArrowInvalid`` of the block into Dativo errors that name the file."""
        with translated(self.name):
            try:
                yield
            except pa.ArrowInvalid as error:
                raise DataFormatError(f"{self.name}: {error}", details={"path": self.name}) from error

    def close(self) -> None:
        """Close everything that was opened; may be called twice."""
        while self._open:
            self._open.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ByteStream:
    """A file's unpacked bytes, front to back."""

    def __init__(self, file: OpenedFile, unpacked: pa.NativeFile, raw: pa.NativeFile) -> None:
        self._file = file
        self._unpacked = unpacked
        self._raw = raw
        self._is_packed = unpacked is not raw

    @property
    def native(self) -> pa.NativeFile:
        """Give Arrow's own stream, for Arrow's own readers; wrap what you do with it in `OpenedFile.translated`."""
        return self._unpacked

    def read(self, size_bytes: int) -> bytes:
        """Read up to ``size_bytes``, fewer only at the end; nothing more is ``b""``.

        Raises:
            DataFormatError: The packed bytes are cut short or broken; names the byte of the file where that shows.
        """
        if not self._is_packed:
            with self._file.translated():
                return self._unpacked.read(size_bytes)
        try:
            return self._unpacked.read(size_bytes)
        except OSError as error:
            raise self._broken(error) from error

    def readinto(self, view: memoryview) -> int:
        """Fill ``view`` from its beginning, less of it only at the end; say how many bytes.

        Raises:
            DataFormatError: As `read`.
        """
        if not self._is_packed:
            with self._file.translated():
                return int(self._unpacked.readinto(view))
        try:
            return int(self._unpacked.readinto(view))
        except OSError as error:
            raise self._broken(error) from error

    def _broken(self, error: OSError) -> Exception:
        text, packing, at = str(error), self._file.packing, self._raw.tell()
        if error.errno is not None or is_s3_error(error):
            with translated(self._file.name):
                raise error
        if "Truncated" in text:
            return DataFormatError(
                f"{self._file.name}: truncated {packing}: the file ends at byte {at} in the middle of its packed data",
                details={"path": self._file.name, "byte": at},
                hint="the file was not written to its end, or not copied to its end: write or copy it again",
            )
        return DataFormatError(
            f"{self._file.name}: broken {packing}, found on the way to byte {at}: {text}",
            details={"path": self._file.name, "byte": at},
            hint="if the file is not packed, or packed otherwise, set `compression`",
        )


def _packing(path: str, compression: Compression) -> Packing:
    if compression == "auto":
        return PACKED_SUFFIXES.get(os.path.splitext(path)[1].lower(), "none")  # noqa: PTH122  an S3 key is no path
    return compression
