"""The JSON Schema of contract files, for editors."""

from __future__ import annotations

import json
from typing import Any


def contract_schema() -> dict[str, Any]:
    """Give the Open Data Contract Standard's own schema, as the package that reads contracts ships it."""
    from open_data_contract_standard.model import OpenDataContractStandard  # noqa: PLC0415  0.3 s

    schema: dict[str, Any] = json.loads(OpenDataContractStandard.json_schema())  # type: ignore[no-untyped-call]  # it has no annotations
    return schema
