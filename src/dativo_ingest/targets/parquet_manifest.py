"""The numbered manifests of a table: which files are live, and what is remembered of each stream that writes it.

``_manifests/<number>.json`` is created whole, with the next number, which only one can: whoever is first has that
number, and nobody ever has it again. So an old manifest is only shortened, to the history of its commit, and never
removed: a runner that slept would otherwise find its number free.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from dativo_ingest.targets.parquet_files import DataFile
from dativo_ingest.targets.parquet_storage import TableStorage
from dativo_plugin_sdk import CommittedState, DataFormatError, PastCommit

_VERSION = 1


@dataclass(frozen=True)
class Manifest:
    """One version of a table.

    ``states`` are `CommittedState` as JSON text, by the stream's state key. ``replaced`` names files of the version
    before that are to be removed. Paths are relative to the table's folder, those of ``quarantine`` to the folder
    beside it.
    """

    number: int = 0
    schema: pa.Schema | None = None
    files: tuple[DataFile, ...] = ()
    quarantine_schema: pa.Schema | None = None
    quarantine: tuple[DataFile, ...] = ()
    replaced: tuple[str, ...] = ()
    states: Mapping[str, str] = field(default_factory=dict)
    commit: Mapping[str, Any] = field(default_factory=dict)
    """Whose commit this version is: ``commit_id``, ``run_id``, ``state_key``, ``generation``, ``committed_at``.

    And what it did: ``rows_added``, ``rows_deleted``.
    """

    def state(self, key: str) -> CommittedState:
        """Give what is remembered of one stream."""
        return CommittedState.from_json(self.states.get(key))

    @property
    def rows(self) -> int:
        """How many rows the version has."""
        return sum(file.rows for file in self.files)

    def to_json(self) -> str:
        """Write the manifest as it is kept."""
        return json.dumps(
            {
                "version": _VERSION,
                "number": self.number,
                "commit": self.commit,
                "states": {key: json.loads(text) for key, text in self.states.items()},
                "schema": _schema_document(self.schema),
                "files": [asdict(file) for file in self.files],
                "quarantine_schema": _schema_document(self.quarantine_schema),
                "quarantine": [asdict(file) for file in self.quarantine],
                "replaced": self.replaced,
            },
            ensure_ascii=False,
            separators=(",", ":"),
        )

    def history(self) -> str:
        """Write what is kept of the manifest once it is old."""
        return json.dumps({"version": _VERSION, "number": self.number, "commit": self.commit, "rows": self.rows})


def _schema_document(schema: pa.Schema | None) -> dict[str, Any] | None:
    if schema is None:
        return None
    # The text of types is for people; what is read back is Arrow's own form of the schema.
    fields = [{"name": each.name, "type": str(each.type), "nullable": each.nullable} for each in schema]
    return {"fields": fields, "arrow": schema.serialize().to_pybytes().hex()}


def _schema(document: Mapping[str, Any] | None) -> pa.Schema | None:
    if document is None:
        return None
    return pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(document["arrow"])))


def latest(table: TableStorage) -> Manifest:
    """Read the table's newest version; number 0, without files and states, where there is none.

    Raises:
        DataFormatError: The manifest is not one of ours.
    """
    number = table.newest()
    while number:
        try:
            return read(table, number)
        except DataFormatError:
            seen, number = number, table.newest()
            if number == seen:
                raise
            # Others have committed since, and shortened the version that was the newest when we looked.
    return Manifest()


def read(table: TableStorage, number: int) -> Manifest:
    """Read one version.

    Raises:
        DataFormatError: The manifest is not one of ours, or so old that only its history is left.
    """
    text = table.read(number)
    try:
        document = json.loads(text)
        if document["version"] != _VERSION:
            raise DataFormatError(
                f"{table.where}: manifest {number} has version {document['version']}, this release reads {_VERSION}",
                hint="use a newer Dativo",
            )
        return Manifest(
            number=document["number"],
            schema=_schema(document["schema"]),
            files=tuple(DataFile(**file) for file in document["files"]),
            quarantine_schema=_schema(document["quarantine_schema"]),
            quarantine=tuple(DataFile(**file) for file in document["quarantine"]),
            replaced=tuple(document["replaced"]),
            states={key: json.dumps(state) for key, state in document["states"].items()},
            commit=document["commit"],
        )
    except (ValueError, KeyError, TypeError, pa.ArrowInvalid) as error:
        raise DataFormatError(
            f"{table.where}: manifest {number} is not a manifest of a Dativo table: {type(error).__name__}: {error}",
            details={"path": table.where, "number": number},
            hint="restore the file; without it nothing tells which data files are live",
        ) from error


def commits(table: TableStorage, state_key: str) -> list[PastCommit]:
    """List a stream's commits, the newest first, without their states: old manifests do not keep them.

    Raises:
        DataFormatError: A manifest is not one of ours.
    """
    found = []
    numbers = table.numbers()[::-1]
    for number, text in zip(numbers, table.read_many(numbers), strict=True):
        try:
            commit = json.loads(text)["commit"]
            if commit["state_key"] == state_key:
                found.append(
                    PastCommit(
                        generation=commit["generation"],
                        commit_id=commit["commit_id"],
                        run_id=commit["run_id"],
                        committed_at=commit["committed_at"],
                        rows=commit.get("rows_added"),
                    )
                )
        except (ValueError, KeyError, TypeError) as error:
            raise DataFormatError(
                f"{table.where}: manifest {number} is not a manifest of a Dativo table",
                details={"path": table.where, "number": number},
            ) from error
    return found


def publish(table: TableStorage, manifest: Manifest, token: str) -> bool:
    """Make ``manifest`` the table's newest version; say whether its number was still free.

    Raises:
        DativoError: Nothing landed.
        CommitStateUnknownError: It is not known whether it landed.
    """

    def is_ours(text: str) -> bool:
        try:
            commit = json.loads(text)["commit"]  # all that an old manifest is sure to have kept
        except (ValueError, KeyError, TypeError):
            return False
        return all(commit.get(key) == manifest.commit.get(key) for key in ("commit_id", "run_id", "state_key"))

    return table.create(manifest.number, manifest.to_json(), token, is_ours)


def retire(table: TableStorage, number: int, token: str) -> None:
    """Shorten an old version to its history; one that already is, or cannot be read, stays as it is."""
    if number < 1:
        return
    try:
        text = read(table, number).history()
    except DataFormatError:
        return
    table.replace(number, text, token)
