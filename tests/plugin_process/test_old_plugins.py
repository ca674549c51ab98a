"""Readers and writers as earlier releases wrote them run as they are, with a manifest beside them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from dativo_ingest.cli.program import dativo

OLD_PLUGINS = Path(__file__).parents[1] / "support" / "old_plugins"
TOKEN = "good-old-token"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the plugins and their jobs are, and where commands are given."""
    shutil.copytree(OLD_PLUGINS, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "written.log").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_job(reader: str, streams: list[str], connection: dict[str, Any] | None = None, **source: Any) -> Path:
    source = {"connector": reader, "connection": connection or {}, "credentials": {"token": TOKEN}, **source}
    target = {"connector": "line_writer.py:LineWriter", "connection": {"path": "out"}}
    job = {
        "version": 1,
        "name": "old",
        "source": source,
        "target": target,
        "streams": {name: {"mode": "incremental"} for name in streams},
    }
    job["limits"] = {"batch_mb": 1}
    path = Path("job.yaml")
    path.write_text(yaml.safe_dump(job))
    return path


def invoke(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(dativo, [words[0], "--config", "job.yaml", *words[1:]], env=environment)


def written(folder: Path, stream: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out" / f"{stream}.jsonl").read_text().splitlines()]


@contextmanager
def shop() -> Iterator[str]:
    """Serve two pages of products."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = int(self.path.rpartition("=")[2])
            rows = [
                {"id": page * 10 + n, "name": f" cup {n} ", "price": 1.25 * n, "photo": "x" * 500_000} for n in range(3)
            ]
            body = json.dumps(rows).encode()
            self.send_response(200 if self.headers["Authorization"] == f"Bearer {TOKEN}" else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_reader_and_a_writer_that_know_nothing_of_processes_run(folder: Path) -> None:
    (folder / "settings").mkdir()
    (folder / "settings" / "currencies.txt").write_text("default=EUR\n")
    with shop() as url:
        write_job("shop_reader.py:ShopReader", ["products"], {"base_url": url}, options={"pages": 2})

        checked = invoke("check", "--only", "source")
        discovered = invoke("discover")
        ran = invoke("run", "--progress", "none", SHOP_REGION="eu")

    assert (checked.exit_code, checked.stdout) == (0, "⚠ Connection test not implemented\n")
    assert discovered.exit_code == 0
    assert ran.exit_code == 0, ran.output
    rows = written(folder, "products")
    assert [row["id"] for row in rows] == [10, 11, 12, 20, 21, 22]
    expected = {"id": 11, "name": "Cup 1", "price": 1.25, "cents": 125, "currency": "EUR", "region": "nowhere"}
    assert {**rows[1], "photo": ""} == {**expected, "photo": ""}
    assert (folder / "written.log").read_text() == "products: 6 rows in 2 batches through one open file\n"
    for said in ("shop_reader is imported", "OLD INFO reading 2 pages", "read 2 pages", "line_writer is imported"):
        assert said in ran.stderr
    assert "fetching page 2 with Bearer **********" in ran.stderr
    assert TOKEN not in ran.output


def test_both_kinds_of_state_hold_and_each_stream_has_a_process_of_its_own(folder: Path) -> None:
    (folder / "tickets").mkdir()
    for name in ("open", "closed"):
        document = {"modified": "2026-01-01T00:00:00Z", "rows": [{"id": 1}, {"id": 2}]}
        (folder / "tickets" / f"{name}.json").write_text(json.dumps(document))
    write_job("ticket_reader.py:TicketReader", ["open", "closed"])

    checked = invoke("check", "--only", "source")
    discovered = invoke("discover", "--json")
    first, second = invoke("run", "--progress", "none"), invoke("run", "--progress", "none")
    (folder / "tickets" / "open.json").write_text(
        json.dumps({"modified": "2026-01-02T00:00:00Z", "rows": [{"id": 2}, {"id": 3}]})
    )
    third = invoke("run", "--progress", "none")

    assert (checked.exit_code, checked.stdout.splitlines()[0]) == (0, "✓ Connection successful: Connected")
    assert [item["name"] for item in json.loads(discovered.stdout)["objects"]] == ["closed", "open"]
    assert [ran.exit_code for ran in (first, second, third)] == [0, 0, 0], (
        f"{first.output}\n{second.output}\n{third.output}"
    )
    assert [row["id"] for row in written(folder, "open")] == [1, 2, 3]
    assert [row["id"] for row in written(folder, "closed")] == [1, 2]
    assert {row["extracted_before"] for row in (*written(folder, "open"), *written(folder, "closed"))} == {0}
    assert "nothing new in closed" in second.stderr
    assert json.loads((folder / "old_state" / "tickets.json").read_text())["file_open"] == {
        "last_modified": "2026-01-02T00:00:00Z",
        "file_id": "open",
    }


@pytest.mark.usefixtures("folder")
def test_a_check_of_an_earlier_release_says_what_is_wrong() -> None:
    write_job("ticket_reader.py:TicketReader", ["open"], credentials={"token": "wrong-old-token"})

    checked = invoke("check", "--only", "source")

    assert checked.exit_code == 77
    assert checked.stdout == "✗ Connection failed: Invalid API key **********\n  Error code: AUTH_FAILED\n"


def test_a_variable_of_the_environment_is_there_where_the_policy_names_it(folder: Path) -> None:
    write_job("needs_environment.py:RegionReader", ["regions"], credentials={})
    allowed = "{environment: [SHOP_REGION], network: any, filesystem: {write: any}, subprocess: true}"
    (folder / "policy.yaml").write_text(f"version: 1\ndefaults: {allowed}\n")

    without = invoke("run", "--progress", "none", SHOP_REGION="eu")
    with_it = invoke("run", "--progress", "none", "--policy", "policy.yaml", SHOP_REGION="eu")

    assert without.exit_code == 69
    assert "KeyError: 'SHOP_REGION'" in without.stderr
    assert "environment: [SHOP_REGION]" in without.stderr
    assert with_it.exit_code == 0, with_it.output
    assert written(folder, "regions") == [{"region": "eu"}]


GREEDY = """
import os, urllib.request
from dativo_ingest.plugins import BaseReader

class Greedy(BaseReader):
    def extract(self):
        {"host": lambda: urllib.request.urlopen("http://api.example.com/"),
         "address": lambda: urllib.request.urlopen("http://192.0.2.1/"),
         "file": lambda: open("/etc/hostname"),
         "output": lambda: open("state.json", "w"),
         "child": lambda: os.fork()}[self.source_config.objects[0]]()
        yield [{"id": 1}]
"""


def test_what_a_plugin_without_a_manifest_lacks_is_told_with_the_line_that_gives_it(folder: Path) -> None:
    (folder / "apart").mkdir()
    (folder / "apart" / "greedy.py").write_text(GREEDY)
    write_job("apart/greedy.py:Greedy", ["host", "address", "file", "output", "child"], credentials={})

    ran = invoke("run", "--progress", "none", "--report", "report.json")

    assert ran.exit_code == 70
    hints = {error["stream"]: error["hint"] for error in json.loads((folder / "report.json").read_text())["errors"]}
    keys = {
        "host": "capabilities.network",
        "address": "capabilities.network",
        "file": "capabilities.filesystem",
        "output": f"capabilities.filesystem.write: [{folder}/state.json]",
        "child": "capabilities.subprocess: true",
    }
    assert {stream: hint for stream, hint in hints.items() if keys[stream] not in hint} == {}
    assert all("a dativo-plugin.yaml beside greedy.py" in hint for hint in hints.values())
    assert len(hints) == 5


def test_a_writer_without_a_manifest_does_not_write_where_nothing_would_stay(folder: Path) -> None:
    write_job("ticket_reader.py:TicketReader", ["open"])
    (folder / "dativo-plugin.yaml").unlink()

    ran = invoke("run", "--progress", "none")

    said = " ".join(ran.stderr.split())
    assert ran.exit_code == 77
    assert f"may not write {folder}/out" in said
    assert 'let a dativo-plugin.yaml beside line_writer.py have capabilities: {filesystem: {write: ["config:' in said
    assert not (folder / "out").exists()
