import pyarrow as pa
import pytest

from dativo_plugin_sdk.fingerprints import fingerprint, schema_fingerprint


def test_the_order_of_keys_does_not_matter() -> None:
    assert fingerprint("a", {"host": "db", "port": 1}) == fingerprint("a", {"port": 1, "host": "db"})


def test_a_value_that_differs_gives_another_fingerprint() -> None:
    assert fingerprint({"host": "db"}) != fingerprint({"host": "db2"})


def test_the_metadata_of_a_schema_does_not_count() -> None:
    plain = pa.schema([pa.field("id", pa.int64())])

    assert schema_fingerprint(plain) == schema_fingerprint(plain.with_metadata({"a": "b"}))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(pa.field("id2", pa.int64()), id="name"),
        pytest.param(pa.field("id", pa.int32()), id="type"),
        pytest.param(pa.field("id", pa.int64(), nullable=False), id="nullability"),
    ],
)
def test_a_field_that_differs_gives_another_fingerprint(other: "pa.Field[pa.DataType]") -> None:
    assert schema_fingerprint(pa.schema([pa.field("id", pa.int64())])) != schema_fingerprint(pa.schema([other]))
