"""What a loss of power must not undo: the order in which a folder's files and names are made durable."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

from dativo_ingest.targets import parquet_local
from dativo_plugin_sdk import CommitStateUnknownError

ROWS = pa.record_batch({"id": [1, 2], "region": ["eu", "us"]})


@pytest.fixture
def journal(monkeypatch, lake) -> list[str]:
    """Write down which files and folders are synced and which names are given, in order, as paths below the lake."""
    lines: list[str] = []
    fsync, link, replace = os.fsync, os.link, os.replace

    def below(path: object) -> str:
        return os.path.relpath(str(path), lake)

    def noted_fsync(descriptor: int) -> None:
        lines.append(f"sync {below(Path(f'/proc/self/fd/{descriptor}').readlink())}")
        fsync(descriptor)

    def noted_link(old, new, **options) -> None:
        lines.append(f"name {below(new)}")
        link(old, new, **options)

    def noted_replace(old, new, **options) -> None:
        lines.append(f"rename {below(new)}")
        replace(old, new, **options)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "link", noted_link)
    monkeypatch.setattr(os, "replace", noted_replace)
    return lines


def load(writer, request_of, generation=0):
    writer.open(ROWS.schema)
    writer.write(ROWS)
    writer.quarantine(pa.record_batch({"rule": ["type"]}))
    writer.commit(request_of(generation))


def test_everything_a_manifest_names_is_durable_before_it_and_it_before_the_commit_returns(table, request_of, journal):
    load(table(options={"partition_by": "region"}), request_of)

    commit = journal.index("name raw/orders/_manifests/00000000000000000001.json")
    before = journal[:commit]
    for folder, file in [
        ("raw/orders/region=eu", "run-1-0.parquet"),
        ("raw/orders/region=us", "run-1-1.parquet"),
        ("raw/orders__quarantine", "run-1-0.parquet"),
    ]:
        content = before.index(f"sync {folder}/.{file}.part")
        name = before.index(f"name {folder}/{file}")
        assert content < name
        assert f"sync {folder}" in before[name:]
    for folder in ("..", ".", "raw", "raw/orders", "raw/orders/_manifests"):  # the names of new folders
        assert f"sync {folder}" in before
    assert before[-1] == "sync raw/orders/_manifests/.run-1.json.part"
    assert journal[commit + 1] == "sync raw/orders/_manifests"


def test_an_old_manifest_is_durable_in_its_short_form_before_it_takes_the_name(table, request_of, journal):
    for generation in range(3):
        load(table(run_id=f"run-{generation}"), request_of, generation)

    shortened = journal.index("rename raw/orders/_manifests/00000000000000000001.json")

    assert journal[shortened - 1] == "sync raw/orders/_manifests/.run-2.json.part"


def test_a_commit_whose_name_may_not_be_durable_is_unknown_and_keeps_its_files(table, request_of, place, monkeypatch):
    def fail_after_the_link(path: Path) -> None:
        if path.name == "_manifests" and (path / f"{1:020d}.json").exists():
            raise OSError(5, "Input/output error")
        sync(path)

    sync = parquet_local.sync
    writer = table()
    writer.open(ROWS.schema)
    writer.write(ROWS)
    monkeypatch.setattr(parquet_local, "sync", fail_after_the_link)

    with pytest.raises(CommitStateUnknownError, match="whether the disk keeps it"):
        writer.commit(request_of(0))
    writer.abort()

    monkeypatch.undo()
    assert table(run_id="run-2").load_state().commit_id == "commit-0"
    assert place.read().count_rows() == 2
