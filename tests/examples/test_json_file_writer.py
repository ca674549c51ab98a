from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from dativo_ingest.plugins import PluginLoader
from dativo_ingest.run.state_store import SqliteStateStore
from dativo_plugin_sdk import (
    AssetDefinition,
    CommitRequest,
    DataFormatError,
    InsufficientPermissionsError,
    InvalidConfigError,
    ResourceError,
    ResourceNotFoundError,
    SimpleWriter,
    TableSpec,
    TargetConfig,
)

Load = Callable[[str], ModuleType]


@pytest.fixture
def make(load: Load, tmp_path: Path) -> Callable[..., Any]:
    """Makes writers into one folder."""

    def made(run_id: str = "run", base: Path = tmp_path, **options: Any) -> Any:
        asset = AssetDefinition(name="orders", schema=[], arrow_schema=pa.schema([]), run_id=run_id)
        config = TargetConfig(type="json_file", connection={"path": str(base)}, options=options)
        return load("json_file_writer").JSONFileWriter(asset, config, str(base))

    return made


def visible(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.glob("orders/run-*/*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text(encoding="utf-8").splitlines()]


def test_nothing_is_visible_before_the_commit_and_everything_after_it(make: Any, tmp_path: Path) -> None:
    writer = make()
    files = writer.write_batch([{"id": 1}], 0) + writer.write_batch([{"id": 2}], 1)
    before = visible(tmp_path)

    writer.commit_files(files)

    assert before == []
    assert visible(tmp_path) == [{"id": 1}, {"id": 2}]
    assert [Path(item["path"]).stat().st_size for item in files] == [item["size_bytes"] for item in files]


def test_committing_the_same_files_again_changes_nothing(make: Any, tmp_path: Path) -> None:
    writer = make()
    files = writer.write_batch([{"id": 1}], 0)
    writer.commit_files(files)

    again = make("later").commit_files(files)

    assert again == {"status": "success", "files_added": 1}
    assert visible(tmp_path) == [{"id": 1}]


def test_committing_files_that_are_gone_is_an_error(make: Any) -> None:
    writer = make()
    (written,) = writer.write_batch([{"id": 1}], 0)
    Path(written["staged"]).unlink()
    Path(written["staged"]).parent.rmdir()

    with pytest.raises(ResourceNotFoundError, match="are gone"):
        writer.commit_files([written])


def test_runs_are_added_to_each_other(make: Any, tmp_path: Path) -> None:
    for run in ("1", "2"):
        writer = make(run)
        writer.commit_files(writer.write_batch([{"run": run}], 0))

    assert visible(tmp_path) == [{"run": "1"}, {"run": "2"}]


def test_values_without_a_json_type_are_written_without_loss(make: Any, tmp_path: Path) -> None:
    row = {
        "text": "Åsa\n",
        "number": Decimal("0.10"),
        "day": date(2026, 1, 2),
        "at": datetime(2026, 1, 2, tzinfo=UTC),
        "bytes": b"\x00\xff",
    }
    writer = make()

    writer.commit_files(writer.write_batch([row], 0))

    assert visible(tmp_path) == [
        {
            "text": "Åsa\n",
            "number": "0.10",
            "day": "2026-01-02",
            "at": "2026-01-02T00:00:00+00:00",
            "bytes": "AP8=",
        }
    ]


def test_a_number_that_json_does_not_have_is_refused(make: Any) -> None:
    with pytest.raises(DataFormatError, match="no form as JSON"):
        make().write_batch([{"x": float("nan")}], 0)


def test_files_can_be_compressed(make: Any, tmp_path: Path) -> None:
    writer = make(compress=True)

    writer.commit_files(writer.write_batch([{"id": 1}], 0))

    (path,) = tmp_path.glob("orders/run-run/*.jsonl.gz")
    assert gzip.decompress(path.read_bytes()) == b'{"id": 1}\n'


def test_the_check_leaves_nothing_behind(make: Any, tmp_path: Path) -> None:
    result = make(base=tmp_path / "not" / "there").check_connection()

    assert result.success
    assert result.details == {"folder": str(tmp_path)}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        pytest.param(PermissionError(13, "Permission denied"), InsufficientPermissionsError, id="not allowed"),
        pytest.param(OSError(5, "Input/output error"), ResourceError, id="broken disk"),
    ],
)
def test_what_the_operating_system_refuses_has_its_error(
    raised: OSError, expected: type[Exception], make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise raised

    monkeypatch.setattr(os, "fsync", refuse)

    with pytest.raises(expected):
        make().write_batch([{"id": 1}], 0)


def test_a_misspelt_option_is_refused_with_a_suggestion(make: Any) -> None:
    with pytest.raises(InvalidConfigError, match="did you mean compress"):
        make(compres=True)


def test_the_engine_commits_rows_quarantine_and_state_through_it(examples: Path, tmp_path: Path) -> None:
    plugin = PluginLoader.load_writer(f"{examples / 'plugins' / 'json_file_writer.py'}:JSONFileWriter")
    states = SqliteStateStore(tmp_path / "state.db")
    config = TargetConfig(type="json_file", connection={"path": str(tmp_path)})
    writer = SimpleWriter(plugin, config, states=states, output_base=str(tmp_path))
    table = writer.table(TableSpec(name="orders", namespace=None, job="j", stream="orders", run_id="1"))
    batch = pa.record_batch({"id": [1, 2]})

    table.open(batch.schema)
    table.write(batch)
    table.quarantine(pa.record_batch({"reason": ["bad"]}))
    receipt = table.commit(CommitRequest("c", 0, {"at": 2}, "2026-01-01T00:00:00Z"))

    assert writer.delivery == "exactly_once"
    assert (receipt.inserted, receipt.files) == (2, 2)
    assert visible(tmp_path) == [{"id": 1}, {"id": 2}]
    assert len(list(tmp_path.glob("orders__quarantine/run-1/*.jsonl"))) == 1
    assert table.load_state().state == {"at": 2}


def test_the_file_runs_on_its_own(examples: Path) -> None:
    completed = subprocess.run(
        [sys.executable, str(examples / "plugins" / "json_file_writer.py")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert completed.stderr == ""
    assert "staged: 0 file(s) visible" in completed.stdout
    assert '{"id": 1, "name": "Åsa", "paid": "9.90"}' in completed.stdout
