import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from command_line import Invoke, WriteJob, validate

from dativo_ingest.run.documents_schema import REPORT

StartRun = Callable[..., subprocess.Popen[str]]


def test_a_run_ends_with_a_table_on_stdout_and_talks_on_stderr(write_job: WriteJob, invoke: Invoke) -> None:
    done = invoke("run", "--config", write_job())

    lines = done.stdout.splitlines()
    assert done.exit_code == 0
    assert lines[0].startswith("✓ app: succeeded in ")
    assert lines[2].split() == [
        "Stream",
        "Status",
        "Read",
        "Written",
        "Quarantined",
        "Skipped",
        "Bytes",
        "Commit",
        "Gen",
        "Time",
    ]
    assert lines[3].split()[:7] == ["✓", "orders", "succeeded", "3", "3", "0", "0"]
    assert "orders: succeeded, 3 rows read" in done.stderr


def test_a_report_on_stdout_is_one_json_document_and_the_text_moves_away(write_job: WriteJob, invoke: Invoke) -> None:
    done = invoke("run", "--config", write_job(), "--report", "-", "--progress", "none")

    document = json.loads(done.stdout)
    validate(document, REPORT)
    assert document.items() >= {"job": "app", "status": "succeeded", "exit_code": 0}.items()
    assert done.stderr.startswith("✓ app: succeeded")


def test_a_report_file_has_a_line_for_each_job(tmp_path: Path, write_job: WriteJob, invoke: Invoke) -> None:
    first = write_job("first")
    second = write_job("second", options={"raises": {"class": "NetworkError"}})
    report = tmp_path / "report.jsonl"

    done = invoke("run", "--config", first, "--config", second, "--report", report)

    documents = [json.loads(line) for line in report.read_text().splitlines()]
    for document in documents:
        validate(document, REPORT)
    assert done.exit_code == 75
    assert [(document["job"], document["exit_code"]) for document in documents] == [("first", 0), ("second", 75)]


def test_a_report_that_cannot_be_written_is_refused_before_anything_runs(
    tmp_path: Path, write_job: WriteJob, invoke: Invoke
) -> None:
    done = invoke("run", "--config", write_job(), "--report", tmp_path / "nowhere" / "report.json")

    assert done.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_errors_are_told_on_stderr_too_where_stdout_goes_elsewhere(write_job: WriteJob, invoke: Invoke) -> None:
    job = write_job(options={"raises": {"class": "ServiceUnavailableError", "message": "down"}})

    done = invoke("run", "--config", job, "--progress", "none")

    assert "✗ orders: down" in done.stdout
    assert done.stderr == "✗ orders: down\n  Error code: SERVICE_UNAVAILABLE\n"


def test_a_job_that_cannot_be_read_is_told_on_stderr_alone(tmp_path: Path, invoke: Invoke) -> None:
    done = invoke("run", "--config", tmp_path / "job.yaml")

    assert (done.exit_code, done.stdout) == (78, "")
    assert "Error code: MISSING_CONFIG" in done.stderr


def test_a_job_that_cannot_be_read_has_a_report_too(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "job.yaml").write_text("version: 1\nname: app\nsource: {connector: csv}\ntargett: {}\n")

    done = invoke("run", "--config", tmp_path / "job.yaml", "--report", "-")

    document = json.loads(done.stdout)
    validate(document, REPORT)
    assert (done.exit_code, document["exit_code"], document["status"]) == (78, 78, "failed")
    assert "job.yaml:4:1" in done.stderr
    assert "did you mean target" in done.stderr


