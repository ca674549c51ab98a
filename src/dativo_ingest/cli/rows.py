"""Rows of Arrow tables as text and as JSON: a few rows for people, never the data itself."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any

from dativo_ingest.cli.text import table as aligned

if TYPE_CHECKING:
    import pyarrow as pa

CELL_WIDTH = 40
"""Characters of a cell that are shown; ``--json`` gives it whole."""


def rows_text(rows: pa.Table, width: int) -> list[str]:
    """Show rows as aligned columns, as many of them as fit into ``width`` characters."""
    cells = [list(rows.column_names)]
    cells += [[_cell(value) for value in row.values()] for row in rows.to_pylist()]
    fitting, used = 0, 0
    for column in zip(*cells, strict=True):
        used += max(map(len, column)) + 2
        if fitting and used > width:
            break
        fitting += 1
    lines = aligned([row[:fitting] for row in cells])
    left_out = rows.num_columns - fitting
    if left_out:
        lines.append(f"… {left_out} more column{'' if left_out == 1 else 's'} (--json shows all)")
    return lines


def _cell(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(json_value(value)).replace("\n", "\\n").replace("\r", "\\r")
    return text if len(text) <= CELL_WIDTH else text[: CELL_WIDTH - 1] + "…"


def rows_json(rows: pa.Table) -> list[dict[str, Any]]:
    """Give rows as JSON values."""
    return [{name: json_value(value) for name, value in row.items()} for row in rows.to_pylist()]


def json_value(value: Any) -> Any:  # noqa: PLR0911  one return a type
    """Give one value as JSON has it: decimals and infinities as text, times in ISO 8601, bytes in base64."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case datetime() | date() | time():
            return value.isoformat()
        case bytes():
            return base64.b64encode(value).decode()
        case list() | tuple():
            return [json_value(item) for item in value]
        case Mapping():
            return {str(key): json_value(item) for key, item in value.items()}
        case _:
            return str(value)
