"""Bad input gets the right exit code and a message that says what, where and what to do; nothing is lost."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from workshop import Workshop

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: people
name: people
version: 1.0.0
status: active
schema:
  - name: people
    properties:
      - {name: id, logicalType: integer, physicalType: bigint, required: true}
      - {name: name, logicalType: string}
      - {name: born, logicalType: date}
"""


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path, in_process=True)


def people(workshop: Workshop, content: bytes, *, name: str = "people.csv", **options: Any) -> Workshop:
    (workshop.folder / name).write_bytes(content)
    (workshop.folder / "people.odcs.yaml").write_text(CONTRACT, encoding="utf-8")
    connector = {"csv": "csv", "gz": "csv", "parquet": "parquet", "jsonl": "jsonl"}[name.rsplit(".", 1)[-1]]
    return workshop.job(
        {"connector": connector, "connection": {"path": name}, "options": options},
        {"people": {"contract": "people.odcs.yaml"}},
    )


def names(workshop: Workshop) -> list[Any]:
    return sorted(workshop.table("people")["name"].to_pylist(), key=str)


def quarantine(workshop: Workshop) -> list[dict[str, Any]]:
    return workshop.table("people__quarantine").to_pylist()


def test_wrong_types_go_to_the_quarantine_with_their_place_and_reason(workshop: Workshop) -> None:
    content = b"id,name,born\n1,ann,1999-12-31\nx2,ben,2000-01-01\n3,cas,2000-02-30\n,dot,2000-01-01\n"

    ran = people(workshop, content).run()

    assert ran.code == 0, ran.said
    assert ran.rows == {**ran.rows, "read": 4, "written": 1, "quarantined": 3}
    rejected = {row["line"]: row for row in quarantine(workshop)}
    assert [(line, row["column"], row["rule"]) for line, row in sorted(rejected.items())] == [
        (3, "id", "type"),
        (4, "born", "type"),
        (5, "id", "required"),
    ]
    assert all(row["source"].endswith("people.csv") for row in rejected.values())
    assert json.loads(rejected[3]["row"]) == {"id": "x2", "name": "ben", "born": "2000-01-01"}
    assert "x2" in rejected[3]["reason"]


def test_lines_with_too_many_or_too_few_fields_are_kept_as_text(workshop: Workshop) -> None:
    ran = people(workshop, b"id,name,born\n1,ann,1999-12-31\n2,ben\n3,cas,2000-01-01,extra\n").run()

    assert ran.code == 0, ran.said
    assert names(workshop) == ["ann"]
    assert sorted((row["line"], row["rule"], json.loads(row["row"])) for row in quarantine(workshop)) == [
        (3, "malformed", "2,ben"),
        (4, "malformed", "3,cas,2000-01-01,extra"),
    ]


def test_a_missing_optional_column_is_null_and_said(workshop: Workshop) -> None:
    ran = people(workshop, b"id,name\n1,ann\n").run()

    assert ran.code == 0, ran.said
    assert workshop.table("people").to_pylist() == [{"id": 1, "name": "ann", "born": None}]
    assert any("born" in warning for warning in ran.report["warnings"])


def test_a_missing_required_column_fails_the_stream(workshop: Workshop) -> None:
    ran = people(workshop, b"name,born\nann,1999-12-31\n").run()

    assert ran.code == 65, ran.said
    assert ran.report["errors"][0]["error_code"] == "DATA_VALIDATION_ERROR"
    assert "id" in ran.report["errors"][0]["message"]


def test_extra_columns_are_left_out_and_named(workshop: Workshop) -> None:
    ran = people(workshop, b"id,name,born,shoe_size\n1,ann,1999-12-31,39\n").run()

    assert ran.code == 0, ran.said
    assert workshop.table("people").column_names == ["id", "name", "born"]
    assert any("shoe_size" in warning for warning in ran.report["warnings"])


