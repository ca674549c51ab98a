"""Rows that are deleted in MariaDB go from the target."""

import json
from pathlib import Path
from typing import Any

import duckdb
from click.testing import CliRunner

from dativo_ingest.cli.program import dativo


def test_rows_whose_keys_are_gone_go(database: Any, tmp_path: Path) -> None:
    database.run(
        "CREATE TABLE orders (code char(4), id bigint unsigned, note text, at int NOT NULL, PRIMARY KEY (code, id))",
        "INSERT INTO orders VALUES ('a', 1, 'x', 1), ('b', 18446744073709551615, 'x', 2), ('b', 1, 'x', 3)",
    )
    stream = {
        "mode": "incremental",
        "cursor": "at",
        "primary_key": ["code", "id"],
        "delete_detection": {"mode": "key_diff", "every": 0},
        "extra_columns": "fail",
    }
    job = {
        "version": 1,
        "name": "deletes",
        "source": {
            "connector": "mysql",
            "connection": database.server.connection,
            "credentials": database.server.credentials,
        },
        "target": {"connector": "duckdb", "connection": {"path": "shop.duckdb"}},
        "streams": {f"{database.name}.orders": stream},
    }
    config = tmp_path / "job.json"
    config.write_text(json.dumps(job), encoding="utf-8")
    command = ["run", "--config", str(config), "--progress", "none"]
    first = CliRunner().invoke(dativo, command)
    database.run("DELETE FROM orders WHERE at = 2")

    second = CliRunner().invoke(dativo, command)

    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert "1 of 3 rows are gone from the source and were deleted" in second.output
    with duckdb.connect(str(tmp_path / "shop.duckdb"), read_only=True) as found:
        assert found.sql("SELECT code, id FROM orders ORDER BY ALL").fetchall() == [("a", 1), ("b", 1)]
