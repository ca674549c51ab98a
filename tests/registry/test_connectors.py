import pytest

from dativo_ingest.registry.connectors import find, known
from dativo_plugin_sdk import ResourceNotFoundError
from dativo_plugin_sdk.streams import StreamReader
from dativo_plugin_sdk.tables import StreamWriter


@pytest.mark.parametrize("name", ["csv", "json", "jsonl", "parquet", "arrow"])
def test_built_in_sources_are_found_by_name(name: str) -> None:
    connector = find("reader", name)

    assert connector.built_in
    assert issubclass(connector.plugin, StreamReader)


@pytest.mark.parametrize("name", ["iceberg", "parquet", "duckdb"])
def test_built_in_targets_are_found_by_name(name: str) -> None:
    connector = find("writer", name)

    assert connector.built_in
    assert issubclass(connector.plugin, StreamWriter)


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    with pytest.raises(ResourceNotFoundError) as caught:
        find("reader", "cvs")

    assert "did you mean csv" in caught.value.message
    assert all(name in caught.value.message for name in known("reader"))
