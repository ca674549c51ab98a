"""JSON files: one object a line (``jsonl``), or an array of objects somewhere in a document (``json``)."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ClassVar, TypeVar

import pyarrow as pa

from dativo_ingest.sources.file_columns import merge
from dativo_ingest.sources.file_config import FileOptions
from dativo_ingest.sources.file_opening import OpenedFile
from dativo_ingest.sources.file_reader import FileReader
from dativo_ingest.sources.json_array import element_blocks
from dativo_ingest.sources.json_blocks import BLOCK_BYTES, Block
from dativo_ingest.sources.json_lines import line_blocks
from dativo_ingest.sources.json_parse import ParsedBlock, RecordParser
from dativo_ingest.sources.json_types import infer_schema
from dativo_ingest.sources.json_values import MalformedError, parse_object
from dativo_plugin_sdk import DataFormatError, Message, Rejected, Rows, StreamSpec, rejected

_SAMPLE_BLOCK_BYTES = 256 * 2**10
_SAMPLE_BYTES = 8 * 2**20  # of text: rows may be wide, and the sample is read value by value

Options = TypeVar("Options", bound=FileOptions)
Item = TypeVar("Item")
Result = TypeVar("Result")


class JsonLinesOptions(FileOptions):
    """How JSON lines are read: UTF-8, one object a line, blank lines left out."""


class JsonOptions(FileOptions):
    """How JSON documents are read: UTF-8, the whole file one array of objects or one object."""

    records_path: str | list[str] | None = None
    """Where the array stands, such as ``data.items``; a list of keys where one of them holds a dot."""

    @property
    def keys(self) -> list[str]:
        """Give the keys that lead to the array."""
        path = self.records_path or []
        return path.split(".") if isinstance(path, str) else path


class _RecordsReader(FileReader[Options]):
    """What both JSON formats do alike, once their files are cut into blocks."""

    @abstractmethod
    def _blocks(self, file: OpenedFile, options: Options, block_bytes: int) -> Iterator[Block]:
        """Cut a file into blocks of records."""

    def infer_schema(self, file: OpenedFile, options: Options) -> pa.Schema:
        """Find the columns of a file's first objects; see `json_types.infer_schema`."""
        return infer_schema(self._sample(file, options))

    def schema(self, stream: StreamSpec) -> pa.Schema:
        """Find the columns of a stream's files: those of the first objects of the first ``infer_files``."""
        options = self.options_of(stream)
        return merge([(stream.name, infer_schema(self._samples(options)))])

    def read_file(self, file: OpenedFile, stream: StreamSpec, options: Options) -> Iterator[Message]:
        """Read one file; what is malformed or of another type is rejected record by record."""
        schema = self.infer_schema(file, options) if stream.schema is None else stream.schema
        parser = RecordParser(schema, file.name)
        blocks = self._blocks(file, options, min(BLOCK_BYTES, stream.batch_bytes))
        noted: set[str] = set()
        for parsed in _in_order(parser.parse, blocks, threads=stream.parallelism):
            extra = [name for name in parsed.extra if name not in noted]
            noted.update(extra)
            yield from self.note_extra_columns(file, extra, options)
            if not schema.names and parsed.lines:
                raise DataFormatError(
                    f"{file.name}:{parsed.lines[0]}: a row, and the stream has no columns: there were none in the "
                    f"beginning of its first {options.infer_files} file(s)",
                    details={"path": file.name, "line": parsed.lines[0]},
                    hint="give the stream a contract, or look at more with infer_files and infer_rows",
                )
            if parsed.rejected:
                yield Rejected(rejected(parsed.rejected))
            yield _rows(parsed, file)

    def _samples(self, options: Options) -> Iterator[dict[str, Any]]:
        for file in self._files(options)[: options.infer_files]:
            with self._opened(file, options) as opened:
                yield from self._sample(opened, options)

    def _sample(self, file: OpenedFile, options: Options) -> Iterator[dict[str, Any]]:
        """Give a file's first objects.

        Raises:
            DataFormatError: There are records, and none of the sample is an object.
        """
        taken, size_bytes = 0, 0
        first_problem: tuple[int, str] | None = None
        for block in self._blocks(file, options, _SAMPLE_BLOCK_BYTES):
            for record in block.records():
                if taken >= options.infer_rows or size_bytes > _SAMPLE_BYTES:
                    break
                size_bytes += len(record.text)
                try:
                    yield parse_object(record.text)
                except MalformedError as error:
                    first_problem = first_problem or (record.line, str(error))
                else:
                    taken += 1
            if taken >= options.infer_rows or size_bytes > _SAMPLE_BYTES:
                break
        if not taken and first_problem is not None:
            line, reason = first_problem
            raise DataFormatError(
                f"{file.name}:{line}: {reason}, and no record after it is an object either",
                details={"path": file.name, "line": line},
                hint="is it JSON, one object a line (jsonl) or an array of objects (json)?",
            )


class JsonLinesReader(_RecordsReader[JsonLinesOptions]):
    """Reads files with one JSON object a line (JSON lines, NDJSON)."""

    suffixes: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson")
    options_model: ClassVar[type[FileOptions]] = JsonLinesOptions

    def _blocks(self, file: OpenedFile, options: JsonLinesOptions, block_bytes: int) -> Iterator[Block]:  # noqa: ARG002
        stream = file.stream(file.start_byte)
        lines, is_clean = file.start_line - 1, True
        for block in line_blocks(stream, file.name, first_line=file.start_line, block_bytes=block_bytes):
            yield block
            lines = block.line - 1 + block.count
            is_clean = block.raw.endswith(b"\n")
        file.lines = lines if is_clean else None


class JsonReader(_RecordsReader[JsonOptions]):
    """Reads files that are one JSON document: an array of objects, or one object, at ``records_path``."""

    suffixes: ClassVar[tuple[str, ...]] = (".json",)
    options_model: ClassVar[type[FileOptions]] = JsonOptions

    def _blocks(self, file: OpenedFile, options: JsonOptions, block_bytes: int) -> Iterator[Block]:
        return element_blocks(file.stream(), file.name, options.keys, block_bytes=block_bytes)


def _rows(parsed: ParsedBlock, file: OpenedFile) -> Rows:
    lines = parsed.lines
    in_step = range(lines[0], lines[0] + len(lines)) if lines else range(0)
    is_in_step = bool(lines) and (isinstance(lines, range) or list(in_step) == lines)
    return Rows(
        parsed.batch,
        source=file.name,
        first_line=lines[0] if is_in_step else None,
        lines=None if is_in_step else pa.array(lines, pa.int64()),
        source_bytes=file.newly_read_bytes(),
    )


def _in_order(call: Callable[[Item], Result], items: Iterable[Item], *, threads: int) -> Iterator[Result]:
    """Map ``items``, a few at a time, in their order; they are drawn in the calling thread."""
    if threads <= 1:
        yield from map(call, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="json") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(call, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
