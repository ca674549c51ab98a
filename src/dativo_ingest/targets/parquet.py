"""The ``parquet`` target: a folder of immutable files, and numbered manifests that say which of them are the table.

```
<path>/<namespace>/<table>/                   <run_id>-<n>.parquet, below col=value/ with partition_by
                          /_manifests/        00000000000000000001.json, ...: the highest number is the table
<path>/<namespace>/<table>__quarantine/       the rejected rows, listed by the same manifests
```

A commit is the creation of the manifest of the next number, which only one run can: a hard link in a folder of this
machine, a conditional write in a bucket (`parquet_local`, `parquet_s3`). A reader takes `read_dataset`; in a folder, it
may also glob ``**/*.parquet``, as no file has such a name before the moment of its commit. Files that an overwrite
replaced go right after it, so a reader that still scans them opens the table again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa
from pydantic import Field

from dativo_ingest.targets import parquet_manifest
from dativo_ingest.targets.arrow_evolution import evolve_schema
from dativo_ingest.targets.parquet_files import Compression, DataFile, FileFormat, ParquetFiles, check_storable
from dativo_ingest.targets.parquet_local import LocalLake
from dativo_ingest.targets.parquet_manifest import Manifest
from dativo_ingest.targets.parquet_partitions import Partitioning
from dativo_ingest.targets.parquet_s3 import S3Lake
from dativo_ingest.targets.parquet_storage import QUARANTINE, Lake, Run, TableStorage
from dativo_ingest.targets.s3_store import S3Credentials, S3Service, is_s3
from dativo_ingest.targets.sort_order import parse_sort_order
from dativo_plugin_sdk import (
    Check,
    CommitRequest,
    CommitStateUnknownError,
    CommittedState,
    ConcurrencyError,
    ConnectionTestResult,
    DataNotFoundError,
    DativoError,
    FencedError,
    InvalidConfigError,
    PastCommit,
    PluginConfig,
    Receipt,
    StreamWriter,
    TableSpec,
    TableWriter,
    TargetConfig,
    parse,
)
from dativo_plugin_sdk.config import Texts

if TYPE_CHECKING:
    import pyarrow.dataset as ds

_COMMIT_TRIES = 50


class ParquetConnection(PluginConfig):
    """Where the tables lie."""

    path: str = Field(min_length=1)
    """A folder, made when missing, or an S3 address: ``s3://bucket/prefix``."""
    endpoint: str | None = None
    """The address of an S3 service other than AWS, such as ``http://127.0.0.1:8333``."""
    region: str | None = None
    """The S3 region; by default what ``AWS_REGION`` says, or us-east-1 for an ``endpoint``."""


class ParquetOptions(PluginConfig):
    """How a table's files are written."""

    partition_by: Texts = ()
    """Folders, outermost first: ``region``, ``year(col)``, ``month(col)``, ``day(col)`` or ``hour(col)``."""
    sort_by: Texts = ()
    """The order of the rows within each row group: ``id``, ``id desc``, ``id nulls first``."""
    compression: Compression = "zstd"
    target_file_mb: float = Field(default=256, gt=0)
    """A file that has grown to this size is closed and another one begun."""


class ParquetWriter(StreamWriter):
    """Writes tables as folders of Parquet files with atomic, fenced commits."""

    def __init__(self, config: TargetConfig) -> None:
        super().__init__(config)
        self._lake = _lake(config.connection, config.credentials)
        self._options = _options(config.options, where="target.options")
        self._tables: list[ParquetTableWriter] = []

    def check(self, tables: Sequence[TableSpec]) -> Sequence[Check]:
        """List the steps: the folder or bucket, each table's manifest, and a probe that leaves nothing."""
        return [
            *self._lake.checks(),
            *(Check(f"table {_title(spec)}", lambda spec=spec: self._check_table(spec)) for spec in tables),  # type: ignore[misc]  # mypy does not see the default
            Check("write_probe", lambda: self._lake.probe(map(_names, tables))),
        ]

    def table(self, spec: TableSpec) -> TableWriter:
        """Give the writer of one table.

        Raises:
            InvalidConfigError: The write mode, the table's name or an option cannot be had.
        """
        table = ParquetTableWriter(spec, self._lake.table(_names(spec)), self._table_options(spec))
        self._tables.append(table)
        return table

    def close(self) -> None:
        """Drop what was neither committed nor aborted."""
        for table in self._tables:
            table.abort()
        self._tables = []

    def _table_options(self, spec: TableSpec) -> ParquetOptions:
        if spec.write == "merge":
            raise InvalidConfigError(
                f"{_title(spec)}: the parquet target cannot merge",
                hint="use write: append or overwrite, or another target (duckdb merges)",
            )
        own = _options(spec.options, where=f"streams.{spec.stream}")
        return self._options.model_copy(update=own.model_dump(exclude_unset=True))

    def _check_table(self, spec: TableSpec) -> ConnectionTestResult:
        self._table_options(spec)
        names = _names(spec)
        self._lake.look(names)
        storage = self._lake.table(names)
        _refuse_strangers(storage)
        manifest = parquet_manifest.latest(storage)
        if not manifest.number:
            return ConnectionTestResult(
                success=True, message=f"{_title(spec)} does not exist yet", details={"path": storage.where}
            )
        details = {
            "path": storage.where,
            "version": manifest.number,
            "rows": manifest.rows,
            "files": len(manifest.files),
            "generation": manifest.state(spec.state_key).generation,
        }
        return ConnectionTestResult(success=True, message=f"{_title(spec)} has {manifest.rows} rows", details=details)


