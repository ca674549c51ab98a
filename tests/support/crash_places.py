"""Each target as the crash harness sees it: how a job names it, its seams, and what an outsider finds in it.

Nothing here asks the target's own writer what is there, but for a Delta table's state, whose place is its own affair.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
from iceberg_lake import wait_for_the_table_bucket

from dativo_plugin_sdk import CommittedState, TableSpec, TargetConfig

JOB, STREAM = "crash", "events"
STATE_KEY = f"dativo.state.{JOB}/{STREAM}"
_IN_FLIGHT_S = 0.05  # what is on loopback by then has arrived, or never will
READER = "dativo_plugin_sdk.streams:StreamReader.acknowledge"
COLUMNS = ["id", "part", "label"]


@dataclass
class Place(ABC):
    """Where one table and its quarantine lie, fresh for each scene."""

    folder: Path
    service: Any = None
    number: int = field(default_factory=lambda: int.from_bytes(os.urandom(5)))
    _seen: dict[str, Any] = field(default_factory=dict)
    """What was read of files that never change."""

    name: ClassVar[str]
    modes: ClassVar[tuple[str, ...]] = ("append", "overwrite")
    every_step: ClassVar[tuple[str, ...]] = modes
    """The modes in which each step is tried: where a step is slow, those that differ."""
    writer: ClassVar[str]
    """Its table writer's class, as ``module:Class``."""
    inside: ClassVar[tuple[str, ...]] = ()
    """Seams within a commit and around files, beside the writer's methods."""
    atomic: ClassVar[tuple[str, ...]]
    """Those of the seams whose call is the commit."""
    finished: ClassVar[tuple[str, ...]] = ()
    """The seam that each data file passes, where there are files."""
    events: ClassVar[tuple[str, ...]] = ()
    sweeps: ClassVar[bool] = False
    """Whether the next two runs that write remove what a dead run left."""
    one_at_a_time: ClassVar[bool] = False
    """Whether a process keeps others out from its first look on."""
    partitioned: ClassVar[bool] = True
    needs: ClassVar[str | None] = None
    """The fixture of the service that it is in."""

    @property
    def seams(self) -> list[str]:
        methods = ("open", "write", "quarantine", "commit")
        return [*(f"{self.writer}.{method}" for method in methods), *self.inside, *self.atomic, READER]

    @property
    def load_state(self) -> str:
        return f"{self.writer}.load_state"

    @abstractmethod
    def target(self) -> dict[str, Any]:
        """Give the target's part of a job."""

    @abstractmethod
    def rows(self, table: str = STREAM) -> pa.Table:
        """Read a whole table; one that does not exist is empty."""

    @abstractmethod
    def state(self) -> CommittedState:
        """Give what the table remembers, without any repair."""

    def history(self) -> list[tuple[int, str]] | None:
        """List generation and id of every commit, the oldest first; None where the target keeps none."""
        return None

    @abstractmethod
    def files(self) -> set[str]:
        """List everything that lies there."""

    @abstractmethod
    def reachable(self) -> set[str]:
        """List what a reader of any version of either table may come to."""

    def read(self, file: str) -> bytes:
        return (self.folder / "lake" / file).read_bytes()

    def foreign(self, file: str) -> bool:
        """Say whether a library or a service gives such files their names, which then tell of no run."""
        return False

    def prepare(self) -> None:  # noqa: B027  most have nothing to wait for
        """Wait until runs can begin."""

    def settle(self) -> None:
        """Wait until what a dead run had sent to a service is done."""
        if self.needs is not None:
            time.sleep(_IN_FLIGHT_S)

    def clear(self) -> None:
        """Remove what may be large; the test's folder goes by itself."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


class _InBucket(Place):
    """A prefix of the service's bucket."""

    @property
    def prefix(self) -> str:
        return f"{self.service.bucket}/crash{self.number}"

    def files(self) -> set[str]:
        return self._objects(self.prefix)

    def _objects(self, prefix: str) -> set[str]:
        from pyarrow import fs

        found = self._arrow.get_file_info(fs.FileSelector(prefix, recursive=True, allow_not_found=True))
        return {info.path.removeprefix(prefix + "/") for info in found if info.type == fs.FileType.File}

    def read(self, file: str) -> bytes:
        with self._arrow.open_input_stream(f"{self.prefix}/{file}", compression=None) as stream:
            return bytes(stream.read())

    @cached_property
    def _arrow(self) -> Any:
        return self.service.filesystem()

    def clear(self) -> None:
        super().clear()
        with contextlib.suppress(OSError):
            self._arrow.delete_dir(self.prefix)


