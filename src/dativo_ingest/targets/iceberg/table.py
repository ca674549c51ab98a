"""One Iceberg table during one run: files first, then one fenced commit of rows, schema, properties and state."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import pyarrow as pa
from pyiceberg.exceptions import CommitFailedException, TableAlreadyExistsError, ValidationException

from dativo_ingest.targets.iceberg import layout
from dativo_ingest.targets.iceberg.absent_rows import AbsentRows
from dativo_ingest.targets.iceberg.catalogs import ensure_namespace, find_table, identifier_of
from dativo_ingest.targets.iceberg.config import IcebergOptions
from dativo_ingest.targets.iceberg.evolution import plan_changes
from dativo_ingest.targets.iceberg.failures import as_dativo_error, foreign_errors, outcome_is_unknown, translated
from dativo_ingest.targets.iceberg.file_schema import FileSchema
from dativo_ingest.targets.iceberg.merge import Merge
from dativo_ingest.targets.iceberg.merge_keys import KeyLog, key_columns
from dativo_ingest.targets.iceberg.past_commits import ROWS, STREAM, past_commits
from dativo_ingest.targets.iceberg.producers import (
    RUN_ID,
    Delta,
    FenceBrokenError,
    discard_manifests,
    require_spec,
    stage,
    stage_delta,
    stage_snapshot,
)
from dativo_ingest.targets.iceberg.quarantine import Quarantine
from dativo_ingest.targets.iceberg.table_files import layout_properties, open_files
from dativo_ingest.targets.iceberg.types import to_iceberg_schema
from dativo_ingest.targets.primary_key import require_keys
from dativo_plugin_sdk import (
    CommitStateUnknownError,
    ConcurrencyError,
    DativoError,
    FencedError,
    InvalidConfigError,
    ResourceNotFoundError,
    SchemaValidationError,
)
from dativo_plugin_sdk.tables import (
    CommitRequest,
    CommittedState,
    KeyComparison,
    PastCommit,
    Receipt,
    TableSpec,
    TableWriter,
)

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table, Transaction
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.update import UpdatesAndRequirements

    from dativo_ingest.targets.iceberg.catalogs import Connection
    from dativo_ingest.targets.iceberg.data_files import DataFiles
    from dativo_ingest.targets.iceberg.producers import Producer

_ATTEMPTS = 3
"""How often a commit begins anew after pyiceberg's own tries to rebase it are used up."""
_MERGE_ATTEMPTS = 6
"""The same for a merge, which also begins anew where somebody changed the files that it is about."""
_LOOKS = 3
_LOOK_AGAIN_S = 1.0
_STATE_IN_SUMMARY_BYTES = 4096
"""A larger state stays out of the snapshots' summaries: every later metadata file repeats each of them."""
_FORMAT_VERSION = 2


@dataclass
class _Created:
    """A table that comes into being with its first commit."""

    staged: Transaction


@dataclass
class _Existing:
    """A table as it was when writing began, and the schema change that the commit carries."""

    table: Table
    changes: UpdatesAndRequirements


@dataclass(frozen=True)
class _Keys:
    """Where keys are noted, and how those of deleted rows become what the table has."""

    log: KeyLog
    shape: FileSchema


_Opened: TypeAlias = _Created | _Existing