class ParquetTableWriter(TableWriter):
    """One table during one run."""

    keeps_history = True

    def __init__(self, spec: TableSpec, storage: TableStorage, options: ParquetOptions) -> None:
        self._spec = spec
        self._storage = storage
        self._options = options
        self._run: Run | None = None
        self._incoming: pa.Schema | None = None
        self._files: ParquetFiles | None = None
        self._rejects: ParquetFiles | None = None
        self._rejects_schema: pa.Schema | None = None
        self._settled = False

    def load_state(self) -> CommittedState:
        """Read the newest manifest's word on this stream; nothing is made."""
        return parquet_manifest.latest(self._storage).state(self._spec.state_key)

    def history(self) -> Sequence[CommittedState]:
        """List the commits that the manifests tell of, which is every one."""
        found = parquet_manifest.commits(self._storage, self._spec.state_key)
        newest = self.load_state()
        return [
            PastCommit(**{**vars(newest), "rows": commit.rows}) if commit.commit_id == newest.commit_id else commit
            for commit in found
        ]

    def open(self, schema: pa.Schema) -> Sequence[str]:
        """Make the table's folder and remove what dead runs left in it."""
        check_storable(schema, name=self._spec.name)
        run = self._begin()
        base = parquet_manifest.latest(self._storage)
        merged, changes = evolve_schema(base.schema, schema, name=self._spec.name)
        file_format = FileFormat(
            _described(merged, schema),
            compression=self._options.compression,
            target_bytes=int(self._options.target_file_mb * 2**20),
            sort_by=parse_sort_order(self._options.sort_by, merged),
        )
        partitioning = Partitioning.parse(self._options.partition_by, merged)
        self._incoming = schema
        self._files = ParquetFiles(
            self._storage.data, run.token, file_format, partitioning, buffer_bytes=self._spec.buffer_bytes
        )
        return changes

    def write(self, batch: pa.RecordBatch) -> None:
        """Take rows of the schema given to ``open``."""
        if self._files is None:
            raise InvalidConfigError("write was called before open")
        self._files.write(batch)

    def quarantine(self, batch: pa.RecordBatch) -> None:
        """Take rejected rows into the folder beside the table's."""
        if self._rejects is None:
            check_storable(batch.schema, name=self._spec.quarantine_name)
            self._rejects_schema = batch.schema.remove_metadata()
            self._rejects = ParquetFiles(
                self._storage.rejects,
                self._begin().token,
                FileFormat(self._rejects_schema, compression=self._options.compression),
                Partitioning(),
                buffer_bytes=self._spec.buffer_bytes // 4,
            )
        self._rejects.write(batch)

    def commit(self, request: CommitRequest) -> Receipt:
        """Finish the files and create the next manifest.

        Raises:
            ConcurrencyError: Other streams that write this table were faster, again and again.
        """
        run = self._begin()
        files = self._files.finish() if self._files else ()
        rejects = self._rejects.finish() if self._rejects else ()
        base = self._fenced(request, run)
        for number in range(_COMMIT_TRIES):
            if base.state(self._spec.state_key).commit_id == request.commit_id:
                return self._landed(run, base, request, files)
            if not number:
                self._publish_files()
            manifest = self._next(base, request, files, rejects)
            try:
                if parquet_manifest.publish(self._storage, manifest, run.token):
                    return self._landed(run, manifest, request, files)
            except CommitStateUnknownError:
                self._settle(keep_mark=True)
                raise
            base = self._fenced(request, run)  # somebody else has the number: another stream's commit, or our fence
        raise ConcurrencyError(
            f"{_title(self._spec)}: other streams committed first {_COMMIT_TRIES} times",
            hint="nothing landed; run again, or let fewer jobs write one table",
        )

    def abort(self) -> None:
        """Remove this run's files unless they are committed or may be; what cannot be removed now, a later run does."""
        if self._settled:
            return
        try:
            for files in (self._files, self._rejects):
                if files is not None:
                    files.discard()
            self._settle()
        except DativoError:  # whoever aborts has an error to tell, and it is not this one
            self._settle(keep_mark=True)

    def _begin(self) -> Run:
        if self._run is None:
            self._storage.sweep()
            _refuse_strangers(self._storage)
            self._remove_replaced(parquet_manifest.latest(self._storage))
            self._run = self._storage.begin(quote(self._spec.run_id, safe=""), self._spec.state_key)
        return self._run

    def _fenced(self, request: CommitRequest, run: Run) -> Manifest:
        """Read the newest manifest and see that it is still this run's turn."""
        base = parquet_manifest.latest(self._storage)
        state = base.state(self._spec.state_key)
        if state.commit_id == request.commit_id:
            return base
        expected, most = request.expected_generation, run.most_generation
        if state.generation != expected or (most is not None and expected > most):
            raise FencedError(
                f"{_title(self._spec)}: run {state.run_id} committed generation {state.generation} of stream"
                f" {self._spec.stream}, this run read generation {min(expected, most or expected)}",
                details={"found": state.generation, "expected": expected, "run_id": state.run_id},
                hint="nothing of this run landed; let one run of a job at a time do the work",
            )
        return base

    def _publish_files(self) -> None:
        for written in (self._files, self._rejects):
            if written is not None:
                written.publish()
        self._storage.settle()

    def _next(
        self, base: Manifest, request: CommitRequest, files: Sequence[DataFile], rejects: Sequence[DataFile]
    ) -> Manifest:
        """Build the version that follows ``base``; on a foreign base the schema is merged again."""
        schema, rejects_schema = base.schema, base.quarantine_schema
        if self._incoming is not None:
            schema, _ = evolve_schema(base.schema, self._incoming, name=self._spec.name)
        if self._rejects_schema is not None:
            rejects_schema, _ = evolve_schema(
                base.quarantine_schema, self._rejects_schema, name=self._spec.quarantine_name, or_text=True
            )
        replaces = self._spec.write == "overwrite" and self._incoming is not None
        state = request.next_state(self._spec.run_id, self._pointer(rejects))
        return Manifest(
            number=base.number + 1,
            schema=schema,
            files=tuple(files) if replaces else (*base.files, *files),
            quarantine_schema=rejects_schema,
            quarantine=(*base.quarantine, *rejects),
            replaced=tuple(file.path for file in base.files) if replaces else (),
            states={**base.states, self._spec.state_key: state.to_json()},
            commit={
                "commit_id": state.commit_id,
                "run_id": state.run_id,
                "state_key": self._spec.state_key,
                "generation": state.generation,
                "committed_at": state.committed_at,
                "rows_added": sum(file.rows for file in files),
                "rows_deleted": base.rows if replaces else 0,
            },
        )

    def _pointer(self, rejects: Sequence[DataFile]) -> dict[str, Any] | None:
        if not rejects:
            return None
        return {
            "table": self._spec.quarantine_name,
            "namespace": self._spec.namespace,
            "rows": sum(file.rows for file in rejects),
            "files": [file.path for file in rejects],
        }

    def _landed(self, run: Run, manifest: Manifest, request: CommitRequest, files: Sequence[DataFile]) -> Receipt:
        # What is left undone here is done by the next run: a commit that landed never fails.
        with contextlib.suppress(DativoError):
            self._remove_replaced(manifest)
            parquet_manifest.retire(self._storage, manifest.number - 2, run.token)
        with contextlib.suppress(DativoError):
            self._settle()
            self._storage.sweep()  # now that the stream has moved on, runs are fenced that were not before
        return Receipt(
            commit_id=request.commit_id,
            generation=request.expected_generation + 1,
            snapshot_id=str(manifest.number),
            inserted=sum(file.rows for file in files),
            updated=0,
            deleted=manifest.commit.get("rows_deleted", 0),
            bytes_written=sum(file.size_bytes for file in files),
            files=len(files),
        )

    def _remove_replaced(self, manifest: Manifest) -> None:
        self._storage.data.remove(manifest.replaced)

    def _settle(self, *, keep_mark: bool = False) -> None:
        self._settled = True
        if self._run is not None:
            self._run.release(keep_mark=keep_mark)


