"""What every file source does alike: find files, follow them, check, discover; a format adds how one file is read."""

from __future__ import annotations

import fnmatch
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar, cast

import pyarrow as pa

from dativo_ingest.sources.file_columns import cursor_candidates, describe, merge, merge_exact
from dativo_ingest.sources.file_config import Compression, FileConnection, FileCredentials, FileOptions
from dativo_ingest.sources.file_cursor import CursorFilter
from dativo_ingest.sources.file_listing import FileStore, SourceFile
from dativo_ingest.sources.file_opening import OpenedFile
from dativo_ingest.sources.file_state import (
    PROBE_BYTES,
    FileEntry,
    FilesState,
    Verdict,
    covers_whole_file,
    digest,
    first_verdict,
    same_bytes,
)
from dativo_plugin_sdk import (
    Capability,
    Check,
    ConnectionTestResult,
    DataError,
    DataFormatError,
    DataNotFoundError,
    DataValidationError,
    DativoError,
    DiscoveryResult,
    InvalidConfigError,
    Message,
    Partition,
    Rejected,
    Rows,
    SourceConfig,
    State,
    StateChanged,
    StreamReader,
    StreamSpec,
    Warned,
    parse,
)
from dativo_plugin_sdk.fingerprints import fingerprint

Options = TypeVar("Options", bound=FileOptions)
_SAMPLE_BYTES = 2**20
_SAMPLE_ROWS = 1000
_NAMED_FILES = 10  # how many files a message names


@dataclass
class _StreamRun:
    """One stream in one run: what the state said at its start, what has been read since, what is still to read."""

    start: FilesState
    now: FilesState
    todo: dict[str, tuple[SourceFile, int, int]] = field(default_factory=dict)  # path → file, start byte, start line
    warnings: list[str] = field(default_factory=list)