class IcebergTable(TableWriter):
    """Writes one table.

    Args:
        connection: The catalog.
        spec: The table and its stream.
        options: How the table is laid out.
    """

    keeps_history = True

    def __init__(self, connection: Connection, spec: TableSpec, options: IcebergOptions) -> None:
        self._connection = connection
        self._spec = spec
        self._options = options
        self._identifier = identifier_of(spec)
        self._namespace = self._identifier[:-1]
        self._name = ".".join(self._identifier)
        self._opened: _Opened | None = None
        self._files: DataFiles | None = None
        self._rejected: DataFiles | None = None
        self._merge: Merge | None = None
        self._keys: _Keys | None = None
        self._absent: AbsentRows | None = None
        self._keep_files = False  # set while a commit may have landed: its files are the table's then

    def load_state(self) -> CommittedState:
        """Read the stream's state; what a crash left of the last commit's rejected rows is published first."""
        catalog = self._connection.to_read()
        table = find_table(catalog, self._identifier) if catalog is not None else None
        if table is None:
            return CommittedState()
        state = self._state_of(table.metadata)
        self._quarantine().publish(state, str(table.metadata.table_uuid))
        return state

    def history(self) -> Sequence[CommittedState]:
        """List the commits that the snapshots tell of: the current one and those before it that are not expired."""
        catalog = self._connection.to_read()
        table = find_table(catalog, self._identifier) if catalog is not None else None
        if table is None:
            return []
        newest = self._state_of(table.metadata)
        found = past_commits(table.metadata, self._spec.state_key)
        if newest.generation and not (found and found[0].commit_id == newest.commit_id):
            found.insert(0, PastCommit(**vars(newest)))  # its snapshot is expired
        return found

    def open(self, schema: pa.Schema) -> Sequence[str]:
        """Get ready for batches of ``schema``; the namespace is created when missing."""
        catalog = self._connection.to_write()
        ensure_namespace(catalog, self._namespace)
        table = find_table(catalog, self._identifier)
        wanted = to_iceberg_schema(schema, self._spec.primary_key)
        if table is None:
            transaction, said = self._stage_table(wanted), [f"created table {self._name}"]
        else:
            transaction, said = self._stage_changes(table, wanted)
        metadata, io = transaction.table_metadata, transaction._table.io  # noqa: SLF001  a staged table has no other
        log = self._key_log(schema, metadata.schema()) if self._spec.write == "merge" else None
        run_id, buffer_bytes = self._spec.run_id, self._spec.buffer_bytes
        with translated(f"opening {self._name}"):
            self._files = open_files(
                metadata, io, schema, self._options, run_id=run_id, buffer_bytes=buffer_bytes, log=log
            )
        if log is not None:
            keys = pa.schema([schema.field(name) for name in self._spec.primary_key])
            self._keys = _Keys(log, FileSchema.of(keys, metadata.schema()))
            self._merge = Merge(log, metadata, io, self._options, run_id=run_id, buffer_bytes=buffer_bytes)
        return said

    def _key_log(self, incoming: pa.Schema, schema: Schema) -> KeyLog:
        """Make ready to note keys.

        Raises:
            SchemaValidationError: Rows cannot be told apart, or a merged row would lose values that the stream lacks.
        """
        lacking = [field.name for field in schema.fields if field.name not in incoming.names]
        if lacking:
            raise SchemaValidationError(
                f"{self._name} has columns that the stream lacks ({', '.join(lacking)}): rows that are merged would "
                "lose what is in them",
                hint="add them to the stream, or drop them from the table",
            )
        return KeyLog(key_columns(self._spec.primary_key, incoming, schema, self._name))

    def write(self, batch: pa.RecordBatch) -> None:
        """Take rows.

        Raises:
            DataValidationError: A row to be merged has no key, or a value is none that Iceberg can hold.
        """
        assert self._files is not None, "write() before open()"  # noqa: S101  the engine's order of calls
        if self._merge is not None:
            require_keys(batch, self._spec.primary_key, self._name)
        self._files.write(batch)

    def delete(self, keys: pa.RecordBatch) -> None:
        """Take keys whose rows go.

        Raises:
            DataValidationError: A key has a null, or a value that Iceberg cannot hold.
        """
        assert self._keys is not None, "delete() without a merge"  # noqa: S101  the engine's order of calls
        require_keys(keys, self._spec.primary_key, self._name)
        self._keys.log.delete(self._keys.shape.convert(keys.select(list(self._spec.primary_key))))

    def compare_keys(
        self, schema: pa.Schema, keys: Iterator[pa.RecordBatch], *, marked: str | None = None
    ) -> KeyComparison:
        """Read the keys of the current snapshot, and find out which of them the source has no more."""
        catalog = self._connection.to_read()
        table = find_table(catalog, self._identifier) if catalog is not None else None
        if table is None:
            return KeyComparison()
        self._absent = AbsentRows(table, self._name, run_id=self._spec.run_id, memory_bytes=self._spec.buffer_bytes)
        return self._absent.find(schema, keys, marked=marked)

    def delete_absent(self, marks: Mapping[str, pa.Scalar[Any]] | None = None) -> None:
        """Take the keys that were found as ones whose rows go, or write the rows anew with their marks."""
        assert self._keys is not None, "delete_absent() without a merge"  # noqa: S101  the engine's order of calls
        assert self._absent is not None, "delete_absent() before compare_keys()"  # noqa: S101  the same
        if marks:
            self._mark_absent(self._absent, marks)
        else:
            for keys in self._absent.batches():
                self._keys.log.delete(keys)
        self._let_go_of_absent()

    def _mark_absent(self, absent: AbsentRows, marks: Mapping[str, pa.Scalar[Any]]) -> None:
        assert self._files is not None, "delete_absent() before open()"  # noqa: S101  the engine's order of calls
        assert self._merge is not None, "delete_absent() without a merge"  # noqa: S101  the same
        for batch in absent.rows(self._merge.metadata):
            rows = batch
            for name, value in marks.items():
                same: Any = pa.repeat(cast("Any", value), rows.num_rows)
                rows = rows.set_column(rows.schema.get_field_index(name), name, same)
            self._files.write_stored(rows)

    def quarantine(self, batch: pa.RecordBatch) -> None:
        """Take rejected rows."""
        if self._rejected is None:
            self._rejected = self._quarantine().open(batch.schema)
        self._rejected.write(batch)

    def commit(self, request: CommitRequest) -> Receipt:
        """Land everything as one snapshot, then publish the rejected rows.

        Raises:
            FencedError: Another run has moved the table's generation.
            ConcurrencyError: Others change the table all the time, or changed it so that the files do not fit.
            CommitStateUnknownError: No answer came, and the table does not show the commit.
        """
        self._let_go_of_absent()
        files = self._files.finish() if self._files is not None else []
        rejected = self._rejected.finish() if self._rejected is not None else []
        quarantine = self._quarantine()
        state = request.next_state(self._spec.run_id, quarantine.pointer(rejected, request.commit_id))
        text = state.to_json()
        attempts = _ATTEMPTS if self._merge is None else _MERGE_ATTEMPTS
        for attempt in range(attempts):
            table = self._current(request, quarantine)
            receipt = self._try(table, request, text, files, last=attempt == attempts - 1)
            if receipt is not None:
                break
        assert receipt is not None  # noqa: S101  the last attempt raises
        self._publish(quarantine, state, rejected)
        return receipt

    def abort(self) -> None:
        """Delete the files of this run, unless a commit that may have landed names them."""
        self._let_go_of_absent()
        if self._keep_files:
            return
        for files in (self._files, self._rejected):
            if files is not None:
                files.discard()
        if self._merge is not None:
            self._merge.discard()

    def _let_go_of_absent(self) -> None:
        if self._absent is not None:
            self._absent.close()

    def _quarantine(self) -> Quarantine:
        return Quarantine(self._connection.to_write(), self._namespace, self._spec)

    def _state_of(self, metadata: TableMetadata) -> CommittedState:
        return CommittedState.from_json(metadata.properties.get(self._spec.state_key))

    def _stage_table(self, wanted: Schema) -> Transaction:
        """Prepare a table that comes into being with its first commit, or at once where the catalog cannot do that."""
        catalog = self._connection.to_write()
        layouts: dict[str, Any] = {
            "partition_spec": layout.partition_spec(self._options.partition_by, wanted),
            "sort_order": layout.sort_order(self._options.sort_by, wanted),
            "properties": {
                **layout_properties(self._options),
                "commit.retry.num-retries": "10",
                **self._properties(),
            },
        }
        with translated(f"creating {self._name}"):
            try:
                staged = catalog.create_table_transaction(self._identifier, wanted, **layouts)
            except (NotImplementedError, ValueError):
                # pyiceberg's metastore catalogs stage tables only in namespaces of one level, some REST catalogs never.
                transaction, _ = self._stage_changes(catalog.create_table(self._identifier, wanted, **layouts), wanted)
                return transaction
        self._opened = _Created(staged)
        return staged

    def _properties(self) -> dict[str, str]:
        properties = dict(self._options.properties)
        for key in properties:
            if key.startswith("dativo."):
                raise InvalidConfigError(f"properties: {key} is kept by Dativo itself")
        version = properties.pop("format-version", str(_FORMAT_VERSION))
        if version != str(_FORMAT_VERSION):
            raise InvalidConfigError(f"properties: format-version {version} cannot be written, only {_FORMAT_VERSION}")
        return properties

    def _stage_changes(self, table: Table, wanted: Schema) -> tuple[Transaction, list[str]]:
        """Prepare the schema change that lets an existing table take the rows, and say what it is."""
        if table.format_version > _FORMAT_VERSION:
            raise SchemaValidationError(
                f"{self._name} has Iceberg's format version {table.format_version}; {_FORMAT_VERSION} can be written"
            )
        changes = plan_changes(table.schema(), wanted, self._name)
        transaction = table.transaction()
        update = transaction.update_schema()
        with translated(f"changing the schema of {self._name}"):
            for change in changes:
                change.apply(update)
            prepared: UpdatesAndRequirements = update._commit() if changes else ((), ())  # noqa: SLF001
            stage(transaction, prepared)
        schema = transaction.table_metadata.schema()
        layout.require_same_partitioning(self._options.partition_by, schema, table.spec(), self._name)
        layout.require_same_sorting(self._options.sort_by, schema, table.sort_order(), self._name)
        self._opened = _Existing(table, prepared)
        return transaction, [str(change) for change in changes]

    def _current(self, request: CommitRequest, quarantine: Quarantine) -> Table | None:
        """Load the table to commit to, as long as it is the one that the files were written for."""
        table = find_table(self._connection.to_write(), self._identifier)
        found = self._state_of(table.metadata) if table is not None else CommittedState()
        self._require_generation(found, request)
        if table is None:
            if not isinstance(self._opened, _Created):
                raise ResourceNotFoundError(
                    f"table {self._name} does not exist, so nothing can be remembered in it",
                    hint="run the job once: its first commit creates the table",
                )
            return None
        quarantine.publish(found, str(table.metadata.table_uuid))
        self._require_unchanged(table)
        return table

    def _require_generation(self, found: CommittedState, request: CommitRequest) -> None:
        if found.generation != request.expected_generation:
            raise FencedError(
                f"{self._name} is at generation {found.generation} of stream {self._spec.stream}, this run began at "
                f"{request.expected_generation}: another run ({found.run_id}) has committed; nothing was written",
                details={
                    "expected_generation": request.expected_generation,
                    "found_generation": found.generation,
                    "found_run_id": found.run_id,
                },
                hint="let one run of a job at a time do its work; the next one goes on from where the other stopped",
            )

    def _require_unchanged(self, table: Table) -> None:
        match self._opened:
            case _Created():
                why = "somebody else created it"
            case _Existing(table=opened) if opened.metadata.table_uuid != table.metadata.table_uuid:
                why = "it was dropped and created anew"
            case _Existing(table=opened) if opened.metadata.default_spec_id != table.metadata.default_spec_id:
                why = "its partitioning was changed"
            case _Existing(table=opened, changes=(updates, _)) if updates and (
                opened.metadata.current_schema_id,
                opened.metadata.last_column_id,
            ) != (table.metadata.current_schema_id, table.metadata.last_column_id):
                why = "its schema was changed"
            case _:
                return
        raise ConcurrencyError(f"{self._name}: while this run wrote, {why}", hint="run the job again")

    def _try(
        self, table: Table | None, request: CommitRequest, state: str, files: Sequence[DataFile], *, last: bool
    ) -> Receipt | None:
        """Commit once, with pyiceberg's own tries to rebase; None says that it did not land and may be tried again."""
        with translated(f"committing to {self._name}"):
            transaction = self._transaction(table)
            delta = self._merge.plan(table, files) if self._merge is not None else None
            producer = self._fill(transaction, request, state, delta or files)
        try:
            if not self._send(transaction, producer, request, creates=table is None, last=last):
                return None
        except FencedError:
            discard_manifests(producer)
            raise
        if delta is not None:
            return _merged(request, producer, delta)
        return _receipt(request, producer, files, replaced=self._replaces)

    def _send(
        self, transaction: Transaction, producer: Producer, request: CommitRequest, *, creates: bool, last: bool
    ) -> bool:
        """Send a commit and find out whether it landed; False says that it did not and may be tried again."""
        self._keep_files = True
        try:
            transaction.commit_transaction()
        except (CommitFailedException, ValidationException, TableAlreadyExistsError) as error:
            # These say that nothing landed, but pyiceberg may have lost the answer to an earlier try.
            if not self._landed(request):
                self._refused(producer)
                if not last and not isinstance(error, FenceBrokenError):
                    return False
                raise as_dativo_error(error, f"committing to {self._name}") from error
        except foreign_errors() as error:
            if not self._landed_after_all(request, error):
                self._refused(producer)
                raise as_dativo_error(error, f"committing to {self._name}") from error
        # A commit to a table names what it builds on. One that creates a table has nothing to name but that there is
        # none, and some REST catalogs let two creators through at once: the second one's table replaces the first's.
        if creates and not self._landed(request):
            raise CommitStateUnknownError(
                f"{self._name}: the catalog said that it created the table, and does not show it",
                details={"commit_id": request.commit_id, "table": self._name},
                hint="look at the catalog; the next run goes on from what it shows",
            )
        return True

    def _refused(self, producer: Producer) -> None:
        """Note that a commit did not land and will not: its manifests are of no use, its data files may go."""
        self._keep_files = False
        discard_manifests(producer)

    @property
    def _replaces(self) -> bool:
        return self._spec.write == "overwrite" and self._opened is not None

    def _transaction(self, table: Table | None) -> Transaction:
        if table is None:
            assert isinstance(self._opened, _Created)  # noqa: S101  _current() has seen to it
            return self._stage_again(self._opened.staged)
        transaction = table.transaction()
        if isinstance(self._opened, _Existing):
            stage(transaction, self._opened.changes)
            new = {key: value for key, value in self._properties().items() if table.properties.get(key) != value}
            if new:
                transaction.set_properties(new)
            require_spec(transaction)
        return transaction

    @staticmethod
    def _stage_again(staged: Transaction) -> Transaction:
        """Give a transaction that creates the staged table; the one that failed before cannot be used again."""
        from pyiceberg.table import CreateTableTransaction, StagedTable  # noqa: PLC0415  only needed here

        table = staged._table  # noqa: SLF001
        assert isinstance(table, StagedTable)  # noqa: S101  it was never committed
        return CreateTableTransaction(table)

    def _fill(
        self, transaction: Transaction, request: CommitRequest, state: str, files: Sequence[DataFile] | Delta
    ) -> Producer:
        transaction.set_properties({self._spec.state_key: state})
        summary = {
            "dativo.commit-id": request.commit_id,
            RUN_ID: self._spec.run_id,
            "dativo.generation": str(request.expected_generation + 1),
            STREAM: self._spec.state_key,
            ROWS: str(_rows(files)),
        }
        if len(state) <= _STATE_IN_SUMMARY_BYTES:
            summary[self._spec.state_key] = state
        opened = self._opened

        def fence(metadata: TableMetadata) -> None:
            if self._state_of(metadata).generation != request.expected_generation:
                raise FenceBrokenError("another run has committed")
            if isinstance(opened, _Existing):
                before = opened.table.metadata
                if before.default_spec_id != metadata.default_spec_id:
                    raise FenceBrokenError("the partitioning was changed")
                if opened.changes[0] and before.current_schema_id != metadata.current_schema_id:
                    raise FenceBrokenError("the schema was changed")

        if isinstance(files, Delta):
            return stage_delta(transaction, files, fence=fence, summary=summary)
        return stage_snapshot(transaction, files, replace=self._replaces, fence=fence, summary=summary)

    def _landed(self, request: CommitRequest) -> bool:
        """Look whether the table shows this commit, or others that were built on it.

        Raises:
            FencedError: It shows another run's.
            CommitStateUnknownError: Others have committed since, and the snapshot that would tell is expired.
        """
        table = find_table(self._connection.to_write(), self._identifier)
        found = self._state_of(table.metadata) if table is not None else CommittedState()
        ids = {found.generation: found.commit_id}
        if table is not None and found.generation > request.expected_generation + 1:
            ids |= {each.generation: each.commit_id for each in past_commits(table.metadata, self._spec.state_key)}
        if ids.get(request.expected_generation + 1) == request.commit_id:
            return True
        if found.generation == request.expected_generation:
            return False
        if found.generation > request.expected_generation and request.expected_generation + 1 not in ids:
            raise CommitStateUnknownError(
                f"{self._name} is at generation {found.generation} by now, and its snapshots do not tell whose commit "
                f"was generation {request.expected_generation + 1}",
                details={"commit_id": request.commit_id, "table": self._name},
                hint="the next run goes on from what the table says",
            )
        self._keep_files = False
        self._require_generation(found, request)
        return False

    def _landed_after_all(self, request: CommitRequest, error: BaseException) -> bool:
        """Look, and look again, whether a commit that failed in an unclear way is there.

        Raises:
            CommitStateUnknownError: It is not there, and may still come.
        """
        unknown = outcome_is_unknown(error)
        looked: DativoError | None = None
        for look in range(_LOOKS if unknown else 1):
            if look:
                time.sleep(_LOOK_AGAIN_S)
            try:
                if self._landed(request):
                    return True
            except FencedError:
                raise
            except DativoError as failed:
                looked = failed
        if unknown or looked is not None:
            raise CommitStateUnknownError(
                f"committing to {self._name}: {error}; the table does not show the commit, which may still arrive",
                details={"commit_id": request.commit_id, "table": self._name, "looking_again": str(looked or "")},
                hint=f"when the catalog is well again, look for {request.commit_id} in the table property "
                f"{self._spec.state_key}; the next run goes on from what it says",
            ) from error
        return False

    def _publish(self, quarantine: Quarantine, state: CommittedState, rejected: Sequence[DataFile]) -> None:
        if state.quarantine is None:
            return
        table = find_table(self._connection.to_write(), self._identifier)
        if table is not None:
            quarantine.publish(state, str(table.metadata.table_uuid), rejected)


def _rows(files: Sequence[DataFile] | Delta) -> int:
    """Count the rows that came; a merge's files may hold others that it wrote anew."""
    return files.inserted + files.updated if isinstance(files, Delta) else sum(file.record_count for file in files)


def _receipt(request: CommitRequest, producer: Producer, files: Sequence[DataFile], *, replaced: bool) -> Receipt:
    removed = producer.removed_rows if hasattr(producer, "removed_rows") else 0
    return Receipt(
        commit_id=request.commit_id,
        generation=request.expected_generation + 1,
        snapshot_id=str(producer.snapshot_id),
        inserted=_rows(files),
        updated=0,
        deleted=removed if replaced else 0,
        bytes_written=sum(file.file_size_in_bytes for file in files),
        files=len(files),
    )


def _merged(request: CommitRequest, producer: Producer, delta: Delta) -> Receipt:
    written = [*delta.files, *delta.deletes]
    return Receipt(
        commit_id=request.commit_id,
        generation=request.expected_generation + 1,
        snapshot_id=str(producer.snapshot_id),
        inserted=delta.inserted,
        updated=delta.updated,
        deleted=delta.deleted,
        bytes_written=sum(file.file_size_in_bytes for file in written),
        files=len(written),
    )
