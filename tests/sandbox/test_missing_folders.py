"""Folders that a plugin may write are made before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from dativo_ingest.sandbox.missing_folders import made


def test_a_folder_that_is_missing_is_there_while_the_plugin_runs(tmp_path: Path) -> None:
    with made([str(tmp_path / "lake" / "raw")]):
        (tmp_path / "lake" / "raw" / "file").touch()

    assert (tmp_path / "lake" / "raw" / "file").is_file()


def test_a_folder_that_nothing_came_into_goes_again_if_it_was_not_there_before(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with made([str(tmp_path / name / "raw") for name in ("lake", "used", "old")]):
        (tmp_path / "used" / "raw" / "file").touch()

    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "old",
        "used",
        "used/raw",
        "used/raw/file",
    ]


def test_what_looks_like_a_file_is_not_made_a_folder(tmp_path: Path) -> None:
    with made([str(tmp_path / "lake.db")]):
        assert not (tmp_path / "lake.db").exists()


@pytest.mark.parametrize("way", ["a link", "a link to nothing"])
def test_no_folder_is_made_behind_a_link(tmp_path: Path, way: str) -> None:
    other = tmp_path / "other"
    if way == "a link":
        other.mkdir()
    (tmp_path / "lake").symlink_to(other)

    with made([str(tmp_path / "lake" / "raw")]):
        pass

    assert not (other / "raw").exists()
    assert other.exists() == (way == "a link")


def test_what_cannot_be_made_is_left_to_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with made([str(tmp_path / "file" / "raw")]):
        assert (tmp_path / "file").is_file()
