"""A check tells what a run would meet, and leaves nothing."""

import os
from pathlib import Path

import pytest
from iceberg_lake import Lake, numbers

from dativo_plugin_sdk import (
    ConnectionTestResult,
    DativoError,
    InsufficientPermissionsError,
    InvalidConfigError,
    MissingConfigError,
    SchemaValidationError,
)

STEPS = ["warehouse", "catalog", "namespace", "table", "write_probe"]


def tree(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")] if path.is_file()} | {
        str(path): 0 for path in folder.rglob("*") if path.is_dir()
    }


def test_a_warehouse_that_does_not_exist_passes_and_still_does_not_exist(lake: Lake, tmp_path: Path) -> None:
    lake.folder = tmp_path / "not" / "yet"
    lake.connection = {"warehouse": str(lake.folder)}

    found = lake.walk()

    assert list(found) == STEPS
    assert all(isinstance(each, ConnectionTestResult) and each.success for each in found.values()), found
    assert "will be created" in found["warehouse"].message
    assert list(tmp_path.iterdir()) == []


def test_a_warehouse_in_use_passes_and_is_as_before(lake: Lake) -> None:
    lake.load(numbers(1))
    before = tree(lake.folder)

    found = lake.walk()

    assert list(found) == STEPS
    assert all(isinstance(each, ConnectionTestResult) and each.success for each in found.values()), found
    assert found["table"].message == "t exists"
    assert tree(lake.folder) == before


def test_an_empty_folder_stays_empty(lake: Lake) -> None:
    lake.folder.mkdir()

    found = lake.walk()

    assert list(found) == STEPS
    assert list(lake.folder.iterdir()) == []


def test_a_file_in_the_place_of_the_warehouse_is_found(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "warehouse").write_text("no folder")

    found = lake.walk()

    assert isinstance(found["warehouse"], InvalidConfigError)
    assert "is a file" in str(found["warehouse"])


def test_a_catalog_that_is_no_database_is_found(lake: Lake) -> None:
    lake.folder.mkdir()
    (lake.folder / "catalog.db").write_text("this is not a database, but long enough to look like one" * 100)

    found = lake.walk()

    assert list(found) == ["warehouse", "catalog"]
    assert isinstance(found["catalog"], InvalidConfigError)


def test_a_table_of_another_partitioning_is_found(lake: Lake) -> None:
    lake.load(numbers(1), options={"partition_by": ["id"]})

    found = lake.walk(partition_by=["bucket(4, id)"])

    assert isinstance(found["table"], SchemaValidationError)


def test_a_table_option_that_is_unknown_is_found(lake: Lake) -> None:
    found = lake.walk(partitoin_by=["id"])

    assert isinstance(found["table"], InvalidConfigError)
    assert "did you mean partition_by" in str(found["table"])


def test_a_folder_that_cannot_be_written_is_found(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write everywhere, so what the system would answer is given for it.
    lake.folder.mkdir()
    monkeypatch.setattr(os, "access", lambda *_: False)

    found = lake.walk()

    assert isinstance(found["warehouse"], InsufficientPermissionsError)


def test_a_catalog_that_cannot_be_written_is_found(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.load(numbers(1))
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("catalog.db") and access(path, mode))

    found = lake.walk()

    assert isinstance(found["catalog"], InsufficientPermissionsError)


def test_a_folder_that_only_says_it_can_be_written_is_found_by_the_probe() -> None:
    lake = Lake(Path("/proc/dativo-warehouse"))

    found = lake.walk()

    assert list(found)[-1] == "write_probe"
    assert isinstance(found["write_probe"], DativoError)


@pytest.mark.parametrize(
    ("connection", "error", "said"),
    [
        ({}, MissingConfigError, "needs a warehouse"),
        ({"warehouse": "s3://bucket/x"}, InvalidConfigError, "is no folder"),
        ({"warehosue": "x"}, InvalidConfigError, "did you mean warehouse"),
        ({"warehouse": "x", "type": "nessie"}, InvalidConfigError, "target.connection.type"),
    ],
)
def test_a_connection_that_cannot_be_is_refused_at_once(
    connection: dict[str, str], error: type[DativoError], said: str, tmp_path: Path
) -> None:
    lake = Lake(tmp_path)
    lake.connection = connection

    with pytest.raises(error, match=said):
        lake.writer()


def test_secrets_do_not_show(tmp_path: Path) -> None:
    lake = Lake(tmp_path, {"uri": "http://127.0.0.1:1", "warehouse": "w"}, {"token": "canary-7", "session_token": "s"})

    writer = lake.writer()

    assert "canary-7" not in f"{writer._parsed!r} {writer.config!r}"
    assert writer._parsed.catalog_properties()["token"] == "canary-7"
