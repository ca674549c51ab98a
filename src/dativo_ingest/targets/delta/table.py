"""One Delta table during one run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, QueryBuilder, WriterProperties
from deltalake.transaction import create_table_with_add_actions

from dativo_ingest.targets.arrow_evolution import evolve_schema
from dativo_ingest.targets.delta.changes import apply_changes, require_features, widen, widened
from dativo_ingest.targets.delta.config import DeltaOptions, Place, title, writer_codec
from dativo_ingest.targets.delta.data_files import DataFile, DeltaFiles
from dativo_ingest.targets.delta.failures import as_dativo_error, foreign_errors, may_still_land, translated
from dativo_ingest.targets.delta.log import (
    StreamLog,
    add_actions,
    as_delta,
    load_table,
    missing,
    normal,
    require_plain,
    schema_of,
)
from dativo_ingest.targets.delta.quarantine import Quarantine
from dativo_ingest.targets.delta.staging import Staging
from dativo_ingest.targets.delta.types import stored_schema
from dativo_ingest.targets.parquet_files import FileFormat, conform
from dativo_ingest.targets.primary_key import require_key_columns, require_keys
from dativo_ingest.targets.sort_order import parse_sort_order
from dativo_plugin_sdk import (
    CommitRequest,
    CommitStateUnknownError,
    CommittedState,
    ConcurrencyError,
    DativoError,
    FencedError,
    InvalidConfigError,
    KeyComparison,
    Receipt,
    ResourceNotFoundError,
    SchemaValidationError,
    TableSpec,
    TableWriter,
)

if TYPE_CHECKING:
    from dativo_ingest.targets.absent_keys import AbsentKeys

_COMMIT_TRIES = 20
_LOOKS = 3
_LOOK_AGAIN_S = 1.0


@dataclass(frozen=True)
class _Opened:
    """What the rows of this run were prepared for."""

    incoming: pa.Schema
    """The stream's columns as the table holds them."""
    merged: pa.Schema
    """The table's columns as they are to be."""
    table_id: str | None
    """The table that was there; None where there was none."""
    partitions: tuple[str, ...]


