from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from dativo_ingest.run.state_store import SqliteStateStore
from dativo_plugin_sdk import ConfigurationError, InsufficientPermissionsError


def test_loading_from_a_store_that_does_not_exist_creates_nothing(tmp_path: Path) -> None:
    store = SqliteStateStore(tmp_path / "folder" / "state.db")

    found = store.load("orders")

    assert found is None
    assert list(tmp_path.iterdir()) == []


def test_what_was_saved_is_loaded_by_another_instance(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "state.db"

    saved = SqliteStateStore(path).save("orders", 0, '{"at": "ü"}')

    assert saved
    assert SqliteStateStore(path).load("orders") == '{"at": "ü"}'
    assert SqliteStateStore(path).load("customers") is None


@pytest.mark.parametrize("expected", [pytest.param(0, id="first"), pytest.param(2, id="ahead")])
def test_a_save_that_expects_another_generation_changes_nothing(expected: int, tmp_path: Path) -> None:
    store = SqliteStateStore(tmp_path / "state.db")
    store.save("orders", 0, "one")

    saved = store.save("orders", expected, "other")

    assert not saved
    assert store.load("orders") == "one"


def test_of_many_that_save_at_once_exactly_one_wins_each_generation(tmp_path: Path) -> None:
    path = tmp_path / "state.db"

    def save(writer: int, generation: int) -> bool:
        return SqliteStateStore(path).save("orders", generation, f"{writer}/{generation}")

    with ThreadPoolExecutor(4) as pool:
        wins = [sum(pool.map(lambda writer, at=generation: save(writer, at), range(4))) for generation in range(5)]

    assert wins == [1, 1, 1, 1, 1]


def test_a_file_that_is_no_database_is_a_configuration_error(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_text("this is no database, but long enough to be read as the header of one: " * 20)

    with pytest.raises(ConfigurationError, match="no state file of ours"):
        SqliteStateStore(path).load("orders")


def test_a_folder_that_cannot_be_created_is_a_permission_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(InsufficientPermissionsError, match="cannot create"):
        SqliteStateStore(tmp_path / "file" / "folder" / "state.db").save("orders", 0, "text")


def test_a_locked_store_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SqliteStateStore(path)
    store.save("orders", 0, "one")
    with closing(sqlite3.connect(path, isolation_level=None)) as other, ThreadPoolExecutor(1) as pool:
        other.execute("BEGIN IMMEDIATE")

        saving = pool.submit(store.save, "orders", 1, "two")
        other.execute("COMMIT")

        assert saving.result(timeout=60)
    assert store.load("orders") == "two"
