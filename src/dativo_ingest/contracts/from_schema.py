"""An ODCS document for what was found: the contract that `discover --write-assets` and `init` write."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from dativo_ingest.contracts.arrow_types import (
    Field,
    UnknownTypeError,
    kind,
    physical_name,
    storable_field,
)
from dativo_ingest.job.yaml_text import yaml_text
from dativo_plugin_sdk import SchemaValidationError

API_VERSION = "v3.1.0"
_LOGICAL = {"decimal": "number", "binary": "string", "uuid": "string", "json": "object", "map": "object"}


def contract_from_schema(
    schema: pa.Schema,
    *,
    name: str,
    version: str = "1.0.0",
    description: str | None = None,
    primary_key: Sequence[str] = (),
) -> str:
    """Write the contract of a stream as YAML; `load_contract` reads the same schema back.

    Types are written in the layout that targets hold (`storable`); of field metadata the description (``doc``) and the
    mark of JSON columns are kept.

    Raises:
        SchemaValidationError: A column's type is one that no target holds without loss.
    """
    table = name.rsplit(".", 1)[-1]
    document = {
        "apiVersion": API_VERSION,
        "kind": "DataContract",
        "id": re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "contract",
        "name": name,
        "version": version,
        "status": "draft",
        **({"description": {"purpose": description}} if description else {}),
        "schema": [
            {
                "name": table,
                "logicalType": "object",
                "physicalType": "table",
                "properties": [dict(_property(field, primary_key)) for field in schema],
            }
        ],
    }
    return yaml_text(document)


def _property(field: Field, primary_key: Sequence[str] = ()) -> Iterator[tuple[str, Any]]:
    try:
        stored = storable_field(field)
    except UnknownTypeError as error:
        raise SchemaValidationError(
            f"column {field.name}: {error}", hint="leave the column out, or cast it in the source"
        ) from error
    yield "name", field.name
    yield from _type_of(stored)
    if not field.nullable or field.name in primary_key:
        yield "required", True
    if field.name in primary_key:
        yield "primaryKey", True
        yield "primaryKeyPosition", list(primary_key).index(field.name) + 1
    doc = (field.metadata or {}).get(b"doc")
    if doc:
        yield "description", doc.decode(errors="replace")


def _type_of(field: Field) -> Iterator[tuple[str, Any]]:
    found = kind(field)
    data_type: Any = field.type
    yield "logicalType", _LOGICAL.get(found, found)
    match found:
        case "object":
            children = [data_type.field(index) for index in range(data_type.num_fields)]
            yield "properties", [dict(_property(child)) for child in children]
        case "array":
            yield "items", dict(_part(data_type.value_field))
        case _:
            yield "physicalType", physical_name(field)


def _part(field: Field) -> Iterator[tuple[str, Any]]:
    return ((key, value) for key, value in _property(field) if key != "name")
