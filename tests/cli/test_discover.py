import json
from pathlib import Path

import yaml
from command_line import PLUGINS, Invoke, WriteJob, validate

from dativo_ingest.run.documents_schema import DISCOVER

SHOWN = """\
✓ Discovery completed: found 2 objects

Source Metadata:
  database: production

Available Objects:
  • orders
    Type: table
    Columns: 2
      - id: integer
      - note: string
  • customers
    Type: table
    Columns: 1
      - id: integer
"""


def test_what_there_is_is_shown_as_text(write_job: WriteJob, invoke: Invoke) -> None:
    done = invoke("discover", "--config", write_job())

    assert (done.exit_code, done.stdout, done.stderr) == (0, SHOWN, "")


def test_a_pattern_picks_objects(write_job: WriteJob, invoke: Invoke) -> None:
    done = invoke("discover", "--config", write_job(), "--pattern", "cust*", "--json")

    document = json.loads(done.stdout)
    validate(document, DISCOVER)
    assert [item["name"] for item in document["objects"]] == ["customers"]


def test_a_failure_is_one_document_too(write_job: WriteJob, invoke: Invoke) -> None:
    job = write_job(options={"raises": {"class": "RateLimitError", "message": "slow down"}})

    done = invoke("discover", "--config", job, "--json")

    document = json.loads(done.stdout)
    validate(document, DISCOVER)
    assert done.exit_code == 75
    assert document["error"]["message"] == "slow down"
    assert "slow down" in done.stderr


def test_a_source_without_discovery_says_so(write_job: WriteJob, invoke: Invoke) -> None:
    job = write_job(source={"connector": f"{PLUGINS}:Silent"})

    done = invoke("discover", "--config", job)

    assert (done.exit_code, done.stdout) == (0, "⚠ Discovery not implemented by this source\n")


def test_written_assets_run_at_once(tmp_path: Path, write_job: WriteJob, invoke: Invoke) -> None:
    assets = tmp_path / "found"

    written = invoke("discover", "--config", write_job(), "--write-assets", assets)
    ran = invoke("run", "--config", assets / "job.yaml", "--report", "-", "--progress", "none")

    assert written.exit_code == 0
    assert {path.name for path in assets.iterdir()} >= {"customers.odcs.yaml", "job.yaml", "orders.odcs.yaml"}
    assert ran.exit_code == 0
    streams = json.loads(ran.stdout)["streams"]
    assert [(stream["name"], stream["rows"]["written"]) for stream in streams] == [("orders", 3), ("customers", 3)]


def test_assets_never_replace_a_file_silently(tmp_path: Path, write_job: WriteJob, invoke: Invoke) -> None:
    assets = tmp_path / "found"
    assets.mkdir()
    (assets / "job.yaml").write_text("mine")

    refused = invoke("discover", "--config", write_job(), "--write-assets", assets)
    forced = invoke("discover", "--config", write_job(), "--write-assets", assets, "--force")

    assert (refused.exit_code, forced.exit_code) == (78, 0)
    assert "--force" in refused.stderr


def write_file_job(folder: Path) -> None:
    """Write a job of CSV files into Parquet that has no streams yet."""
    (folder / "job.yaml").write_text(
        "{version: 1, name: app, source: {connector: csv, connection: {path: 'data/*.csv'}},"
        " target: {connector: parquet, connection: {path: lake}}}"
    )


def test_assets_of_files_keep_references_and_move_relative_paths(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "orders.csv").write_text("id,note\n1,a\n2,b\n")
    (tmp_path / "job.yaml").write_text(
        "version: 1\n"
        "name: app\n"
        "source: {connector: csv, connection: {path: 'data/*.csv'}}\n"
        "target: {connector: parquet, connection: {path: '${env:LAKE:-lake}'}}\n"
        "streams: {'*': {}}\n"
    )

    invoke("discover", "--config", tmp_path / "job.yaml", "--write-assets", tmp_path / "found")
    checked = invoke("check", "--config", tmp_path / "found" / "job.yaml")

    job = yaml.safe_load((tmp_path / "found" / "job.yaml").read_text())
    assert job["source"]["connection"] == {"path": "../data/*.csv"}
    assert job["target"]["connection"] == {"path": "${env:LAKE:-../lake}"}
    assert job["streams"] == {"orders": {"path": "../data/orders.csv", "contract": "orders.odcs.yaml"}}
    assert checked.exit_code == 0, checked.stdout


def test_assets_of_names_that_are_alike_stay_apart(tmp_path: Path, invoke: Invoke) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("a b", "a_b", "x.2024", "y.2024", "z[1]"):
        (data / f"{name}.csv").write_text(f"id,{name[0]}\n1,2\n")
    write_file_job(tmp_path)

    invoke("discover", "--config", tmp_path / "job.yaml", "--write-assets", tmp_path / "found")
    ran = invoke("run", "--config", tmp_path / "found" / "job.yaml", "--progress", "none", "--report", "-")

    assert ran.exit_code == 0, ran.stderr
    assert sorted(path.name for path in (tmp_path / "lake").iterdir()) == ["a b", "a_b", "x_2024", "y_2024", "z[1]"]
    assert {stream["rows"]["written"] for stream in json.loads(ran.stdout)["streams"]} == {1}


def test_assets_leave_out_what_cannot_be_read_and_say_so(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "good.csv").write_text("id\n1\n")
    (tmp_path / "data" / "twice.csv").write_text("a,a\n1,2\n")
    write_file_job(tmp_path)

    done = invoke("discover", "--config", tmp_path / "job.yaml", "--write-assets", tmp_path / "found")

    assert done.exit_code == 0
    assert "twice is left out: " in done.stderr
    assert list(yaml.safe_load((tmp_path / "found" / "job.yaml").read_text())["streams"]) == ["good"]
