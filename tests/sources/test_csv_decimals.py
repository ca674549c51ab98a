"""Numbers that Arrow's own CSV parser would wrap around 128 bits are refused instead."""

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from dativo_ingest.sources.csv import CsvReader
from dativo_ingest.steps.conform import conform
from dativo_plugin_sdk import Partition, Rows, SourceConfig, StreamSpec


def landed(path: Path, cell: str, kind: pa.DataType) -> list[Decimal | None]:
    path.write_text(f"n\n{cell}\n1\n", encoding="utf-8")
    schema = pa.schema([("n", kind)])
    reader = CsvReader(SourceConfig(type="csv", connection={"path": str(path)}))
    spec = StreamSpec("s", schema=schema)
    return [
        value
        for partition in reader.partitions(spec, None)
        for message in reader.read(spec, Partition(partition.id, partition.detail), None)
        if isinstance(message, Rows)
        for value in conform(message, schema).batch["n"].to_pylist()
    ]


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        pytest.param("9" * 39, pa.decimal128(38, 0), id="39 digits"),
        pytest.param("7", pa.decimal128(38, 38), id="no room before the point"),
        pytest.param("1" + "0" * 45, pa.decimal128(15, 2), id="46 digits"),
        pytest.param("123456789012345678901234567890", pa.decimal128(38, 10), id="no room after scaling"),
    ],
)
def test_a_number_beyond_its_type_does_not_land_as_another(tmp_path: Path, cell: str, kind: pa.DataType) -> None:
    values = landed(tmp_path / "n.csv", cell, kind)

    assert values == ([Decimal(1)] if kind != pa.decimal128(38, 38) else [])


@pytest.mark.parametrize("kind", [pa.decimal128(15, 2), pa.decimal128(38, 10), pa.decimal128(38, 0)])
def test_a_number_of_its_type_lands_exactly(tmp_path: Path, kind: pa.DataType) -> None:
    cell = "-" + "9" * (kind.precision - kind.scale) + ("." + "1" * kind.scale if kind.scale else "")

    assert landed(tmp_path / "n.csv", cell, kind) == [Decimal(cell), Decimal(1)]