# Iceberg


class Iceberg(Place):
    """The embedded catalog in a folder."""

    name = "iceberg"
    modes = every_step = ("append", "overwrite", "merge")
    writer = "dativo_ingest.targets.iceberg.table:IcebergTable"
    inside = (
        "dativo_ingest.targets.iceberg.data_files:DataFiles._close",
        "dativo_ingest.targets.iceberg.table:stage_snapshot",
        "dativo_ingest.targets.iceberg.table:stage_delta",
        "dativo_ingest.targets.iceberg.embedded:EmbeddedCatalog.commit_table",
        "dativo_ingest.targets.iceberg.embedded:EmbeddedCatalog.create_table",
        "dativo_ingest.targets.iceberg.quarantine:Quarantine.publish",
    )
    atomic = ("dativo_ingest.targets.iceberg.embedded:EmbeddedCatalog._swap",)
    finished = ("dativo_ingest.targets.iceberg.data_files:DataFiles._close",)

    @property
    def namespace(self) -> str:
        return "raw"

    def target(self) -> dict[str, Any]:
        return {"connector": "iceberg", "connection": {"warehouse": "lake"}, "namespace": self.namespace}

    @contextlib.contextmanager
    def catalog(self) -> Iterator[Any]:
        try:
            yield self._catalog
        finally:
            self._catalog.close()  # its connections: it opens others

    @cached_property
    def _catalog(self) -> Any:
        from pyiceberg.catalog.sql import SqlCatalog

        lake = self.folder / "lake"
        return SqlCatalog("default", uri=f"sqlite:///{lake}/catalog.db", warehouse=f"file://{lake}")

    def _tables(self, *names: str) -> dict[str, Any]:
        from pyiceberg.exceptions import NoSuchTableError

        found = {}
        if not (self.folder / "lake").exists():
            return found
        with self.catalog() as catalog:
            for name in names:
                with contextlib.suppress(NoSuchTableError):
                    found[name] = catalog.load_table((self.namespace, name))
        return found

    def rows(self, table: str = STREAM) -> pa.Table:
        found = self._tables(table)
        return found[table].scan().to_arrow() if found else pa.table({})

    def state(self) -> CommittedState:
        found = self._tables(STREAM)
        return CommittedState.from_json(found[STREAM].properties.get(STATE_KEY) if found else None)

    def history(self) -> list[tuple[int, str]] | None:
        found = self._tables(STREAM)
        snapshots = found[STREAM].snapshots() if found else []
        of_ours = [each.summary.additional_properties for each in snapshots if each.summary is not None]
        return [(int(each["dativo.generation"]), each["dativo.commit-id"]) for each in of_ours]

    def files(self) -> set[str]:
        return {file for file in _below(self.folder / "lake") if not file.startswith("catalog.db")}

    def _short(self, location: str) -> str:
        return location.removeprefix("file://").removeprefix(f"{self.folder / 'lake'}/")

    def reachable(self) -> set[str]:
        found: set[str] = set()
        for table in self._tables(STREAM, f"{STREAM}__quarantine").values():
            found |= {table.metadata_location, *(each.metadata_file for each in table.metadata.metadata_log)}
            for snapshot in table.snapshots():
                found.add(snapshot.manifest_list)
                for manifest in snapshot.manifests(table.io):
                    found |= {manifest.manifest_path, *self._data_files(manifest, table.io)}
        return {self._short(location) for location in found}

    def _data_files(self, manifest: Any, io: Any) -> list[str]:
        path = manifest.manifest_path
        if path not in self._seen:
            entries = manifest.fetch_manifest_entry(io, discard_deleted=False)
            self._seen[path] = [entry.data_file.file_path for entry in entries]
        found: list[str] = self._seen[path]
        return found

    def foreign(self, file: str) -> bool:
        return file.endswith(".metadata.json")  # Iceberg numbers them


