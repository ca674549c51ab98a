"""What is found of the built-in connectors must be what the documentation's support table shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dativo_plugin_sdk.testing.pytest_plugin import VERDICT

RECORD = Path(__file__).parents[2] / "docs" / "support.json"
SHOWN = ("kind", "connector", "check", "title", "outcome", "gap", "reason")
"""What the table is made of: nothing that changes with the time or the machine."""


@pytest.fixture(autouse=True)
def as_recorded(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Iterator[None]:
    """Compare each check of a built-in connector with the record that the support table is made of."""
    yield
    found: dict[str, Any] | None = request.node.stash.get(VERDICT, None)
    if found is None or found["outcome"] == "failed" or pytestconfig.getoption("--dativo-json"):
        return
    shown = {key: found[key] for key in SHOWN}
    assert shown in json.loads(RECORD.read_text(encoding="utf-8")), (
        "docs/support.json says something else: run make support"
    )
