from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, validators
from pages import ROOT

JOBS = sorted((ROOT / "examples" / "jobs").glob("*.yaml"))
CONTRACTS = sorted((ROOT / "examples" / "assets").glob("*.odcs.yaml"))


def errors_of(schema: dict[str, Any], document: Any) -> list[str]:
    validator = validators.validator_for(schema, default=Draft202012Validator)(schema)
    return [error.message for error in validator.iter_errors(document)]


def schema_of(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in JOBS])
def test_every_example_job_is_what_editors_expect(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    errors = errors_of(schema_of("job"), yaml.safe_load(text))

    assert errors == []
    assert text.startswith("# yaml-language-server: $schema=../../schemas/job.schema.json\n")


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in CONTRACTS])
def test_every_example_contract_follows_the_standard(path: Path) -> None:
    errors = errors_of(schema_of("contract"), yaml.safe_load(path.read_text(encoding="utf-8")))

    assert errors == []


def test_the_jobs_schema_refuses_a_misspelt_key() -> None:
    job = yaml.safe_load(JOBS[0].read_text(encoding="utf-8")) | {"strams": {}}

    errors = errors_of(schema_of("job"), job)

    assert any("strams" in error for error in errors)
