"""The Delta target as the engine sees it; deltalake is imported when a table is first touched."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from dativo_ingest.targets.delta.config import parse_config, parse_options, title
from dativo_ingest.targets.delta.failures import require_deltalake, translated
from dativo_ingest.targets.filesystem import nearest_folder, probe
from dativo_plugin_sdk import (
    Check,
    ConnectionTestResult,
    InvalidConfigError,
    StreamWriter,
    TableCare,
    TableSpec,
    TableWriter,
    TargetConfig,
    WriteMode,
)

if TYPE_CHECKING:
    from pyarrow.fs import FileSelector

    from dativo_ingest.targets.delta.config import DeltaOptions
    from dativo_ingest.targets.delta.table import DeltaTableWriter

_CONTENT = b"dativo writes here to see whether it may"


class DeltaWriter(StreamWriter):
    """Writes Delta tables in a folder or on S3; append, overwrite and merge are exactly once.

    Args:
        config: ``connection``, ``credentials`` and ``options`` as `dativo_ingest.targets.delta.config` has them.

    Raises:
        InvalidConfigError: A key or value is wrong.
        ResourceNotFoundError: The package deltalake is not installed.
    """

    write_modes: ClassVar[frozenset[WriteMode]] = frozenset({"append", "overwrite", "merge"})
    deletes_rows: ClassVar[bool] = True
    compares_keys: ClassVar[bool] = True

    def __init__(self, config: TargetConfig) -> None:
        super().__init__(config)
        self._parsed = parse_config(config)
        self._tables: list[DeltaTableWriter] = []

    def check(self, tables: Sequence[TableSpec]) -> Sequence[Check]:
        """List the steps: the folder or bucket, each table, and a probe that leaves nothing."""
        return [
            Check("path", self._check_path),
            *(Check(f"table {title(spec)}", lambda spec=spec: self._check_table(spec)) for spec in tables),  # type: ignore[misc]  # mypy does not see the default
            Check("write_probe", lambda: self._probe(tables)),
        ]

    def table(self, spec: TableSpec) -> TableWriter:
        """Give the writer of one table.

        Raises:
            InvalidConfigError: An option or a name that cannot be had, or a merge without a primary key.
            ResourceNotFoundError: The package deltalake is not installed.
        """
        require_deltalake()
        from dativo_ingest.targets.delta.table import DeltaTableWriter  # noqa: PLC0415  it imports deltalake

        options = self._options(spec)
        place = self._parsed.place(spec.namespace, spec.name)
        beside = self._parsed.place(spec.namespace, spec.quarantine_name)
        table = DeltaTableWriter(spec, place, beside, options)
        self._tables.append(table)
        return table

    def care(self, spec: TableSpec) -> Sequence[TableCare]:
        """Give what takes care of the table and of its quarantine table, of those that exist."""
        require_deltalake()
        from dativo_ingest.targets.delta.care import DeltaCare  # noqa: PLC0415  it imports deltalake
        from dativo_ingest.targets.delta.log import load_table  # noqa: PLC0415  it imports deltalake

        options = parse_options(self.config.options, spec.options, where=f"streams.{spec.stream}")
        owner = self._parsed.place(spec.namespace, spec.name)
        beside = self._parsed.place(spec.namespace, spec.quarantine_name)
        tables = [(owner, title(spec)), (beside, f"{title(spec)}__quarantine")]
        return [
            DeltaCare(place, name, options, owner=owner, run_id=spec.run_id)
            for place, name in tables
            if load_table(place, name) is not None
        ]

    def close(self) -> None:
        """Drop what was neither committed nor aborted."""
        for table in self._tables:
            table.abort()
        self._tables = []

    def _options(self, spec: TableSpec) -> DeltaOptions:
        if spec.write == "merge" and not spec.primary_key:
            raise InvalidConfigError(f"streams.{spec.stream}: write: merge needs primary_key")
        return parse_options(self.config.options, spec.options, where=f"streams.{spec.stream}")

    def _check_path(self) -> ConnectionTestResult:
        require_deltalake()
        folder = self._parsed.folder
        if folder is None:
            place = self._parsed.place()
            with translated(f"looking at {place.uri}"):
                place.filesystem.get_file_info(_selector(place.path))  # unlike the next, its refusal has a reason
                found = place.filesystem.get_file_info(place.path.partition("/")[0])
                if found.type.name == "NotFound":
                    raise FileNotFoundError(2, f"there is no bucket {found.path}")
            return ConnectionTestResult(success=True, message=f"{place.uri} can be reached")
        nearest = nearest_folder(folder)
        missing = "" if nearest == folder else f", to be made in {nearest}"
        return ConnectionTestResult(success=True, message=f"{folder}{missing}", details={"path": str(folder)})

    def _check_table(self, spec: TableSpec) -> ConnectionTestResult:
        from dativo_ingest.targets.delta.log import StreamLog, load_table, require_plain  # noqa: PLC0415  deltalake

        self._options(spec)
        name = title(spec)
        place = self._parsed.place(spec.namespace, spec.name)
        if place.folder is not None:
            nearest_folder(place.folder)
        table = load_table(place, name)
        if table is None:
            return ConnectionTestResult(success=True, message=f"{name} does not exist yet", details={"path": place.uri})
        require_plain(table, name)
        details = {
            "path": place.uri,
            "version": table.version(),
            "files": len(table.file_uris()),
            "generation": StreamLog(place, spec, name).generation(table),
        }
        return ConnectionTestResult(success=True, message=f"{name} exists", details=details)

    def _probe(self, tables: Sequence[TableSpec]) -> ConnectionTestResult:
        places = [self._parsed.place(), *(self._parsed.place(spec.namespace, spec.name) for spec in tables)]
        folders = {nearest_folder(place.folder) for place in places if place.folder is not None}
        for folder in sorted(folders):
            probe(folder)
        if self._parsed.folder is None:
            place = places[0]
            path = f"{place.path}/.dativo-probe-{uuid.uuid4()}"
            with translated(f"writing under {place.uri}"):
                with place.filesystem.open_output_stream(path, compression=None) as stream:
                    stream.write(_CONTENT)
                place.filesystem.delete_file(path)
                with contextlib.suppress(
                    OSError
                ):  # Arrow keeps a folder alive by an empty object when its last file goes
                    if not place.filesystem.get_file_info(_selector(place.path)):
                        place.filesystem.delete_dir(place.path)
        return ConnectionTestResult(
            success=True, message="a file was written and is gone", details={"folders": sorted(map(str, folders))}
        )


def _selector(path: str) -> FileSelector:
    from pyarrow.fs import FileSelector  # noqa: PLC0415  it loads every file system

    return FileSelector(path, allow_not_found=True)