class DeltaTableWriter(TableWriter):
    """One table during one run.

    Args:
        spec: The table and its stream.
        place: The table's root.
        quarantine_place: The root of the table beside it.
        options: How it is laid out.
    """

    keeps_history = True

    def __init__(self, spec: TableSpec, place: Place, quarantine_place: Place, options: DeltaOptions) -> None:
        self._spec = spec
        self._place = place
        self._options = options
        self._name = title(spec)
        self._log = StreamLog(place, spec, self._name)
        self._quarantine = Quarantine(quarantine_place, spec, f"{self._name}__quarantine")
        self._opened: _Opened | None = None
        self._files: DeltaFiles | None = None
        self._staging: Staging | None = None
        self._rejects: DeltaFiles | None = None
        self._absent: AbsentKeys | None = None
        self._marks: Mapping[str, pa.Scalar[Any]] = {}
        self._state_file: str | None = None
        self._keep_files = False
        self._tried = False  # set once a commit failed that may have landed

    def load_state(self) -> CommittedState:
        """Read the stream's state; what a crash left of the last commit's rejected rows is published first."""
        table = load_table(self._place, self._name)
        state = self._log.state(table)
        if table is not None:
            self._quarantine.publish(state, str(table.metadata().id))
        return state

    def history(self) -> Sequence[CommittedState]:
        """List the commits whose log is kept."""
        return self._log.history()

    def open(self, schema: pa.Schema) -> Sequence[str]:
        """Find out how the table takes the rows; nothing of it is changed before the commit."""
        stored = stored_schema(schema, name=self._name)
        table = load_table(self._place, self._name)
        if table is None and not schema.names:
            raise SchemaValidationError(f"table {self._name}: a Delta table needs at least one column")
        with translated(f"opening {self._name}", self._place.folder):
            wanted = normal(stored)
            if table is not None:
                require_plain(table, self._name)
            before = schema_of(table) if table is not None else None
            merged, changes = evolve_schema(before, wanted, name=self._name)
            partitions = self._partitions(table, merged)
        incoming = pa.schema([merged.field(name) for name in wanted.names])
        table_id = str(table.metadata().id) if table is not None else None
        self._opened = _Opened(incoming, merged, table_id, partitions)
        if self._spec.write == "merge":
            self._staging = self._stage(incoming)
        else:
            self._files = self._new_files(merged, partitions)
        return changes

    def write(self, batch: pa.RecordBatch) -> None:
        """Take rows of the schema given to ``open``.

        Raises:
            DataValidationError: A value does not fit, or a row to be merged has no key.
        """
        if self._files is not None:
            self._files.write(batch)
        elif self._staging is not None:
            require_keys(batch, self._spec.primary_key, self._name)
            self._staging.write(batch)
        else:
            raise InvalidConfigError("write was called before open")

    def delete(self, keys: pa.RecordBatch) -> None:
        """Take keys whose rows go; they wait among the rows, so that what comes last counts.

        Raises:
            DataValidationError: A key has a null.
        """
        if self._staging is None:
            raise InvalidConfigError("delete was called on a table that was not opened to merge")
        require_keys(keys, self._spec.primary_key, self._name)
        self._staging.delete(keys)

    def compare_keys(
        self, schema: pa.Schema, keys: Iterator[pa.RecordBatch], *, marked: str | None = None
    ) -> KeyComparison:
        """Read the keys of the table's version, and find out which of them the source has no more."""
        from dativo_ingest.targets.absent_keys import AbsentKeys  # noqa: PLC0415  DuckDB, which few runs need

        table = load_table(self._place, self._name)
        if table is None:
            return KeyComparison()
        with translated(f"reading {self._name}", self._place.folder):
            there = schema_of(table)
            if not set(schema.names) <= set(there.names):
                return KeyComparison()
            before = pa.schema([there.field(name) for name in schema.names])
            wider, _ = evolve_schema(before, normal(stored_schema(schema, name=self._name)), name=self._name)
        kept = pa.schema([wider.field(name).with_nullable(True) for name in schema.names])  # noqa: FBT003  Arrow's
        self._absent = AbsentKeys(kept, run_id=self._spec.run_id, memory_bytes=self._spec.buffer_bytes)
        found = self._rows(table, schema.names, unless=marked if marked in there.names else None)
        return self._absent.compare((conform(batch, kept) for batch in keys), (conform(batch, kept) for batch in found))

    def delete_absent(self, marks: Mapping[str, pa.Scalar[Any]] | None = None) -> None:
        """Take the keys that were found as ones whose rows go, or get their marks."""
        if self._staging is None or self._absent is None:
            raise InvalidConfigError("delete_absent was called on a table that was not opened to merge, or compared")
        self._marks = marks or {}
        for keys in self._absent.batches():
            self._staging.delete(keys)
        self._let_go_of_absent()

    def _let_go_of_absent(self) -> None:
        if self._absent is not None:
            self._absent.close()

    def _rows(self, table: DeltaTable, names: Sequence[str], *, unless: str | None) -> Iterator[pa.RecordBatch]:
        where = f" WHERE {_quoted(unless)} IS NOT TRUE" if unless is not None else ""
        with translated(f"reading {self._name}", self._place.folder):
            query = f"SELECT {', '.join(map(_quoted, names))} FROM t{where}"  # noqa: S608  names are quoted
            for batch in QueryBuilder().register("t", table).execute(query):
                yield pa.record_batch(batch)

    def quarantine(self, batch: pa.RecordBatch) -> None:
        """Take rejected rows into files of the table beside this one."""
        if self._rejects is None:
            self._rejects = self._quarantine.open(batch.schema)
        self._rejects.write(batch)

    def commit(self, request: CommitRequest) -> Receipt:
        """Land one version of the log, then publish the rejected rows that its state points to."""
        self._let_go_of_absent()
        files = self._files.finish() if self._files else ()
        rejects = self._rejects.finish() if self._rejects else ()
        pointer = self._quarantine.pointer(rejects, self._rejects.schema, request.commit_id) if self._rejects else None
        state = request.next_state(self._spec.run_id, pointer)
        for _ in range(_COMMIT_TRIES):
            table = self._current(request)
            if self._log.shows(table, request):
                return self._landed(request, state, files, {})
            if self._state_file is None:
                self._state_file = self._log.write(state)
            try:
                if table is None:
                    if not self._create(state, files):
                        continue
                    return self._landed(request, state, files, {})
                if self._prepare(table):
                    continue  # the table was changed: look at it again
                counts = self._land(table, state, files)
            except foreign_errors() as error:
                if self._look_again(request, error):
                    return self._landed(request, state, files, {})
                continue
            return self._landed(request, state, files, counts)
        raise ConcurrencyError(
            f"{self._name}: others changed the table {_COMMIT_TRIES} times while this run tried to commit",
            hint="nothing landed; run again, or let fewer jobs change one table",
        )

    def abort(self) -> None:
        """Remove this run's files unless they are committed or may be."""
        if self._staging is not None:
            self._staging.close()
        self._let_go_of_absent()
        if self._keep_files:
            return
        for files in (self._files, self._rejects):
            if files is not None:
                files.discard()
        if self._state_file is not None:
            self._log.discard(self._state_file)
            self._state_file = None

    def _partitions(self, table: DeltaTable | None, merged: pa.Schema) -> tuple[str, ...]:
        asked = self._options.partition_by
        for text in asked:
            if text not in merged.names:
                raise InvalidConfigError(
                    f"partition_by: no column {text!r}; there are: {', '.join(merged.names)}",
                    hint="Delta partitions by columns, not by transforms such as day(...)",
                )
        found = tuple(table.metadata().partition_columns) if table is not None else asked
        if asked and asked != found:
            raise InvalidConfigError(
                f"table {self._name} is partitioned by {', '.join(found) or 'nothing'}, not by {', '.join(asked)}",
                hint="leave partition_by out, or load into another table",
            )
        if merged.names and set(merged.names) == set(found):
            raise InvalidConfigError("partition_by: a Delta table needs a column that is not of its partitions")
        return found

    def _new_files(self, schema: pa.Schema, partitions: Sequence[str]) -> DeltaFiles:
        file_format = FileFormat(
            schema,
            compression=self._options.compression,
            target_bytes=int(self._options.target_file_mb * 2**20),
            sort_by=parse_sort_order(self._options.sort_by, schema) if self._spec.write != "merge" else (),
        )
        return DeltaFiles(self._place, self._spec.run_id, file_format, partitions, buffer_bytes=self._spec.buffer_bytes)

    def _stage(self, incoming: pa.Schema) -> Staging:
        require_key_columns(incoming, self._spec.primary_key, self._name)
        odd = [name for name in incoming.names if "`" in name]
        if odd:
            raise SchemaValidationError(
                f"{self._name}: Delta cannot merge a column with a backtick in its name: {', '.join(odd)}",
                hint="rename it in the contract",
            )
        return Staging(incoming, self._spec.primary_key, run_id=self._spec.run_id, memory_bytes=self._spec.buffer_bytes)

    def _current(self, request: CommitRequest) -> DeltaTable | None:
        """Load the table to commit to, as long as it is this run's turn and the one its files were written for."""
        table = load_table(self._place, self._name)
        if self._log.shows(table, request):
            return table
        self._require_generation(table, request)
        if table is None:
            if self._opened is None or self._opened.table_id is not None:
                raise ResourceNotFoundError(
                    f"table {self._name} does not exist, so nothing can be remembered in it",
                    hint="run the job again: its first commit creates the table",
                )
            return None
        self._quarantine.publish(self._log.state(table), str(table.metadata().id))
        opened = self._opened
        if opened is not None:
            require_plain(table, self._name)
            if opened.table_id is not None and opened.table_id != str(table.metadata().id):
                raise ConcurrencyError(f"{self._name} was dropped and made anew meanwhile", hint="run the job again")
            if tuple(table.metadata().partition_columns) != opened.partitions:
                raise ConcurrencyError(f"{self._name} was created by somebody else meanwhile", hint="run the job again")
        return table

    def _require_generation(self, table: DeltaTable | None, request: CommitRequest) -> None:
        found = self._log.generation(table)
        if found == request.expected_generation:
            return
        if (
            self._tried
            and found > request.expected_generation + 1
            and self._log.forgets(table, request.expected_generation + 1)
        ):
            self._keep_files = True
            raise CommitStateUnknownError(
                f"{self._name} is at generation {found} by now, and its log does not tell whose commit was generation "
                f"{request.expected_generation + 1}",
                details={"commit_id": request.commit_id, "table": self._name},
                hint="the next run goes on from what the table says",
            )
        try:
            run_id = self._log.state(table).run_id
        except DativoError:
            run_id = None
        raise FencedError(
            f"{self._name} is at generation {found} of stream {self._spec.stream}, this run began at "
            f"{request.expected_generation}: another run ({run_id}) has committed; nothing was written",
            details={"found": found, "expected": request.expected_generation, "run_id": run_id},
            hint="let one run of a job at a time do its work; the next one goes on from where the other stopped",
        )

    def _create(self, state: CommittedState, files: Sequence[DataFile]) -> bool:
        """Create the table, with the rows and the state unless they are to be merged; say whether they landed."""
        assert self._opened is not None  # noqa: S101  _current() has seen to it
        merges = self._spec.write == "merge"
        properties = CommitProperties() if merges else self._log.properties(state, rows=_rows(files))
        properties.max_commit_retries = 0  # deltalake would create the table a second time, over another run's
        create_table_with_add_actions(
            self._place.uri,
            as_delta(self._opened.merged),
            [] if merges else add_actions(files, _now_ms()),
            mode="error",
            partition_by=list(self._opened.partitions),
            configuration=dict(self._options.properties),
            storage_options=dict(self._place.storage_options),
            commit_properties=properties,
        )
        return not merges

    def _prepare(self, table: DeltaTable) -> bool:
        """Give the table the columns and properties it needs; say whether that took commits."""
        if self._opened is None:
            return False
        changed = False
        if new := missing(self._options.properties, table):
            table.alter.set_table_properties(new)
            changed = True
        before = schema_of(table)
        after, _ = evolve_schema(before, self._opened.incoming, name=self._name)
        if require_features(table, after):
            return True
        if after == before or self._spec.write == "overwrite":
            return changed
        if widened(before, after):
            files = self._new_files(pa.schema([after.field(each.name) for each in before]), self._opened.partitions)
            try:
                widen(table, pa.schema([after.field(each.name) for each in before]), files)
            except foreign_errors():
                files.discard()
                raise
            return True
        apply_changes(table, before, after)
        return True

    def _land(self, table: DeltaTable, state: CommittedState, files: Sequence[DataFile]) -> Mapping[str, int]:
        """Commit once; deltalake rebases over foreign commits, and refuses when one moved this stream."""
        properties = self._log.properties(state, rows=_rows(files))
        opened = self._opened
        if opened is not None and self._staging is not None and self._staging.rows:
            version = table.version()
            counts = self._merge(table, state, self._staging)
            if table.version() != version:
                return counts
            # Keys that are deleted and not there: deltalake commits nothing, and so not the state either.
            properties.max_commit_retries = 0  # others may add such rows meanwhile
        replaces = opened is not None and self._spec.write == "overwrite"
        schema = schema_of(table)
        deleted = 0
        if opened is not None and replaces:
            schema, _ = evolve_schema(schema, opened.incoming, name=self._name)
            deleted = table.count()
            properties.max_commit_retries = 0  # rows that others add meanwhile are to be replaced as well
        table.create_write_transaction(
            add_actions(files, _now_ms()),  # type: ignore[arg-type]  # a list of either kind
            "overwrite" if replaces else "append",
            as_delta(schema),
            partition_by=table.metadata().partition_columns,
            commit_properties=properties,
        )
        return {"inserted": 0, "updated": 0, "deleted": deleted}

    def _merge(self, table: DeltaTable, state: CommittedState, staging: Staging) -> Mapping[str, int]:
        same = " AND ".join(f"old.{_quoted(key)} = new.{_quoted(key)}" for key in self._spec.primary_key)
        merge = table.merge(
            staging.last_of_each_key(),
            same,
            source_alias="new",
            target_alias="old",
            writer_properties=WriterProperties(compression=writer_codec(self._options.compression)),
            commit_properties=self._log.properties(state, rows=None),
        )
        gone, stays = _quoted(staging.gone), f"new.{_quoted(staging.gone)} IS NULL"
        if staging.deletes and self._marks:
            merge = (
                merge.when_matched_update({_quoted(k): _literal(v) for k, v in self._marks.items()}, f"new.{gone}")
                .when_matched_update_all(stays, except_cols=[staging.gone])
                .when_not_matched_insert_all(stays, except_cols=[staging.gone])
            )
        elif staging.deletes:
            merge = (
                merge.when_matched_delete(f"new.{gone}")
                .when_matched_update_all(stays, except_cols=[staging.gone])
                .when_not_matched_insert_all(stays, except_cols=[staging.gone])
            )
        else:
            merge = merge.when_matched_update_all().when_not_matched_insert_all()
        found = merge.execute()
        return {
            "inserted": found["num_target_rows_inserted"],
            "updated": found["num_target_rows_updated"],
            "deleted": found["num_target_rows_deleted"],
        }

    def _look_again(self, request: CommitRequest, error: Exception) -> bool:
        """Find out what became of a commit that failed: True where it landed, False where it may be tried again.

        Raises:
            FencedError: Another run has committed.
            CommitStateUnknownError: It is not there, and may still come.
        """
        self._tried = True
        failure = as_dativo_error(error, f"committing to {self._name}", self._place.folder)
        unknown = self._place.folder is None and may_still_land(failure)
        looked: DativoError | None = None
        for look in range(_LOOKS if unknown else 1):
            if look:
                time.sleep(_LOOK_AGAIN_S)
            try:
                table = load_table(self._place, self._name)
                if self._log.shows(table, request):
                    return True
            except DativoError as again:
                looked = again
                continue
            self._require_generation(table, request)
            looked = None
        if unknown or looked is not None:
            self._keep_files = True
            raise CommitStateUnknownError(
                f"{failure}; the table does not show the commit, which may still arrive",
                details={"commit_id": request.commit_id, "table": self._name, "looking_again": str(looked or "")},
                hint="when the object store is well again, the next run goes on from what the table says",
            ) from error
        if isinstance(failure, ConcurrencyError) or _exists_already(error):
            return False
        raise failure from error

    def _landed(
        self, request: CommitRequest, state: CommittedState, files: Sequence[DataFile], counts: Mapping[str, int]
    ) -> Receipt:
        self._keep_files = True
        if self._staging is not None:
            self._staging.close()
        self._log.forget_before(state.generation)
        table = load_table(self._place, self._name) if state.quarantine is not None else None
        if table is not None:
            self._quarantine.publish(state, str(table.metadata().id))
        merged = self._staging is not None
        return Receipt(
            commit_id=request.commit_id,
            generation=request.expected_generation + 1,
            inserted=counts.get("inserted") if merged else _rows(files),
            updated=counts.get("updated") if merged else 0,
            deleted=counts.get("deleted", 0),
            bytes_written=sum(file.size_bytes for file in files),
            files=len(files),
        )


def _exists_already(error: Exception) -> bool:
    """Say whether creating the table failed because somebody else was first."""
    return "already exists" in str(error)


def _rows(files: Sequence[DataFile]) -> int:
    return sum(file.rows for file in files)


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def _literal(value: pa.Scalar[Any]) -> str:
    """Write a mark's value for deltalake."""
    found = value.as_py()
    if isinstance(found, bool):
        return str(found).lower()
    text = found.isoformat() if isinstance(found, datetime) else str(found)
    return "'" + text.replace("'", "''") + "'"


def _now_ms() -> int:
    return int(time.time() * 1000)