class IcebergRest(Iceberg):
    """A REST catalog and an object store."""

    name = "iceberg-rest"
    every_step = ("append", "merge")
    needs = "s3"
    inside = (
        *(seam for seam in Iceberg.inside if ".embedded:" not in seam),
        "pyiceberg.catalog.rest:RestCatalog.create_table",
    )
    atomic = ("pyiceberg.catalog.rest:RestCatalog.commit_table",)

    @property
    def namespace(self) -> str:
        return f"crash{self.number}"

    def prepare(self) -> None:
        wait_for_the_table_bucket(self._catalog)

    def target(self) -> dict[str, Any]:
        s3 = self.service
        return {
            "connector": "iceberg",
            "connection": {"uri": s3.catalog_uri, "warehouse": f"s3://{s3.table_bucket}", "endpoint": s3.endpoint},
            "credentials": {**s3.credentials, "credential": f"{s3.access_key_id}:{s3.secret_access_key}"},
            "namespace": self.namespace,
        }

    @contextlib.contextmanager
    def catalog(self) -> Iterator[Any]:
        yield self._catalog

    @cached_property
    def _catalog(self) -> Any:
        from pyiceberg.catalog import load_catalog

        s3 = self.service
        return load_catalog(
            "other",
            **{
                "type": "rest",
                "uri": s3.catalog_uri,
                "warehouse": f"s3://{s3.table_bucket}",
                "oauth2-server-uri": f"{s3.catalog_uri}/v1/oauth/tokens",
                "credential": f"{s3.access_key_id}:{s3.secret_access_key}",
                "s3.endpoint": s3.endpoint,
                "s3.region": s3.region,
                "s3.access-key-id": s3.access_key_id,
                "s3.secret-access-key": s3.secret_access_key,
            },
        )

    def _tables(self, *names: str) -> dict[str, Any]:
        from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

        found = {}
        for name in names:
            with contextlib.suppress(NoSuchTableError, NoSuchNamespaceError):
                found[name] = self._catalog.load_table((self.namespace, name))
        return found

    @property
    def prefix(self) -> str:
        return f"{self.service.table_bucket}/{self.namespace}"

    def files(self) -> set[str]:
        return _InBucket._objects(self, self.prefix)  # type: ignore[arg-type]

    def read(self, file: str) -> bytes:
        return _InBucket.read(self, file)  # type: ignore[arg-type]

    @cached_property
    def _arrow(self) -> Any:
        return self.service.filesystem()

    def _short(self, location: str) -> str:
        return location.removeprefix(f"s3://{self.prefix}/")


# Delta


