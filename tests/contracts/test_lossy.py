"""What a contract says that a column may lose."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from dativo_ingest.contracts.odcs import load_contract
from dativo_plugin_sdk import SchemaValidationError

HEAD = "apiVersion: v3.1.0\nkind: DataContract\nid: c\nversion: 1.0.0\nschema:\n- name: t\n  properties:\n"


def load(folder: Path, column: str) -> pa.Schema:
    path = folder / "t.odcs.yaml"
    path.write_text(f"{HEAD}  - name: c\n    {column}\n", encoding="utf-8")
    return load_contract(path, stream="t", table="t").schema


def column(kind: str, value: str, more: str = "") -> str:
    return f"{kind}\n    customProperties:\n    - {{property: dativo.lossy, value: {value}}}{more}"


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        pytest.param("physicalType: decimal(38,9)", "round", b"round", id="one"),
        pytest.param("physicalType: decimal(38,9)", '[round, clamp, "null"]', b"round,clamp,null", id="several"),
        pytest.param("logicalType: date", "[clamp, null]", b"clamp,null", id="null as YAML has it"),
        pytest.param("logicalType: string", "null", b"null", id="null alone"),
        pytest.param("physicalType: array<integer>", "bounds", b"bounds", id="an array"),
    ],
)
def test_what_a_column_may_lose_is_in_its_metadata(tmp_path, kind, value, expected) -> None:
    (field,) = load(tmp_path, column(kind, value))

    assert field.metadata[b"dativo.lossy"] == expected


def test_properties_of_others_say_nothing_to_dativo(tmp_path) -> None:
    (field,) = load(tmp_path, "logicalType: string\n    customProperties: [{property: acme.owner, value: me}]")

    assert field.metadata is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(
            column("logicalType: date", "rond"),
            "t.odcs.yaml:11:39 schema[0].properties[0].customProperties[0].value: 'rond'",
            id="a typing error",
        ),
        pytest.param(column("logicalType: date", "round"), "c is date: round is for", id="of another kind"),
        pytest.param(column("logicalType: string", "clamp"), "c is string: clamp is for", id="text"),
        pytest.param(column("logicalType: date", "null", "\n    required: true"), "required", id="required"),
        pytest.param(
            "logicalType: string\n    customProperties: [{property: dativo.losy, value: round}]",
            "unknown property dativo.losy",
            id="another property",
        ),
        pytest.param(
            "logicalType: array\n    items:\n      logicalType: date\n"
            "      customProperties: [{property: dativo.lossy, value: clamp}]",
            "said of a column",
            id="inside of a column",
        ),
    ],
)
def test_what_cannot_be_lost_is_refused(tmp_path, text, said) -> None:
    with pytest.raises(SchemaValidationError) as caught:
        load(tmp_path, text)

    assert said in str(caught.value)