class FileReader(StreamReader, Generic[Options]):
    """Reads files of one format; see the module of each format for what it adds."""

    suffixes: ClassVar[tuple[str, ...]]
    """The suffixes of the format's files, in small letters: what a folder is searched for."""
    options_model: ClassVar[type[FileOptions]]
    """The format's own options, a subclass of `FileOptions`."""
    declares_types: ClassVar[bool] = False
    """Whether a file says itself what its columns are, so that nothing is inferred."""
    capabilities = frozenset({Capability.CURSOR_RANGE, Capability.INCREMENTAL, Capability.PARTITIONED})

    def __init__(self, config: SourceConfig) -> None:
        super().__init__(config)
        self._connection = parse(FileConnection, config.connection, where="source.connection")
        credentials = parse(FileCredentials, dict(config.credentials), where="source.credentials")
        parse(self.options_model, config.options, where="source.options")
        self._store = FileStore(self._connection, credentials)
        self._runs: dict[str, _StreamRun] = {}

    @abstractmethod
    def infer_schema(self, file: OpenedFile, options: Options) -> pa.Schema:
        """Find a file's columns and types from its footer, or from its first ``options.infer_rows`` rows.

        A column without any value in the sample is of type null. A file without rows has the columns it names.
        """

    @abstractmethod
    def read_file(self, file: OpenedFile, stream: StreamSpec, options: Options) -> Iterator[Message]:
        """Read one file, from ``file.start_byte`` on, in batches of about ``stream.batch_bytes``.

        Yields `Rows` (with ``source=file.name`` and ``source_bytes=file.newly_read_bytes()``), `Rejected` with rule
        ``malformed``, and `Warned`; no state. ``stream.schema`` is what to read: types already known spare a second
        conversion. What does not convert may be yielded as text, the engine casts it and rejects row by row. Columns
        beyond the schema may be left out through `note_extra_columns`.
        """

    def options_of(self, stream: StreamSpec | None) -> Options:
        """Give a stream's options: its own before the source's."""
        written = {**self.config.options, **(stream.options if stream else {})}
        where = f"streams.{stream.name}" if stream else "source.options"
        return cast("Options", parse(self.options_model, written, where=where))

    def note_extra_columns(self, file: OpenedFile, names: Sequence[str], options: Options) -> Iterator[Message]:
        """Say that a file's columns ``names`` are not read because the schema lacks them, or refuse the file.

        Raises:
            DataValidationError: ``extra_columns: fail``.
        """
        if not names:
            return
        text = f"{file.name} has columns that are not in the schema: {', '.join(names)}"
        if options.extra_columns == "fail":
            raise DataValidationError(text, hint="add them to the contract, or set extra_columns: ignore")
        yield Warned(f"{text}; they are left out")

    def check(self, streams: Sequence[StreamSpec]) -> Sequence[Check]:
        """List the steps: list the files, open the first, parse a sample of it, for every stream."""
        asked: Sequence[StreamSpec | None] = streams or [None]
        return [
            Check(step, partial(run, stream))
            for stream in asked
            for step, run in (("list", self._check_list), ("open", self._check_open), ("parse", self._check_parse))
        ]

    def discover(self, pattern: str | None = None) -> DiscoveryResult:
        """List the files, each with the columns that its beginning shows."""
        options = self.options_of(None)
        objects: list[dict[str, Any]] = []
        warnings: list[str] = []
        for name, file in self._named_files().items():
            if pattern is not None and not fnmatch.fnmatchcase(name, pattern):
                continue
            schema = pa.schema([])
            try:
                with self._opened(file, options) as opened:
                    schema = merge([(file.path, self.infer_schema(opened, options))])
            except DataError as error:
                warnings.append(str(error))
            objects.append(
                {
                    "name": name,
                    "type": "file",
                    "path": file.path,
                    "size_bytes": file.size_bytes,
                    "columns": describe(schema, exact=self.declares_types),
                    "cursor_candidates": cursor_candidates(schema),
                    "sync_modes": ["full_refresh", "incremental"],
                }
            )
        return DiscoveryResult(objects, metadata={"path": self._connection.path}, warnings=warnings)

    def fingerprint(self, stream: StreamSpec) -> str | None:
        """Know the source by its path: files that lie elsewhere count as new."""
        return fingerprint(self.options_of(stream).path or self._connection.path)

    def streams(self) -> Mapping[str, Mapping[str, Any]]:
        """Give one stream per file, named by the file's stem."""
        return {name: {"path": file.path} for name, file in self._named_files().items()}

    def schema(self, stream: StreamSpec) -> pa.Schema:
        """Find the columns of a stream's files: those of the first ``infer_files``, put together."""
        options = self.options_of(stream)
        found: list[tuple[str, pa.Schema]] = []
        for file in self._files(options)[: options.infer_files]:
            with self._opened(file, options) as opened:
                found.append((file.path, self.infer_schema(opened, options)))
        schema = merge_exact(found) if self.declares_types else merge(found)
        if not schema.names:
            raise DataFormatError(
                f"stream {stream.name}: no columns in {_names(path for path, _ in found)}: no header, no rows",
                hint="give the stream a contract, or wait until there is a file with a header",
            )
        return schema

    def partitions(self, stream: StreamSpec, state: State | None) -> Sequence[Partition]:
        """Give one partition per file that is to be read: with ``mode: incremental``, the new ones and new parts.

        Raises:
            DataError: Files that were read before are others now, and ``changed_files`` is ``fail``.
        """
        options = self.options_of(stream)
        run = self._start(stream, state)
        changed: list[tuple[SourceFile, FileEntry]] = []
        files = self._files(options)
        run.warnings += _doubts(stream, options, files)
        for file in files:
            entry = run.start.files.get(file.path)
            verdict = self._judge(entry, file, options)
            if verdict == "unchanged":
                continue
            if verdict == "grown" and entry is not None and entry.lines is not None and stream.cursor is None:
                run.todo[file.path] = (file, entry.size, entry.lines + 1)
            elif entry is None or stream.cursor is not None or options.changed_files == "reload":
                run.todo[file.path] = (file, 0, 1)
            else:
                changed.append((file, entry))
        if changed and options.changed_files == "fail":
            raise _changed_error(stream, changed)
        if changed:
            names = _names(file.path for file, _ in changed)
            run.warnings.append(f"files that changed since they were read are ignored: {names}")
        return [
            Partition(id=path, detail={"path": path}, size_bytes=file.size_bytes - start_byte)
            for path, (file, start_byte, _) in run.todo.items()
        ]

    def warnings(self, stream: StreamSpec) -> Sequence[str]:
        """Give the doubts about the stream's files, and which changed ones are ignored."""
        run = self._runs.get(stream.name)
        return run.warnings if run else ()

    def read(self, stream: StreamSpec, partition: Partition, state: State | None) -> Iterator[Message]:
        """Read one file; its state follows its last row.

        Raises:
            DataError: The file changed while it was read; trying again helps.
        """
        options = self.options_of(stream)
        run = self._runs.get(stream.name) or self._start(stream, state)
        file, start_byte, start_line = run.todo.get(partition.id) or (self._look(partition.id), 0, 1)
        followed = CursorFilter.of(stream, run.start, run.now)
        with self._opened(file, options, start_byte=start_byte, start_line=start_line) as opened:
            etag = self._store.etag(file.path)
            for message in self.read_file(opened, stream, options):
                if followed is not None and isinstance(message, Rows | Rejected):
                    yield from followed.split(message)
                else:
                    yield message
            entry = self._entry(file, opened, etag)
        if followed is not None:
            followed.remember(run.now)
        run.now.files[file.path] = entry
        yield StateChanged(run.now.to_json())

    def _start(self, stream: StreamSpec, state: State | None) -> _StreamRun:
        known = FilesState.from_json(state if stream.mode == "incremental" else None)
        now = replace(known, files=dict(known.files))
        self._runs[stream.name] = _StreamRun(start=known, now=now)
        return self._runs[stream.name]

    def _path(self, options: Options) -> str:
        path = options.path or self._connection.path
        if path is None:
            raise InvalidConfigError(
                "no path: neither source.connection nor the stream has one",
                details={"problems": [{"loc": ["connection", "path"], "message": "required key is missing"}]},
                hint="path: DIR, FILE, GLOB or s3://bucket/key*",
            )
        return path

    def _files(self, options: Options) -> list[SourceFile]:
        return self._store.list(self._path(options), self.suffixes)

    def _named_files(self) -> dict[str, SourceFile]:
        """Name each file by its stem, and where stems meet by its folders too, joined with dots."""
        files = self._files(self.options_of(None))
        stems = [file.stem for file in files]
        named: dict[str, SourceFile] = {}
        for file, stem in zip(files, stems, strict=True):
            name = stem
            folders = file.path.split("/")[:-1]
            while name in named or (name == stem and stems.count(stem) > 1):
                name = f"{folders.pop()}.{name}" if folders else f"{name}_{len(named)}"
            named[name] = file
        return named

    def _opened(self, file: SourceFile, options: Options, *, start_byte: int = 0, start_line: int = 1) -> OpenedFile:
        compression: Compression = options.compression or self._connection.compression
        return OpenedFile(self._store, file, compression, start_byte=start_byte, start_line=start_line)

    def _look(self, path: str) -> SourceFile:
        file = self._store.look(path)
        if file is None:
            raise DataNotFoundError(f"{path}: is gone", details={"path": path})
        return file

    def _judge(self, entry: FileEntry | None, file: SourceFile, options: Options) -> Verdict:
        verdict = first_verdict(entry, file)
        if entry is None or verdict not in {"touched", "grown"}:
            return verdict
        if verdict == "touched" and entry.etag is not None:
            return "unchanged" if self._store.etag(file.path) == entry.etag else "changed"
        if verdict == "touched" and not covers_whole_file(entry):
            return "changed"
        with self._opened(file, options) as opened:
            if verdict == "grown" and opened.packing != "none":
                return "changed"
            head, tail = _probe(opened, entry.size)
        if not same_bytes(entry, head=head, tail=tail):
            return "changed"
        return "grown" if verdict == "grown" else "unchanged"

    def _entry(self, file: SourceFile, opened: OpenedFile, etag: str | None) -> FileEntry:
        """Say what to remember of a file just read, after a look that it is still the one that was listed."""
        head, tail = _probe(opened, file.size_bytes)
        now = self._store.look(file.path)
        if now is None or now != file or self._store.etag(file.path) != etag:
            what = "it is gone" if now is None else f"it had {file.size_bytes} bytes, now {now.size_bytes}"
            raise DataError(
                f"{file.path}: changed while it was read: {what}",
                details={"path": file.path},
                retryable=True,
                hint="nothing was committed; write files beside the folder and move them in when they are complete",
            )
        return FileEntry(
            size=file.size_bytes, mtime_ns=file.mtime_ns, etag=etag, lines=opened.lines, head=head, tail=tail
        )

    def _check_list(self, stream: StreamSpec | None) -> ConnectionTestResult:
        files = self._files(self.options_of(stream))
        size_bytes = sum(file.size_bytes for file in files)
        return ConnectionTestResult(
            success=True,
            message=f"{_of(stream)}{len(files)} file(s), {size_bytes} bytes",
            details={"files": len(files), "bytes": size_bytes, "first": files[0].path},
        )

    def _check_open(self, stream: StreamSpec | None) -> ConnectionTestResult:
        options = self.options_of(stream)
        file = self._files(options)[0]
        with self._opened(file, options) as opened:
            opened.stream().read(1)
        return ConnectionTestResult(
            success=True,
            message=f"{_of(stream)}{file.path} opens",
            details={"path": file.path, "packing": opened.packing},
        )

    def _check_parse(self, stream: StreamSpec | None) -> ConnectionTestResult:
        options = self.options_of(stream)
        file = self._files(options)[0]
        asked = stream or StreamSpec(name=file.stem, options={"path": file.path})
        with self._opened(file, options) as opened:
            inferred = merge([(file.path, self.infer_schema(opened, options))])
        sample = replace(asked, schema=asked.schema or inferred, batch_bytes=_SAMPLE_BYTES, parallelism=1)
        rows, malformed = 0, list[str]()
        with self._opened(file, options) as opened:
            for message in self.read_file(opened, sample, options):
                if isinstance(message, Rows):
                    rows += message.batch.num_rows
                elif isinstance(message, Rejected):
                    malformed += [
                        f"{row['source']}:{row['line']}: {row['reason']}"
                        for row in message.batch.slice(0, _NAMED_FILES).to_pylist()
                    ]
                if rows >= _SAMPLE_ROWS:
                    break
        details: dict[str, Any] = {"path": file.path, "rows": rows, "columns": len(inferred)}
        if malformed:
            details |= {"warning": f"{len(malformed)} malformed line(s)", "malformed": malformed[:_NAMED_FILES]}
        text = f", {len(malformed)} malformed line(s)" if malformed else ""
        return ConnectionTestResult(
            success=True, message=f"{_of(stream)}{rows} row(s) of a sample parse{text}", details=details
        )