class Delta(Place):
    """A table in a folder."""

    name = "delta"
    modes = every_step = ("append", "overwrite", "merge")
    writer = "dativo_ingest.targets.delta.table:DeltaTableWriter"
    inside = (
        "dativo_ingest.targets.delta.data_files:DeltaFiles._close",
        "dativo_ingest.targets.delta.log:StreamLog.write",
        "dativo_ingest.targets.delta.log:StreamLog.forget_before",
        "dativo_ingest.targets.delta.quarantine:Quarantine.publish",
        "dativo_ingest.targets.delta.quarantine:create_table_with_add_actions",
    )
    atomic = (
        "deltalake.table:DeltaTable.create_write_transaction",
        "deltalake.table:TableMerger.execute",
        "dativo_ingest.targets.delta.table:create_table_with_add_actions",
    )
    finished = ("dativo_ingest.targets.delta.data_files:DeltaFiles._close",)

    def target(self) -> dict[str, Any]:
        return {"connector": "delta", "connection": {"path": "lake"}, "namespace": "raw"}

    @property
    def uri(self) -> str:
        return str(self.folder / "lake")

    @property
    def storage(self) -> dict[str, str] | None:
        return None

    def rows(self, table: str = STREAM) -> pa.Table:
        from deltalake import DeltaTable

        path = f"{self.uri}/raw/{table}"
        if not DeltaTable.is_deltatable(path, self.storage):
            return pa.table({})
        return pa.table(DeltaTable(path, storage_options=self.storage).to_pyarrow_table())

    def state(self) -> CommittedState:
        from dativo_ingest.targets.delta.config import parse_config
        from dativo_ingest.targets.delta.log import StreamLog, load_table

        target = self.target()
        config = TargetConfig(
            type="delta",
            connection={**target["connection"], "path": self.uri},
            credentials=target.get("credentials", {}),
        )
        place = parse_config(config).place("raw", STREAM)
        spec = TableSpec(STREAM, "raw", JOB, STREAM, "look")
        return StreamLog(place, spec, STREAM).state(load_table(place, STREAM))

    def history(self) -> list[tuple[int, str]] | None:
        from deltalake import DeltaTable

        path = f"{self.uri}/raw/{STREAM}"
        if not DeltaTable.is_deltatable(path, self.storage):
            return []
        commits = DeltaTable(path, storage_options=self.storage).history()
        ours = [
            (int(each["dativo.generation"]), each["dativo.commit-id"])
            for each in commits
            if "dativo.generation" in each
        ]
        return ours[::-1]

    def files(self) -> set[str]:
        return _below(self.folder / "lake")

    def reachable(self) -> set[str]:
        files = self.files()
        found: set[str] = set()
        numbers: dict[str, set[str]] = {}
        for file in sorted(files):
            version = re.fullmatch(
                r"(raw/[^/]+)/_delta_log/(\d{20}(\.checkpoint)?\.(json|parquet)|_last_checkpoint)", file
            )
            if version is None:
                continue
            found.add(file)
            if not file.endswith(".json") or "checkpoint" in file:
                continue
            for line in self.read(file).splitlines():
                action = json.loads(line)
                if "add" in action:
                    found.add(f"{version[1]}/{action['add']['path']}")
                if "txn" in action:
                    numbers.setdefault(version[1], set()).add(f"{action['txn']['version']:016x}")
        for file in files:
            table, _, name = file.partition("/_dativo/")
            if name and Path(file).stem.partition("-")[2] in numbers.get(table, ()):
                found.add(file)
        return found

    def foreign(self, file: str) -> bool:
        # deltalake names what it writes itself: the files of a merge, and a version of the log before it is one.
        name = file.rpartition("/")[2]
        return name.startswith("part-") or "/_delta_log/" in file


class DeltaS3(_InBucket, Delta):
    """A table in an object store."""

    name = "delta-s3"
    every_step = ("append", "merge")
    needs = "s3"

    def target(self) -> dict[str, Any]:
        return {
            "connector": "delta",
            "connection": {"path": self.uri, "endpoint": self.service.endpoint},
            "credentials": self.service.credentials,
            "namespace": "raw",
        }

    @property
    def uri(self) -> str:
        return f"s3://{self.prefix}"

    @property
    def storage(self) -> dict[str, str] | None:
        return {
            "AWS_ENDPOINT_URL": self.service.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": self.service.region,
            "AWS_ACCESS_KEY_ID": self.service.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.service.secret_access_key,
        }

    def read(self, file: str) -> bytes:
        if file not in self._seen:
            self._seen[file] = super().read(file)
        found: bytes = self._seen[file]
        return found


# Parquet


