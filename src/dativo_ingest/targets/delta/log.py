"""The log of one Delta table: loading it, and what of a stream is remembered in it.

Two application transactions are part of each commit of a stream: its generation, and a number made of the commit's id.
Unlike the commit's own metadata both survive checkpoints, log compaction and log expiry. The state itself is a file
beside the data, ``_dativo/<job>%2F<stream>/<generation>-<number>.json``, written before the commit; only the one that
the log points to counts.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import TableNotFoundError
from deltalake.transaction import AddAction

from dativo_ingest.targets.delta.config import Place
from dativo_ingest.targets.delta.data_files import DataFile, remove
from dativo_ingest.targets.delta.failures import translated
from dativo_ingest.targets.delta.past_commits import ROWS, STREAM, past_commits
from dativo_ingest.targets.filesystem import make_folder, sync
from dativo_plugin_sdk import (
    CommitRequest,
    CommittedState,
    DataFormatError,
    DativoError,
    PastCommit,
    SchemaValidationError,
    TableSpec,
)

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo

_FOLDER = "_dativo"  # vacuum and readers leave alone what begins with an underscore
_KEPT_GENERATIONS = 2
_LOADS = 3
_STATE_IN_COMMIT_BYTES = 8192
_KNOWN_FEATURES = frozenset(
    {
        "appendOnly",
        "invariants",
        "timestampNtz",
        "deletionVectors",
        "v2Checkpoint",
        "changeDataFeed",
        "domainMetadata",
        "vacuumProtocolCheck",
    }
)


def load_table(place: Place, name: str) -> DeltaTable | None:
    """Load a table's newest version; None where there is no table."""
    with translated(f"reading {name}", place.folder):
        try:
            return DeltaTable(place.uri, storage_options=dict(place.storage_options))
        except TableNotFoundError:
            return None


def schema_of(table: DeltaTable) -> pa.Schema:
    """Give a table's columns in Arrow's terms."""
    return pa.schema(table.schema())  # type: ignore[arg-type]  # it has Arrow's capsule


def as_delta(schema: pa.Schema) -> Schema:
    """Give Arrow columns in Delta's terms."""
    return Schema.from_arrow(schema)


def normal(schema: pa.Schema) -> pa.Schema:
    """Give the columns as `schema_of` would after they went into a table."""
    return pa.schema(as_delta(schema))  # type: ignore[arg-type]  # it has Arrow's capsule


def require_plain(table: DeltaTable, name: str) -> None:
    """See that rows written as plain Parquet files keep what the table promises.

    Raises:
        SchemaValidationError: The table maps columns, checks or generates values, or has a feature unknown here.
    """
    configuration = table.metadata().configuration
    found = [key for key in configuration if key.startswith("delta.constraints.")]
    if configuration.get("delta.columnMapping.mode", "none") != "none":
        found.append("delta.columnMapping.mode")
    if (table.protocol().writer_features or None) is not None:
        found += sorted(set(table.protocol().writer_features or ()) - _KNOWN_FEATURES)
    for column in json.loads(table.schema().to_json())["fields"]:
        rules = set(column["metadata"]) & {"delta.generationExpression", "delta.invariants", "delta.identity.start"}
        found += [f"{column['name']}: {rule}" for rule in sorted(rules)]
    if found:
        raise SchemaValidationError(
            f"table {name} has what the delta target does not keep: {', '.join(found)}",
            details={"table": name, "found": found},
            hint="load into another table, or take this off the table",
        )


def add_actions(files: Iterable[DataFile], at_ms: int) -> list[AddAction]:
    """Say to Delta which files a commit adds."""
    return [AddAction(each.path, each.size_bytes, each.partition, at_ms, True, each.stats) for each in files]  # noqa: FBT003  the signature


