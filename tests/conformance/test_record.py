"""The record that the documentation's support table is made of."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dativo_ingest.registry.connectors import known
from dativo_plugin_sdk.testing import ReaderSuite, WriterSuite
from dativo_plugin_sdk.testing.gaps import check_name

RECORD = Path(__file__).parents[2] / "docs" / "support.json"
SAME = {"mariadb"}
"""Another name of a connector that is in the record."""


def checks_of(suite: type) -> Iterator[str]:
    for _, test in inspect.getmembers(suite, inspect.isfunction):
        name = check_name(test)
        marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
        if name is not None:
            yield from [f"{name}[{value}]" for value in marks[0].args[1]] if marks else [name]


@pytest.mark.parametrize(("kind", "suite"), [("reader", ReaderSuite), ("writer", WriterSuite)])
def test_each_check_of_each_built_in_connector_is_recorded(kind: str, suite: type) -> None:
    record = [each for each in json.loads(RECORD.read_text(encoding="utf-8")) if each["kind"] == kind]

    recorded = sorted((each["connector"], each["check"]) for each in record)

    connectors = set(known(kind)) - SAME  # type: ignore[arg-type]
    assert recorded == sorted((name, check) for name in connectors for check in checks_of(suite))