@pytest.mark.parametrize(
    ("error_class", "code"),
    [
        ("DataNotFoundError", 66),
        ("InsufficientPermissionsError", 77),
        ("ServiceUnavailableError", 75),
        ("DataFormatError", 65),
        ("DiskFullError", 73),
        ("FencedError", 79),
        ("NoErrorOfOurs", 70),
    ],
)
def test_the_process_exits_with_the_code_of_the_error(write_job: WriteJob, error_class: str, code: int) -> None:
    job = write_job(options={"raises": {"class": error_class}})

    done = subprocess.run(
        [sys.executable, "-m", "dativo_ingest", "run", "--config", str(job)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == code
    assert "✗ orders: " in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_one_failed_stream_makes_the_run_partial(write_job: WriteJob, invoke: Invoke) -> None:
    job = write_job(
        options={"raises": {"class": "RateLimitError", "only": "customers"}}, streams={"orders": {}, "customers": {}}
    )

    done = invoke("run", "--config", job, "--progress", "none")

    assert done.exit_code == 3
    assert "⚠ app: partial" in done.stdout
    assert "→ Trying again may help" in done.stdout


def test_streams_limits_and_dry_runs_are_passed_on(tmp_path: Path, write_job: WriteJob, invoke: Invoke) -> None:
    job = write_job(streams={"orders": {}, "customers": {}})

    done = invoke("run", "-c", job, "--stream", "orders", "--limit", "2", "--dry-run", "--report", "-")

    streams = json.loads(done.stdout)["streams"]
    assert done.exit_code == 0
    assert [(stream["name"], stream["rows"]["read"], stream["commit"]) for stream in streams] == [("orders", 2, None)]
    assert "dry run: nothing was written" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_job_without_streams_is_no_success(write_job: WriteJob, invoke: Invoke) -> None:
    done = invoke("run", "-c", write_job(streams={}))

    assert done.exit_code == 78
    assert "the job has none, so there is nothing to run" in done.stderr


def test_a_full_refresh_with_a_limit_is_refused_unless_nothing_is_written(write_job: WriteJob, invoke: Invoke) -> None:
    job = write_job(streams={"orders": {"mode": "incremental"}})

    refused = invoke("run", "-c", job, "--full-refresh", "--limit", "1")
    dry = invoke("run", "-c", job, "--full-refresh", "--limit", "1", "--dry-run")

    assert (refused.exit_code, dry.exit_code) == (2, 0)
    assert "would replace tables by their first rows" in refused.stderr


def test_a_write_mode_that_the_target_lacks_is_told_with_its_place(write_job: WriteJob, invoke: Invoke) -> None:
    job = write_job(streams={"orders": {"write": "merge", "primary_key": "id"}})

    done = invoke("run", "-c", job)

    assert done.exit_code == 78
    assert re.search(r"app\.yaml:\d+:\d+ streams\.orders\.write: .* cannot merge", done.stderr + done.stdout)


def test_json_logs_are_json_lines_with_errors_among_them(write_job: WriteJob, invoke: Invoke) -> None:
    job = write_job(options={"raises": {"class": "DataFormatError", "message": "odd"}})

    done = invoke("run", "--config", job, "--log-format", "json")

    documents = [json.loads(line) for line in done.stderr.splitlines()]
    errors = [document for document in documents if document["level"] == "error"]
    assert done.exit_code == 65
    assert [(error["job"], error["error_code"], error["message"]) for error in errors] == [
        ("app", "DATA_FORMAT_ERROR", "odd")
    ]
    assert {document.get("event") for document in documents} >= {"run_started", "run_finished"}


def test_a_secret_in_an_error_shows_nowhere(write_job: WriteJob, invoke: Invoke) -> None:
    job = write_job(
        options={"raises": {"class": "InvalidCredentialsError", "message": "who is ${env:CANARY}?"}},
        source={"credentials": {"token": "${secret:CANARY}"}},
    )

    done = invoke("run", "--config", job, "--debug", "--report", "-", env={"CANARY": "hunter-2-hunter"})

    assert done.exit_code == 77
    assert "hunter-2-hunter" not in done.stdout + done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_before_the_commit_with_its_code(start_run: StartRun, number: signal.Signals, code: int) -> None:
    process = start_run()

    process.send_signal(number)
    out, err = process.communicate(timeout=60)

    document = json.loads(out)
    validate(document, REPORT)
    assert (process.returncode, document["exit_code"], document["status"]) == (code, code, "cancelled")
    assert [stream["commit"] for stream in document["streams"]] == [None]
    assert "stopping before the next commit" in err


def test_a_second_interrupt_ends_at_once(start_run: StartRun) -> None:
    process = start_run(pause_s=120)
    process.send_signal(signal.SIGINT)
    wait_for("stopping before the next commit", process)

    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)

    assert process.returncode == 130


def test_jobs_after_a_stop_are_not_begun(tmp_path: Path, write_job: WriteJob, start_run: StartRun) -> None:
    write_job("zz_later")
    process = start_run("--job-dir", str(tmp_path))

    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 143
    assert [json.loads(line)["job"] for line in out.splitlines()] == ["slow"]
    assert "zz_later.yaml" in err


@pytest.fixture
def start_run(write_job: WriteJob) -> Iterator[StartRun]:
    """Start runs that take long, each given back when its stream has begun."""
    with ExitStack() as stack:

        def start(*arguments: str, pause_s: float = 0.05) -> subprocess.Popen[str]:
            job = write_job("slow", options={"rows": 20_000, "pause_s": pause_s})
            words = ["run", "--report", "-", "--progress", "plain", *(arguments or ("--config", str(job)))]
            process = subprocess.Popen(
                [sys.executable, "-m", "dativo_ingest", *words],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            wait_for("orders: started", process)
            return process

        yield start


def wait_for(text: str, process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return
    pytest.fail(f"the run ended without saying {text!r}")