def read_dataset(
    table: str | Path, *, connection: Mapping[str, Any] | None = None, credentials: Mapping[str, Any] | None = None
) -> ds.Dataset:
    """Open a table's newest version as a pyarrow dataset: lazily read, filtered and projected by Arrow or DuckDB.

    Every file is read with the table's schema: columns that an old file lacks are null, narrower types are widened. A
    table whose folder ends in ``__quarantine`` gives the rejected rows of the table beside it.

    Args:
        table: The table's folder, ``<path>/<namespace>/<table>``, or its address, ``s3://bucket/prefix/...``.
        connection: ``endpoint`` and ``region`` of an S3 service, as a job has them.
        credentials: Its keys, as a job has them.

    Raises:
        DataNotFoundError: There is no such table.
    """
    import pyarrow.dataset as ds  # noqa: PLC0415  it loads pandas where that is installed: writing does without

    folder, _, name = str(table).rstrip("/").rpartition("/")
    rejected = name.endswith(QUARANTINE)
    lake = _lake(
        {**(connection or {}), "path": folder or ("/" if str(table).startswith("/") else ".")}, credentials or {}
    )
    storage = lake.table([name.removesuffix(QUARANTINE)])
    manifest = parquet_manifest.latest(storage)
    schema, files, data = manifest.schema, manifest.files, storage.data
    if rejected:
        schema, files, data = manifest.quarantine_schema, manifest.quarantine, storage.rejects
    if schema is None:
        raise DataNotFoundError(f"{table} is no table of the parquet target: no manifest tells of it")
    if not files:
        return ds.dataset(schema.empty_table())
    filesystem, top = data.arrow()
    return ds.FileSystemDataset.from_paths(
        [f"{top}/{file.path}" for file in files],
        schema=schema,
        format=ds.ParquetFileFormat(),
        filesystem=filesystem,
    )


