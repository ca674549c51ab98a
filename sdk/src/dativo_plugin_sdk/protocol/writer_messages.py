"""What crosses about writers beside what `messages` has: what a writer can do, a simple writer's tables and files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from dativo_plugin_sdk.asset import AssetDefinition
from dativo_plugin_sdk.capabilities import Capability
from dativo_plugin_sdk.plugin_files import FileMetadata
from dativo_plugin_sdk.protocol.json_values import (
    Shape,
    any_json,
    as_json,
    choice,
    count,
    flag,
    items,
    json_object,
    maybe,
    text,
    texts,
)
from dativo_plugin_sdk.protocol.messages import schema_from_json, schema_to_json, texts_from_json
from dativo_plugin_sdk.tables import Delivery, StreamWriter, WriteMode
from dativo_plugin_sdk.writer import BaseWriter

_MOST_FILES = 2**20
_MOST_STEPS = 2**10

_POWERS = Shape(
    "what a writer can do",
    {"delivery": choice(*get_args(Delivery)), "write_modes": items(choice(*get_args(WriteMode)), most=8)},
    {"deletes_rows": flag, "compares_keys": flag},
)
_ASSET = Shape(
    "a table",
    {"name": text, "arrow_schema": any_json},
    {
        "schema": items(json_object, most=_MOST_FILES),
        "namespace": maybe(text),
        "write": choice(*get_args(WriteMode)),
        "primary_key": texts,
        "run_id": text,
        "options": json_object,
    },
)
_FILE = Shape("the metadata of a file", {"path": text}, {})
_FILES = Shape("the metadata of files", {"files": items(json_object, most=_MOST_FILES)}, {})
_COMMITTED = Shape("the result of a commit", {}, {"snapshot_id": maybe(text)})
_STEPS = Shape("the steps of a check", {"steps": items(text, most=_MOST_STEPS)}, {})
_MADE_TABLE = Shape("a table", {"table": count}, {"keeps_history": flag})
_MADE_INSTANCE = Shape("an instance", {"instance": count}, {})


@dataclass(frozen=True)
class Powers:
    """What a writer can do, as it says itself."""

    delivery: Delivery
    write_modes: frozenset[WriteMode]
    deletes_rows: bool = False
    compares_keys: bool = False


@dataclass(frozen=True)
class MadeTable:
    """A table in a plugin's process."""

    number: int
    keeps_history: bool = False


def powers_to_json(writer: StreamWriter | type[StreamWriter | BaseWriter]) -> dict[str, Any]:
    """Write what a writer's class, or a stream writer's instance, can do."""
    if isinstance(writer, type) and issubclass(writer, BaseWriter):
        is_atomic = Capability.ATOMIC_COMMIT in writer.capabilities
        return {
            "delivery": "exactly_once" if is_atomic else "at_least_once",
            "write_modes": sorted(writer.write_modes),
        }
    return {
        "delivery": writer.delivery,
        "write_modes": sorted(writer.write_modes),
        "deletes_rows": bool(writer.deletes_rows),
        "compares_keys": bool(writer.compares_keys),
    }


def powers_from_json(value: object) -> Powers:
    """Read what a writer can do."""
    taken = _POWERS.of(value)
    return Powers(**{**taken, "write_modes": frozenset(taken["write_modes"])})


def asset_to_json(asset: AssetDefinition) -> dict[str, Any]:
    """Write a table as a simple writer is told of it."""
    return {
        "name": asset.name,
        "schema": as_json(asset.schema),
        **schema_to_json(asset.arrow_schema),
        "namespace": asset.namespace,
        "write": asset.write,
        "primary_key": list(asset.primary_key),
        "run_id": asset.run_id,
        "options": as_json(asset.options),
    }


def asset_from_json(value: object) -> AssetDefinition:
    """Read a table."""
    taken = _ASSET.of(value)
    taken["arrow_schema"] = schema_from_json(value)
    return AssetDefinition(**{"schema": [], **taken})


def files_from_json(value: object) -> list[FileMetadata]:
    """Read what a simple writer says that it wrote, or is to commit: each file has a path."""
    files: list[FileMetadata] = _FILES.of({"files": value})["files"]
    for item in files:
        _FILE.of(item)
    return files


def snapshot_id_from_json(value: object) -> str | None:
    """Read what a simple writer's commit gave."""
    return _COMMITTED.of(value).get("snapshot_id")


def steps_from_json(value: object) -> list[str]:
    """Read the names of the steps of a check."""
    steps: list[str] = _STEPS.of(value)["steps"]
    return steps


def made_table_from_json(value: object) -> MadeTable:
    """Read the number that a table has."""
    taken = _MADE_TABLE.of(value)
    return MadeTable(taken["table"], taken.get("keeps_history", False))


def made_instance_from_json(value: object) -> int:
    """Read the number that an instance has."""
    number: int = _MADE_INSTANCE.of(value)["instance"]
    return number


def changes_from_json(value: object) -> tuple[str, ...]:
    """Read which changes a table's schema needs."""
    return texts_from_json(value, "the changes of a table")
