import json
from pathlib import Path

import pytest
import yaml
from command_line import Invoke

from dativo_ingest.cli.new_job import guessed_source, stream_name


def written(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("target", ["iceberg", "parquet", "delta", "duckdb"])
def test_what_init_writes_passes_check_and_run_at_once(tmp_path: Path, invoke: Invoke, target: str) -> None:
    made = invoke("init", "--dir", tmp_path, "--name", "shop", "--target", target)
    checked = invoke("check", "-c", tmp_path / "job.yaml")
    ran = invoke("run", "-c", tmp_path / "job.yaml", "--report", "-")

    assert made.exit_code == 0, made.stderr
    assert {".env.example", "assets/orders.odcs.yaml", "data/orders.csv", "job.yaml"} <= set(written(tmp_path))
    assert checked.exit_code == 0, checked.stdout
    assert ran.exit_code == 0, ran.stderr
    assert [s["rows"]["written"] for s in json.loads(ran.stdout)["streams"]] == [5]


def test_the_job_names_a_schema_for_editors_that_is_there(tmp_path: Path, invoke: Invoke) -> None:
    invoke("init", "--dir", tmp_path)

    first = (tmp_path / "job.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=schemas/job.schema.json"
    assert json.loads((tmp_path / "schemas/job.schema.json").read_text())["properties"]["source"]


def test_files_with_the_same_columns_become_one_stream(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "in").mkdir()
    for day in (1, 2):
        (tmp_path / "in" / f"orders_{day}.csv").write_text(f"id,note\n{day},a\n")

    invoke("init", "--dir", tmp_path, "--path", "in/orders_*.csv")

    job = yaml.safe_load((tmp_path / "job.yaml").read_text())
    assert job["source"]["connection"] == {"path": "in/orders_*.csv"}
    assert job["streams"] == {"orders": {"contract": "assets/orders.odcs.yaml"}}


def test_files_with_other_columns_become_a_stream_each(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "orders.csv").write_text("id,note\n1,a\n")
    (tmp_path / "in" / "people.csv").write_text("name\nAda\n")

    invoke("init", "--dir", tmp_path, "--path", "in/*.csv")
    ran = invoke("run", "-c", tmp_path / "job.yaml", "--report", "-")

    job = yaml.safe_load((tmp_path / "job.yaml").read_text())
    assert {name: stream["path"] for name, stream in job["streams"].items()} == {
        "orders": "in/orders.csv",
        "people": "in/people.csv",
    }
    assert ran.exit_code == 0, ran.stderr


def test_files_whose_names_are_alike_become_streams_of_their_own(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a-b.csv").write_text("id\n1\n")
    (tmp_path / "in" / "a_b.csv").write_text("name\nAda\n")

    invoke("init", "--dir", tmp_path, "--path", "in/*.csv")
    ran = invoke("run", "-c", tmp_path / "job.yaml", "--report", "-")

    assert [(s["name"], s["rows"]["written"]) for s in json.loads(ran.stdout)["streams"]] == [("a_b", 1), ("a_b_2", 1)]


def test_the_contract_says_what_the_data_shows(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "people.jsonl").write_text('{"id": 1, "born": "1815-12-10"}\n')

    invoke("init", "--dir", tmp_path, "--path", "people.jsonl")

    contract = yaml.safe_load((tmp_path / "assets/people.odcs.yaml").read_text())
    [table] = contract["schema"]
    assert contract["kind"] == "DataContract"
    assert [column["name"] for column in table["properties"]] == ["id", "born"]


def test_without_data_there_is_a_job_and_no_contract(tmp_path: Path, invoke: Invoke) -> None:
    done = invoke("init", "--dir", tmp_path, "--path", "later/*.csv")

    assert done.exit_code == 0
    assert "no contract yet" in done.stderr
    assert written(tmp_path) == [".env.example", "job.yaml", "schemas/job.schema.json"]


def test_a_name_that_no_job_may_have_is_refused(tmp_path: Path, invoke: Invoke) -> None:
    done = invoke("init", "--dir", tmp_path, "--name", "we ird")

    assert done.exit_code == 2
    assert "'we ird' is no job name" in done.stderr
    assert written(tmp_path) == []


def test_nothing_is_replaced_without_force(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "job.yaml").write_text("mine")

    refused = invoke("init", "--dir", tmp_path)
    left = written(tmp_path)
    forced = invoke("init", "--dir", tmp_path, "--force")

    assert (refused.exit_code, left) == (78, ["job.yaml"])
    assert forced.exit_code == 0
    assert (tmp_path / "job.yaml").read_text() != "mine"


def test_a_second_init_with_the_same_answers_changes_nothing(tmp_path: Path, invoke: Invoke) -> None:
    invoke("init", "--dir", tmp_path, "--name", "shop")
    before = {name: (tmp_path / name).read_bytes() for name in written(tmp_path)}

    done = invoke("init", "--dir", tmp_path, "--name", "shop")

    assert done.exit_code == 0
    assert {name: (tmp_path / name).read_bytes() for name in written(tmp_path)} == before


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("data/orders.csv", "orders"),
        ("data/orders.csv.gz", "orders"),
        ("data/orders_*.csv", "orders"),
        ("data/*.csv", "data"),
        ("./data/**/*.csv", "data"),
        ("s3://bucket/2026/Line Items-*.parquet", "line_items"),
        ("*.csv", "rows"),
        ("data/2026-*.csv", "t_2026"),
    ],
)
def test_a_stream_is_named_after_its_path(path: str, name: str) -> None:
    assert stream_name(path) == name


@pytest.mark.parametrize(
    ("path", "source"),
    [("a.csv", "csv"), ("a.tsv.gz", "csv"), ("a.jsonl.zst", "jsonl"), ("x/*.parquet", "parquet"), ("data/", "csv")],
)
def test_the_format_is_guessed_from_the_path(path: str, source: str) -> None:
    assert guessed_source(path) == source
