"""Rejected rows in a second table, exactly once although two tables cannot commit together.

The rows are written first, as data files that no table knows. The main table's state points to them. Then the files are
appended to the quarantine table in a commit whose application transaction is the main commit's generation. If a crash
comes between the two, the next run finds that the quarantine table is behind, and finishes the work.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, Transaction
from deltalake.transaction import create_table_with_add_actions

from dativo_ingest.targets.arrow_evolution import evolve_schema
from dativo_ingest.targets.delta.changes import apply_changes
from dativo_ingest.targets.delta.config import Place
from dativo_ingest.targets.delta.data_files import DataFile, DeltaFiles
from dativo_ingest.targets.delta.failures import as_dativo_error, foreign_errors, translated
from dativo_ingest.targets.delta.log import add_actions, as_delta, load_table, normal, require_plain, schema_of
from dativo_ingest.targets.delta.types import stored_schema
from dativo_ingest.targets.parquet_files import FileFormat
from dativo_plugin_sdk import CommittedState, ConcurrencyError, SchemaValidationError, TableSpec

_ATTEMPTS = 5


class Quarantine:
    """The quarantine table of one stream's table."""

    def __init__(self, place: Place, spec: TableSpec, name: str) -> None:
        self._place = place
        self._spec = spec
        self._name = name

    def open(self, incoming: pa.Schema) -> DeltaFiles:
        """Make ready to write rejected rows; the table itself changes when they are published."""
        wanted = normal(stored_schema(incoming, name=self._name))
        wanted = pa.schema([pa.field(each.name, each.type) for each in wanted])
        table = load_table(self._place, self._name)
        if table is not None:
            require_plain(table, self._name)
            if table.metadata().partition_columns:
                raise SchemaValidationError(
                    f"{self._name} is partitioned; a quarantine table must not be",
                    hint="rename it, so that the next run creates another",
                )
            wanted = _with_types_of(schema_of(table), wanted)
            evolve_schema(schema_of(table), wanted, name=self._name)
        return DeltaFiles(
            self._place, self._spec.run_id, FileFormat(wanted), (), buffer_bytes=max(1, self._spec.buffer_bytes // 4)
        )

    def pointer(self, files: Sequence[DataFile], schema: pa.Schema, commit_id: str) -> dict[str, Any] | None:
        """Say where the rejected rows of a commit lie; None where there are none."""
        if not files:
            return None
        return {
            "commit_id": commit_id,
            "table": self._name,
            "rows": sum(file.rows for file in files),
            "files": [asdict(file) for file in files],
            "schema": schema.serialize().to_pybytes().hex(),
        }

    def publish(self, state: CommittedState, table_id: str) -> None:
        """Append the files that a committed state points to, unless that has happened.

        Args:
            state: What the main table remembers.
            table_id: The main table: generations of another table of its name do not count.
        """
        pointer = state.quarantine
        if pointer is None:
            return
        application = f"dativo/{self._spec.job}/{self._spec.stream}/{table_id}"
        for _ in range(_ATTEMPTS):
            table = load_table(self._place, self._name)
            if table is not None and (table.transaction_version(application) or 0) >= state.generation:
                return
            try:
                self._append(table, pointer, application, state)
            except foreign_errors() as error:
                failure = as_dativo_error(error, f"publishing rejected rows in {self._name}", self._place.folder)
                if not isinstance(failure, ConcurrencyError) and table is not None:
                    raise failure from error
                if table is None and load_table(self._place, self._name) is None:
                    raise failure from error
        raise ConcurrencyError(
            f"{self._name} is being changed by others all the time; the rows of {self._spec.name} are committed, its "
            "rejected rows will be published by the next run",
            hint="run the job again",
        )

    def _append(self, table: Any, pointer: Mapping[str, Any], application: str, state: CommittedState) -> None:
        incoming = pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(pointer["schema"])))
        actions = add_actions((DataFile(**file) for file in pointer["files"]), int(time.time() * 1000))
        properties = CommitProperties(
            custom_metadata={"dativo.commit-id": str(state.commit_id), "dativo.run-id": str(state.run_id)},
            app_transactions=[Transaction(application, state.generation)],
        )
        if table is None:
            properties.max_commit_retries = 0  # deltalake would create the table a second time, over another run's
            create_table_with_add_actions(
                self._place.uri,
                as_delta(incoming),
                actions,
                mode="error",
                storage_options=dict(self._place.storage_options),
                commit_properties=properties,
            )
            return
        merged, changes = evolve_schema(schema_of(table), incoming, name=self._name)
        if changes:
            with translated(f"changing the columns of {self._name}", self._place.folder):
                apply_changes(table, schema_of(table), merged)
            return
        table.create_write_transaction(actions, "append", as_delta(merged), commit_properties=properties)


def _with_types_of(table: pa.Schema, incoming: pa.Schema) -> pa.Schema:
    """Give the columns as files must have them: a type of the table's that holds the values stays."""
    merged, _ = evolve_schema(table, incoming, name="quarantine")
    return pa.schema([pa.field(each.name, merged.field(each.name).type) for each in incoming])