class StreamLog:
    """What one stream remembers in one table."""

    def __init__(self, place: Place, spec: TableSpec, name: str) -> None:
        self._place = place
        self._spec = spec
        self._name = name
        self._application = f"dativo/{spec.job}/{spec.stream}"
        self._folder = f"{_FOLDER}/{quote(f'{spec.job}/{spec.stream}', safe='')}"

    def generation(self, table: DeltaTable | None) -> int:
        """Give the stream's generation as the loaded version has it."""
        return (table.transaction_version(self._application) or 0) if table is not None else 0

    def shows(self, table: DeltaTable | None, request: CommitRequest) -> bool:
        """Say whether the loaded version has this commit, as the stream's last one or under others."""
        generation = self.generation(table)
        if table is None or generation <= request.expected_generation:
            return False
        if generation > request.expected_generation + 1:
            return self._past(table, request.expected_generation + 1) == request.commit_id
        return table.transaction_version(f"{self._application}#commit") == _number(request.commit_id)

    def forgets(self, table: DeltaTable | None, generation: int) -> bool:
        """Say whether the log no longer tells whose commit a past generation was."""
        return table is None or self._past(table, generation) is None

    def _past(self, table: DeltaTable, generation: int) -> str | None:
        with translated(f"reading the history of {self._name}", self._place.folder):
            commits = past_commits(table, self._spec.state_key)
        return next((each.commit_id for each in commits if each.generation == generation), None)

    def state(self, table: DeltaTable | None) -> CommittedState:
        """Read the state that the loaded version points to.

        Raises:
            DataFormatError: Its file is gone or not what was written.
        """
        for _ in range(_LOADS):
            generation = self.generation(table)
            if table is None or not generation:
                return CommittedState()
            path = self._path(generation, table.transaction_version(f"{self._application}#commit") or 0)
            with translated(f"reading the state in {self._name}", self._place.folder):
                try:
                    with self._place.filesystem.open_input_stream(f"{self._place.path}/{path}") as stream:
                        text = stream.read()
                except FileNotFoundError:
                    table = load_table(self._place, self._name)  # others may have committed twice since it was loaded
                    continue
            try:
                return CommittedState.from_json(bytes(text).decode())
            except (ValueError, TypeError) as error:
                raise DataFormatError(f"{self._name}: {path} is not a state of Dativo's: {error}") from error
        raise DataFormatError(
            f"{self._name}: the state of stream {self._spec.stream} is gone, it was in {path}",
            details={"path": path, "generation": generation},
            hint="restore the file; the table's history names what its commits carried",
        )

    def history(self) -> list[PastCommit]:
        """List the stream's commits, as far as the log is kept."""
        table = load_table(self._place, self._name)
        if table is None:
            return []
        newest = self.state(table)
        with translated(f"reading the history of {self._name}", self._place.folder):
            found = past_commits(table, self._spec.state_key)
        return [
            PastCommit(**{**vars(newest), "rows": commit.rows}) if commit.commit_id == newest.commit_id else commit
            for commit in found
        ]

    def write(self, state: CommittedState) -> str:
        """Keep a state that is about to be committed; give the path of its file."""
        assert state.commit_id is not None  # noqa: S101  a state to be committed has one
        path = self._path(state.generation, _number(state.commit_id))
        text = state.to_json().encode()
        folder = self._place.folder
        with translated(f"writing the state in {self._name}", folder):
            if folder is not None:
                make_folder((folder / path).parent)
            with self._place.filesystem.open_output_stream(f"{self._place.path}/{path}", compression=None) as stream:
                stream.write(text)
            if folder is not None:
                sync(folder / path)
        return path

    def properties(self, state: CommittedState, *, rows: int | None) -> CommitProperties:
        """Give what a commit must carry to move the stream to ``state``; ``rows`` is None where Delta counts them."""
        assert state.commit_id is not None  # noqa: S101  a state to be committed has one
        metadata: dict[str, Any] = {
            "dativo.commit-id": state.commit_id,
            "dativo.run-id": str(state.run_id),
            "dativo.generation": str(state.generation),
            STREAM: self._spec.state_key,
        }
        if rows is not None:
            metadata[ROWS] = str(rows)
        text = state.to_json()
        if len(text) <= _STATE_IN_COMMIT_BYTES:
            metadata[self._spec.state_key] = text  # for people who read the table's history
        transactions = [
            Transaction(self._application, state.generation),
            Transaction(f"{self._application}#commit", _number(state.commit_id)),
        ]
        return CommitProperties(custom_metadata=metadata, app_transactions=transactions)

    def discard(self, path: str) -> None:
        """Remove the file of a state that was not committed."""
        with contextlib.suppress(DativoError), translated(f"removing {path}", self._place.folder):
            remove(self._place, path)

    def forget_before(self, generation: int) -> None:
        """Remove the states of old generations; what cannot be removed now is removed by a later commit."""
        from pyarrow.fs import FileSelector  # noqa: PLC0415  it loads every file system

        with contextlib.suppress(DativoError), translated("removing old states", self._place.folder):
            selector = FileSelector(f"{self._place.path}/{self._folder}", allow_not_found=True)
            for info in self._place.filesystem.get_file_info(selector):
                if _generation(info) <= generation - _KEPT_GENERATIONS:
                    self._place.filesystem.delete_file(info.path)

    def _path(self, generation: int, number: int) -> str:
        return f"{self._folder}/{generation:020d}-{number:016x}.json"


def _generation(info: FileInfo) -> int:
    number = info.base_name.partition("-")[0]
    return int(number) if number.isdigit() else 2**63


def _number(commit_id: str) -> int:
    """Make a commit's id a number that an application transaction can have: 63 bits of its hash."""
    return int.from_bytes(hashlib.sha256(commit_id.encode()).digest()[:8], "big") >> 1


def waiting_files(place: Place) -> set[str]:
    """Give the paths of rejected rows that any state kept beside a table points to: no table may know them yet."""
    from pyarrow.fs import FileSelector, FileType  # noqa: PLC0415  it loads every file system

    found: set[str] = set()
    with translated(f"reading the states in {place.uri}", place.folder):
        selector = FileSelector(f"{place.path}/{_FOLDER}", recursive=True, allow_not_found=True)
        for info in place.filesystem.get_file_info(selector):
            if info.type != FileType.File or not info.path.endswith(".json"):
                continue
            try:
                with place.filesystem.open_input_stream(info.path) as stream:
                    pointer = json.loads(stream.read()).get("quarantine") or {}
            except FileNotFoundError:
                continue  # a later commit has removed it
            found |= {file["path"] for file in pointer.get("files", ())}
    return found


def missing(properties: Mapping[str, str], table: DeltaTable) -> dict[str, str]:
    """Give the properties that the table does not have as they should be."""
    found = table.metadata().configuration
    return {key: value for key, value in properties.items() if found.get(key) != value}
