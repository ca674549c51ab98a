"""The JSON Schema of contract files, for editors."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any


def contract_schema() -> dict[str, Any]:
    """Give the Open Data Contract Standard's own schema, as the package that reads contracts ships it."""
    # The package's own json_schema() reads it with resources.open_text, which warns on Python 3.11 and 3.12.
    file = resources.files("open_data_contract_standard") / "schema.json"
    schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return schema