def _lake(connection: Mapping[str, Any], credentials: Mapping[str, Any]) -> Lake:
    """Give the folder or bucket that a job names.

    Raises:
        InvalidConfigError: It cannot be one, or a key is for the other kind.
    """
    parsed = parse(ParquetConnection, connection, where="target.connection")
    keys = parse(S3Credentials, dict(credentials), where="target.credentials")
    if is_s3(parsed.path):
        return S3Lake(*S3Service.of(parsed.endpoint, parsed.region, keys).bucket(parsed.path))
    scheme, separator, rest = parsed.path.partition("://")
    if separator and scheme != "file":
        raise InvalidConfigError(
            f"target.connection.path: {scheme}:// is not supported, only folders and s3://",
            hint="the iceberg target writes to other object stores",
        )
    if parsed.endpoint or parsed.region:
        raise InvalidConfigError("target.connection: endpoint and region are for a path that begins with s3://")
    return LocalLake(Path(rest if separator else parsed.path))


def _described(table: pa.Schema, incoming: pa.Schema) -> pa.Schema:
    """Give the table's columns with what is known of those that come in: description, source type."""
    known: dict[str, Any] = {field.name: field.metadata or {} for field in incoming}
    return pa.schema([field.with_metadata(known.get(field.name, {})) for field in table])


def _options(given: Any, *, where: str) -> ParquetOptions:
    """Parse options; what is empty counts as not given, so that it does not hide the target's own."""
    options = {key: value for key, value in dict(given).items() if value not in (None, [], (), {})}
    if "properties" in options:
        raise InvalidConfigError(f"{where}.properties: a table of the parquet target has no properties")
    return parse(ParquetOptions, options, where=where)


def _refuse_strangers(storage: TableStorage) -> None:
    """Keep away from a folder of Parquet files that is nobody's table: readers would see both as one."""
    found = storage.stranger()
    if found is not None:
        raise InvalidConfigError(
            f"{storage.where} has Parquet files that are not this target's, such as {found}, and no manifest",
            details={"path": storage.where, "file": found},
            hint="choose another target.connection.path, namespace or table, or move these files away",
        )


def _names(spec: TableSpec) -> list[str]:
    """Give the folders of a table, outermost first.

    Raises:
        InvalidConfigError: A name cannot be a folder's.
    """
    names = [name for name in (spec.namespace, spec.name) if name is not None]
    for name in names:
        if name in {"", ".", ".."} or "/" in name or "\0" in name:
            raise InvalidConfigError(
                f"{name!r} cannot be a folder's name, which the parquet target needs",
                hint="table: gives the table another name",
            )
    return names


def _title(spec: TableSpec) -> str:
    return ".".join(name for name in (spec.namespace, spec.name) if name is not None)
