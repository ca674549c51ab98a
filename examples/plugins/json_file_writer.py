"""A writer of JSON lines files that become visible all at once: copy it, and change where the files go.

``python json_file_writer.py`` writes a few rows into a temporary folder. ``../jobs/api_to_jsonl.yaml`` is a job that
uses it. Only the standard library and dativo-plugin-sdk are needed.

The files of a run are written into ``<table>/.staged-<run>/`` and flushed to disk; the commit is one rename of that
folder to ``<table>/run-<run>/``, which a file system does as a whole or not at all. A run that was killed leaves a
staged folder behind that no reader of ``<table>/run-*/*.jsonl`` sees.
"""

from __future__ import annotations

import base64
import errno
import gzip
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import IO, Any
from uuid import UUID, uuid4

import pyarrow as pa

from dativo_plugin_sdk import (
    AssetDefinition,
    BaseWriter,
    Capability,
    ConnectionTestResult,
    DataFormatError,
    DativoError,
    DiskFullError,
    InsufficientPermissionsError,
    PluginConfig,
    ResourceError,
    ResourceNotFoundError,
    TargetConfig,
    parse,
)


class Connection(PluginConfig):
    """What stands under ``target.connection``."""

    path: str


class Options(PluginConfig):
    """What stands under ``target.options``."""

    compress: bool = False


class JSONFileWriter(BaseWriter):
    """Writes one JSON lines file per batch below ``target.connection.path``."""

    __version__ = "1.0.0"
    requires_sdk = ">=0.1,<1"
    capabilities = frozenset({Capability.ATOMIC_COMMIT})

    def __init__(self, asset_definition: AssetDefinition, target_config: TargetConfig, output_base: str) -> None:
        super().__init__(asset_definition, target_config, output_base)
        parse(Connection, target_config.connection, where="target.connection")
        self._options = parse(Options, target_config.options, where="target.options")
        self._folder = Path(output_base) / asset_definition.name
        run = asset_definition.run_id or uuid4().hex
        self._staged = self._folder / f".staged-{run}"
        self._visible = self._folder / f"run-{run}"

    def check_connection(self) -> ConnectionTestResult:
        """Write a file where the tables will be, or in the nearest folder there is, and remove it again."""
        place = next(parent for parent in (self._folder, *self._folder.parents) if parent.is_dir())
        try:
            with _translated(place), tempfile.TemporaryFile(dir=place) as probe:
                probe.write(b"probe")
        except DativoError as error:
            return ConnectionTestResult(
                success=False, message=error.message, error_code=error.error_code, details={"folder": str(place)}
            )
        return ConnectionTestResult(success=True, message="folder is writable", details={"folder": str(place)})

    def write_batch(self, records: list[dict[str, Any]], file_counter: int) -> list[dict[str, Any]]:
        """Write one staged file and flush it to disk."""
        name = f"part-{file_counter:05d}.jsonl" + (".gz" if self._options.compress else "")
        path = self._staged / name
        with _translated(path):
            self._staged.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                with gzip.GzipFile(fileobj=file, mode="wb") if self._options.compress else _as_is(file) as lines:
                    for record in records:
                        lines.write(_line(record))
                file.flush()
                os.fsync(file.fileno())
        return [
            {
                "path": str(self._visible / name),
                "staged": str(path),
                "size_bytes": path.stat().st_size,
                "record_count": len(records),
            }
        ]

    def commit_files(self, file_metadata: list[dict[str, Any]]) -> dict[str, Any]:
        """Make a run's files visible; a second call with the same files finds that done."""
        folders = {(Path(item["staged"]).parent, Path(item["path"]).parent) for item in file_metadata}
        for staged, visible in folders:
            with _translated(visible):
                if staged.is_dir():
                    _flush(staged)
                    staged.rename(visible)
                    _flush(visible.parent)
                elif not visible.is_dir():
                    raise ResourceNotFoundError(f"the staged files {staged} are gone, and {visible} is not there")
        return {"status": "success", "files_added": len(file_metadata)}


def _line(record: dict[str, Any]) -> bytes:
    try:
        return (json.dumps(record, ensure_ascii=False, allow_nan=False, default=_plain) + "\n").encode()
    except ValueError as error:
        raise DataFormatError(f"a row has no form as JSON: {error}") from error


def _plain(value: object) -> str:
    """Write what JSON has no type for as text, without loss."""
    match value:
        case datetime() | date() | time():
            return value.isoformat()
        case Decimal() | UUID():
            return str(value)
        case bytes():
            return base64.b64encode(value).decode()
    raise ValueError(f"{type(value).__name__} {value!r}")


@contextmanager
def _as_is(file: IO[bytes]) -> Iterator[IO[bytes]]:
    yield file


def _flush(folder: Path) -> None:
    """Make names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Name what the operating system refuses."""
    try:
        yield
    except OSError as error:
        if isinstance(error, DativoError):
            raise
        details = {"path": str(path), "errno": errno.errorcode.get(error.errno or 0, "")}
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"no space is left for {path}", details=details) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise InsufficientPermissionsError(f"{path} may not be written", details=details) from error
        raise ResourceError(f"{path} cannot be written: {error.strerror or error}", details=details) from error


def main() -> None:
    """Write and commit a few rows in a folder that is removed again."""
    rows = [{"id": 1, "name": "Åsa", "paid": Decimal("9.90")}, {"id": 2, "name": None, "paid": Decimal("0.10")}]
    schema = pa.schema({"id": pa.int64(), "name": pa.string(), "paid": pa.decimal128(10, 2)})
    asset = AssetDefinition(name="orders", schema=[], arrow_schema=schema, run_id="example")
    with tempfile.TemporaryDirectory() as folder:
        writer = JSONFileWriter(asset, TargetConfig(type="json_file", connection={"path": folder}), folder)
        print("check: ", writer.check_connection().message)
        files = writer.write_batch(rows, 0)
        print("staged:", len(list(Path(folder).glob("orders/run-*/*.jsonl"))), "file(s) visible")
        print("commit:", writer.commit_files(files))
        for path in Path(folder).glob("orders/run-*/*.jsonl"):
            print(path.relative_to(folder), path.read_text(encoding="utf-8"), sep=":\n", end="")


if __name__ == "__main__":
    main()