def test_extra_columns_fail_where_the_job_says_so(workshop: Workshop) -> None:
    people(workshop, b"id,name,born,shoe_size\n1,ann,1999-12-31,39\n")
    job = json.loads(workshop.config.read_text(encoding="utf-8"))
    job["streams"]["people"]["extra_columns"] = "fail"
    workshop.config.write_text(json.dumps(job), encoding="utf-8")

    ran = workshop.run()

    assert ran.code == 65, ran.said
    assert "shoe_size" in ran.report["errors"][0]["message"]


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        pytest.param(b"\xef\xbb\xbfid,name,born\n1,ann,\n", {}, ["ann"], id="a byte order mark"),
        pytest.param(b"id,name,born\r\n1,ann,\r\n2,ben,\r\n", {}, ["ann", "ben"], id="CRLF"),
        pytest.param("id,name,born\n1,Zoë,\n".encode("latin-1"), {"encoding": "latin-1"}, ["Zoë"], id="latin-1"),
        pytest.param(b'id,name,born\n1,"two\nlines",\n2,ben,\n', {}, ["ben", "two\nlines"], id="embedded newlines"),
        pytest.param("id,name,born\n1,名前,\n".encode(), {}, ["名前"], id="unicode"),
        pytest.param(b"id,name,born\n1,ann,", {}, ["ann"], id="no newline at the end"),
        pytest.param(b"id,name,born\n", {}, [], id="header only"),
        pytest.param(b"id;name;born\n1;ann;\n", {"delimiter": ";"}, ["ann"], id="semicolons"),
    ],
)
def test_csv_comes_in_many_shapes(workshop: Workshop, content: bytes, options: Any, expected: list[str]) -> None:
    ran = people(workshop, content, **options).run()

    assert ran.code == 0, ran.said
    assert names(workshop) == expected
    assert ran.rows["quarantined"] == 0


def test_an_empty_file_has_no_rows_and_no_error(workshop: Workshop) -> None:
    ran = people(workshop, b"").run()

    assert ran.code == 0, ran.said
    assert ran.rows["read"] == 0