class Parquet(Place):
    """A folder of files and manifests."""

    name = "parquet"
    writer = "dativo_ingest.targets.parquet:ParquetTableWriter"
    inside = (
        "dativo_ingest.targets.parquet_local:LocalFolder.start",
        "dativo_ingest.targets.parquet_local:LocalFolder.publish",
    )
    atomic = ("dativo_ingest.targets.parquet_local:_link",)
    finished = ("dativo_ingest.targets.parquet_local:LocalFolder.start",)
    events = ("open", "os.link", "os.rename", "os.remove", "os.mkdir", "fcntl.flock")
    sweeps = True

    def target(self) -> dict[str, Any]:
        return {"connector": "parquet", "connection": {"path": "lake"}, "namespace": "raw"}

    def _manifests(self) -> list[dict[str, Any]]:
        return [json.loads(self.read(file)) for file in sorted(filter(_MANIFEST.fullmatch, self.files()))]

    def _newest(self) -> dict[str, Any]:
        return next(reversed(self._manifests()), {"files": [], "quarantine": [], "states": {}, "replaced": []})

    def rows(self, table: str = STREAM) -> pa.Table:
        import pyarrow.parquet as pq

        listed = self._newest()["files" if table == STREAM else "quarantine"]
        files = [pq.read_table(pa.BufferReader(self.read(f"raw/{table}/{each['path']}"))) for each in listed]
        return pa.concat_tables(files, promote_options="default") if files else pa.table({})

    def state(self) -> CommittedState:
        state = self._newest()["states"].get(STATE_KEY)
        return CommittedState.from_json(json.dumps(state) if state else None)

    def history(self) -> list[tuple[int, str]] | None:
        commits = [manifest["commit"] for manifest in self._manifests()]
        return [(each["generation"], each["commit_id"]) for each in commits]

    def files(self) -> set[str]:
        return _below(self.folder / "lake")

    def reachable(self) -> set[str]:
        newest, files = self._newest(), self.files()
        return {
            *(f"raw/{STREAM}/{each['path']}" for each in newest["files"]),
            *(f"raw/{STREAM}__quarantine/{each['path']}" for each in newest["quarantine"]),
            *filter(_MANIFEST.fullmatch, files),
            # What an overwrite replaced goes right after it; where it could not, the next run finds it named here.
            *(files & {f"raw/{STREAM}/{path}" for path in newest["replaced"]}),
        }


_MANIFEST = re.compile(rf"raw/{STREAM}/_manifests/\d{{20}}\.json")


class ParquetS3(_InBucket, Parquet):
    """The same in a bucket."""

    name = "parquet-s3"
    needs = "s3"
    inside = (
        "dativo_ingest.targets.parquet_s3:S3Table.begin",
        "dativo_ingest.targets.parquet_s3:S3Folder.start",
        "dativo_ingest.targets.s3_store:Bucket.create",
        "dativo_ingest.targets.s3_store:Bucket.replace",
        "dativo_ingest.targets.s3_store:Bucket.remove",
    )
    atomic = ("dativo_ingest.targets.parquet_s3:S3Table.create",)
    finished = ("dativo_ingest.targets.parquet_s3:S3Folder.start",)
    events = ()

    def target(self) -> dict[str, Any]:
        return {
            "connector": "parquet",
            "connection": {"path": f"s3://{self.prefix}", "endpoint": self.service.endpoint},
            "credentials": self.service.credentials,
            "namespace": "raw",
        }


# Databases


