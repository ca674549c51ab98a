import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import dativo_ingest
from dativo_ingest.cli.program import dativo

HEAVY = ("pyarrow", "pyiceberg", "pydantic", "duckdb", "deltalake", "numpy", "rich", "yaml")


def python(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=cwd)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["run", "--help"], ["init", "--help"], ["state", "set", "--help"]]
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from dativo_ingest.cli import main\n"
        f"sys.argv = ['dativo', *{arguments!r}]\n"
        "try:\n    main()\n"
        "finally:\n"
        f"    print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)\n"
    )

    done = python("-c", program)

    assert (done.returncode, done.stderr) == (0, "[]\n")


def test_no_threads_of_linear_algebra_are_started() -> None:
    program = (
        "import os, sys\n"
        "from dativo_ingest.cli import main\n"
        "sys.argv = ['dativo', '--version']\n"
        "try:\n    main()\n"
        "finally:\n"
        "    import numpy\n"
        "    print(len(os.listdir('/proc/self/task')), file=sys.stderr)\n"
    )

    done = python("-c", program)

    assert (done.returncode, done.stderr) == (0, "1\n")


def test_the_package_runs_as_a_module() -> None:
    done = python("-m", "dativo_ingest", "--version")

    assert (done.returncode, done.stdout) == (0, f"dativo {dativo_ingest.__version__}\n")


def test_only_commands_that_exist_are_listed() -> None:
    shown = CliRunner().invoke(dativo, ["--help"]).stdout

    listed = shown.split("Commands:\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in listed] == [
        "init",
        "check",
        "discover",
        "preview",
        "run",
        "state",
        "table",
        "plugin",
        "doctor",
        "schema",
    ]


@pytest.mark.parametrize("command", ["init", "check", "discover", "preview", "run", "schema", "state", "table"])
def test_every_help_ends_with_an_example(command: str) -> None:
    done = CliRunner().invoke(dativo, [command, "--help"])

    assert done.exit_code == 0
    assert f"  dativo {command}" in done.stdout.split("Examples:\n")[1]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["fly"], id="no such command"),
        pytest.param(["run", "--fly"], id="no such flag"),
        pytest.param(["run"], id="no job"),
        pytest.param(["check"], id="no job to check"),
        pytest.param(["run", "-c", "job.yaml", "--limit", "0"], id="a limit of nothing"),
        pytest.param(["check", "-c", "job.yaml", "--only", "middle"], id="no such end"),
        pytest.param(["state", "set", "-c", "job.yaml", "--stream", "a", "{"], id="a state that is not JSON"),
        pytest.param(["state", "set", "-c", "job.yaml", "--stream", "a", "7"], id="a state that is no object"),
        pytest.param(["schema", "sonnet"], id="no such schema"),
        pytest.param(["discover", "-c", "-", "--write-assets", "found"], id="assets of a job without a file"),
        pytest.param(["init", "--source", "jsonl"], id="a format without files"),
    ],
)
def test_a_bad_command_line_exits_2_and_leaves_stdout_alone(arguments: list[str]) -> None:
    done = CliRunner().invoke(dativo, arguments)

    assert (done.exit_code, done.stdout) == (2, "")
    assert "Error: " in done.stderr


def test_a_missing_job_file_is_a_configuration_error() -> None:
    done = CliRunner().invoke(dativo, ["discover", "--config", "nowhere/job.yaml"])

    assert (done.exit_code, done.stdout) == (78, "")
    assert done.stderr.startswith("✗ ")
    assert "nowhere/job.yaml" in done.stderr
    assert "Error code: MISSING_CONFIG" in done.stderr


def test_flags_are_mirrored_by_the_environment() -> None:
    done = CliRunner().invoke(
        dativo, ["discover"], env={"DATIVO_CONFIG": "nowhere/job.yaml", "DATIVO_LOG_FORMAT": "json"}
    )

    told = json.loads(done.stderr)
    assert done.exit_code == 78
    assert told.items() >= {"level": "error", "error_code": "MISSING_CONFIG", "retryable": False}.items()


def test_a_reader_of_stdout_that_goes_away_changes_nothing() -> None:
    program = (
        "import os, sys\n"
        "reading, writing = os.pipe()\n"
        "os.close(reading)\n"
        "os.dup2(writing, 1)\n"
        "from dativo_ingest.cli import main\n"
        "sys.argv = ['dativo', 'schema', 'report']\n"
        "main()\n"
    )

    done = python("-c", program)

    assert (done.returncode, done.stderr) == (0, "")


def test_a_folder_without_jobs_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "orders.odcs.yaml").write_text("not a job")

    done = CliRunner().invoke(dativo, ["run", "--job-dir", str(tmp_path)])

    assert done.exit_code == 78
    assert "Error code: MISSING_CONFIG" in done.stderr


def test_marks_do_not_fail_where_only_ascii_is_spoken() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dativo_ingest", "discover", "-c", "nowhere.yaml"],
        capture_output=True,
        check=False,
        env={"PYTHONIOENCODING": "ascii", "PATH": ""},
    )

    assert done.returncode == 78
    assert b"nowhere.yaml" in done.stderr
