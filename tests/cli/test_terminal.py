"""What a person at a terminal sees: bars, colours and questions."""

import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from command_line import WriteJob

GREEN_MARK = "\x1b[32m✓\x1b[0m"


def at_terminal(*arguments: str, answers: str = "", env: dict[str, str] | None = None) -> tuple[int, str]:
    """Run a command line with a terminal for stdin, stdout and stderr; give its code and what was shown."""
    mine, theirs = pty.openpty()
    shown = bytearray()

    def listen() -> None:
        try:
            while part := os.read(mine, 4096):
                shown.extend(part)
        except OSError:
            return  # Linux says so when the other end is closed

    environ = {name: value for name, value in os.environ.items() if name not in {"CI", "NO_COLOR"}}
    process = subprocess.Popen(
        [sys.executable, "-m", "dativo_ingest", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environ, "TERM": "xterm-256color", "COLUMNS": "160", **(env or {})},
    )
    os.close(theirs)
    listener = threading.Thread(target=listen)
    listener.start()
    os.write(mine, answers.encode())
    code = process.wait(timeout=60)
    listener.join(timeout=60)
    os.close(mine)
    return code, shown.decode().replace("\r\n", "\n")


def test_a_terminal_shows_a_bar_and_colours(write_job: WriteJob) -> None:
    code, shown = at_terminal("run", "--config", str(write_job(options={"rows": 20, "pause_s": 0.05})))

    assert code == 0
    assert f"{GREEN_MARK} app: succeeded" in shown
    assert "rows/s" in shown
    assert "orders: started" not in shown


@pytest.mark.parametrize(
    ("env", "bar"), [pytest.param({"NO_COLOR": "1"}, True, id="NO_COLOR"), pytest.param({"CI": "true"}, False, id="CI")]
)
def test_no_color_and_ci_are_honoured(write_job: WriteJob, env: dict[str, str], bar: bool) -> None:
    job = write_job(options={"rows": 20, "pause_s": 0.05})

    _, shown = at_terminal("run", "--config", str(job), env=env)

    assert ("orders: started" in shown) is not bar
    assert (GREEN_MARK in shown) is ("NO_COLOR" not in env)


def test_a_failure_is_shown_once(write_job: WriteJob) -> None:
    code, shown = at_terminal("run", "--config", str(write_job(options={"raises": {"class": "DataFormatError"}})))

    assert code == 65
    assert shown.count("Error code: DATA_FORMAT_ERROR") == 1


def test_init_asks_what_the_flags_leave_open(tmp_path: Path) -> None:
    (tmp_path / "people.jsonl").write_text('{"id": 1}\n')
    answers = "people.jsonl\n\nparquet\n\ncrew\n"

    code, shown = at_terminal("init", "--dir", str(tmp_path), answers=answers)

    job = (tmp_path / "job.yaml").read_text()
    assert code == 0, shown
    assert "Their format (csv, json, jsonl, parquet, arrow) [jsonl]:" in shown
    assert "name: crew" in job
    assert "connector: jsonl" in job
    assert "path: ${env:WAREHOUSE" not in job
    assert "connector: parquet" in job


def test_init_asks_before_it_replaces(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("mine")

    code, shown = at_terminal("init", "--dir", str(tmp_path), answers="\n\n\n\n\nn\n")

    assert (code, (tmp_path / "job.yaml").read_text()) == (78, "mine")
    assert "Replace job.yaml?" in shown


def test_state_reset_asks(write_job: WriteJob) -> None:
    job = write_job()

    code, shown = at_terminal("state", "reset", "--config", str(job), answers="n\n")

    assert code == 0
    assert "Forget the state of all streams of app?" in shown
    assert "nothing was changed" in shown