class DuckDB(Place):
    """One file."""

    name = "duckdb"
    modes = ("append", "overwrite", "merge")
    every_step = (*modes, "diff")
    writer = "dativo_ingest.targets.duckdb:DuckDBTableWriter"
    inside = (
        "dativo_ingest.targets.duckdb:DuckDBTableWriter.compare_keys",
        "dativo_ingest.targets.duckdb:DuckDBTableWriter.delete_absent",
        "dativo_ingest.targets.duckdb:DuckDBTableWriter._settle",
    )
    atomic = ("duckdb:DuckDBPyConnection.commit",)
    one_at_a_time = True
    partitioned = False

    def target(self) -> dict[str, Any]:
        return {"connector": "duckdb", "connection": {"path": "lake/lake.duckdb"}, "namespace": "raw"}

    def _query(self, statement: str) -> pa.Table:
        import duckdb

        lake = self.folder / "lake"
        if not (lake / "lake.duckdb").exists():
            return pa.table({})
        as_it_is = {path.name: (path.stat().st_mtime_ns, path.stat().st_size) for path in lake.iterdir()}
        if as_it_is != self._seen.get("lake"):
            self._let_go()
            # A copy: reading would take in the log that a dead run left.
            seen = shutil.copytree(lake, self.folder / "seen")
            self._seen = {"lake": as_it_is, "copy": duckdb.connect(str(seen / "lake.duckdb"))}
        try:
            return self._seen["copy"].sql(statement).to_arrow_table()
        except duckdb.CatalogException:
            return pa.table({})

    def _let_go(self) -> None:
        if "copy" in self._seen:
            self._seen.pop("copy").close()
        self._seen.clear()
        shutil.rmtree(self.folder / "seen", ignore_errors=True)

    def clear(self) -> None:
        self._let_go()
        super().clear()

    def rows(self, table: str = STREAM) -> pa.Table:
        return self._query(f'FROM raw."{table}"')

    def state(self) -> CommittedState:
        found = self._query(f"SELECT state FROM _dativo.state WHERE starts_with(state_key, '{STATE_KEY} in ')")
        return CommittedState.from_json(found["state"][0].as_py() if found.num_rows else None)

    def files(self) -> set[str]:
        return _below(self.folder / "lake")

    def reachable(self) -> set[str]:
        return {"lake.duckdb", "lake.duckdb.wal"} & self.files()


class InPostgres(Place):
    """A schema of a database."""

    name = "postgres"
    needs = "postgres"
    modes = every_step = ("append", "overwrite", "merge")
    writer = "dativo_ingest.targets.postgres.table:PostgresTableWriter"
    inside = ("dativo_ingest.targets.postgres.table:PostgresTableWriter._settle",)
    atomic = ("dativo_ingest.targets.postgres.table:run|COMMIT",)
    partitioned = False

    @property
    def schema(self) -> str:
        return f"crash{self.number}"

    def target(self) -> dict[str, Any]:
        return {
            "connector": "postgres",
            "connection": self.service.connection,
            "credentials": self.service.credentials,
            "namespace": self.schema,
        }

    def settle(self) -> None:
        """Wait until the server has let go of the dead run's session."""
        others = (
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        until_s = time.monotonic() + 30
        while self.service.ask(others) != [(0,)]:
            assert time.monotonic() < until_s
            time.sleep(0.01)

    def rows(self, table: str = STREAM) -> pa.Table:
        if table not in self.files():
            return pa.table({})
        with self.service.connect() as session:
            cursor = session.execute(f'SELECT * FROM {self.schema}."{table}"')
            names = [column.name for column in cursor.description]
            return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in cursor])

    def state(self) -> CommittedState:
        if "_dativo_state" not in self.files():
            return CommittedState()
        found = self.service.ask(
            f"SELECT state FROM {self.schema}._dativo_state WHERE state_key LIKE '{STATE_KEY} in %'"
        )
        return CommittedState.from_json(found[0][0] if found else None)

    def history(self) -> list[tuple[int, str]] | None:
        if "_dativo_commits" not in self.files():
            return []
        found = self.service.ask(f"SELECT generation, commit_id FROM {self.schema}._dativo_commits ORDER BY 1")
        return [(generation, commit_id) for generation, commit_id in found]

    def files(self) -> set[str]:
        found = self.service.ask(f"SELECT tablename FROM pg_tables WHERE schemaname = '{self.schema}'")
        return {name for (name,) in found}

    def reachable(self) -> set[str]:
        return {STREAM, f"{STREAM}__quarantine", "_dativo_state", "_dativo_commits"} & self.files()


PLACES: dict[str, type[Place]] = {
    place.name: place for place in (Iceberg, IcebergRest, Delta, DeltaS3, Parquet, ParquetS3, DuckDB, InPostgres)
}
