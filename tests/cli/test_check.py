import json
from pathlib import Path

import pytest
from command_line import PLUGINS, Invoke, WriteJob, validate

from dativo_ingest.run.documents_schema import CHECK

SUCCEEDED = """\
Source
✓ Connection successful: API accessible
  Details: {'api_version': 'v1'}
Target
✓ Connection successful: folder is writable
"""


def test_a_job_that_works_shows_a_line_for_each_end(write_job: WriteJob, invoke: Invoke) -> None:
    done = invoke("check", "--config", write_job())

    assert (done.exit_code, done.stdout, done.stderr) == (0, SUCCEEDED, "")


def test_only_one_end_can_be_checked(write_job: WriteJob, invoke: Invoke) -> None:
    done = invoke("check", "--config", write_job(), "--only", "target")

    assert done.stdout == "✓ Connection successful: folder is writable\n"


def test_a_refused_key_shows_code_and_exits_77(write_job: WriteJob, invoke: Invoke) -> None:
    answer = {"success": False, "message": "Invalid API key", "error_code": "AUTH_FAILED"}
    job = write_job(options={"check": answer})

    done = invoke("check", "--config", job, "--only", "source")

    assert (done.exit_code, done.stdout) == (77, "✗ Connection failed: Invalid API key\n  Error code: AUTH_FAILED\n")


def test_a_check_that_is_not_implemented_is_no_success(write_job: WriteJob, invoke: Invoke) -> None:
    job = write_job(source={"connector": f"{PLUGINS}:Silent"})

    done = invoke("check", "--config", job, "--only", "source")

    assert (done.exit_code, done.stdout) == (0, "⚠ Connection test not implemented\n")


def test_verbose_shows_each_step_with_its_time(write_job: WriteJob, invoke: Invoke) -> None:
    done = invoke("check", "--config", write_job(), "--only", "source", "--verbose")

    steps = done.stdout.splitlines()[2:]
    assert [line.split()[:2] for line in steps] == [["✓", "configuration"], ["✓", "connection"], ["✓", "streams"]]
    assert all(" ms  " in line or " s  " in line for line in steps)


def test_json_is_exactly_one_document_of_the_schema(write_job: WriteJob, invoke: Invoke) -> None:
    done = invoke("check", "--config", write_job(), "--json")

    document = json.loads(done.stdout)
    validate(document, CHECK)
    assert document.items() >= {"job": "app", "status": "succeeded", "exit_code": 0}.items()


def test_several_jobs_are_an_array_and_exit_with_the_worst_code(write_job: WriteJob, invoke: Invoke) -> None:
    good = write_job("good")
    bad = write_job("bad", options={"raises": {"class": "InvalidCredentialsError"}})

    done = invoke("check", "--config", good, "--config", bad, "--json")

    documents = json.loads(done.stdout)
    assert done.exit_code == 77
    assert [(document["job"], document["exit_code"]) for document in documents] == [("good", 0), ("bad", 77)]


def test_a_job_that_cannot_be_read_does_not_stop_the_others(
    tmp_path: Path, write_job: WriteJob, invoke: Invoke
) -> None:
    (tmp_path / "a.yaml").write_text("version: 1\nname: [")
    write_job("b")

    done = invoke("check", "--job-dir", tmp_path, "--json")

    first, second = json.loads(done.stdout)
    validate(first, CHECK)
    assert done.exit_code == 78
    assert first["error"]["error_code"] == "INVALID_CONFIG"
    assert second["status"] == "succeeded"
    assert "a.yaml:" in done.stderr


def test_several_jobs_in_text_are_named(tmp_path: Path, write_job: WriteJob, invoke: Invoke) -> None:
    write_job("a")
    write_job("b")

    done = invoke("check", "--job-dir", tmp_path)

    assert done.stdout == f"a ({tmp_path}/a.yaml)\n{SUCCEEDED}b ({tmp_path}/b.yaml)\n{SUCCEEDED}"


@pytest.mark.parametrize(
    ("source", "code", "told"),
    [
        pytest.param({"connector": "csw"}, 69, "csv", id="unknown connector"),
        pytest.param({"connector": f"{PLUGINS}:Nobody"}, 69, "Reader", id="unknown class"),
    ],
)
def test_a_connector_that_is_not_there_exits_69_and_says_what_there_is(
    write_job: WriteJob, invoke: Invoke, source: dict[str, str], code: int, told: str
) -> None:
    done = invoke("check", "--config", write_job(source=source), "--only", "source")

    assert done.exit_code == code
    assert told in done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("check",),
        ("discover",),
        ("preview",),
        ("run",),
        ("state", "get"),
        ("table", "health"),
    ],
    ids=" ".join,
)
def test_in_the_cloud_no_plugin_runs_outside_of_a_container(
    command: tuple[str, ...], write_job: WriteJob, invoke: Invoke, tmp_path: Path
) -> None:
    job = write_job()
    (tmp_path / "policy.yaml").write_text(
        "version: 1\ndefaults: {sandbox: {backend: none}, filesystem: {read: any, write: any}}\n"
    )

    done = invoke(*command, "--config", job, "--mode", "cloud", "--policy", tmp_path / "policy.yaml")

    assert done.exit_code == 69
    assert "Error code: SANDBOX_UNAVAILABLE" in done.output
    assert "container (mode cloud), and gets none" in done.output


def test_a_job_that_is_named_and_in_the_folder_is_done_once(
    tmp_path: Path, write_job: WriteJob, invoke: Invoke
) -> None:
    done = invoke("check", "--config", write_job(), "--job-dir", tmp_path, "--json")

    assert [document["job"] for document in json.loads(done.stdout)] == ["app"]