def test_a_line_that_is_no_utf8_is_quarantined(workshop: Workshop) -> None:
    ran = people(workshop, "id,name,born\n1,Zoë,\n2,ben,\n".encode("latin-1")).run()

    assert ran.code == 0, ran.said
    assert names(workshop) == ["ben"]
    (rejected,) = quarantine(workshop)
    assert (rejected["line"], rejected["rule"]) == (2, "malformed")
    assert "UTF-8" in rejected["reason"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("people.csv.gz", gzip.compress(b"id,name,born\n" + b"1,ann,\n" * 9999)[:60], id="truncated gzip"),
        pytest.param("people.parquet", b"id,name,born\n1,ann,\n", id="not Parquet"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_a_format_error(workshop: Workshop, name: str, content: bytes) -> None:
    ran = people(workshop, content, name=name).run()

    assert ran.code == 65, ran.said
    assert ran.report["errors"][0]["error_code"] == "DATA_FORMAT_ERROR"
    assert name in ran.report["errors"][0]["message"]


def test_no_matching_file_is_not_found(workshop: Workshop) -> None:
    people(workshop, b"id\n1\n")
    (workshop.folder / "people.csv").unlink()

    ran = workshop.run()

    assert ran.code == 66, ran.said
    assert "people.csv" in ran.report["errors"][0]["message"]


def test_bad_yaml_is_a_configuration_error_with_its_place(workshop: Workshop) -> None:
    workshop.config.write_text("version: 1\nname: [a\nsource: {}\n", encoding="utf-8")

    ran = workshop.run()

    assert ran.code == 78, ran.said
    assert f"{workshop.config.name}:3:" in ran.said


def test_a_misspelt_key_is_named_with_its_place_and_the_right_spelling(workshop: Workshop) -> None:
    workshop.config.write_text(
        "version: 1\nname: a\nsource:\n  connector: csv\n  conection: {path: x.csv}\n"
        "target: {connector: iceberg, connection: {warehouse: w}}\nstreams: {x: {}}\n",
        encoding="utf-8",
    )

    ran = workshop.run()

    assert ran.code == 78, ran.said
    assert f"{workshop.config.name}:5:3" in ran.said
    assert "did you mean connection" in ran.said


def test_a_misspelt_key_of_a_connector_is_named_with_its_place(workshop: Workshop) -> None:
    workshop.config.write_text(
        "version: 1\nname: a\nsource:\n  connector: csv\n  connection:\n    pth: x.csv\n"
        "target: {connector: iceberg, connection: {warehouse: w}}\nstreams: {x: {}}\n",
        encoding="utf-8",
    )

    ran = workshop.run()

    assert ran.code == 78, ran.said
    assert f"{workshop.config.name}:6:5" in ran.said
    assert "did you mean path" in ran.said


@pytest.mark.parametrize("end", ["source", "target"])
def test_an_unknown_connector_is_told_with_the_known_ones(workshop: Workshop, end: str) -> None:
    people(workshop, b"id\n1\n")
    job = json.loads(workshop.config.read_text(encoding="utf-8"))
    job[end]["connector"] = "parqet"
    workshop.config.write_text(json.dumps(job), encoding="utf-8")

    ran = workshop.run()

    assert ran.code == 69, ran.said
    assert "did you mean parquet" in ran.said
    assert ("csv" if end == "source" else "duckdb") in ran.said


def test_a_missing_variable_is_named(workshop: Workshop) -> None:
    people(workshop, b"id\n1\n")
    workshop.config.write_text(
        workshop.config.read_text(encoding="utf-8").replace('"people.csv"', '"${NO_SUCH_VARIABLE_HERE}"'),
        encoding="utf-8",
    )

    ran = workshop.run()

    assert ran.code == 78, ran.said
    assert "NO_SUCH_VARIABLE_HERE" in ran.said


def test_variables_that_name_each_other_are_an_error(workshop: Workshop) -> None:
    people(workshop, b"id\n1\n")
    workshop.config.write_text(
        workshop.config.read_text(encoding="utf-8").replace('"people.csv"', '"${LOOP_A}"'), encoding="utf-8"
    )

    ran = workshop.run(env={"LOOP_A": "${LOOP_B}", "LOOP_B": "${LOOP_A}"})

    assert ran.code == 78, ran.said
    assert "LOOP_A" in ran.said


def test_more_bad_rows_than_allowed_commit_nothing(workshop: Workshop) -> None:
    people(workshop, b"id,name,born\n1,ann,\nx,ben,\ny,cas,\n")
    job = json.loads(workshop.config.read_text(encoding="utf-8"))
    job["streams"]["people"]["max_bad_rows"] = 1
    workshop.config.write_text(json.dumps(job), encoding="utf-8")

    ran = workshop.run()

    assert ran.code == 65, ran.said
    assert "2 of 3 rows are bad" in ran.report["errors"][0]["message"]
    assert workshop.table("people").num_rows == 0


def test_one_stream_that_fails_leaves_the_others_alone(workshop: Workshop) -> None:
    (workshop.folder / "good.csv").write_text("id\n1\n", encoding="utf-8")
    Path(workshop.folder / "bad.csv").write_text("", encoding="utf-8")
    workshop.job(
        {"connector": "csv", "connection": {"path": "good.csv"}},
        {"missing": {"path": "nowhere/*.csv"}, "good": {"path": "good.csv"}},
    )

    ran = workshop.run()

    assert ran.code == 3, ran.said
    assert ran.report["status"] == "partial"
    assert {stream["name"]: stream["status"] for stream in ran.report["streams"]} == {
        "missing": "failed",
        "good": "succeeded",
    }
    assert workshop.table("good").num_rows == 1


def test_a_changed_file_that_is_ignored_is_in_the_report_of_a_run_with_nothing_to_do(workshop: Workshop) -> None:
    file = workshop.folder / "people.csv"
    job = workshop.job(
        {"connector": "csv", "connection": {"path": "people.csv"}, "options": {"changed_files": "ignore"}},
        {"people": {"mode": "incremental"}},
    )
    file.write_text("id\n1\n", encoding="utf-8")
    job.run()
    file.write_text("id\n2\n3\n4\n", encoding="utf-8")

    ran = job.run()

    assert ran.report["status"] == "no_data"
    assert ran.report["warnings"] == [f"people: files that changed since they were read are ignored: {file}"]


@pytest.mark.parametrize("target", ["iceberg", "duckdb"])
def test_a_row_without_the_key_to_merge_by_is_quarantined_and_the_others_land(tmp_path: Path, target: str) -> None:
    workshop = Workshop(tmp_path, target, in_process=True)
    (tmp_path / "people.csv").write_text("id,name\n1,ann\n,nobody\n2,ben\n", encoding="utf-8")

    ran = workshop.job(
        {"connector": "csv", "connection": {"path": "people.csv"}}, {"people": {"write": "merge", "primary_key": "id"}}
    ).run()

    assert ran.code == 0, ran.said
    assert names(workshop) == ["ann", "ben"]
    assert [(row["column"], row["rule"], row["line"]) for row in quarantine(workshop)] == [("id", "required", 3)]
