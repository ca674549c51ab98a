"""Where the parquet target's tests write: a folder or a bucket, looked at in the same way."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pytest
from s3_service import S3

from dativo_ingest.targets import parquet_manifest
from dativo_ingest.targets.parquet import ParquetWriter, read_dataset
from dativo_ingest.targets.parquet_local import LocalTable
from dativo_ingest.targets.parquet_manifest import Manifest
from dativo_ingest.targets.parquet_s3 import S3Table
from dativo_ingest.targets.parquet_storage import TableStorage
from dativo_ingest.targets.s3_store import S3Credentials, S3Service
from dativo_plugin_sdk import Secret, TargetConfig

everywhere = pytest.mark.parametrize("place", ["folder", "bucket"], indirect=True)
"""Marks a test, or a module of them, that holds for folders and for buckets."""


class Lake(ABC):
    """All tables of one test; ``table`` is a path below it, such as ``raw/orders``."""

    connection: Mapping[str, str]
    credentials: Mapping[str, str]

    def writer(self, **options: Any) -> ParquetWriter:
        return ParquetWriter(
            TargetConfig(
                type="parquet",
                connection=dict(self.connection),
                credentials=dict(self.credentials),
                options=options,
            )
        )

    @abstractmethod
    def storage(self, table: str = "raw/orders") -> TableStorage: ...

    @abstractmethod
    def all_files(self) -> dict[str, int]:
        """List every file below the lake, whatever it is, with its size."""

    @abstractmethod
    def write(self, path: str, data: bytes) -> None: ...

    @abstractmethod
    def text(self, path: str) -> str: ...

    def read(self, table: str = "raw/orders") -> ds.Dataset:
        where = self.connection["path"]
        connection = {key: value for key, value in self.connection.items() if key != "path"}
        return read_dataset(f"{where}/{table}", connection=connection, credentials=self.credentials)

    def manifest(self, table: str = "raw/orders") -> Manifest:
        return parquet_manifest.latest(self.storage(table))

    def manifests(self, table: str = "raw/orders") -> list[Any]:
        names = sorted(name for name in self.all_files() if name.startswith(f"{table}/_manifests/"))
        return [json.loads(self.text(name)) for name in names]

    def live_files(self, table: str = "raw/orders") -> set[str]:
        return {file.path for file in self.manifest(table).files}

    def data_files(self, table: str = "raw/orders") -> set[str]:
        """List the data files below a folder, hidden ones and those of nobody too."""
        return {
            name.removeprefix(f"{table}/")
            for name in self.all_files()
            if name.startswith(f"{table}/") and ".parquet" in name
        }

    def marks(self) -> set[str]:
        """List what runs at work, or dead ones, leave to be known by."""
        return {name for name in self.all_files() if name.endswith((".run", ".part"))}


@dataclass(frozen=True)
class FolderLake(Lake):
    root: Path

    @property
    def connection(self) -> Mapping[str, str]:
        return {"path": str(self.root)}

    @property
    def credentials(self) -> Mapping[str, str]:
        return {}

    def storage(self, table: str = "raw/orders") -> TableStorage:
        return LocalTable(self.root / table)

    def all_files(self) -> dict[str, int]:
        files = [path for path in self.root.rglob("*") if path.is_file()]
        return {path.relative_to(self.root).as_posix(): path.stat().st_size for path in files}

    def write(self, path: str, data: bytes) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(data)

    def text(self, path: str) -> str:
        return (self.root / path).read_text()


@dataclass(frozen=True)
class BucketLake(Lake):
    s3: S3
    prefix: str
    endpoint: str | None = None
    """Another way to the service, such as a proxy."""

    @property
    def connection(self) -> Mapping[str, str]:
        return {"path": f"s3://{self.s3.bucket}/{self.prefix}", "endpoint": self.endpoint or self.s3.endpoint}

    @property
    def credentials(self) -> Mapping[str, str]:
        return self.s3.credentials

    def storage(self, table: str = "raw/orders") -> TableStorage:
        keys = S3Credentials(**{name: Secret(value) for name, value in self.credentials.items()})
        service = S3Service.of(self.endpoint or self.s3.endpoint, None, keys)
        return S3Table(*service.bucket(f"s3://{self.s3.bucket}/{self.prefix}/{table}"))

    def all_files(self) -> dict[str, int]:
        top = f"{self.s3.bucket}/{self.prefix}"
        selector = pafs.FileSelector(top, recursive=True, allow_not_found=True)
        infos = self.s3.filesystem().get_file_info(selector)
        files = [info for info in infos if info.type == pafs.FileType.File]
        return {info.path.removeprefix(f"{top}/"): info.size for info in files}

    def write(self, path: str, data: bytes) -> None:
        self.s3.write(f"{self.prefix}/{path}", data)

    def text(self, path: str) -> str:
        with self.s3.filesystem().open_input_stream(f"{self.s3.bucket}/{self.prefix}/{path}") as stream:
            return stream.read().decode()
