"""An Iceberg warehouse as its tests use it: written through the writer, read through pyiceberg's own catalog."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchNamespaceError, RESTError
from pyiceberg.table import Table

from dativo_ingest.targets.iceberg import IcebergWriter
from dativo_plugin_sdk import ConnectionTestResult, DativoError, TargetConfig
from dativo_plugin_sdk.tables import CommitRequest, CommittedState, Receipt, TableSpec, TableWriter, WriteMode


@dataclass
class Run:
    """One run's hold on a table."""

    writer: IcebergWriter
    spec: TableSpec
    table: TableWriter
    before: CommittedState
    changes: Sequence[str] = ()

    def commit(self, state: dict[str, Any] | None = None, *, generation: int | None = None) -> Receipt:
        return self.table.commit(
            CommitRequest(
                commit_id=str(uuid.uuid4()),
                expected_generation=self.before.generation if generation is None else generation,
                state=state,
                committed_at="2026-11-22T00:00:00.000+00:00",
            )
        )


@dataclass(frozen=True)
class Gone:
    """Keys that a run deletes, among the batches that it writes."""

    keys: pa.RecordBatch


@dataclass
class Lake:
    """A warehouse, by default a folder with the embedded catalog."""

    folder: Path
    connection: dict[str, Any] = field(default_factory=dict)
    credentials: dict[str, str] = field(default_factory=dict)
    namespace: str = "raw"

    def __post_init__(self) -> None:
        self.connection = self.connection or {"warehouse": str(self.folder)}

    def writer(self, **options: Any) -> IcebergWriter:
        return IcebergWriter(
            TargetConfig(
                type="iceberg", connection=self.connection, credentials=dict(self.credentials), options=options
            )
        )

    def spec(self, name: str = "t", write: WriteMode = "append", **settings: Any) -> TableSpec:
        return TableSpec(
            name=name,
            namespace=self.namespace,
            job="job",
            stream=settings.pop("stream", name),
            run_id=settings.pop("run_id", str(uuid.uuid4())),
            write=write,
            **settings,
        )

    @contextmanager
    def run(
        self, schema: pa.Schema | None, name: str = "t", write: WriteMode = "append", **settings: Any
    ) -> Iterator[Run]:
        """Begin a run; without a schema the table is not opened."""
        writer = self.writer()
        try:
            spec = self.spec(name, write, **settings)
            table = writer.table(spec)
            run = Run(writer, spec, table, table.load_state())
            if schema is not None:
                run.changes = table.open(schema)
            yield run
        finally:
            writer.close()

    def load(
        self,
        *batches: pa.RecordBatch | Gone,
        schema: pa.Schema | None = None,
        rejected: pa.RecordBatch | None = None,
        state: dict[str, Any] | None = None,
        **settings: Any,
    ) -> Receipt:
        """Carry batches in one run; the schema is that of the first one where none is given."""
        with self.run(
            schema or next(each.schema for each in batches if isinstance(each, pa.RecordBatch)), **settings
        ) as run:
            for batch in batches:
                if isinstance(batch, Gone):
                    run.table.delete(batch.keys)
                else:
                    run.table.write(batch)
            if rejected is not None:
                run.table.quarantine(rejected)
            return run.commit(state)

    def walk(self, name: str = "t", **options: object) -> dict[str, ConnectionTestResult | DativoError]:
        """Run the steps of a check until the first that fails, as the engine does."""
        found: dict[str, ConnectionTestResult | DativoError] = {}
        writer = self.writer()
        for check in writer.check([self.spec(name, options=options)]):
            try:
                found[check.step] = check.run()
            except DativoError as error:
                found[check.step] = error
                break
        writer.close()
        return found

    @contextmanager
    def catalog(self) -> Iterator[Catalog]:
        """Open the catalog with nothing of Dativo's."""
        catalog: Catalog
        if "uri" in self.connection:
            catalog = load_catalog("other", **self.properties())
        else:
            catalog = SqlCatalog(
                "default", uri=f"sqlite:///{self.folder}/catalog.db", warehouse=f"file://{self.folder}"
            )
        try:
            yield catalog
        finally:
            catalog.close()

    def properties(self) -> Mapping[str, Any]:
        return {
            "type": "rest",
            "uri": self.connection["uri"],
            "warehouse": self.connection["warehouse"],
            "oauth2-server-uri": f"{self.connection['uri']}/v1/oauth/tokens",
            "credential": self.credentials["credential"],
            "s3.endpoint": self.connection["endpoint"],
            "s3.region": "us-east-1",
            "s3.access-key-id": self.credentials["access_key_id"],
            "s3.secret-access-key": self.credentials["secret_access_key"],
        }

    @contextmanager
    def table(self, name: str = "t") -> Iterator[Table]:
        """Open a table with nothing of Dativo's."""
        with self.catalog() as catalog:
            yield catalog.load_table((*self.namespace.split("."), name))

    def rows(self, name: str = "t") -> pa.Table:
        with self.table(name) as table:
            return table.scan().to_arrow()

    def values(self, column: str = "id", name: str = "t") -> list[Any]:
        return sorted(self.rows(name)[column].to_pylist())

    def exists(self, name: str = "t") -> bool:
        with self.catalog() as catalog:
            return catalog.table_exists((*self.namespace.split("."), name))

    def data_files(self, name: str = "t") -> list[Path]:
        """List the data files on disk, referenced or not."""
        return sorted((self.folder / self.namespace / name / "data").rglob("*.parquet"))


def wait_for_the_table_bucket(catalog: Catalog) -> None:
    """SeaweedFS makes it a moment after it has begun to answer."""
    deadline_s = time.monotonic() + 60
    while True:
        try:
            catalog.list_namespaces()
        except (RESTError, NoSuchNamespaceError):
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        else:
            return


def before_a_commit(monkeypatch: pytest.MonkeyPatch, catalog_class: type[Catalog], act: Callable[[], object]) -> None:
    """Let something happen at the last moment before a commit reaches the catalog, once."""
    commit_table = catalog_class.commit_table
    waiting = [act]

    def interrupted(catalog: Catalog, *arguments: Any) -> Any:
        if waiting:
            waiting.pop()()
        return commit_table(catalog, *arguments)

    monkeypatch.setattr(catalog_class, "commit_table", interrupted)


def numbers(*ids: int) -> pa.RecordBatch:
    """Rows of an id and a text made of it."""
    return pa.record_batch(
        {"id": pa.array(ids, pa.int64()), "text": pa.array([f"row {each}" for each in ids], pa.string())}
    )


NUMBERS = numbers().schema
REJECTED = pa.record_batch({"rule": ["type"], "reason": ["not a number"], "row": ['{"id": "x"}']})