def _probe(opened: OpenedFile, size_bytes: int) -> tuple[str, str]:
    """Digest the two ends of a file's first ``size_bytes`` as they lie there, packed or not."""
    raw = opened.raw()
    with opened.translated():
        head = digest(raw.read(min(PROBE_BYTES, size_bytes)))
        raw.seek(max(0, size_bytes - PROBE_BYTES))
        tail = digest(raw.read(min(PROBE_BYTES, size_bytes)))
    return head, tail


def _changed_error(stream: StreamSpec, changed: Sequence[tuple[SourceFile, FileEntry]]) -> DativoError:
    lines = [
        f"{file.path}: had {entry.size} bytes when it was read, now {file.size_bytes}"
        + (", its beginning is another" if file.size_bytes > entry.size else "")
        + (", written anew" if file.size_bytes == entry.size else "")
        for file, entry in changed[:_NAMED_FILES]
    ]
    more = f"\nand {len(changed) - _NAMED_FILES} more" if len(changed) > _NAMED_FILES else ""
    return DataError(
        f"stream {stream.name}: {len(changed)} file(s) changed since they were read:\n" + "\n".join(lines) + more,
        details={"paths": [file.path for file, _ in changed]},
        hint="options: {changed_files: reload} reads them again as a whole (their old rows stay in the table), "
        "{changed_files: ignore} leaves them; --full-refresh with write: overwrite starts anew",
    )


def _doubts(stream: StreamSpec, options: FileOptions, files: Sequence[SourceFile]) -> list[str]:
    """Say that a stream called like one file reads others too, where those are not called alike."""
    stems = {file.stem for file in files}
    if options.path is not None or stream.name not in stems or all(stem.startswith(stream.name) for stem in stems):
        return []
    text = f"stream {stream.name} reads all {len(files)} files that source.connection.path matches, not only its own"
    return [f"{text}; give the stream a `path` if that is not meant"]


def _names(paths: Iterable[str]) -> str:
    """Name files, some of them where there are many."""
    every = list(paths)
    more = f" and {len(every) - _NAMED_FILES} more" if len(every) > _NAMED_FILES else ""
    return ", ".join(every[:_NAMED_FILES]) + more


def _of(stream: StreamSpec | None) -> str:
    return f"{stream.name}: " if stream else ""
