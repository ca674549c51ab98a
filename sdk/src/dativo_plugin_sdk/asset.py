"""What a simple writer plugin is told of the table it writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from dativo_plugin_sdk.column_types import type_name
from dativo_plugin_sdk.tables import TableSpec, WriteMode


@dataclass(frozen=True)
class AssetDefinition:
    """The table as a writer plugin sees it.

    ``schema`` lists ``{"name", "type", "required"}`` of each column of ``arrow_schema``; ``run_id`` is unique per run
    and sorts by time, so it may be part of a file's name.
    """

    name: str
    schema: list[dict[str, Any]]
    arrow_schema: pa.Schema
    namespace: str | None = None
    write: WriteMode = "append"
    primary_key: tuple[str, ...] = ()
    run_id: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: TableSpec, arrow_schema: pa.Schema) -> AssetDefinition:
        """Describe the table of ``spec`` with this schema."""
        return cls(
            name=spec.name,
            schema=[
                {"name": each.name, "type": type_name(each.type), "required": not each.nullable}
                for each in arrow_schema
            ],
            arrow_schema=arrow_schema,
            namespace=spec.namespace,
            write=spec.write,
            primary_key=spec.primary_key,
            run_id=spec.run_id,
            options=dict(spec.options),
        )
