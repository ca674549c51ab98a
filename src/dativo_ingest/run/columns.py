"""What became of each column of a stream: the type it had, the type it landed as, and what it lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from dativo_ingest.contracts.arrow_types import Field

_SOURCE_TYPE = b"dativo.source_type"
_FIDELITY = b"dativo.fidelity"
_JSON = b"dativo.logical_type"
_BY_CONTRACT = b"contract"


def with_source_types(schema: pa.Schema, declared: pa.Schema | None) -> pa.Schema:
    """Note in a contract's schema which types its columns have at the source, as far as the source declares them.

    A column to which the contract gives another type than it comes as has the fidelity ``contract``: it is cast, and
    what does not fit without loss is rejected, or lost where the contract says so.
    """
    if declared is None:
        return schema
    at_source = {field.name: field for field in declared}
    fields = [_noted(field, at_source.get(field.name)) for field in schema]
    return pa.schema(fields).with_metadata(schema.metadata or {})


def columns_document(schema: pa.Schema, lost: Mapping[tuple[str, str], int]) -> list[dict[str, Any]]:
    """Describe the columns for the report.

    Args:
        schema: What the rows conformed to.
        lost: How many values of a column were given up in which way.
    """
    return [
        {
            "name": field.name,
            "source_type": _text(field, _SOURCE_TYPE),
            "arrow_type": str(field.type),
            "fidelity": _text(field, _FIDELITY),
            "lost": {way: count for (name, way), count in lost.items() if name == field.name},
        }
        for field in schema
    ]


def _noted(field: Field, found: Field | None) -> Field:
    if found is None or not found.metadata or _SOURCE_TYPE not in found.metadata:
        return field
    own: dict[bytes, bytes] = dict(field.metadata or {})
    same = field.type == found.type and own.get(_JSON) == found.metadata.get(_JSON)
    fidelity = found.metadata.get(_FIDELITY, b"exact") if same else _BY_CONTRACT
    noted: Any = {**own, _SOURCE_TYPE: found.metadata[_SOURCE_TYPE], _FIDELITY: fidelity}  # the stubs' keys
    return field.with_metadata(noted)


def _text(field: Field, key: bytes) -> str | None:
    value = (field.metadata or {}).get(key)
    return None if value is None else value.decode(errors="replace")
